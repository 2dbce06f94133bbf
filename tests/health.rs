// SPDX-License-Identifier: BSD-3-Clause
//! Uplinks that are up and lead nowhere: probes find out, and connections live on.

mod support;

use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::outage::{self, allow_pings, blackhole, restore};
use support::peer::Transfer;
use support::routes::our_rules;
use support::{Daemon, Lab, Namespace, until};

const SERVER6: &str = "2001:db8:80::80";
const TRACK: &str = "[core]\ntrack = 192.0.2.80\ntrack-interval = 1\n";
const BOTH: [&str; 2] = ["10.0.1.1 subflow dev wan1", "10.0.2.1 subflow dev wan2"];
/// Long enough for all that happens while data is on its way.
const BYTES: &str = "8000000";
const RATE: &str = "800000";

/// A lab with so many uplinks, where pings may be sent.
fn lab(uplinks: u8) -> Option<Lab> {
    Lab::with_uplinks(uplinks).inspect(outage::prepare)
}

fn subflows(at: &Namespace, from: &str) -> usize {
    let text = at.out(&format!("ss -tnH state established src {from}"));
    text.lines().count()
}

/// Waits until the daemon has had answers over so many paths.
#[track_caller]
fn answered(lab: &Lab, paths: usize) {
    let latencies = || {
        let (_, status, _) = lab.execute(&["status", "-j"]);
        status.matches("\"latency\":").count() - status.matches("\"latency\":null").count()
    };
    assert!(
        until(|| latencies() == paths),
        "{:?}",
        lab.execute(&["status"])
    );
}

/// Echo requests that were sent so far.
fn pings(lab: &Lab) -> u64 {
    lab.host.counter("IcmpOutEchos")
}

#[track_caller]
fn is_lost(daemon: &Daemon<'_>, parts: &[&str]) {
    let parts = [&["lost: no answer"][..], parts].concat();
    daemon.says(&parts);
}

#[test]
fn connections_leave_a_dead_uplink_and_come_back() {
    let Some(lab) = lab(2) else { return };
    let daemon = lab.daemon(TRACK);
    lab.expect(&BOTH);
    answered(&lab, 2);
    let transfer = Transfer::start(&lab, BYTES, RATE);
    assert!(until(|| subflows(&lab.host, "10.0.2.1") == 1));
    blackhole(&lab, 1);
    lab.expect(&BOTH[1..]);
    is_lost(&daemon, &["wan1", "10.0.1.1"]);
    support::json::Schema::new(support::json::STATUS).check(&lab.execute(&["status", "-j"]).1);
    let (_, status, _) = lab.execute(&["status", "wan1"]);
    assert!(
        status.contains(" dead ") && status.contains("no answer"),
        "{status}"
    );
    let (code, ..) = lab.execute(&["status", "--exit-code", "wan1"]);
    assert_eq!(code, Some(2));
    assert!(until(|| subflows(&lab.host, "10.0.1.1") == 0));
    restore(&lab, 1);
    lab.expect(&BOTH);
    daemon.says(&["wan1", "back after"]);
    assert!(until(|| subflows(&lab.host, "10.0.1.1") == 1));
    assert_eq!(subflows(&lab.host, "10.0.2.1"), 1);
    transfer.finish();
    assert_eq!(daemon.lines(&["lost: no answer"]), 1, "{}", daemon.log());
}

#[test]
fn the_only_uplink_stays_for_its_connections() {
    let Some(lab) = lab(1) else { return };
    let daemon = lab.daemon(TRACK);
    lab.expect(&BOTH[..1]);
    let transfer = Transfer::start(&lab, BYTES, RATE);
    assert!(until(|| subflows(&lab.host, "10.0.1.1") == 1));
    blackhole(&lab, 1);
    daemon.says(&["wan1", "lost: no path answers"]);
    lab.expect_still(&BOTH[..1]);
    restore(&lab, 1);
    daemon.says(&["wan1", "back after"]);
    transfer.finish();
}

/// Nothing but the counters of the interface tells in time.
#[test]
fn the_death_of_a_busy_uplink_is_known_at_once() {
    let Some(lab) = lab(2) else { return };
    let daemon = lab.daemon("[core]\ntrack = 192.0.2.80\ntrack-interval = 600\n");
    lab.expect(&BOTH);
    answered(&lab, 2);
    let transfer = Transfer::start(&lab, BYTES, RATE);
    assert!(until(|| subflows(&lab.host, "10.0.2.1") == 1));
    // So long that it is known to be busy.
    sleep(Duration::from_millis(1500));
    for n in [1, 2] {
        let before = daemon.lines(&["lost: no answer"]);
        blackhole(&lab, n);
        // The next probe is ten minutes away.
        assert!(
            until(|| daemon.lines(&["lost: no answer"]) > before),
            "{}",
            daemon.log()
        );
        restore(&lab, n);
        // So it is now, but the link tells.
        lab.host
            .ip(&format!("link set wan{n} down; link set wan{n} up"));
        lab.route(n);
        lab.expect(&BOTH);
        assert!(until(|| subflows(&lab.host, &format!("10.0.{n}.1")) == 1));
        sleep(Duration::from_millis(1500));
    }
    transfer.finish();
}

