// SPDX-License-Identifier: BSD-3-Clause
//! The strategy in `tests/examples/fullmesh`, a daemon built outside of this crate.

use std::path::PathBuf;

use crate::pair::{Probe, field, has, lab};
use crate::support::peer::{Held, Peer, build};
use crate::support::{Lab, until};

fn fullmesh() -> PathBuf {
    build(&["--manifest-path", "tests/examples/fullmesh/Cargo.toml"]).join("fullmesh")
}

/// Which of all subflows between the two hosts' addresses there are, as both sides see it.
fn mesh(lab: &Lab, here: [&str; 2], there: [&str; 2]) -> Vec<String> {
    let mut found = Vec::new();
    for local in here {
        for remote in there {
            if has(&lab.host, local, remote) && has(&lab.outside, remote, local) {
                found.push(format!("{local}-{remote}"));
            }
        }
    }
    found
}

#[track_caller]
fn meshes(listen: &str, remote: &str, here: [&str; 2], there: [&str; 2], prefix: u8) {
    let Some(lab) = lab() else { return };
    for (n, gateway) in [(1, there[0]), (2, there[1])] {
        let family = if prefix == 24 { "0.0.0.0/0" } else { "::/0" };
        lab.host.ip(&format!(
            "route add {family} via {gateway} dev wan{n} metric {n}1"
        ));
    }
    let config = lab.write("fullmesh.conf", "[core]\nstate-file =\n");
    let daemon = lab.program_in(&lab.host, &fullmesh(), &config, &[]);
    daemon.says(&["plugin fullmesh"]);
    daemon.says(&["watching the network", "2 of "]);
    let server = Probe::start(&lab, &lab.outside, "server");
    let held = Held::open(&lab.host, remote, &lab.outside, listen, 1);

    // The initial remote address from everywhere, then the announced one.
    let all = |expected: &[&str]| {
        let mut found = Vec::new();
        let holds = until(|| {
            found = mesh(&lab, here, there);
            found == expected
        });
        assert!(
            holds,
            "{found:?}\n{}\n{}",
            lab.host.out("ss -tn"),
            daemon.log()
        );
    };
    let [a, b, c, d] =
        [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(l, r)| format!("{}-{}", here[l], there[r]));
    all(&[&a, &c]);
    let established = server.lines();
    let established = established
        .iter()
        .find(|line| line.starts_with("connection_established"));
    let token = field(established.expect("a connection"), "token").to_owned();
    server.ok(&format!("announce {token} {},id=7", there[1]));
    all(&[&a, &b, &c, &d]);
    assert!(
        lab.host.out("ss -MiH").contains("subflows:3"),
        "{}",
        lab.host.out("ss -Mi")
    );
    assert_eq!(lab.host.joins(), 3);
    assert_eq!(lab.outside.counter("MPTcpExtMPJoinAckRx"), 3);

    // An address goes, and comes back.
    lab.host
        .ip(&format!("addr del {}/{prefix} dev wan2", here[1]));
    all(&[&a, &b]);
    lab.host
        .ip(&format!("addr add {}/{prefix} dev wan2", here[1]));
    let route = if prefix == 24 { "0.0.0.0/0" } else { "::/0" };
    lab.host.ip_any(&format!(
        "route add {route} via {} dev wan2 metric 21",
        there[1]
    ));
    all(&[&a, &b, &c, &d]);

    // One that is there twice lives on the other interface.
    let joins = || lab.host.joins();
    let before = joins();
    let width = if prefix == 24 { 32 } else { 128 };
    let change = |how: &str| {
        lab.host
            .ip(&format!("addr {how} {}/{width} dev wan1", here[1]));
        daemon.catch_up();
    };
    let known = || {
        lab.host
            .out("ss -tnH state established")
            .matches("%wan2")
            .count()
    };
    assert_eq!(known(), 2);
    change("add");
    change("del");
    all(&[&a, &b, &c, &d]);
    assert_eq!((known(), joins()), (2, before));

    held.release();
    assert_eq!(
        daemon.lines(&["warn"]) + daemon.lines(&["error"]),
        0,
        "{}",
        daemon.log()
    );
    daemon.stop();
}

#[test]
fn a_full_mesh_over_ipv4() {
    meshes(
        "0.0.0.0:5000",
        "10.0.1.2:5000",
        ["10.0.1.1", "10.0.2.1"],
        ["10.0.1.2", "10.0.2.2"],
        24,
    );
}

#[test]
fn a_full_mesh_over_ipv6() {
    let (here, there) = (
        ["2001:db8:1::1", "2001:db8:2::1"],
        ["2001:db8:1::2", "2001:db8:2::2"],
    );
    meshes("[::]:5000", "[2001:db8:1::2]:5000", here, there, 64);
}

/// Its own section limits it, and data takes all the ways there are.
#[test]
fn a_full_mesh_has_its_limit() {
    let Some(lab) = lab() else { return };
    for (value, joins) in [("2", 1), ("1", 0)] {
        let config = format!(
            "[core]\nstate-file =\nnotify-flags = existing\n[fullmesh]\nsubflows = {value}\n"
        );
        let config = lab.write("fullmesh.conf", config);
        let daemon = lab.program_in(&lab.host, &fullmesh(), &config, &[]);
        daemon.says(&["watching the network"]);
        let server = Peer::listening(&lab.outside, &["server", "0.0.0.0:5000", "300000"]);
        let before = lab.host.joins();
        let client = Peer::start(&lab.host, &["client", "10.0.1.2:5000", "300000", "600000"]);
        assert_eq!(client.result(), server.result());
        assert_eq!(lab.host.joins() - before, joins);
        daemon.stop();
    }
    let config = lab.write(
        "fullmesh.conf",
        "[core]\nstate-file =\n[fullmesh]\nsubflows = many\n",
    );
    let daemon = lab.program_in(&lab.host, &fullmesh(), &config, &[]);
    daemon.says(&["error", "plugin fullmesh", "subflows = many: not a number"]);
}

/// A daemon of one's own has its own name and version, and `--check` asks its plugins too.
#[test]
fn a_full_mesh_is_its_own_program() {
    let Some(lab) = lab() else { return };
    let run = |arguments: &[&str]| {
        let mut command = lab.host.command(fullmesh());
        let output = command.args(arguments).output().expect("nsenter");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    assert_eq!(run(&["--version"]).1, "fullmesh 1.0.0\n");
    assert!(
        run(&["--help"])
            .1
            .starts_with("Usage: fullmesh [OPTION...]")
    );
    for (value, status, said) in [
        ("3", 0, ""),
        (
            "3.5",
            78,
            "fullmesh: plugin fullmesh: subflows = 3.5: not a number\n",
        ),
    ] {
        let text = format!("[fullmesh]\nsubflows = {value}\n");
        let config = lab.write("check.conf", text);
        let config = config.to_str().expect("a path of ours");
        let (code, _, errors) = run(&["--check", "-c", config]);
        assert_eq!((code, errors.as_str()), (Some(status), said));
    }
}
