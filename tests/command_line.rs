// SPDX-License-Identifier: BSD-3-Clause
//! What the program says to its user, and how it ends: 0 asked for, 1 cannot run, 64 wrong usage,
//! 78 wrong configuration.

#[macro_use]
mod support;

use std::os::unix::fs::PermissionsExt;

/// One line, and the words that must be in it.
#[track_caller]
fn one_line(text: &str, words: &[&str]) {
    assert_eq!(text.lines().count(), 1, "{text}");
    for word in words {
        assert!(text.contains(word), "no {word:?} in {text}");
    }
}

#[test]
fn wrong_usage_ends_with_64() {
    let lab = lab!();
    let table: &[(&[&str], &[&str])] = &[
        (&["--nonsense"], &["--nonsense"]),
        (&["-x"], &["-x"]),
        (&["stray"], &["stray"]),
        (&["--", "stray"], &["stray"]),
        (&["--debug=yes"], &["debug"]),
        (&["--log"], &["log"]),
        (&["-l"], &["-l"]),
        (&["--log="], &["log"]),
        (&["--log", "paper"], &["paper"]),
        (&["-l", "paper"], &["paper"]),
        (&["--config"], &["config"]),
        (&["--config="], &["config"]),
        (&["--plugin-dir", ""], &["plugin-dir"]),
        (&["--path-manager="], &["path-manager"]),
        (&["--path-manager=nobody"], &["nobody"]),
        (&["--load-plugins", "addr_adv,nobody"], &["nobody"]),
        (&["--addr-flags"], &["addr-flags"]),
        (&["--addr-flags=subflow,upflow"], &["upflow"]),
        (&["--addr-flags=signal,fullmesh"], &["signal", "fullmesh"]),
        (&["--notify-flags", "check_rout"], &["check_rout"]),
        (&["--state-file"], &["state-file"]),
    ];
    for (arguments, words) in table {
        let (code, out, errors) = lab.execute(arguments);
        assert_eq!(code, Some(64), "{arguments:?}: {errors}");
        assert_eq!(out, "", "{arguments:?}");
        one_line(&errors, words);
    }
}

#[test]
fn questions_are_answered_on_standard_output() {
    let lab = lab!();
    let table: &[(&[&str], &[&str])] = &[
        (
            &["--help"],
            &[
                "--config",
                "--addr-flags",
                "--notify-flags",
                "--state-file",
                "--check",
            ],
        ),
        (&["-h"], &["--list-plugins"]),
        (&["-?"], &["--load-plugins"]),
        (&["--usage"], &["--path-manager"]),
        (&["--version"], &["mptcpd 1.0.0\n"]),
        (&["-V"], &["mptcpd 1.0.0\n"]),
        (&["--list-plugins"], &["addr_adv"]),
        (&["--debug", "--version"], &["mptcpd 1.0.0\n"]),
    ];
    for (arguments, words) in table {
        let (code, out, errors) = lab.execute(arguments);
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{arguments:?}");
        for word in *words {
            assert!(out.contains(word), "{arguments:?}: no {word:?} in {out}");
        }
    }
}

/// A descriptor that is closed is not left for a socket, which would get what is printed.
#[test]
fn closed_descriptors_are_opened() {
    let lab = lab!();
    for (closed, left) in [("0<&-", 0), ("1>&-", 1)] {
        let wrapper = ["sh", "-c", &format!("exec \"$0\" \"$@\" {closed}")];
        let name = format!("/proc/self/fd/{left}");
        let (code, _, errors) = lab.execute_under(&wrapper, &["--check", "-c", &name]);
        assert_eq!(code, Some(78), "{closed}: {errors}");
        one_line(&errors, &[&name, "not a regular file"]);
    }
}

