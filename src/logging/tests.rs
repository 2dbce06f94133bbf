// SPDX-License-Identifier: BSD-3-Clause
use super::*;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A logger with a socket where its messages arrive.
struct Receiver {
    state: State,
    socket: UnixDatagram,
    path: PathBuf,
}

impl Receiver {
    fn new(destination: Destination, name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mptcpd-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = bind(&path);
        let leaked: &'static str = path.to_str().unwrap().to_string().leak();
        let mut state = State::new(leaked, leaked);
        state.sink.open(Instant(0), destination);
        Self {
            state,
            socket,
            path,
        }
    }

    fn say(&mut self, seconds: u32, text: &str) {
        self.state
            .message(at(seconds), Level::Warn, &format_args!("{text}"));
    }

    fn answer(&mut self, text: &str) {
        self.state
            .answer(at(0), Level::Info, &format_args!("{text}"));
    }

    fn packets(&self) -> Vec<Vec<u8>> {
        let mut buffer = [0; 4096];
        let mut receive = || {
            self.socket
                .recv(&mut buffer)
                .ok()
                .map(|n| buffer[..n].to_vec())
        };
        std::iter::from_fn(&mut receive).collect()
    }

    /// The messages without what stands before them.
    fn texts(&self) -> Vec<String> {
        let text = |packet| String::from_utf8(packet).unwrap();
        let prefix = format!("mptcpd[{}]: ", std::process::id());
        self.packets()
            .into_iter()
            .map(|packet| text(packet).split_once(&prefix).unwrap().1.to_string())
            .collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn bind(path: &PathBuf) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn at(seconds: u32) -> Instant {
    Instant(1_000_000) + Duration::from_secs(seconds)
}

#[test]
fn syslog_gets_priority_name_and_pid() {
    let mut log = Receiver::new(Destination::Syslog, "syslog");
    for (level, text) in [
        (Level::Error, "a"),
        (Level::Warn, "b"),
        (Level::Info, "c"),
        (Level::Debug, "d"),
    ] {
        log.state.message(at(0), level, &format_args!("{text}"));
    }
    let pid = std::process::id();
    let expected = [
        format!("<27>mptcpd[{pid}]: a"),
        format!("<28>mptcpd[{pid}]: b"),
        format!("<30>mptcpd[{pid}]: c"),
        format!("<31>mptcpd[{pid}]: d"),
    ];
    assert_eq!(log.packets(), expected.map(String::into_bytes));
}

#[test]
fn journal_gets_fields_and_a_counted_message() {
    let mut log = Receiver::new(Destination::Journal, "journal");
    log.say(0, "a=b");
    let expected = b"PRIORITY=4\nSYSLOG_IDENTIFIER=mptcpd\nMESSAGE\n\x03\0\0\0\0\0\0\0a=b\n";
    assert_eq!(log.packets(), [expected.to_vec()]);
}

#[test]
fn the_longest_message_fits_every_packet() {
    for (destination, name) in [
        (Destination::Syslog, "long-s"),
        (Destination::Journal, "long-j"),
    ] {
        let mut log = Receiver::new(destination, name);
        log.say(0, &"ü".repeat(LINE));
        let packet = log.packets().pop().unwrap();
        let text = String::from_utf8_lossy(&packet);
        assert!(text.trim_end().ends_with("ü..."), "{text}");
    }
}

#[test]
fn a_message_stays_on_its_line() {
    let mut log = Receiver::new(Destination::Syslog, "control");
    log.say(0, "eth\x1b[2J\nError: forged\u{9b}\r\0");
    assert_eq!(log.texts(), ["eth?[2J?Error: forged???"]);
}

#[test]
fn repeats_are_counted_and_told_when_their_time_is_over() {
    let mut log = Receiver::new(Destination::Syslog, "repeats");
    assert_eq!(log.state.flush_at(), None);
    log.say(0, "a");
    assert_eq!(log.state.flush_at(), None);
    log.say(1, "a");
    log.say(2, "a");
    assert_eq!(log.state.flush_at(), Some(at(30)));
    log.state.flush(at(29));
    assert_eq!(log.texts(), ["a"]);
    log.state.flush(at(30));
    assert_eq!(log.texts(), ["message repeated 2 times: a"]);
    assert_eq!(log.state.flush_at(), None);

    // It goes on: quiet for another window. It has ended: written again.
    log.say(40, "a");
    assert_eq!(log.texts(), [""; 0]);
    log.say(61, "a");
    assert_eq!(log.texts(), ["message repeated 1 times: a"]);
    log.state.flush(at(91));
    log.state.flush(at(121));
    assert_eq!(log.texts(), ["message repeated 1 times: a"]);
    log.say(152, "a");
    assert_eq!(log.texts(), ["a"]);
}

#[test]
fn repeats_that_alternate_are_found_too() {
    let mut log = Receiver::new(Destination::Syslog, "alternate");
    for _ in 0..100 {
        log.say(0, "up");
        log.say(0, "down");
    }
    assert_eq!(log.texts(), ["up", "down"]);
    log.state.flush_all(at(1));
    assert_eq!(
        log.texts(),
        [
            "message repeated 99 times: up",
            "message repeated 99 times: down"
        ]
    );
    assert_eq!(log.state.flush_at(), None);
}

#[test]
fn another_level_is_another_message() {
    let mut log = Receiver::new(Destination::Syslog, "levels");
    log.say(0, "a");
    log.state.message(at(0), Level::Error, &format_args!("a"));
    assert_eq!(log.texts(), ["a", "a"]);
}

#[test]
fn no_count_is_lost_when_the_memory_is_full() {
    let mut log = Receiver::new(Destination::Syslog, "full");
    log.say(0, "0");
    log.say(0, "0");
    for n in 1..=REMEMBERED {
        log.say(1, &n.to_string());
    }
    let texts = log.texts();
    assert_eq!(texts.len(), REMEMBERED + 2);
    assert_eq!(
        texts.get(REMEMBERED).unwrap(),
        "message repeated 1 times: 0"
    );
    log.say(2, "0");
    assert_eq!(log.texts(), ["0"]);
}

#[test]
fn what_was_asked_for_is_always_written() {
    let mut log = Receiver::new(Destination::Syslog, "asked");
    for _ in 0..2 {
        log.answer("state");
    }
    assert_eq!(log.texts(), ["state", "state"]);
}

/// More lines than a receiver's queue has room for, which is 10 on many a host.
#[test]
fn what_was_asked_for_waits_for_a_receiver_that_reads() {
    let mut log = Receiver::new(Destination::Syslog, "slow");
    let lines = 2000;
    let reader = log.socket.try_clone().unwrap();
    reader.set_nonblocking(false).unwrap();
    let patience = std::time::Duration::from_secs(10);
    reader.set_read_timeout(Some(patience)).unwrap();
    let reads = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        let mut read = |_| {
            let length = reader.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        (0..lines).map(&mut read).collect::<Vec<_>>()
    });
    for n in 0..lines {
        log.answer(&n.to_string());
    }
    for (n, line) in reads.join().unwrap().iter().enumerate() {
        assert!(line.ends_with(&format!(": {n}")), "{line}");
    }
}

/// Were each line waited for, this would take a quarter of an hour.
#[test]
fn what_was_asked_for_waits_once_for_a_receiver_that_hangs() {
    let mut log = Receiver::new(Destination::Syslog, "hangs");
    for n in 0..10_000 {
        log.answer(&n.to_string());
    }
    let taken = log.texts().len();
    log.answer("after");
    let lost = format!("{} log messages lost", 10_000 - taken);
    assert_eq!(log.texts(), [lost, "after".into()]);
}

#[test]
fn the_end_of_time_is_no_endless_loop() {
    let mut log = Receiver::new(Destination::Syslog, "end");
    log.say(0, "a");
    log.say(0, "a");
    log.state.flush(Instant(u64::MAX));
    assert_eq!(log.texts(), ["a", "message repeated 1 times: a"]);
}

#[test]
fn a_receiver_that_restarts_gets_the_next_message() {
    let mut log = Receiver::new(Destination::Syslog, "restart");
    log.say(0, "a");
    std::fs::remove_file(&log.path).unwrap();
    log.socket = bind(&log.path);
    log.say(0, "b");
    assert_eq!(log.texts(), ["b"]);
}

#[test]
fn a_receiver_that_is_gone_is_not_tried_again_at_once() {
    let mut log = Receiver::new(Destination::Syslog, "gone");
    std::fs::remove_file(&log.path).unwrap();
    log.socket = UnixDatagram::unbound().unwrap();
    log.socket.set_nonblocking(true).unwrap();
    log.say(0, "a");
    log.socket = bind(&log.path);
    log.say(0, "b");
    assert_eq!(log.texts(), [""; 0]);
    log.say(1, "c");
    assert_eq!(log.texts(), ["c"]);
}

#[test]
fn a_busy_receiver_costs_messages_but_never_waits() {
    let mut log = Receiver::new(Destination::Syslog, "busy");
    for n in 0..10_000 {
        log.say(0, &n.to_string());
    }
    let taken = log.texts().len();
    log.say(0, "after");
    assert_eq!(
        log.texts(),
        [
            format!("{} log messages lost", 10_000 - taken),
            "after".into()
        ]
    );
    log.say(0, "at last");
    assert_eq!(log.texts(), ["at last"]);
}

/// Not a test of its own: what [`stderr_of`] runs in a process whose stderr it can read.
#[test]
#[ignore = "run by other tests"]
fn child() {
    let destination = match std::env::var("CHILD").as_deref() {
        Ok("stderr") => Destination::Stderr,
        Ok("syslog") => Destination::Syslog,
        _ => Destination::Null,
    };
    let mut state = State::new("/nonexistent/log", "");
    state.sink.open(at(0), destination);
    for level in [Level::Error, Level::Warn, Level::Info, Level::Debug] {
        state.message(at(0), level, &format_args!("cause"));
    }
    // The second attempt fails as well, which is not news.
    state.message(at(20), Level::Info, &format_args!("later"));
}

const CHILD_ARGUMENTS: [&str; 4] = [
    "--exact",
    "logging::tests::child",
    "--ignored",
    "--nocapture",
];

fn run_child(destination: &str, stderr: Stdio) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(CHILD_ARGUMENTS)
        .env("CHILD", destination)
        .stdout(Stdio::null())
        .stderr(stderr)
        .spawn()
        .unwrap()
}

