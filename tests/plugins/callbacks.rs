//! Every callback, with its exact arguments.

use crate::pair::{Pair, field, lab};

/// A connection over `listen` and `remote` with a second subflow between `from` and `to`: all
/// that can be told of it is told.
#[track_caller]
fn a_life(listen: &str, remote: &str, from: &str, to: &str) {
    let Some(lab) = lab() else { return };
    let pair = Pair::connect(&lab, listen, remote);
    let Pair {
        client,
        server,
        client_token,
        server_token,
        local,
        remote,
        ..
    } = &pair;
    for (side, token, ends, flags) in [
        (
            client,
            client_token,
            format!("local={local} remote={remote}"),
            "server_side=false",
        ),
        (
            server,
            server_token,
            format!("local={remote} remote={local}"),
            "server_side=true",
        ),
    ] {
        for callback in ["new_connection", "connection_established"] {
            side.hears(&format!(
                "{callback} token={token} {ends} {flags} deny_join_id0=false"
            ));
        }
    }

    server
        .probe
        .ok(&format!("announce {server_token} {to},id=7"));
    client.hears(&format!("new_address token={client_token} id=7"));

    client.probe.ok(&format!(
        "create {client_token} {from},id=5 {to},port=5000,id=7"
    ));
    let rest = "backup=false ifindex=0 error=0 reset_reason=none reset_flags=0";
    let made = client.hears(&format!(
        "new_subflow token={client_token} local_id=5 remote_id=7 {rest}"
    ));
    let (near, far) = (field(&made, "local"), field(&made, "remote"));
    server.hears(&format!(
        "new_subflow token={server_token} local={far} remote={near} local_id=7 remote_id=5 {rest}"
    ));

    let port = near.rsplit_once(':').expect("a port").1;
    let here = format!("{client_token} {from},port={port} {to},port=5000");
    let there = format!("{server_token} {to},port=5000 {from},port={port}");
    for (word, backup) in [("yes", true), ("no", false)] {
        client.probe.ok(&format!("backup {here} {word}"));
        server.hears(&format!(
            "subflow_priority token={server_token} local={far} remote={near} local_id=7 \
             remote_id=5 backup={backup}"
        ));
        server.probe.ok(&format!("backup {there} {word}"));
        client.hears(&format!(
            "subflow_priority token={client_token} local={near} remote={far} local_id=5 \
             remote_id=7 backup={backup}"
        ));
    }
    client.probe.ok(&format!("destroy {here}"));
    client.hears(&format!(
        "subflow_closed token={client_token} local={near} remote={far}"
    ));
    server.hears(&format!(
        "subflow_closed token={server_token} local={far} remote={near}"
    ));

    server.probe.ok(&format!("remove {server_token} 7"));
    client.hears(&format!("address_removed token={client_token} id=7"));
    pair.finish();
}

#[test]
fn the_life_of_a_connection_over_ipv4() {
    a_life("0.0.0.0:5000", "10.0.1.2:5000", "10.0.2.1", "10.0.2.2");
}

#[test]
fn the_life_of_a_connection_over_ipv6() {
    let there = "[2001:db8:1::2]:5000";
    a_life("[::]:5000", there, "2001:db8:2::1", "2001:db8:2::2");
}

/// The server's socket is one of IPv6 and knows the client by a mapped address.
#[test]
fn the_life_of_a_connection_to_a_dual_stack_server() {
    a_life("[::]:5000", "10.0.1.2:5000", "10.0.2.1", "10.0.2.2");
}
