// SPDX-License-Identifier: BSD-3-Clause
//! Every command, and what it does: on the wire, at the peer, in the kernel.

use std::fs;
use std::path::PathBuf;

use crate::pair::{DUAL_STACK, IPV4, IPV6, Pair, Probe, Side, Way, field, lab, port_of};
use crate::support::peer::Peer;
use crate::support::{Lab, until};

/// Waits until a counter of `nstat` has grown to this.
#[track_caller]
fn counts(side: &Side<'_>, name: &str, count: u64) {
    let holds = until(|| side.at.counter(name) == count);
    assert!(holds, "{name} is {}, not {count}", side.at.counter(name));
}

/// An announcement arrives with its id and port, is echoed, and goes with its subflows.
#[track_caller]
fn announced(way: &Way) {
    let Some(lab) = lab() else { return };
    let Way { from, to, .. } = way;
    if from.contains(':') {
        make_room_for_ports(&lab);
    }
    let pair = Pair::connect(&lab, way);
    let (client, server, client_token, server_token) = pair.sides();

    client.probe.ok(&format!(
        "announce {client_token} {from},id=3,port=8080,dev=102"
    ));
    server.hears(&format!(
        "new_address token={server_token} id=3 address={}",
        at(from, 8080)
    ));
    assert_eq!(
        client.probe.ok(&format!("dump-addresses {client_token}")),
        [format!("reply {from} port=8080 id=3 flags=1 dev=102")]
    );
    counts(server, "MPTcpExtAddAddr", 1);
    counts(server, "MPTcpExtPortAdd", 1);
    counts(client, "MPTcpExtEchoAdd", 1);

    server
        .probe
        .ok(&format!("announce {server_token} {to},id=4"));
    client.hears(&format!(
        "new_address token={client_token} id=4 address={}",
        at(to, 5000)
    ));
    counts(client, "MPTcpExtAddAddr", 1);
    counts(server, "MPTcpExtEchoAdd", 1);

    client.probe.ok(&format!(
        "create {client_token} {from},id=9 {to},port=5000,id=4"
    ));
    let made = client.hears(&format!(
        "new_subflow token={client_token} local_id=9 remote_id=4"
    ));
    let (near, far) = (field(&made, "local"), field(&made, "remote"));
    assert!(
        client.has(near, far) && server.has(far, near),
        "{}",
        server.at.out("ss -tn")
    );
    counts(server, "MPTcpExtMPJoinSynRx", 1);
    counts(server, "MPTcpExtMPJoinAckRx", 1);

    server.probe.ok(&format!("remove {server_token} 4"));
    client.hears(&format!("address_removed token={client_token} id=4"));
    client.hears(&format!(
        "subflow_closed token={client_token} local={near} remote={far}"
    ));
    server.hears(&format!(
        "subflow_closed token={server_token} local={far} remote={near}"
    ));
    counts(client, "MPTcpExtRmAddr", 1);
    assert!(
        !client.has(near, far) && !server.has(far, near),
        "{}",
        server.at.out("ss -tn")
    );

    client.probe.ok(&format!("remove {client_token} 3"));
    server.hears(&format!("address_removed token={server_token} id=3"));
    counts(server, "MPTcpExtRmAddr", 1);
    pair.finish();
}

/// An IPv6 address with a port does not fit an option beside timestamps: the kernel never sends it.
fn make_room_for_ports(lab: &Lab) {
    lab.host.sysctl("ipv4/tcp_timestamps", 0);
}

fn at(address: &str, port: u16) -> String {
    std::net::SocketAddr::new(address.parse().expect("an address"), port).to_string()
}

#[test]
fn announce_and_remove_over_ipv4() {
    announced(&IPV4);
}

#[test]
fn announce_and_remove_over_ipv6() {
    announced(&IPV6);
}

#[test]
fn announce_and_remove_over_mapped_addresses() {
    announced(&DUAL_STACK);
}

