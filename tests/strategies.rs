// SPDX-License-Identifier: BSD-3-Clause
//! The built-in strategies beside `sspi` on the real kernel, on both sides and with live data. The
//! daemon is that of `examples/patient`, which has them all.

mod support;

use std::path::PathBuf;

use support::peer::{Transfer, build};
use support::subflows::{expect, expect_from, lab, subflows};
use support::{Daemon, Lab, Namespace, until};

/// At this rate, in bytes a second.
const RATE: &str = "1000000";

fn program() -> PathBuf {
    build(&["--manifest-path", "tests/examples/patient/Cargo.toml"]).join("patient")
}

fn daemon<'a>(lab: &'a Lab, at: &'a Namespace, strategy: &str, settings: &str) -> Daemon<'a> {
    let text = format!(
        "[core]\npath-manager = {strategy}\nload-plugins = {strategy}\nlog-level = debug\n\
         state-file =\nnotify-flags = existing,skip_link_local,skip_loopback\n\
         [{strategy}]\n{settings}"
    );
    let config = lab.write(&format!("{strategy}{}.conf", at.pid()), text);
    let daemon = lab.program_in(at, &program(), &config, &[]);
    daemon.says(&["watching"]);
    daemon
}

/// Of IPv4 and then of IPv6: where the server listens, where the client connects to, and the
/// addresses of the client and the server, one on each cable.
const FAMILIES: [(&str, &str, [&str; 2], [&str; 2]); 2] = [
    (
        "0.0.0.0:5000",
        "10.0.1.2:5000",
        ["10.0.1.1", "10.0.2.1"],
        ["10.0.1.2", "10.0.2.2"],
    ),
    (
        "[::]:5000",
        "[2001:db8:1::2]:5000",
        ["2001:db8:1::1", "2001:db8:2::1"],
        ["2001:db8:1::2", "2001:db8:2::2"],
    ),
];

/// What the lab does not keep while a cable is out.
fn plug(lab: &Lab, n: u8) {
    lab.plug(&format!("wan{n}"));
    for (at, end) in [(&lab.host, 1), (&lab.outside, 2)] {
        at.ip_any(&format!("addr add 2001:db8:{n}::{end}/64 dev wan{n}"));
    }
    lab.host.ip_any(&format!(
        "route add ::/0 via 2001:db8:{n}::2 dev wan{n} metric {n}1"
    ));
}

#[test]
fn a_full_mesh_follows_the_cables() {
    for (listen, to, client, server) in FAMILIES {
        let Some(lab) = lab(2) else { return };
        let far = daemon(&lab, &lab.outside, "fullmesh", "");
        let near = daemon(&lab, &lab.host, "fullmesh", "");
        let transfer = Transfer::to(&lab, listen, to, "12000000", RATE);
        let all: Vec<String> = client
            .iter()
            .flat_map(|local| server.map(|remote| format!("{local}-{remote}")))
            .collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        expect(&lab.host, &all, &[&near, &far]);
        lab.unplug("wan2");
        expect(&lab.host, &all[..1], &[&near, &far]);
        plug(&lab, 2);
        expect(&lab.host, &all, &[&near, &far]);
        lab.unplug("wan1");
        expect_from(&lab.host, &client[1..], 1, &[&near, &far]);
        plug(&lab, 1);
        expect(&lab.host, &all, &[&near, &far]);
        transfer.finish();
    }
}

#[test]
fn failover_uses_another_interface_only_while_the_best_is_lost() {
    for (listen, to, client, _) in FAMILIES {
        let Some(lab) = lab(2) else { return };
        let far = daemon(&lab, &lab.outside, "failover", "");
        let near = daemon(&lab, &lab.host, "failover", "settle = 2\n");
        let transfer = Transfer::to(&lab, listen, to, "12000000", RATE);
        let only = |on: &[&str]| expect_from(&lab.host, on, 1, &[&near, &far]);
        only(&client[..1]);
        near.catch_up();
        only(&client[..1]);
        lab.unplug("wan1");
        only(&client[1..]);
        plug(&lab, 1);
        // The better one has to last before the other is closed.
        only(&client);
        only(&client[..1]);
        transfer.finish();
    }
}

