// SPDX-License-Identifier: BSD-3-Clause
//! What is asked for: the same words on the command line and in the line to the daemon.

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

/// Reads a request, words with blanks between them. The error is for the user.
pub fn parse(line: &str) -> Result<Request, &'static str> {
    let mut words = line.split_ascii_whitespace();
    let verb = words.next().and_then(verb).ok_or("unknown command")?;
    let mut request = Request {
        verb,
        json: false,
        exit_code: false,
        timeout: None,
        subject: heapless::String::new(),
    };
    let is_path = matches!(verb, Verb::Path(_));
    let mut declared = None;
    while let Some(word) = words.next() {
        match (word, verb) {
            ("-j", Verb::Status | Verb::Connections | Verb::Monitor) => request.json = true,
            ("--exit-code", Verb::Status) => request.exit_code = true,
            ("-t", Verb::Wait) => {
                let seconds = words.next().and_then(|word| word.parse().ok());
                let seconds = seconds.filter(|seconds| *seconds <= LONGEST_WAIT);
                request.timeout = Some(seconds.ok_or("-t: expected seconds from 0 to 86400")?);
            }
            _ if word.starts_with('-') => return Err("unknown option"),
            (_, Verb::Status | Verb::Wait | Verb::Path(_)) if request.subject.is_empty() => {
                let subject = request.subject.push_str(word);
                subject.map_err(|()| "no such interface or address")?;
            }
            (_, Verb::Path(_)) if declared.is_none() => {
                declared = Some(match word {
                    "down" => Declared::Down,
                    "backup" => Declared::Backup,
                    "auto" => Declared::Auto,
                    _ => return Err("expected down, backup or auto"),
                });
            }
            _ => return Err("too many arguments"),
        }
    }
    if is_path {
        request.verb = Verb::Path(declared.ok_or("expected IFACE down|backup|auto")?);
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
            ("stop", "unknown command"),
            ("reload -j", "unknown option"),
            ("status -x", "unknown option"),
            ("status a b", "too many arguments"),
            ("monitor wan", "too many arguments"),
            ("path wan", "expected IFACE down|backup|auto"),
            ("path wan up", "expected down, backup or auto"),
            ("path wan down now", "too many arguments"),
            ("wait -t", "-t: expected seconds from 0 to 86400"),
            ("wait -t -1", "-t: expected seconds from 0 to 86400"),
            ("wait -t 86401", "-t: expected seconds from 0 to 86400"),
            (&format!("status {long}"), "no such interface or address"),
        ] {
            assert_eq!(parse(line), Err(cause), "{line}");
        }
    }
}
