// SPDX-License-Identifier: BSD-3-Clause
//! Connections of the userspace path manager, and which subflows they have.

use super::{Daemon, Lab, Namespace, until};

/// A laboratory with `cables` cables, both of whose sides leave connections to user space. Cable
/// `wanN` carries 10.0.N.0/24 and 2001:db8:N::/64; the host has .1, the outside .2, and the host
/// reaches every address outside over every cable.
pub fn lab(cables: u8) -> Option<Lab> {
    let lab = Lab::new()?;
    for n in 1..=cables {
        lab.wan(n);
        lab.host.ip(&format!(
            "addr add 2001:db8:{n}::1/64 dev wan{n}
             route add ::/0 via 2001:db8:{n}::2 dev wan{n} metric {n}1"
        ));
        lab.outside.ip(&format!(
            "addr add 10.0.{n}.2/24 dev wan{n}; addr add 2001:db8:{n}::2/64 dev wan{n}"
        ));
    }
    for at in [&lab.host, &lab.outside] {
        at.sysctl("mptcp/pm_type", 1);
    }
    Some(lab)
}

/// The established subflows of connections to port 5000, as `LOCAL-REMOTE`, sorted.
pub fn subflows(at: &Namespace) -> Vec<String> {
    let text = at.out("ss -tnH state established");
    let mut all: Vec<String> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(2);
            let (local, remote) = (words.next()?, words.next()?);
            let to_server = local.ends_with(":5000") || remote.ends_with(":5000");
            to_server.then(|| format!("{}-{}", address(local), address(remote)))
        })
        .collect();
    all.sort_unstable();
    all
}

/// The address in what `ss` prints as `ADDRESS[%DEVICE]:PORT`, without a mapping of IPv4.
pub fn address(end: &str) -> &str {
    let address = end.rsplit_once(':').map_or(end, |(address, _)| address);
    let address = address.split('%').next().unwrap_or(address);
    address
        .trim_matches(['[', ']'])
        .trim_start_matches("::ffff:")
}

#[track_caller]
pub fn expect(at: &Namespace, wanted: &[&str], daemons: &[&Daemon<'_>]) {
    let mut seen = vec![];
    let holds = until(|| {
        seen = subflows(at);
        seen == wanted
    });
    let logs: String = daemons.iter().map(|d| d.log()).collect();
    assert!(holds, "{seen:#?}, not {wanted:#?}\n{logs}");
}

/// Waits until there are subflows from these addresses and no others, so many from each at least.
#[track_caller]
pub fn expect_from(at: &Namespace, wanted: &[&str], count: usize, daemons: &[&Daemon<'_>]) {
    let mut seen = vec![];
    let holds = until(|| {
        seen = subflows(at);
        let mut left = seen.len();
        let enough = wanted.iter().all(|from| {
            let its = seen.iter().filter(|s| s.starts_with(&format!("{from}-")));
            let its = its.count();
            left -= its;
            its >= count
        });
        enough && left == 0
    });
    let logs: String = daemons.iter().map(|d| d.log()).collect();
    assert!(holds, "{seen:#?}, not from {wanted:#?}\n{logs}");
}