/// Id 0 is the initial subflow's address.
#[test]
fn remove_the_initial_address() {
    let Some(lab) = lab() else { return };
    let pair = Pair::ipv4(&lab);
    let (client, server, client_token, server_token) = pair.sides();
    let (local, remote) = (pair.local, pair.remote);
    client.probe.ok(&format!(
        "create {client_token} 10.0.2.1,id=5 10.0.1.2,port=5000"
    ));
    client.hears("new_subflow local_id=5");
    client.probe.ok(&format!("remove {client_token} 0"));
    server.hears(&format!("address_removed token={server_token} id=0"));
    server.hears(&format!(
        "subflow_closed local={remote} remote={local} local_id=0 remote_id=0"
    ));
    client.hears(&format!(
        "subflow_closed local={local} remote={remote} local_id=0 remote_id=0"
    ));
    assert!(!client.has(&local.to_string(), &remote.to_string()));
    counts(server, "MPTcpExtRmAddr", 1);
    pair.finish();
}

/// A subflow has the ids, ports, device and priority that it was asked to have.
#[track_caller]
fn created(way: &Way) {
    let Some(lab) = lab() else { return };
    let Way { from, to, .. } = way;
    let pair = Pair::connect(&lab, way);
    let (client, server, client_token, server_token) = pair.sides();
    let rest = "error=0 reset_reason=none reset_flags=0";

    // A backup, from a port of choice, bound to its device. The kernel says of a subflow whether
    // the peer wants it to be a backup: only the server is told so.
    server
        .probe
        .ok(&format!("announce {server_token} {to},id=7"));
    client.hears(&format!("new_address token={client_token} id=7"));
    client.probe.ok(&format!(
        "create {client_token} {from},id=5,port=4444,dev=102,flags=4 {to},port=5000,id=7"
    ));
    let (near, far) = (at(from, 4444), at(to, 5000));
    client.hears(&format!(
        "new_subflow token={client_token} local={near} remote={far} local_id=5 remote_id=7 \
         backup=false ifindex=102 {rest}"
    ));
    server.hears(&format!(
        "new_subflow token={server_token} local={far} remote={near} local_id=7 remote_id=5 \
         backup=true ifindex=0 {rest}"
    ));
    assert!(client.has(&near, &far) && server.has(&far, &near));
    counts(server, "MPTcpExtMPJoinSynRx", 1);
    counts(server, "MPTcpExtMPJoinSynBackupRx", 1);
    assert_eq!(
        client.probe.ok(&format!("get-address {client_token} 5")),
        [format!("reply {from} port=4444 id=5 flags=6 dev=102")]
    );
    pair.finish();
}

#[test]
fn create_over_ipv4() {
    created(&IPV4);
}

#[test]
fn create_over_ipv6() {
    created(&IPV6);
}

#[test]
fn create_to_a_dual_stack_server() {
    created(&DUAL_STACK);
}

/// The server joins the client, which listens behind what it announces, and closes what it made.
#[track_caller]
fn created_by_the_server(way: &Way) {
    let Some(lab) = lab() else { return };
    let Way { from, to, .. } = way;
    let pair = Pair::connect(&lab, way);
    let (client, server, client_token, server_token) = pair.sides();
    let local = pair.local;
    let (port, near) = (local.port(), at(from, local.port()));
    assert_eq!(
        client
            .probe
            .ok(&format!("announce-and-listen {client_token} {from},id=3")),
        [format!("reply listening={near}")]
    );
    server.hears(&format!(
        "new_address token={server_token} id=3 address={near}"
    ));
    assert_eq!(server.at.counter("MPTcpExtPortAdd"), 0);
    assert!(listens(&lab, &near), "{}", lab.host.out("ss -MlnH"));

    server.probe.ok(&format!(
        "create {server_token} {to},id=8 {from},port={port},id=3"
    ));
    let made = server.hears(&format!(
        "new_subflow token={server_token} remote={near} local_id=8 remote_id=3"
    ));
    let far = field(&made, "local");
    client.hears(&format!(
        "new_subflow token={client_token} local={near} remote={far} local_id=3 remote_id=8"
    ));
    assert!(client.has(&near, far) && server.has(far, &near));
    counts(client, "MPTcpExtMPJoinAckRx", 1);

    let far_port = port_of(far);
    server.probe.ok(&format!(
        "destroy {server_token} {to},port={far_port} {from},port={port}"
    ));
    server.hears(&format!("subflow_closed local={far} remote={near}"));
    client.hears(&format!("subflow_closed local={near} remote={far}"));
    assert!(!client.has(&near, far) && !server.has(far, &near));

    // The listener is no longer than the announcement.
    client.probe.ok(&format!("remove {client_token} 3"));
    client.probe.told(&format!("listener_closed local={near}"));
    assert!(!listens(&lab, &near), "{}", lab.host.out("ss -MlnH"));
    pair.finish();
}

