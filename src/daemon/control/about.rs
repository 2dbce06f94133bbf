// SPDX-License-Identifier: BSD-3-Clause
//! The status: what it says of the daemon itself and of the kernel, and the paths in between.

use crate::config::Loaded;
use crate::control::session::ITEM;
use crate::control::{Form, Request, Session, Value};
use crate::engine::Engine;
use crate::sys::exit::{MISSING, SUCCESS};
use crate::sys::{clock, mib, sysctl};
use crate::time::Instant;

/// The names of the columns of a status.
const COLUMNS: &str = "\nIFACE\tADDRESS\tSTATE\tID\tFLAGS\tSINCE\tJOINED\tFAILED\tREASON\n";
/// What a status says of the daemon itself.
pub(in crate::daemon) struct About {
    pub(super) version: &'static str,
    started: Instant,
    /// The configuration file.
    pub(super) file: Option<String>,
    /// When it was read; and in seconds since 1970.
    read: (Instant, u64),
    warnings: usize,
    /// What was wrong with it when it was read last, and could not be used.
    pub(super) error: Option<String>,
}

impl About {
    pub(in crate::daemon) fn new(now: Instant, loaded: &Loaded) -> Self {
        Self {
            version: "",
            started: now,
            file: loaded.file.clone(),
            read: (now, clock::wall() / 1000),
            warnings: loaded.warnings.len(),
            error: None,
        }
    }

    /// Notes that the configuration was read again.
    pub(super) fn on_reloaded(&mut self, now: Instant, loaded: &Loaded) {
        let (version, started) = (self.version, self.started);
        *self = Self {
            version,
            started,
            ..Self::new(now, loaded)
        };
    }

    /// Writes what comes before the paths.
    fn write(&self, now: Instant, engine: &Engine, form: &mut Form<'_>) {
        form.row(false);
        form.sentence();
        form.json("v", Value::Number(1));
        form.field("mptcpd ", "version", Value::Text(&self.version));
        form.json("pid", Value::Number(std::process::id().into()));
        let uptime = Value::Span(now.age(self.started));
        form.field("up ", "uptime", uptime);
        let plugin = engine.plugin_names().next();
        let text = plugin
            .as_ref()
            .map_or(Value::Nothing, |name| Value::Text(name));
        form.field("plugin ", "plugin", text);
        let kernel = match sysctl::path_manager() {
            Some(sysctl::PathManager::Kernel) => Value::Code("kernel"),
            Some(sysctl::PathManager::Userspace) => Value::Code("userspace"),
            None => Value::Nothing,
        };
        form.field("path manager ", "kernel_path_manager", kernel);
        form.open("config", "{");
        let file = self.file.as_deref().map(start_of);
        let file = file
            .as_ref()
            .map_or(Value::Nothing, |file| Value::Text(file));
        form.field("configuration ", "file", file);
        let (read, at) = self.read;
        form.field("read ", "read", Value::Ago(now.age(read), at));
        form.json("warnings", Value::Number(self.warnings as u64));
        match &self.error {
            Some(error) => {
                form.field(
                    "not reloaded: ",
                    "last_error",
                    Value::Text(&start_of(error)),
                );
            }
            None => form.json("last_error", Value::Nothing),
        }
        form.close("}");
        form.words(COLUMNS);
        form.open("paths", "[");
    }
}

/// Returns as much of a text as an item has room for.
fn start_of(text: &str) -> &str {
    let end = (0..=255).rev().find(|at| text.is_char_boundary(*at));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

/// Writes more of a status, as much as there is room for.
pub(super) fn write_status(
    session: &mut Session,
    now: Instant,
    engine: &Engine,
    about: &About,
    request: &Request,
) {
    let subject = request.subject.as_str();
    while session.output.has_room(ITEM) {
        let mut form = Form::new(&mut session.output, request.json, ", ");
        let Some(at) = session.at.checked_sub(1) else {
            about.write(now, engine, &mut form);
            session.at = 1;
            continue;
        };
        session.at += 1;
        match engine.write_path(now, at, subject, session.rows, &mut form) {
            Some(written) => session.rows |= written,
            None => {
                form.follows();
                form.close("]");
                engine.write_summary(&mut form);
                write_sums(&mut form);
                form.end("}\n");
                let (used, missing) = engine.in_use(subject);
                let failed = request.exit_code && (missing || !used);
                return session.finish(if failed { MISSING } else { SUCCESS }, "");
            }
        }
    }
}

/// Writes what the kernel counts.
fn write_sums(form: &mut Form<'_>) {
    let sums = mib::read();
    form.words("\n");
    form.sentence();
    form.open("joins", "{");
    for (label, name, value) in [
        ("joins: tried ", "tried", sums.tried),
        ("joined ", "joined", sums.joined),
        ("failed ", "failed", sums.tried.saturating_sub(sums.joined)),
    ] {
        form.field(label, name, Value::Number(value));
    }
    form.close("}");
    form.field(
        "fallbacks to TCP ",
        "fallbacks",
        Value::Number(sums.fallbacks),
    );
    form.field("blackholes ", "blackholes", Value::Number(sums.blackholes));
}
