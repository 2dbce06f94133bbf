// SPDX-License-Identifier: BSD-3-Clause
//! `sspi` on the side that accepts, against a peer that does as it is told.

use crate::pair::{Side, field, has, lab};
use crate::support::peer::Held;

const SSPI: &str = "[core]\nload-plugins = sspi\nstate-file =\nlog-level = debug\n\
                    notify-flags = existing,skip_link_local,skip_loopback\n";

/// A subflow from another address of the peer is another path, and stays. One from the same
/// address means that the peer has given up the earlier one, which goes, where this host has
/// several interfaces to choose from, and not where it has one.
fn the_same_path_again(several: bool) {
    let Some(lab) = lab() else { return };
    if !several {
        lab.host.ip("addr del 10.0.2.1/24 dev wan2");
        lab.host.ip("route add 10.0.2.0/24 dev wan2");
    }
    let server = lab.daemon_in(&lab.host, SSPI, &[]);
    server.says(&["watching"]);
    let client = Side::start(&lab, &lab.outside, "client");
    let _held = Held::open(client.at, "10.0.1.1:5000", &lab.host, "0.0.0.0:5000", 1);
    let established = client.hears("connection_established remote=10.0.1.1:5000");
    let (token, first) = (field(&established, "token"), field(&established, "local"));
    let create = |from: &str| {
        client
            .probe
            .ok(&format!("create {token} {from} 10.0.1.1,port=5000"));
    };
    create("10.0.2.2,id=5");
    let other = client.hears(&format!("new_subflow token={token} local_id=5"));
    create("10.0.1.2,id=6,port=4444");
    client.hears(&format!("new_subflow token={token} local=10.0.1.2:4444"));
    if several {
        client.hears(&format!("subflow_closed token={token} local={first}"));
    }
    server.catch_up();
    assert_eq!(has(client.at, first, "10.0.1.1:5000"), !several);
    for stays in [field(&other, "local"), "10.0.1.2:4444"] {
        assert!(has(client.at, stays, "10.0.1.1:5000"), "{}", server.log());
    }
    client.finish();
}

#[test]
fn of_several_interfaces() {
    the_same_path_again(true);
}

#[test]
fn of_a_single_interface() {
    the_same_path_again(false);
}