#[test]
fn create_by_an_ipv4_server() {
    created_by_the_server(&IPV4);
}

#[test]
fn create_by_an_ipv6_server() {
    created_by_the_server(&IPV6);
}

#[test]
fn create_by_a_dual_stack_server() {
    created_by_the_server(&DUAL_STACK);
}

/// A port other than the connection's is announced, and joined at.
#[test]
fn create_at_an_announced_port() {
    let Some(lab) = lab() else { return };
    let pair = Pair::ipv4(&lab);
    let (client, server, client_token, server_token) = pair.sides();
    let near = "10.0.2.1:6001";
    client.probe.ok(&format!(
        "announce-and-listen {client_token} 10.0.2.1,port=6001,id=3"
    ));
    server.hears(&format!(
        "new_address token={server_token} id=3 address={near}"
    ));
    counts(server, "MPTcpExtPortAdd", 1);
    server.probe.ok(&format!(
        "create {server_token} 10.0.2.2,id=8 10.0.2.1,port=6001,id=3"
    ));
    let made = server.hears(&format!("new_subflow token={server_token} remote={near}"));
    client.hears(&format!(
        "new_subflow token={client_token} local={near} local_id=3 remote_id=8"
    ));
    assert!(client.has(near, field(&made, "local")));
    counts(client, "MPTcpExtMPJoinPortAckRx", 1);
    pair.finish();
}

/// MP_PRIO goes out and comes in, from either side.
#[test]
fn set_backup() {
    let Some(lab) = lab() else { return };
    let pair = Pair::ipv4(&lab);
    let (client, server, client_token, server_token) = pair.sides();
    let local = pair.local;
    let port = local.port();
    client.probe.ok(&format!(
        "backup {client_token} 10.0.1.1,port={port} 10.0.1.2,port=5000 yes"
    ));
    server.hears(&format!(
        "subflow_priority token={server_token} remote={local} backup=true"
    ));
    counts(client, "MPTcpExtMPPrioTx", 1);
    counts(server, "MPTcpExtMPPrioRx", 1);
    server.probe.ok(&format!(
        "backup {server_token} 10.0.1.2,port=5000 10.0.1.1,port={port} yes"
    ));
    client.hears(&format!(
        "subflow_priority token={client_token} local={local} backup=true"
    ));
    client.probe.ok(&format!(
        "backup {client_token} 10.0.1.1,port={port} 10.0.1.2,port=5000 no"
    ));
    server.hears(&format!(
        "subflow_priority token={server_token} remote={local} backup=false"
    ));
    counts(server, "MPTcpExtMPPrioRx", 2);
    counts(client, "MPTcpExtMPPrioRx", 1);
    pair.finish();
}

#[test]
fn addresses_of_a_connection() {
    let Some(lab) = lab() else { return };
    let pair = Pair::ipv4(&lab);
    let (client, token) = (&pair.client, &pair.client_token);
    assert!(
        client
            .probe
            .ok(&format!("dump-addresses {token}"))
            .is_empty()
    );
    client.probe.ok(&format!("announce {token} 10.0.2.1,id=5"));
    client
        .probe
        .ok(&format!("announce {token} 2001:db8:2::1,id=250,port=99"));
    let [one, two] = [
        "reply 10.0.2.1 port=0 id=5 flags=1 dev=0",
        "reply 2001:db8:2::1 port=99 id=250 flags=1 dev=0",
    ];
    assert_eq!(
        client.probe.ok(&format!("dump-addresses {token}")),
        [one, two]
    );
    assert_eq!(client.probe.ok(&format!("get-address {token} 5")), [one]);
    assert_eq!(client.probe.ok(&format!("get-address {token} 250")), [two]);
    // Another connection's are its own.
    assert!(
        pair.server
            .probe
            .ok(&format!("dump-addresses {}", pair.server_token))
            .is_empty()
    );
    pair.finish();
}