fn stderr_of(destination: &str) -> String {
    let output = run_child(destination, Stdio::piped())
        .wait_with_output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

const CHILD: &str = "\
ERROR [mptcpd] cause
WARN  [mptcpd] cause
INFO  [mptcpd] cause
DEBUG [mptcpd] cause
INFO  [mptcpd] later
";

#[test]
fn stderr_gets_level_and_text() {
    assert_eq!(stderr_of("stderr"), CHILD);
    assert_eq!(stderr_of("null"), "");
}

#[test]
fn stderr_takes_the_place_of_what_cannot_be_opened() {
    let text = stderr_of("syslog");
    let (first, rest) = text.split_once('\n').unwrap();
    assert!(
        first.starts_with("WARN  [mptcpd] cannot log to /nonexistent/log, using stderr: No such"),
        "{first}"
    );
    assert_eq!(rest, CHILD);
}

#[test]
fn a_closed_stderr_is_survived() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = run_child("stderr", writer.into()).wait().unwrap();
    assert!(status.success());
}

#[test]
fn a_stderr_that_takes_nothing_is_survived() {
    let full = std::fs::File::options().write(true).open("/dev/full");
    let status = run_child("stderr", full.unwrap().into()).wait().unwrap();
    assert!(status.success());
}

#[test]
fn a_full_disk_behind_stderr_is_survived() {
    let script = "mount -t tmpfs -o size=8k none /mnt || exit 77
                  head -c 8192 /dev/zero > /mnt/filler
                  CHILD=stderr exec \"$0\" \"$@\" 2> /mnt/log";
    let status = Command::new("unshare")
        .args(["-Urm", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(CHILD_ARGUMENTS)
        .stdout(Stdio::null())
        .status();
    match status.map(|status| status.code()) {
        Ok(Some(77 | 1)) | Err(_) => eprintln!("skipped: no mount namespace to be had"),
        Ok(code) => assert_eq!(code, Some(0)),
    }
}

#[test]
fn the_clock_runs() {
    let before = now();
    std::thread::sleep(std::time::Duration::from_millis(2));
    assert!(before.0 > 0 && now() > before);
}