/// Every problem of a file is reported, each with its line, in one run; and `--check` and a start
/// say the same.
#[test]
fn every_problem_of_the_configuration_is_named() {
    let lab = lab!();
    let table: &[(&str, &[&str])] = &[
        ("[core]\nlog=paper", &[":2: ", "paper"]),
        ("[core]\nlog-level=loud", &[":2: ", "loud"]),
        ("[core]\n\ndebug=perhaps", &[":3: ", "perhaps"]),
        ("[core]\naddr-flags=subflow,upflow", &[":2: ", "upflow"]),
        (
            "[core]\naddr-flags=signal,fullmesh",
            &[":2: ", "signal", "fullmesh"],
        ),
        ("[core]\nnotify-flags=existing,,check_route", &[":2: "]),
        ("[core]\npath-manager=nobody", &[":2: ", "nobody"]),
        ("[core]\nload-plugins=addr_adv,nobody", &[":2: ", "nobody"]),
        ("[core]\non-exit=explode", &[":2: ", "explode"]),
        ("[core]\nresync-interval=-1", &[":2: ", "-1"]),
        (
            "[core]\nresync-interval=99999999999",
            &[":2: ", "99999999999"],
        ),
        ("[core]\nmax-connections=many", &[":2: ", "many"]),
        ("[core]\ntemporary-addresses=often", &[":2: ", "often"]),
        ("[core]\nlimit-subflows=x", &[":2: "]),
        ("[core]\nsource-routing-tables=9-8", &[":2: "]),
        ("[core]\nnothing", &[":2: "]),
        ("[core\n", &[":1: "]),
        ("log=stderr", &[":1: "]),
        ("[core]\nlog=std\u{0}err", &[":2: "]),
        (
            "[interface wan1]\naddr-flags=signal,fullmesh",
            &["signal", "fullmesh"],
        ),
        ("[interface wan1]\npriority=128", &[":2: ", "128"]),
        ("[interface wan1]\nuse=rarely", &[":2: ", "rarely"]),
        ("[interface wan1]\nfamilies=ipx", &[":2: ", "ipx"]),
        (
            "[interface wan1]\nport=70000\naddr-flags=signal",
            &[":2: ", "70000"],
        ),
        ("[interface wan1]\nport=80", &["port", "signal"]),
        (
            "[interface]\nuse=no",
            &[":1: section [interface]: empty pattern"],
        ),
    ];
    for (text, words) in table {
        let file = lab.write("bad.conf", text);
        let name = file.to_str().expect("UTF-8");
        for arguments in [&["--check", "-c", name][..], &["-c", name]] {
            let (code, out, errors) = lab.execute(arguments);
            assert_eq!((code, out.as_str()), (Some(78), ""), "{text:?}: {errors}");
            one_line(&errors, words);
            one_line(&errors, &[name]);
        }
    }
    let bytes = lab.write("bytes.conf", b"[core]\nlog=\xff\n");
    let (code, _, errors) = lab.execute(&["-c", bytes.to_str().expect("UTF-8")]);
    assert_eq!(code, Some(78));
    one_line(&errors, &[":2: "]);

    let all = lab.write(
        "all.conf",
        "[core]\nlog=paper\nlog-level=loud\n[x]\nnothing\non-exit=y\n",
    );
    let (code, _, errors) = lab.execute(&["--check", "-c", all.to_str().expect("UTF-8")]);
    assert_eq!(code, Some(78), "{errors}");
    for line in [":2: ", ":3: ", ":5: "] {
        assert!(errors.contains(line), "no {line} in {errors}");
    }
}

/// It would not listen, and nobody would know why.
#[test]
fn what_a_plugin_does_not_understand_is_an_error() {
    let lab = lab!();
    let file = lab.write(
        "sspi.conf",
        "[core]\nload-plugins=sspi\n[sspi]\nlisten=maybe\n",
    );
    let file = file.to_str().expect("UTF-8");
    let (code, _, errors) = lab.execute(&["--check", "-c", file]);
    assert_eq!(code, Some(78), "{errors}");
    one_line(
        &errors,
        &["plugin sspi: listen: ", "\"maybe\"", "yes or no"],
    );
    lab.write(
        "sspi.conf",
        "[core]\nload-plugins=sspi\n[sspi]\nlisten=yes\n",
    );
    assert_eq!(lab.execute(&["--check", "-c", file]).0, Some(0));
}

#[test]
fn unknown_keys_and_sections_are_warnings() {
    let lab = lab!();
    let text = "[core]\nlog = stderr \r\n; a remark\n# another\ncolour = blue\n[shoes]\nsize=9\n";
    let file = lab.write("odd.conf", text);
    let (code, out, errors) = lab.execute(&["--check", "-c", file.to_str().expect("UTF-8")]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.contains("log"), "{out}");
    for word in ["colour", "shoes", ":5: "] {
        assert!(errors.contains(word), "no {word} in {errors}");
    }
    let file = file.to_str().expect("UTF-8");
    let (code, _, strict) = lab.execute(&["--check", "--strict", "-c", file]);
    assert_eq!((code, strict), (Some(1), errors));
}

/// What `--check` prints is a configuration that means the same.
#[test]
fn check_prints_the_effective_configuration() {
    let lab = lab!();
    let text = "[core]\naddr-flags = subflow , backup\nnotify-flags =\nresync-interval=7\n\
                [interface wan*]\npriority=-3\nuse=standby\n";
    let file = lab.write("one.conf", text);
    let check = |path: &str| {
        let (code, out, errors) = lab.execute(&["--check", "-c", path, "--log", "syslog"]);
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{out}");
        let (first, effective) = out.split_once('\n').expect("two lines");
        assert_eq!(first, format!("# {path}"));
        effective.to_string()
    };
    let effective = check(file.to_str().expect("UTF-8"));
    for word in [
        "subflow,backup",
        "syslog",
        "resync-interval",
        "7",
        "[interface wan*]",
        "standby",
    ] {
        assert!(effective.contains(word), "no {word:?} in {effective}");
    }
    let again = lab.write("two.conf", &effective);
    assert_eq!(check(again.to_str().expect("UTF-8")), effective);
}

