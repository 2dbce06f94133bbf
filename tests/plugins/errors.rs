// SPDX-License-Identifier: BSD-3-Clause
//! Every way a command can fail: errno, and a word of what the kernel says.

use nix::libc::{
    EADDRINUSE, EADDRNOTAVAIL, EBUSY, EEXIST, EINVAL, ENETUNREACH, ENOBUFS, ERANGE, ESRCH,
    NETLINK_GENERIC,
};

use crate::pair::{Pair, Probe, lab};
use crate::support::peer::Peer;
use crate::support::until;

/// A command, its errno, and a word of its message.
type Refusal<'a> = (&'a str, i32, &'a str);

/// `TOKEN` and `PORT` in a command stand for the connection's token and its local port.
#[track_caller]
fn refused(probe: &Probe<'_>, token: &str, port: u16, refusals: &[Refusal<'_>]) {
    for (command, errno, word) in refusals {
        let command = command
            .replace("TOKEN", token)
            .replace("PORT", &port.to_string());
        let end = probe.ask(&command);
        let message = end.strip_prefix(&format!("refused {errno} "));
        assert!(
            message.is_some_and(|message| message.contains(word)),
            "{command}: {end}"
        );
    }
}

#[test]
fn of_connections() {
    let Some(lab) = lab() else { return };
    lab.host.ip("addr add 10.0.2.3/24 dev wan2");
    let pair = Pair::ipv4(&lab);
    let (client, token) = (&pair.client, &pair.client_token);
    let local = pair.local;
    client.probe.ok(&format!("announce {token} 10.0.2.1,id=5"));
    client.probe.ok(&format!(
        "create {token} 10.0.2.3,id=7,port=4444 10.0.2.2,port=5000"
    ));
    client.hears("new_subflow local=10.0.2.3:4444");
    let before = client.probe.lines();
    refused(
        &client.probe,
        token,
        local.port(),
        &[
            ("announce 1 10.0.2.1,id=5", EINVAL, "token"),
            ("announce TOKEN 10.0.2.1", EINVAL, "id"),
            ("announce TOKEN 10.0.2.1,id=6", EINVAL, "id"),
            ("announce TOKEN 10.0.1.1,id=5", EINVAL, "id"),
            ("remove 1 5", EINVAL, "token"),
            ("remove TOKEN 77", EINVAL, "not found"),
            ("create 1 10.0.2.1,id=5 10.0.1.2,port=5000", EINVAL, "token"),
            (
                "create TOKEN 10.0.2.1,id=6 10.0.1.2,port=5000",
                EINVAL,
                "id",
            ),
            (
                "create TOKEN 10.0.2.1,id=5,flags=1 10.0.1.2,port=5000",
                EINVAL,
                "flags",
            ),
            (
                "create TOKEN 10.0.2.1,id=5 2001:db8:1::2,port=5000",
                EINVAL,
                "families",
            ),
            (
                "create TOKEN 192.0.2.77,id=9 10.0.1.2,port=5000",
                EADDRNOTAVAIL,
                "",
            ),
            (
                "create TOKEN 10.0.2.1,id=5 203.0.113.1,port=5000",
                ENETUNREACH,
                "",
            ),
            (
                "create TOKEN 10.0.2.3,id=7,port=4444 10.0.2.2,port=5000",
                EADDRINUSE,
                "",
            ),
            (
                "destroy 1 10.0.1.1,port=PORT 10.0.1.2,port=5000",
                EINVAL,
                "token",
            ),
            ("destroy TOKEN 10.0.1.1 10.0.1.2,port=5000", EINVAL, "port"),
            (
                "destroy TOKEN 10.0.1.1,port=PORT 2001:db8:1::2,port=5000",
                EINVAL,
                "families",
            ),
            (
                "destroy TOKEN 10.0.1.1,port=1 10.0.1.2,port=5000",
                ESRCH,
                "not found",
            ),
            (
                "backup 1 10.0.1.1,port=PORT 10.0.1.2,port=5000 yes",
                EINVAL,
                "token",
            ),
            (
                "backup TOKEN 10.0.1.1,port=1 10.0.1.2,port=5000 yes",
                EINVAL,
                "not found",
            ),
            ("get-address 1 5", EINVAL, "not found"),
            ("get-address TOKEN 77", EINVAL, "not found"),
            ("dump-addresses 1", EINVAL, "token"),
        ],
    );
    // None of it has done anything.
    assert_eq!(client.probe.lines(), before);
    assert_eq!(pair.server.at.counter("MPTcpExtMPJoinSynRx"), 1);
    pair.finish();
}

