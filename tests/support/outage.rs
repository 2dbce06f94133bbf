// SPDX-License-Identifier: BSD-3-Clause
//! Cables that are there and lead nowhere.

use super::Lab;

/// Lets the daemon send pings, and outages begin.
pub fn prepare(lab: &Lab) {
    allow_pings(lab);
    // Rules may come before those of local addresses.
    for family in ["-4", "-6"] {
        let at = &lab.outside;
        at.out(&format!("ip {family} rule add pref 9 lookup local"));
        at.out(&format!("ip {family} rule del pref 0"));
    }
}

/// A new namespace lets nobody.
pub fn allow_pings(lab: &Lab) {
    let script = "echo 0 0 >/proc/sys/net/ipv4/ping_group_range";
    let status = lab.host.command("sh").args(["-c", script]).status();
    assert!(status.expect("nsenter").success(), "{script}");
}

/// What is sent into the cable is lost, and nothing comes out of it; its carrier stays.
pub fn blackhole(lab: &Lab, n: u8) {
    for family in ["-4", "-6"] {
        lab.outside.out(&format!(
            "ip {family} rule add pref {n} iif wan{n} blackhole"
        ));
    }
    lab.outside
        .out(&format!("ip rule add pref {n} to 10.0.{n}.0/24 blackhole"));
}

pub fn restore(lab: &Lab, n: u8) {
    for family in ["-4", "-6"] {
        let rule = format!("ip {family} rule del pref {n}");
        while lab.outside.run(&rule).status.success() {}
    }
}