#[test]
fn files_that_cannot_be_trusted_or_read() {
    let lab = lab!();
    let open = lab.write("open.conf", "");
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o666)).expect("our own file");
    let directory = lab.path("directory");
    std::fs::create_dir(&directory).expect("a directory of our own");
    let fifo = lab.path("fifo");
    lab.host.out(&format!("mkfifo {}", fifo.display()));
    for path in [
        open,
        directory,
        fifo,
        lab.path("missing"),
        "/dev/null".into(),
    ] {
        let name = path.to_str().expect("UTF-8");
        let (code, _, errors) = lab.execute(&["-c", name]);
        assert_eq!(code, Some(78), "{name}: {errors}");
        one_line(&errors, &[name]);
    }
}

/// Without a file there are the defaults, which work.
#[test]
fn no_configuration_file_at_all() {
    let lab = lab!();
    if std::path::Path::new("/etc/mptcpd/mptcpd.conf").exists() {
        return support::skip(
            "own-configuration",
            "this machine has a configuration of its own",
        );
    }
    let (code, out, errors) = lab.execute(&["--check"]);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    for word in [
        "# no file: all defaults\n",
        "subflow",
        "existing,skip_link_local,skip_loopback,check_route",
        "addr_adv",
    ] {
        assert!(out.contains(word), "no {word:?} in {out}");
    }
}

#[test]
fn without_the_capability_there_is_one_line() {
    let lab = lab!();
    let file = lab.write("good.conf", "");
    let state = lab.path("state");
    let [file, state] = [&file, &state].map(|path| path.to_str().expect("UTF-8"));
    let setpriv = [
        "setpriv",
        "--bounding-set=-net_admin",
        "--inh-caps=-net_admin",
    ];
    let (code, _, errors) = lab.execute_under(&setpriv, &["-c", file, "--state-file", state]);
    assert_eq!(code, Some(1), "{errors}");
    one_line(&errors, &["CAP_NET_ADMIN"]);
}

#[test]
fn without_mptcp_there_is_one_line() {
    let lab = lab!();
    lab.host.sysctl("mptcp/enabled", 0);
    let file = lab.write("good.conf", "");
    let state = lab.path("state");
    let [file, state] = [&file, &state].map(|path| path.to_str().expect("UTF-8"));
    let (code, _, errors) = lab.execute(&["-c", file, "--state-file", state]);
    assert_eq!(code, Some(1), "{errors}");
    one_line(&errors, &["net.mptcp.enabled"]);
}

/// The namespace leaves its connections to programs, but addr_adv is for the kernel's manager.
#[test]
fn a_path_manager_that_does_not_fit_is_named() {
    let lab = lab!();
    lab.wan(1);
    lab.host.sysctl("mptcp/pm_type", 1);
    let daemon = lab.daemon("");
    daemon.says(&["addr_adv", "pm_type"]);
    daemon.stop();
}

/// Linux before 5.19 has neither the userspace path manager nor its sysctl.
#[test]
fn a_kernel_without_userspace_path_manager_is_named() {
    let lab = lab!();
    let file = lab.write("sspi.conf", "[core]\npath-manager = sspi\n");
    let state = lab.path("state");
    let [file, state] = [&file, &state].map(|path| path.to_str().expect("UTF-8"));
    let old = "cd /proc/sys/net/mptcp && mount -t tmpfs none . && cd . && echo 1 >$PWD/enabled &&
        exec timeout --preserve-status 1 \"$@\"";
    let old = ["unshare", "-m", "sh", "-c", old, "sh"];
    let (code, _, errors) = lab.execute_under(&old, &["-c", file, "--state-file", state]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(
        errors.contains("does not support path management by sspi"),
        "{errors}"
    );
}

/// What is accepted for the sake of old command lines.
#[test]
fn options_of_old() {
    let lab = lab!();
    lab.wan(1);
    let arguments = ["-d", "--plugin-dir=/usr/lib/mptcpd", "-l", "stderr"];
    let more = ["--path-manager", "addr_adv", "--load-plugins=addr_adv"];
    let daemon = lab.daemon_in(&lab.host, "", &[&arguments[..], &more].concat());
    lab.expect(&["10.0.1.1 subflow dev wan1"]);
    daemon.says(&["info", "plugin"]);
    daemon.stop();
}