/// The kernel's own path manager has the connection.
#[test]
fn of_connections_that_are_the_kernels() {
    let Some(lab) = lab() else { return };
    lab.host.sysctl("mptcp/pm_type", 0);
    let pair = Pair::ipv4(&lab);
    let (client, client_token) = (&pair.client, &pair.client_token);
    let local = pair.local;
    refused(
        &client.probe,
        client_token,
        local.port(),
        &[
            (
                "announce TOKEN 10.0.2.1,id=5",
                EINVAL,
                "userspace PM not selected",
            ),
            ("remove TOKEN 5", EINVAL, "userspace PM not selected"),
            (
                "create TOKEN 10.0.2.1,id=5 10.0.1.2,port=5000",
                EINVAL,
                "userspace PM not selected",
            ),
            (
                "destroy TOKEN 10.0.1.1,port=PORT 10.0.1.2,port=5000",
                EINVAL,
                "userspace PM not selected",
            ),
            ("dump-addresses TOKEN", EINVAL, "userspace PM not selected"),
        ],
    );
    pair.finish();
}

#[test]
fn of_endpoints_and_limits() {
    let Some(lab) = lab() else { return };
    let probe = Probe::start(&lab, &lab.host, "host");
    for n in 1..=7 {
        lab.host
            .ip(&format!("mptcp endpoint add 192.0.2.{n} id {n} subflow"));
    }
    refused(
        &probe,
        "",
        0,
        &[
            ("add-endpoint 192.0.2.1,id=9,flags=2", EEXIST, "duplicate"),
            ("add-endpoint 192.0.2.9,id=1,flags=2", EBUSY, ""),
            ("add-endpoint 192.0.2.9,id=9,flags=9", EINVAL, "fullmesh"),
            (
                "add-endpoint 192.0.2.9,id=9,flags=2,port=77",
                EINVAL,
                "port",
            ),
            (
                "add-endpoint 192.0.2.9,id=9,flags=1,port=77",
                EADDRNOTAVAIL,
                "listen",
            ),
            ("delete-endpoint 192.0.2.9,id=9", EINVAL, "not found"),
            ("get-endpoint 9", EINVAL, "not found"),
            ("set-flags 192.0.2.9,flags=4", EINVAL, "not found"),
            ("set-limits 99 0", EINVAL, "limit"),
            ("set-limits 0 99", EINVAL, "limit"),
        ],
    );
    probe.ok("add-endpoint 192.0.2.8,id=8,flags=2");
    refused(
        &probe,
        "",
        0,
        &[("add-endpoint 192.0.2.9,id=9,flags=2", ERANGE, "too many")],
    );
    assert_eq!(lab.host.endpoints().len(), 8);
    probe.daemon.stop();
}

#[test]
fn of_listeners() {
    let Some(lab) = lab() else { return };
    let probe = Probe::start(&lab, &lab.host, "host");
    let _peer = Peer::listening(&lab.host, &["accept", "10.0.1.1:5000", "1"]);
    refused(
        &probe,
        "",
        0,
        &[
            ("listen 192.0.2.77:80", EADDRNOTAVAIL, ""),
            ("listen 10.0.1.1:5000", EADDRINUSE, ""),
            ("listen 0.0.0.0:80", EINVAL, ""),
            ("listen [::]:80", EINVAL, ""),
            ("unlisten 10.0.1.1:5000", EINVAL, ""),
            ("announce-and-listen 1 192.0.2.77,id=5", EADDRNOTAVAIL, ""),
            (
                "announce-and-listen 1 10.0.1.1,port=5000,id=5",
                EADDRINUSE,
                "",
            ),
            ("announce-and-listen 1 10.0.1.1,id=5", EINVAL, "token"),
        ],
    );
    // What was refused left no listener.
    let text = lab.host.out("ss -MlnH");
    assert_eq!(text.lines().count(), 1, "{text}");
    probe.daemon.stop();
}

