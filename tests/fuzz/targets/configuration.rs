// SPDX-License-Identifier: BSD-3-Clause
//! Configuration files and command lines are taken or refused with reasons.
#![no_main]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use libfuzzer_sys::fuzz_target;
use mptcpd::internal::cli::{self, Action};
use mptcpd::internal::config::{self, Overrides};
use mptcpd::internal::plugin::{Entry, addr_adv, sspi};

const PLUGINS: [Entry; 2] = [
    addr_adv::ENTRY,
    sspi::ENTRY.with_keys(&["x", "key with blanks"]),
];

fuzz_target!(|bytes: &[u8]| {
    let (line, file) = match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (&[][..], bytes),
    };
    let words = line.split(|byte| *byte == b' ').filter(|w| !w.is_empty());
    let words = words.map(|word| OsString::from_vec(word.to_vec()));
    match cli::parse(words.collect(), &PLUGINS) {
        Ok(Action::Run(options) | Action::Check(options, _)) => check(file, &options),
        Ok(_) => {}
        Err(cause) => assert!(!cause.is_empty() && !cause.contains('\n')),
    }
});

fn check(file: &[u8], options: &Overrides) {
    match config::parse("file", file, options, &PLUGINS) {
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                assert!(!problem.text.contains('\n'), "{problem}");
            }
        }
        // What is shown can be read again and means the same.
        Ok(mut loaded) => {
            let shown = loaded.config.text();
            let again = config::parse("shown", shown.as_bytes(), &Overrides::default(), &PLUGINS);
            match again {
                Ok(mut again) => assert_eq!(again.config.text(), shown),
                Err(problems) => panic!("{problems:?} in\n{shown}"),
            }
        }
    }
}