/// Endpoints and limits, as `ip mptcp` has them.
#[test]
fn endpoints_and_limits() {
    let Some(lab) = lab() else { return };
    let probe = Probe::start(&lab, &lab.host, "host");
    probe.ok("add-endpoint 10.0.1.1,id=7,flags=2,dev=101");
    probe.ok("add-endpoint 2001:db8:2::1,id=8,flags=5");
    probe.ok("add-endpoint 10.0.2.1,id=9,flags=1,port=8080");
    lab.expect(&[
        "10.0.1.1 subflow dev wan1",
        "10.0.2.1 port 8080 signal",
        "2001:db8:2::1 backup signal",
    ]);
    assert_eq!(lab.host.id("10.0.1.1"), Some(7));
    assert_eq!(
        probe.ok("dump-endpoints"),
        [
            "reply 10.0.1.1 port=0 id=7 flags=2 dev=101",
            "reply 10.0.2.1 port=8080 id=9 flags=1 dev=0",
            "reply 2001:db8:2::1 port=0 id=8 flags=5 dev=0",
        ]
    );
    assert_eq!(
        probe.ok("get-endpoint 8"),
        ["reply 2001:db8:2::1 port=0 id=8 flags=5 dev=0"]
    );

    // By address, and by id.
    probe.ok("set-flags 10.0.1.1,flags=4");
    lab.expect(&[
        "10.0.1.1 backup subflow dev wan1",
        "10.0.2.1 port 8080 signal",
        "2001:db8:2::1 backup signal",
    ]);
    probe.ok("set-flags 0.0.0.0,id=8,flags=0");
    probe.ok("delete-endpoint 10.0.2.1,id=9");
    lab.expect(&["10.0.1.1 backup subflow dev wan1", "2001:db8:2::1 signal"]);
    // Somebody else's goes, too.
    lab.host.ip("mptcp endpoint add 192.0.2.1");
    probe.ok("flush-endpoints");
    lab.expect(&[] as &[&str]);

    probe.ok("set-limits 3 5");
    assert_eq!(lab.host.limits(), (3, 5));
    lab.host
        .ip("mptcp limits set add_addr_accepted 1 subflows 6");
    assert_eq!(
        probe.ok("get-limits"),
        ["reply add_addr_accepted=1 subflows=6"]
    );
    probe.daemon.stop();
}

/// Whether `ss` shows an MPTCP listener at exactly this address.
fn listens(lab: &Lab, local: &str) -> bool {
    let text = lab.host.out("ss -MlnH");
    text.lines()
        .any(|line| line.split_whitespace().any(|word| word == local))
}

/// Of fcntl(2), as /proc has it.
const O_CLOEXEC: u32 = 0o2_000_000;

/// Counted: the last one to let go closes. Not inherited by programs the daemon might start.
#[test]
fn listeners() {
    let Some(lab) = lab() else { return };
    let probe = Probe::start(&lab, &lab.host, "host");
    for local in ["10.0.1.1:6000", "[2001:db8:1::1]:6000"] {
        for _ in 0..3 {
            probe.ok(&format!("listen {local}"));
        }
        assert!(listens(&lab, local), "{}", lab.host.out("ss -MlnH"));
        for _ in 0..2 {
            probe.ok(&format!("unlisten {local}"));
            assert!(listens(&lab, local), "{}", lab.host.out("ss -MlnH"));
        }
        probe.ok(&format!("unlisten {local}"));
        assert!(!listens(&lab, local), "{}", lab.host.out("ss -MlnH"));
        assert!(
            probe
                .ask(&format!("unlisten {local}"))
                .starts_with("refused 22 ")
        );
    }
    probe.ok("listen 10.0.1.1:6000");
    let process = PathBuf::from(format!("/proc/{}", probe.daemon.pid()));
    let mut sockets = 0;
    for entry in fs::read_dir(process.join("fd")).expect("a process of ours") {
        let path = entry.expect("an entry").path();
        let target = fs::read_link(&path).expect("a descriptor");
        if !target.to_string_lossy().starts_with("socket:") {
            continue;
        }
        let number = path.file_name().expect("a number");
        let info = process.join("fdinfo").join(number);
        let info = fs::read_to_string(info).expect("a descriptor");
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = u32::from_str_radix(flags.expect("flags").trim(), 8);
        assert!(
            flags.is_ok_and(|flags| flags & O_CLOEXEC != 0),
            "{number:?}: {info}"
        );
        sockets += 1;
    }
    assert!(sockets > 1, "{sockets}");
    probe.daemon.stop();
    assert!(!listens(&lab, "10.0.1.1:6000"));
}

