// SPDX-License-Identifier: BSD-3-Clause
//! What a program needs on disk.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes of a program with its libraries, all and without those of the C library.
pub fn on_disk(files: &[PathBuf]) -> io::Result<(u64, u64)> {
    let mut all = BTreeSet::new();
    for file in files {
        all.insert(fs::canonicalize(file)?);
        for library in libraries(file)? {
            all.insert(fs::canonicalize(library)?);
        }
    }
    let (mut total, mut own) = (0, 0);
    for file in &all {
        let length = fs::metadata(file)?.len();
        total += length;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let is_libc = ["libc.", "libc-", "ld-", "libgcc_s"];
        if !is_libc.iter().any(|prefix| name.starts_with(prefix)) {
            own += length;
        }
    }
    Ok((total, own))
}

/// What `ldd` finds; nothing for a static program.
fn libraries(file: &Path) -> io::Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(file).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(paths.map(PathBuf::from).filter(|p| p.exists()).collect())
}

/// The plugins of the C daemon, in the directory its configuration names.
pub fn plugins(config: &str) -> io::Result<Vec<PathBuf>> {
    let text = fs::read_to_string(config)?;
    let directory = text
        .lines()
        .find_map(|line| line.strip_prefix("plugin-dir="))
        .ok_or_else(|| io::Error::other(format!("{config}: no plugin-dir")))?;
    fs::read_dir(directory)?
        .map(|entry| Ok(entry?.path()))
        .collect()
}
