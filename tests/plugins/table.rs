// SPDX-License-Identifier: BSD-3-Clause
//! The table of connections, as a plugin sees it.

use crate::pair::{DUAL_STACK, IPV4, IPV6, Pair, Side, Way, field, lab, port_of};
use crate::support::peer::Held;
use crate::support::until;

/// Waits until the table has exactly this of a connection.
#[track_caller]
fn shows(side: &Side<'_>, token: &str, wanted: &[&str]) {
    let mut seen = String::new();
    let holds = until(|| {
        seen = side.probe.ask(&format!("connection {token}"));
        seen == wanted.join("; ")
    });
    assert!(holds, "{seen}, not {wanted:?}\n{}", side.at.out("ss -tn"));
}

#[track_caller]
fn follows(way: &Way) {
    let Some(lab) = lab() else { return };
    let Way { from, to, .. } = way;
    let pair = Pair::connect(&lab, way);
    let (client, server, here, there) = pair.sides();
    let (local, remote) = (pair.local, pair.remote);
    let first = format!("{local}-{remote} (0, 0) dev 0");
    let first_there = format!("{remote}-{local} (0, 0) dev 0");
    shows(client, here, &["established", &first]);
    shows(server, there, &["established", &first_there]);

    // What a peer announces, and what we do. What the kernel refuses is not there.
    server.probe.ok(&format!("announce {there} {to},id=7"));
    let announced = client.hears(&format!("new_address token={here} id=7"));
    let announced = format!("remote 7 {}", field(&announced, "address"));
    assert!(
        server
            .probe
            .ask(&format!("announce {there} {to},id=9"))
            .starts_with("refused")
    );
    shows(client, here, &["established", &first, &announced]);
    shows(server, there, &["established", &first_there, "announced 7"]);

    // A backup on a device of its own.
    client.probe.ok(&format!(
        "create {here} {from},id=5,dev=102,flags=4 {to},port=5000,id=7"
    ));
    let made = client.hears(&format!("new_subflow token={here} local_id=5"));
    let (near, far) = (field(&made, "local"), field(&made, "remote"));
    server.hears(&format!("new_subflow token={there} remote={near}"));
    let [plain, backup] = ["", " backup"].map(|b| format!("{near}-{far} (5, 7) dev 102{b}"));
    let [plain_there, backup_there] =
        ["", " backup"].map(|b| format!("{far}-{near} (7, 5) dev 0{b}"));
    shows(client, here, &["established", &first, &backup, &announced]);
    shows(
        server,
        there,
        &["established", &first_there, &backup_there, "announced 7"],
    );

    // Either side changes its mind.
    let port = port_of(near);
    client.probe.ok(&format!(
        "backup {here} {from},port={port} {to},port=5000 no"
    ));
    shows(client, here, &["established", &first, &plain, &announced]);
    shows(
        server,
        there,
        &["established", &first_there, &plain_there, "announced 7"],
    );
    server.probe.ok(&format!(
        "backup {there} {to},port=5000 {from},port={port} yes"
    ));
    shows(client, here, &["established", &first, &backup, &announced]);

    // One that goes nowhere is not there in the end, nor is one that is closed.
    client.probe.ok(&format!(
        "create {here} {from},id=5,dev=102 {to},port=6000,id=7"
    ));
    client.hears("subflow_closed error=111");
    shows(client, here, &["established", &first, &backup, &announced]);
    client
        .probe
        .ok(&format!("destroy {here} {from},port={port} {to},port=5000"));
    shows(client, here, &["established", &first, &announced]);
    shows(server, there, &["established", &first_there, "announced 7"]);

    server.probe.ok(&format!("remove {there} 7"));
    shows(client, here, &["established", &first]);
    shows(server, there, &["established", &first_there]);

    // Another connection is another one, and each goes with its own end.
    let [listen, to] = [way.listen, way.remote].map(|at| at.replace("5000", "5001"));
    let held = Held::open(client.at, &to, server.at, &listen, 1);
    client.hears(&format!("connection_established remote={to}"));
    assert_eq!(client.probe.ask("connections"), "2");
    shows(client, here, &["established", &first]);
    held.release();
    assert!(until(|| client.probe.ask("connections") == "1"));
    shows(client, here, &["established", &first]);
    let (here, there) = (here.to_owned(), there.to_owned());
    let (client, server) = pair.close();
    shows(&client, &here, &["unknown"]);
    shows(&server, &there, &["unknown"]);
    client.finish();
    server.finish();
}

#[test]
fn a_connection_over_ipv4() {
    follows(&IPV4);
}

#[test]
fn a_connection_over_ipv6() {
    follows(&IPV6);
}

#[test]
fn a_connection_to_a_dual_stack_server() {
    follows(&DUAL_STACK);
}

#[test]
fn a_connection_that_is_the_kernels() {
    let Some(lab) = lab() else { return };
    lab.host.sysctl("mptcp/pm_type", 0);
    let pair = Pair::ipv4(&lab);
    let (client, token) = (&pair.client, &pair.client_token);
    let (local, remote) = (pair.local, pair.remote);
    let first = format!("{local}-{remote} (0, 0) dev 0");
    assert!(
        client
            .probe
            .ask(&format!("announce {token} 10.0.2.1,id=5"))
            .starts_with("refused")
    );
    shows(client, token, &["established", "the kernel's", &first]);
    pair.finish();
}