/// Whoever makes a connection of its own at a listener of ours is turned away, though nothing
/// else wakes the daemon.
#[test]
fn listeners_serve_nobody() {
    let Some(lab) = lab() else { return };
    let own = "listen = 10.0.1.1:6000\nconnections = no\ncommands =";
    let probe = Probe::with(&lab, &lab.host, "host", "load-plugins = probe", own);
    assert!(
        until(|| listens(&lab, "10.0.1.1:6000")),
        "{}",
        probe.daemon.log()
    );
    for program in ["knock", "knock-tcp"] {
        let client = Peer::start(&lab.outside, &[program, "10.0.1.1:6000", "3"]);
        assert_eq!(client.result(), "3\n");
    }
    let open = || lab.host.out("ss -tnH state established state close-wait");
    assert!(until(|| open().is_empty()), "{}", open());
    probe.daemon.stop();
}

/// Two connections announce one address: its listener is there as long as either does.
#[test]
fn a_listener_ends_with_its_last_announcement() {
    let Some(lab) = lab() else { return };
    let client = Side::start(&lab, &lab.host, "client");
    let mut accepting = Peer::listening(&lab.outside, &["accept", "10.0.1.2:5000", "2"]);
    let mut holding = [0, 1].map(|_| Peer::start(&lab.host, &["hold", "10.0.1.2:5000", "1"]));
    holding.iter_mut().for_each(|peer| peer.says("holding 1"));
    accepting.says("holding 2");
    let [one, two] = [0, 1].map(|n| {
        let established = || {
            let mut lines = client.probe.lines();
            lines.retain(|line| line.starts_with("connection_established"));
            lines
        };
        assert!(
            until(|| established().len() == 2),
            "{:#?}",
            client.probe.lines()
        );
        field(&established()[n], "token").to_owned()
    });
    let local = "10.0.2.1:6001";
    for token in [&one, &two] {
        client.probe.ok(&format!(
            "announce-and-listen {token} 10.0.2.1,port=6001,id=4"
        ));
    }
    assert!(listens(&lab, local), "{}", lab.host.out("ss -MlnH"));
    client.probe.ok(&format!("remove {one} 4"));
    // A command later it would be closed.
    client.probe.ok("get-limits");
    assert!(listens(&lab, local), "{}", lab.host.out("ss -MlnH"));
    // Both connections end, and with them what is left of it.
    holding.into_iter().for_each(Peer::release);
    client.hears(&format!("connection_closed token={two}"));
    client.probe.told(&format!("listener_closed local={local}"));
    assert!(!listens(&lab, local), "{}", lab.host.out("ss -MlnH"));
    client.finish();
}

/// An address has one id as long as it exists, and no two have the same.
#[test]
fn address_ids() {
    let Some(lab) = lab() else { return };
    let probe = Probe::start(&lab, &lab.host, "host");
    let all = ["10.0.1.1", "10.0.2.1", "2001:db8:1::1", "2001:db8:2::1"];
    let ask = || all.map(|address| probe.ask(&format!("address-id {address}")));
    let mut ids = ask();
    assert_eq!(ask(), ids);
    ids.sort_unstable();
    assert!(
        ids.iter().all(|id| id.parse::<u8>().is_ok_and(|id| id > 0)),
        "{ids:?}"
    );
    assert!(ids.windows(2).all(|two| two[0] != two[1]), "{ids:?}");
    probe.daemon.stop();
}
