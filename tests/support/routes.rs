// SPDX-License-Identifier: BSD-3-Clause
//! Two uplinks whose routing is ours to change, and what `ip rule` and `ip route` say of it.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use super::peer::program;
use super::{Lab, Namespace, skip, until};

pub const FAR: &str = "192.0.2.80";
pub const FAR6: &str = "2001:db8:ffff::80";

pub fn version(address: &str) -> &'static str {
    if address.contains(':') { "-6" } else { "-4" }
}

/// All rules with our protocol number.
pub fn our_rules(at: &Namespace) -> Vec<String> {
    let rules = ["-4", "-6"].map(|version| at.out(&format!("ip {version} rule show")));
    let ours = rules.iter().flat_map(|rules| rules.lines());
    ours.filter(|line| line.contains("proto 30"))
        .map(str::to_owned)
        .collect()
}

/// All routes with our protocol number.
pub fn our_routes(at: &Namespace) -> Vec<String> {
    let text = at.out("ip route show table all");
    let ours = text.lines().filter(|line| line.contains("proto 30"));
    ours.map(|line| line.trim().to_owned()).collect()
}

/// Where the kernel sends what goes from `source` to `destination`: "via GATEWAY dev NAME" or
/// "dev NAME".
pub fn way(at: &Namespace, source: &str, destination: &str) -> String {
    let text = at.out(&format!("ip route get {destination} from {source}"));
    let words: Vec<_> = text.split_whitespace().collect();
    let at = |word: &str| words.iter().position(|other| *other == word);
    let from = at("via").or(at("dev")).expect("a way");
    let to = at("dev").expect("a device") + 1;
    words[from..=to].join(" ")
}

/// Uplinks 1 and 2, each with its own gateway, for both families; the far end of both.
pub fn uplinks() -> Option<Lab> {
    let lab = Lab::new()?;
    for n in [1, 2] {
        lab.wan(n);
        lab.wan6(n);
        lab.outside.ip(&format!(
            "addr add 10.0.{n}.2/24 dev wan{n}; addr add 10.0.{n}.3/24 dev wan{n}
             addr add 2001:db8:{n}::2/64 dev wan{n}; addr add fe80::2/64 dev wan{n}"
        ));
    }
    lab.outside.ip(&format!(
        "addr add {FAR}/32 dev lo; addr add {FAR6}/128 dev lo"
    ));
    for at in [&lab.host, &lab.outside] {
        at.ip("mptcp limits set add_addr_accepted 8 subflows 8");
    }
    // With an address that is no longer tentative comes a route.
    let tentative = || lab.host.out("ip -6 addr show tentative");
    assert!(until(|| tentative().is_empty()), "{}", tentative());
    Some(lab)
}

/// Everything in the network's routing that is not ours.
pub fn foreign(at: &Namespace) -> Vec<String> {
    let rules = ["-4", "-6"].map(|version| at.out(&format!("ip {version} rule show")));
    let routes = at.out("ip route show table all");
    let all = rules.iter().chain([&routes]).flat_map(|text| text.lines());
    let mut theirs: Vec<_> = all
        .filter(|line| !line.contains("proto 30") && !line.contains("settle"))
        .map(|line| line.replace("linkdown ", ""))
        .collect();
    theirs.sort();
    theirs
}

/// The two ends of a point-to-point link.
pub struct Tunnel([Child; 2]);

impl Tunnel {
    /// None, having said why, where this machine has no tun devices.
    pub fn start(lab: &Lab, name: &str) -> Option<Self> {
        let start = |at: &Namespace, input: Stdio, output: Stdio| {
            let mut command = at.command(program("tunnel"));
            command.arg(name).stdin(input).stdout(output);
            command.spawn().expect("nsenter")
        };
        let mut home = start(&lab.host, Stdio::piped(), Stdio::piped());
        let input = home.stdout.take().expect("a pipe").into();
        let output = home.stdin.take().expect("a pipe").into();
        let mut tunnel = Self([home, start(&lab.outside, input, output)]);
        let shown = format!("ip link show dev {name}");
        let mut there = false;
        until(|| {
            let ends = [&lab.host, &lab.outside];
            there = ends.iter().all(|at| at.run(&shown).status.success());
            let ended = |end: &mut Child| end.try_wait().expect("our own child").is_some();
            there || tunnel.0.iter_mut().any(ended)
        });
        if !there {
            skip("tun", "no tun devices");
        }
        there.then_some(tunnel)
    }

    /// The same as a PPP session: 10.0.0.1 and 2001:db8:5::1 here, .2 and ::2 there.
    pub fn ppp0(lab: &Lab) -> Option<Self> {
        let tunnel = Self::start(lab, "ppp0")?;
        for (at, own, peer) in [(&lab.host, 1, 2), (&lab.outside, 2, 1)] {
            at.ip(&format!(
                "link set ppp0 up; addr add 10.0.0.{own} peer 10.0.0.{peer} dev ppp0
                 addr add 2001:db8:5::{own} peer 2001:db8:5::{peer} dev ppp0"
            ));
        }
        Some(tunnel)
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        for end in &mut self.0 {
            let _ = end.kill();
            let _ = end.wait();
        }
    }
}

/// `ip monitor`, which tells what becomes of rules and routes.
pub struct Changes {
    child: Child,
    output: PathBuf,
}

impl Changes {
    /// Starts it, and waits until it listens.
    #[track_caller]
    pub fn start(lab: &Lab) -> Self {
        let output = lab.write("changes", "");
        let file = File::create(&output).expect("a file of our own");
        let mut command = lab.host.command("ip");
        let child = command.args(["monitor", "rule", "route"]).stdout(file);
        let child = child.spawn().expect("nsenter");
        let changes = Self { child, output };
        let listens = until(|| {
            lab.host.ip_any("route add 203.0.113.99/32 dev lo");
            lab.host.ip_any("route del 203.0.113.99/32 dev lo");
            changes.heard().contains("203.0.113.99")
        });
        assert!(listens);
        changes
    }

    /// Returns what it has told.
    pub fn heard(&self) -> String {
        std::fs::read_to_string(&self.output).expect("our file")
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
