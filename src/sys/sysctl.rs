// SPDX-License-Identifier: BSD-3-Clause
//! What `/proc/sys` says of the kernel.

use std::io::Read;

/// State of MPTCP in the namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mptcp {
    Enabled,
    Disabled,
    /// The kernel is built without it.
    Missing,
}

/// Reads `net.mptcp.enabled`.
pub fn mptcp() -> Mptcp {
    match read("/proc/sys/net/mptcp/enabled").as_deref() {
        None => Mptcp::Missing,
        Some("0") => Mptcp::Disabled,
        Some(_) => Mptcp::Enabled,
    }
}

/// Which path manager new connections get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathManager {
    Kernel,
    Userspace,
}

/// Reads `net.mptcp.path_manager` (Linux 6.15) or `net.mptcp.pm_type` (5.19); `None` before.
pub fn path_manager() -> Option<PathManager> {
    let name = read("/proc/sys/net/mptcp/path_manager");
    let number = || read("/proc/sys/net/mptcp/pm_type");
    match name.or_else(number)?.as_str() {
        "userspace" | "1" => Some(PathManager::Userspace),
        _ => Some(PathManager::Kernel),
    }
}

/// Whether the device takes in IPv4 packets only if it is also the way back to their sender
/// (RFC 3704). The greater number of its own and everybody's counts; 2, loose, beats 1, strict.
pub fn has_strict_reverse_path(device: &str) -> bool {
    let value = |name: &str| {
        let path = format!("/proc/sys/net/ipv4/conf/{name}/rp_filter");
        match read(&path).as_deref() {
            Some("2") => 2,
            Some("1") => 1,
            _ => 0,
        }
    };
    value("all").max(value(device)) == 1
}

/// The random id of this boot of the kernel.
pub fn boot_id() -> [u8; 16] {
    uuid("/proc/sys/kernel/random/boot_id")
}

/// A random number; 0 where there is no /proc.
pub fn random() -> u64 {
    let [low @ .., _, _, _, _, _, _, _, _] = uuid("/proc/sys/kernel/random/uuid");
    u64::from_ne_bytes(low)
}

fn uuid(path: &str) -> [u8; 16] {
    let mut id = [0; 16];
    let text = read(path).unwrap_or_default();
    let digits = text
        .bytes()
        .filter_map(|byte| char::from(byte).to_digit(16));
    for (at, digit) in digits.enumerate().take(32) {
        if let (Some(byte), Ok(digit)) = (id.get_mut(at / 2), u8::try_from(digit)) {
            *byte = *byte << 4 | digit;
        }
    }
    id
}

/// What a file with one short value says.
fn read(path: &str) -> Option<heapless::String<64>> {
    let mut bytes = [0; 64];
    let mut file = super::open(path, libc::O_RDONLY).ok()?;
    let length = file.read(&mut bytes).ok()?;
    let text = core::str::from_utf8(bytes.get(..length)?).ok()?;
    text.trim_ascii().try_into().ok()
}
