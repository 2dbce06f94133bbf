// SPDX-License-Identifier: BSD-3-Clause
//! Whatever a client of the control socket sends, and however little it reads, its session stays
//! within its buffers and its answers are whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mptcpd::internal::control::{Form, Session, Value};

fuzz_target!(|bytes: &[u8]| {
    let mut session = Session::new();
    for piece in bytes.chunks(7) {
        session.receive(piece);
        let Some(request) = session.request().cloned() else {
            continue;
        };
        assert!(
            request.subject.len() <= 45
                && !request.subject.contains(|c: char| c.is_ascii_whitespace())
        );
        for at in 0..100 {
            session.tell("one line of what has happened\n");
            if let Some(count) = bytes.get(at) {
                session.output.consume((*count).into());
            }
        }
        check_text(&String::from_utf8_lossy(bytes));
        session.finish(0, "done");
    }
    session.end();
    // What it had sent by then may be a request.
    if session.request().is_some() {
        session.finish(0, "done");
    }
    let _ = session.output.bytes();
    session.output.consume(usize::MAX / 2);
    assert!(session.is_done());
});

/// A text of any kind stays within its quotes and its cell.
fn check_text(text: &str) {
    let mut json = String::new();
    Form::new(&mut json, true, "").field("", "name", Value::Text(&text));
    let inner = json
        .strip_prefix("\"name\":\"")
        .and_then(|rest| rest.strip_suffix('"'));
    let inner = inner.expect("quotes");
    let mut escaped = false;
    for c in inner.chars() {
        assert!(!c.is_control() && (c != '"' || escaped));
        escaped = c == '\\' && !escaped;
    }
    assert!(!escaped);
    let mut cell = String::new();
    Form::new(&mut cell, false, "").field("", "name", Value::Text(&text));
    assert!(!cell.contains(char::is_control));
}