/// The failure of one command is not told as another's, however many go out together.
#[test]
fn of_some_commands_among_many() {
    let Some(lab) = lab() else { return };
    let probe = Probe::start(&lab, &lab.host, "host");
    let commands: Vec<String> = (1..=40)
        .map(|n| match n % 4 {
            0 => "set-limits 0 99".to_owned(),
            1 => format!("set-limits 0 {}", n % 8),
            2 => "listen 10.0.1.1:5000".to_owned(),
            _ => "get-limits".to_owned(),
        })
        .collect();
    let first = probe.tell_all(&commands);
    for (number, command) in (first..).zip(&commands) {
        let (replies, end) = probe.answer(number);
        if command.ends_with("99") {
            assert!(end.starts_with("refused 22 "), "{command}: {end}");
        } else {
            assert_eq!(end, "done", "{command}");
        }
        let brings = match command.as_str() {
            "get-limits" => "add_addr_accepted=",
            "listen 10.0.1.1:5000" => "listening=10.0.1.1:5000",
            _ => {
                assert!(replies.is_empty(), "{command}: {replies:?}");
                continue;
            }
        };
        assert_eq!(replies.len(), 1, "{command}: {replies:?}");
        assert!(replies[0].contains(brings), "{command}: {replies:?}");
    }
    probe.daemon.stop();
}

/// The kernel keeps some 250 answers for a program that does not read them.
#[test]
fn of_more_commands_than_the_kernel_keeps_answers_of() {
    let Some(lab) = lab() else { return };
    let probe = Probe::start(&lab, &lab.host, "host");
    let refused = "create deadbeef 10.0.0.1,id=3 10.0.0.2,port=80";
    let first = probe.tell_all(&[refused; 1000]);
    for number in first..first + 1000 {
        let (_, end) = probe.answer(number);
        assert!(end.starts_with("refused "), "{number}: {end}");
        assert!(!end.starts_with(&format!("refused {ENOBUFS} ")), "{end}");
    }
    assert_eq!(probe.daemon.lines(&["warn"]), 0, "{}", probe.daemon.log());
    probe.daemon.stop();
}

/// What became of a command is not known when the answers are lost: it is not told as done.
#[test]
fn of_commands_whose_answers_are_lost() {
    let Some(lab) = lab() else { return };
    let core = "load-plugins = probe";
    let probe = Probe::of("failing_recv", &lab, &lab.host, "host", core, "");
    probe.told("ready");
    for command in ["set-limits 0 99", "get-limits"] {
        // What is lost may be what the daemon reads for itself.
        let lost = until(|| {
            lab.write("host.fault", format!("loss {NETLINK_GENERIC}"));
            let end = probe.ask(command);
            assert!(end != "done" || command == "get-limits");
            end.starts_with(&format!("refused {ENOBUFS} "))
        });
        assert!(lost, "{command}: {}", probe.daemon.log());
        // No later answer is taken for the one that was lost.
        assert!(probe.ask("set-limits 0 99").starts_with("refused 22 "));
        probe.ok("set-limits 0 4");
        assert_eq!(lab.host.limits(), (0, 4));
        assert_eq!(probe.ok("get-limits").len(), 1);
    }
    probe.daemon.stop();
}

/// A plugin that never gives up does not keep the daemon from all else.
#[test]
fn of_a_command_that_is_given_again_and_again() {
    let Some(lab) = lab() else { return };
    let probe = Probe::start(&lab, &lab.host, "host");
    assert_eq!(probe.ask("insist unlisten 10.0.1.1:1"), "insists");
    probe.ok("set-limits 0 4");
    probe.daemon.catch_up();
    probe.daemon.stop();
}

/// What does not fit the queue is refused at once, and what does is done all the same.
#[test]
fn of_a_full_queue() {
    let Some(lab) = lab() else { return };
    let probe = Probe::start(&lab, &lab.host, "host");
    let first = probe.tell_all(&["flood", "set-limits 0 3", "timer 1 1"]);
    assert_eq!(
        probe.answer(first).1,
        mptcpd::internal::capacity::COMMANDS.to_string()
    );
    assert_eq!(probe.answer(first + 1).1, "queue full");
    probe.told("timer 1");
    probe.ok("set-limits 0 4");
    assert_eq!(lab.host.limits(), (0, 4));
    // It is said once, however often it happens.
    let again = probe.tell_all(&["flood", "set-limits 0 3", "timer 2 1"]);
    assert_eq!(probe.answer(again + 1).1, "queue full");
    probe.told("timer 2");
    probe.ok("set-limits 0 5");
    let about = probe.daemon.lines(&["warn", "commands are waiting"]);
    assert_eq!(about, 1, "{}", probe.daemon.log());
    probe.daemon.stop();
}