/// The cable has its carrier, and nothing comes back over it.
#[test]
fn failover_leaves_a_path_that_becomes_bad() {
    let Some(lab) = lab(2) else { return };
    let far = daemon(&lab, &lab.outside, "failover", "");
    let near = daemon(&lab, &lab.host, "failover", "settle = 2\npatience = 1\n");
    let transfer = Transfer::to(&lab, "0.0.0.0:5000", "10.0.1.2:5000", "25000000", RATE);
    let client = ["10.0.1.1", "10.0.2.1"];
    let only = |on: &[&str]| expect_from(&lab.host, on, 1, &[&near, &far]);
    only(&client[..1]);
    let neighbour = |how: &str| {
        lab.outside.ip(&format!(
            "neigh {how} 10.0.1.1 lladdr 02:00:00:00:00:99 dev wan1 nud permanent"
        ));
    };
    neighbour("replace");
    only(&client[1..]);
    lab.outside.ip("neigh del 10.0.1.1 dev wan1");
    only(&client);
    only(&client[..1]);
    transfer.finish();
}

/// What has failed may work by another gateway, which the kernel names where routes are checked.
#[test]
fn another_gateway_or_metric_is_told() {
    let Some(lab) = lab(2) else { return };
    let routes =
        "[interface *]\nnotify-flags = existing,check_route,skip_link_local,skip_loopback\n";
    let near = daemon(&lab, &lab.host, "failover", routes);
    near.catch_up();
    assert_eq!(near.lines(&["another gateway or metric"]), 0);
    lab.host
        .ip("route change default via 10.0.2.9 dev wan2 metric 21");
    near.says(&["10.0.2.1: another gateway or metric"]);
    lab.host
        .ip("route add ::/0 via 2001:db8:2::2 dev wan2 metric 77
         route del ::/0 via 2001:db8:2::2 dev wan2 metric 21");
    near.says(&["2001:db8:2::1: another gateway or metric"]);
    assert_eq!(near.lines(&["another gateway or metric"]), 2);
}

#[test]
fn ndiffports_has_its_subflows_on_one_interface() {
    for (listen, to, client, _) in FAMILIES {
        let Some(lab) = lab(2) else { return };
        let far = daemon(&lab, &lab.outside, "ndiffports", "");
        let near = daemon(&lab, &lab.host, "ndiffports", "subflows = 3\n");
        let transfer = Transfer::to(&lab, listen, to, "12000000", RATE);
        let only = |on: &[&str]| {
            expect_from(&lab.host, on, 3, &[&near, &far]);
            assert_eq!(subflows(&lab.host).len(), 3);
        };
        only(&client[..1]);
        // This side's end, so that the server keeps the address that it is known by.
        lab.host.ip("link set wan1 down");
        only(&client[1..]);
        lab.host.ip("link set wan1 up");
        lab.route(1);
        plug(&lab, 1);
        only(&client[..1]);
        transfer.finish();
    }
}

/// The example's own strategy: a connection that lasts gets its second subflow, and a short one
/// never.
#[test]
fn an_example_is_patient() {
    let Some(lab) = lab(2) else { return };
    let near = daemon(&lab, &lab.host, "patient", "after = 2\n");
    let transfer = Transfer::to(&lab, "0.0.0.0:5000", "10.0.1.2:5000", "500000", "0");
    transfer.finish();
    assert_eq!(lab.host.joins(), 0);
    let transfer = Transfer::to(&lab, "0.0.0.0:5000", "10.0.1.2:5000", "5000000", RATE);
    expect(
        &lab.host,
        &["10.0.1.1-10.0.1.2", "10.0.2.1-10.0.1.2"],
        &[&near],
    );
    transfer.finish();
    assert!(until(|| lab.host.joins() == 1));
}
