//! What `/proc` says of the kernel and of this process.

use nix::fcntl::OFlag;

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

/// Whether the process has CAP_NET_ADMIN in its own user namespace. True where that is unknown.
pub fn may_administer_network() -> bool {
    // CAP_NET_ADMIN is bit 12, the lowest of the fourth hexadecimal digit from the right.
    const DIGIT: usize = 3;
    let Some(status) = read("/proc/self/status") else {
        return true;
    };
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let digit = effective.and_then(|hex| hex.trim_ascii().bytes().nth_back(DIGIT));
    let bits = digit.and_then(|digit| char::from(digit).to_digit(16));
    bits.is_none_or(|bits| bits & 1 == 1)
}

/// The random id of this boot of the kernel.
pub fn boot_id() -> [u8; 16] {
    let mut id = [0; 16];
    let text = read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
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

/// The start of a file, which is all there is of most.
fn read(path: &str) -> Option<String> {
    let file = super::open(path, OFlag::O_RDONLY).ok()?;
    let bytes = super::read(&file, 4096).ok()?;
    Some(core::str::from_utf8(&bytes).ok()?.trim_ascii().to_owned())
}
