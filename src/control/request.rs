// SPDX-License-Identifier: BSD-3-Clause
//! What is asked for: the same words on the command line and in the line to the daemon.

use core::fmt;

use crate::network::Declared;

/// Octets of a request at most, without its newline.
pub const LENGTH: usize = 96;
/// Octets of an interface's name or an address, at most.
const SUBJECT: usize = 45;
/// A day, in seconds.
const LONGEST_WAIT: u32 = 86_400;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    Status,
    Connections,
    Monitor,
    Reload,
    Path(Declared),
    Wait,
}

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    pub verb: Verb,
    /// `-j`: JSON.
    pub json: bool,
    /// `--exit-code`.
    pub exit_code: bool,
    /// Seconds, of `-t`.
    pub timeout: Option<u32>,
    /// An interface or an address; empty for all.
    pub subject: heapless::String<SUBJECT>,
}

/// What is wrong with a request, for the user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mistake<'a> {
    /// The word that is wrong; empty where one is missing.
    word: &'a str,
    cause: &'static str,
}

impl Mistake<'_> {
    /// Returns one of the whole request.
    pub const fn whole(cause: &'static str) -> Self {
        Self { word: "", cause }
    }
}

impl fmt::Display for Mistake<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word)?;
        f.write_str(if self.word.is_empty() { "" } else { ": " })?;
        f.write_str(self.cause)
    }
}

/// Returns the verb that a word is.
pub fn verb(word: &str) -> Option<Verb> {
    Some(match word {
        "status" => Verb::Status,
        "connections" => Verb::Connections,
        "monitor" => Verb::Monitor,
        "reload" => Verb::Reload,
        "path" => Verb::Path(Declared::Auto),
        "wait" => Verb::Wait,
        _ => return None,
    })
}

/// Reads a request, words with blanks between them.
pub fn parse(line: &str) -> Result<Request, Mistake<'_>> {
    let mut words = line.split_ascii_whitespace();
    let word = words.next().unwrap_or_default();
    let wrong = |word, cause| Err(Mistake { word, cause });
    let Some(verb) = verb(word) else {
        return wrong(word, "unknown command");
    };
    let mut request = Request {
        verb,
        json: false,
        exit_code: false,
        timeout: None,
        subject: heapless::String::new(),
    };
    let mut declared = None;
    while let Some(word) = words.next() {
        match (word, verb) {
            ("-j", Verb::Status | Verb::Connections | Verb::Monitor) => request.json = true,
            ("--exit-code", Verb::Status) => request.exit_code = true,
            ("-t", Verb::Wait) => {
                let seconds = words.next().and_then(|word| word.parse().ok());
                request.timeout = seconds.filter(|seconds| *seconds <= LONGEST_WAIT);
                if request.timeout.is_none() {
                    return wrong(word, "expected seconds from 0 to 86400");
                }
            }
            _ if word.starts_with('-') => return wrong(word, "unknown option"),
            (_, Verb::Status | Verb::Wait | Verb::Path(_)) if request.subject.is_empty() => {
                if request.subject.push_str(word).is_err() {
                    return wrong(word, "no such interface or address");
                }
            }
            (_, Verb::Path(_)) if declared.is_none() => {
                declared = Some(match word {
                    "down" => Declared::Down,
                    "backup" => Declared::Backup,
                    "auto" => Declared::Auto,
                    _ => return wrong(word, "expected down, backup or auto"),
                });
            }
            _ => return wrong(word, "one argument too many"),
        }
    }
    if let Verb::Path(to) = &mut request.verb {
        match declared {
            Some(declared) => *to = declared,
            None => return wrong("", "expected IFACE down|backup|auto"),
        }
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read() {
        let status = parse("status").expect("a request");
        assert_eq!(
            (status.verb, status.json, status.subject.as_str()),
            (Verb::Status, false, "")
        );
        let status = parse(" status  wan -j --exit-code ").expect("a request");
        assert!(status.json && status.exit_code && status.subject == "wan");
        let wait = parse("wait -t 30 wan").expect("a request");
        assert_eq!((wait.timeout, wait.subject.as_str()), (Some(30), "wan"));
        for (word, declared) in [
            ("down", Declared::Down),
            ("backup", Declared::Backup),
            ("auto", Declared::Auto),
        ] {
            let path = parse(&format!("path wan {word}")).expect("a request");
            assert_eq!(
                (path.verb, path.subject.as_str()),
                (Verb::Path(declared), "wan")
            );
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let long = "x".repeat(46);
        for (line, cause) in [
            ("", "unknown command"),
            ("stop", "stop: unknown command"),
            ("reload -j", "-j: unknown option"),
            ("status -x", "-x: unknown option"),
            ("status a b", "b: one argument too many"),
            ("monitor wan", "wan: one argument too many"),
            ("path wan", "expected IFACE down|backup|auto"),
            ("path wan up", "up: expected down, backup or auto"),
            ("path wan down now", "now: one argument too many"),
            ("wait -t", "-t: expected seconds from 0 to 86400"),
            ("wait -t -1", "-t: expected seconds from 0 to 86400"),
            ("wait -t 86401", "-t: expected seconds from 0 to 86400"),
            (
                &format!("status {long}"),
                &format!("{long}: no such interface or address"),
            ),
        ] {
            let mistake = parse(line).expect_err(line);
            assert_eq!(mistake.to_string(), cause);
        }
    }
}