#[test]
fn each_family_is_judged_by_its_own_addresses() {
    let Some(lab) = lab(2) else { return };
    lab.outside.ip(&format!("addr add {SERVER6}/128 dev lo"));
    for n in [1, 2] {
        lab.wan6(n);
        lab.outside.ip(&format!(
            "addr add fe80::2/64 dev wan{n}; addr add 2001:db8:{n}::2/64 dev wan{n}"
        ));
    }
    let six = [
        "2001:db8:1::1 subflow dev wan1",
        "2001:db8:2::1 subflow dev wan2",
    ];
    let all = [BOTH[0], BOTH[1], six[0], six[1]];
    let daemon = lab.daemon(&format!("{TRACK}track = {SERVER6}, 192.0.2.80\n"));
    lab.expect(&all);
    answered(&lab, 4);
    lab.outside.out("ip -6 rule add pref 1 iif wan1 blackhole");
    lab.expect(&[all[0], all[1], all[3]]);
    is_lost(&daemon, &["wan1", "2001:db8:1::1"]);
    restore(&lab, 1);
    lab.expect(&all);
    lab.outside.out("ip -4 rule add pref 1 iif wan1 blackhole");
    lab.expect(&all[1..]);
    is_lost(&daemon, &["wan1", "10.0.1.1"]);
    restore(&lab, 1);
    lab.expect(&all);
    // What is not tracked is not judged.
    lab.reload(&daemon, "[core]\ntrack = 192.0.2.80\ntrack-interval = 1\n");
    blackhole(&lab, 1);
    lab.expect(&all[1..]);
    lab.expect_still(&all[1..]);
}

/// Most likely the fault is with whom the probes ask, and if not, to use nothing helps nobody.
#[test]
fn where_nothing_answers_everything_is_used() {
    let Some(lab) = lab(2) else { return };
    let asked = "192.0.2.81/32 dev lo";
    lab.outside.ip(&format!("addr add {asked}"));
    // Whatever was in use goes on without it.
    let config = "[core]\ntrack = 192.0.2.81\ntrack-interval = 1\nsteer = yes\n";
    let daemon = lab.daemon(config);
    lab.expect(&BOTH);
    answered(&lab, 2);
    let transfer = Transfer::start(&lab, BYTES, RATE);
    assert!(until(|| subflows(&lab.host, "10.0.2.1") == 1));
    let complete = || ["10.0.1.1", "10.0.2.1"].map(|from| subflows(&lab.host, from)) == [1, 1];
    for _ in 0..2 {
        lab.outside.ip(&format!("addr del {asked}"));
        let state = |state: &str| {
            let (_, status, _) = lab.execute(&["status", "-j"]);
            status.matches(state).count()
        };
        let silent = "\"reason\":\"no_path_answers\"";
        assert!(until(|| state(silent) == 2), "{}", daemon.log());
        assert_eq!(state("\"state\":\"dead\""), 2);
        lab.expect_still(&BOTH);
        assert!(until(complete), "{}", daemon.log());
        assert_eq!(our_rules(&lab.host), [""; 0]);
        assert_eq!(lab.execute(&["status", "--exit-code"]).0, Some(2));
        lab.outside.ip(&format!("addr add {asked}"));
        assert!(until(|| state(silent) == 0), "{}", daemon.log());
        lab.expect_still(&BOTH);
    }
    transfer.finish();
    // What takes its address elsewhere is judged as ever.
    blackhole(&lab, 1);
    lab.expect(&BOTH[1..]);
    blackhole(&lab, 2);
    lab.expect(&BOTH);
    restore(&lab, 1);
    lab.expect(&BOTH[..1]);
}

#[test]
fn probes_leave_by_their_path_whatever_the_rules_say() {
    let Some(lab) = lab(2) else { return };
    lab.host.ip("rule add pref 10 to 192.0.2.80 lookup 77
         route add default via 10.0.2.2 dev wan2 table 77");
    let _daemon = lab.daemon(TRACK);
    lab.expect(&BOTH);
    answered(&lab, 2);
    blackhole(&lab, 1);
    lab.expect(&BOTH[1..]);
    restore(&lab, 1);
    lab.expect(&BOTH);
    blackhole(&lab, 2);
    lab.expect(&BOTH[..1]);
}

#[test]
fn two_uplinks_in_one_subnet_are_told_apart() {
    let Some(lab) = lab(0) else { return };
    for (n, far) in [(1, 101), (3, 103)] {
        lab.link(&format!("wan{n}"));
        lab.host.ip(&format!(
            "addr add 10.0.1.{n}/24 dev wan{n}
             route add default via 10.0.1.{far} dev wan{n} metric {n}1"
        ));
        lab.outside.ip(&format!(
            "addr add 10.0.1.{far}/32 dev wan{n}
             route add 10.0.1.{n}/32 dev wan{n} src 10.0.1.{far}"
        ));
    }
    let all = ["10.0.1.1 subflow dev wan1", "10.0.1.3 subflow dev wan3"];
    let _daemon = lab.daemon(TRACK);
    lab.expect(&all);
    answered(&lab, 2);
    for (n, left) in [(1, &all[1..]), (3, &all[..1])] {
        lab.outside
            .out(&format!("ip rule add pref {n} iif wan{n} blackhole"));
        lab.expect(left);
        restore(&lab, n);
        lab.expect(&all);
    }
}

/// As of PPP: no subnet, and no gateway.
#[test]
fn a_point_to_point_link_is_probed() {
    let Some(lab) = lab(1) else { return };
    lab.link("ppp");
    lab.host.ip("addr add 10.9.9.1 peer 10.9.9.2 dev ppp
         route add default dev ppp metric 99");
    lab.outside.ip("addr add 10.9.9.2 peer 10.9.9.1 dev ppp");
    lab.outside.sysctl("ipv4/conf/ppp/proxy_arp", 1);
    let all = ["10.0.1.1 subflow dev wan1", "10.9.9.1 subflow dev ppp"];
    let _daemon = lab.daemon(&format!("{TRACK}source-routing = yes\n"));
    lab.expect(&all);
    answered(&lab, 2);
    lab.outside.out("ip rule add pref 5 iif ppp blackhole");
    lab.expect(&all[..1]);
    restore(&lab, 5);
    lab.expect(&all);
}

#[test]
fn each_interface_has_its_own_keys() {
    let Some(lab) = lab(3) else { return };
    let all = [BOTH[0], BOTH[1], "10.0.3.1 subflow dev wan3"];
    lab.outside.ip("addr add 192.0.2.81/32 dev lo");
    let keys = "track = 192.0.2.80, 192.0.2.81\ntrack-interval = 1\ntrack-down = 2\n";
    let _daemon = lab.daemon(&format!(
        "[core]\n{keys}[interface wan2]\ntrack =\n[interface wan3]\ntrack-reliability = 2\n"
    ));
    lab.expect(&all);
    answered(&lab, 2);
    // One of the two addresses is enough for wan1, but not for wan3.
    lab.outside.ip("addr del 192.0.2.80/32 dev lo");
    lab.expect(&all[..2]);
    lab.expect_still(&all[..2]);
    lab.outside.ip("addr add 192.0.2.80/32 dev lo");
    lab.expect(&all);
    blackhole(&lab, 2);
    blackhole(&lab, 1);
    lab.expect(&all[1..]);
    lab.expect_still(&all[1..]);
}

/// Each takes a while by itself.
#[test]
fn losses_and_answers_are_counted() {
    let Some(lab) = lab(2) else { return };
    let keys = "track = 192.0.2.80\ntrack-interval = 1\ntrack-timeout = 3\ntrack-down = 10\ntrack-up = 10\n";
    let daemon = lab.daemon(&format!("[interface wan1]\n{keys}"));
    lab.expect(&BOTH);
    answered(&lab, 1);
    let start = Instant::now();
    blackhole(&lab, 1);
    is_lost(&daemon, &["wan1"]);
    // Ten rounds, of which the last has three seconds.
    let took = start.elapsed();
    assert!(took > Duration::from_secs(5), "{took:?}");
    lab.expect(&BOTH[1..]);
    let before = pings(&lab);
    restore(&lab, 1);
    daemon.says(&["back after"]);
    assert!(pings(&lab) - before >= 10, "{} pings", pings(&lab) - before);
}

#[test]
fn an_interval_is_kept() {
    let Some(lab) = lab(2) else { return };
    let _daemon = lab.daemon("[core]\ntrack = 192.0.2.80, 192.0.2.81\ntrack-interval = 2\n");
    lab.expect(&BOTH);
    answered(&lab, 2);
    let before = pings(&lab);
    sleep(Duration::from_secs(8));
    let sent = pings(&lab) - before;
    assert!((6..=10).contains(&sent), "{sent} pings");
}

#[test]
fn a_reload_keeps_a_verdict_and_takes_it_back_with_the_probes() {
    let Some(lab) = lab(2) else { return };
    let daemon = lab.daemon(TRACK);
    lab.expect(&BOTH);
    blackhole(&lab, 1);
    lab.expect(&BOTH[1..]);
    lab.reload(&daemon, &format!("{TRACK}track-up = 3\n"));
    lab.expect_still(&BOTH[1..]);
    lab.reload(&daemon, "[core]\n");
    lab.expect(&BOTH);
    lab.reload(&daemon, TRACK);
    lab.expect(&BOTH[1..]);
    // What is not probed any more is not dead, though it has no carrier meanwhile.
    lab.unplug("wan1");
    lab.settle();
    lab.reload(&daemon, "[core]\n");
    lab.plug("wan1");
    lab.expect(&BOTH);
    lab.reload(&daemon, TRACK);
    lab.expect(&BOTH[1..]);
    // The verdict outlives the carrier.
    lab.unplug("wan1");
    lab.settle();
    lab.plug("wan1");
    let endpoints = || lab.host.endpoints();
    for _ in 0..20 {
        assert_eq!(endpoints(), BOTH[1..]);
        sleep(Duration::from_millis(20));
    }
    restore(&lab, 1);
    lab.expect(&BOTH);
}

#[test]
fn after_a_restart_a_dead_uplink_is_found_again() {
    let Some(lab) = lab(2) else { return };
    let daemon = lab.daemon(TRACK);
    lab.expect(&BOTH);
    blackhole(&lab, 1);
    lab.expect(&BOTH[1..]);
    daemon.kill();
    let daemon = lab.daemon(TRACK);
    is_lost(&daemon, &["wan1"]);
    lab.expect(&BOTH[1..]);
    restore(&lab, 1);
    lab.expect(&BOTH);
}

/// The uplink was dead, and is not any more: the daemon was not there to see it.
#[test]
fn a_daemon_that_was_stopped_judges_nothing() {
    let Some(lab) = lab(2) else { return };
    let daemon = lab.daemon(TRACK);
    lab.expect(&BOTH);
    answered(&lab, 2);
    for outage in [false, true] {
        if outage {
            blackhole(&lab, 1);
        }
        daemon.signal(Signal::SIGSTOP);
        sleep(Duration::from_secs(if outage { 4 } else { 10 }));
        restore(&lab, 1);
        daemon.signal(Signal::SIGCONT);
        let before = pings(&lab);
        assert!(until(|| pings(&lab) > before + 4));
        assert_eq!(daemon.lines(&["lost: no answer"]), 0, "{}", daemon.log());
    }
    lab.expect(&BOTH);
}

#[test]
fn who_may_not_send_pings_is_told_and_judges_nothing() {
    let Some(lab) = Lab::with_uplinks(2) else {
        return;
    };
    let daemon = lab.daemon(TRACK);
    lab.expect(&BOTH);
    daemon.says(&["net.ipv4.ping_group_range", "\"0 0\""]);
    // Where the probes would lead.
    lab.outside.ip("addr del 192.0.2.80/32 dev lo");
    sleep(Duration::from_secs(3));
    lab.expect_still(&BOTH);
    assert_eq!(daemon.lines(&["ping_group_range"]), 1, "{}", daemon.log());
    allow_pings(&lab);
    daemon.says(&["lost: no path answers"]);
}

#[test]
fn sspi_leaves_a_dead_uplink_and_comes_back() {
    let Some(lab) = lab(2) else { return };
    lab.host.sysctl("mptcp/pm_type", 1);
    let daemon = lab.daemon(&format!(
        "{TRACK}path-manager = sspi\nload-plugins = sspi\n"
    ));
    answered(&lab, 2);
    let transfer = Transfer::start(&lab, BYTES, RATE);
    assert!(
        until(|| subflows(&lab.host, "10.0.2.1") == 1),
        "{}",
        daemon.log()
    );
    blackhole(&lab, 2);
    is_lost(&daemon, &["wan2"]);
    assert!(until(|| subflows(&lab.host, "10.0.2.1") == 0));
    restore(&lab, 2);
    assert!(
        until(|| subflows(&lab.host, "10.0.2.1") == 1),
        "{}",
        daemon.log()
    );
    transfer.finish();
}
