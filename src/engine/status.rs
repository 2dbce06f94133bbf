// SPDX-License-Identifier: BSD-3-Clause
//! The state of every path, for `mptcpd status`: each field once, for people and for programs.

use core::fmt::{self, Write};
use core::net::IpAddr;

use libc::ERANGE;

use super::Engine;
use crate::config::flags::AddressFlags;
use crate::control::{Form, Value};
use crate::endpoint::Want;
use crate::netlink::mptcp::{Endpoint, EndpointFlags};
use crate::network::{Declared, LocalAddress, Verdict};
use crate::sys::errno::Errno;
use crate::time::Instant;

/// What a path is good for, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Active,
    Backup,
    Standby,
    Waiting,
    Unused,
    /// Another program has made the endpoint.
    Foreign,
    /// The kernel has refused the endpoint.
    Failed,
    Dead,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Backup => "backup",
            Self::Standby => "standby",
            Self::Waiting => "waiting",
            Self::Unused => "unused",
            Self::Foreign => "foreign",
            Self::Failed => "failed",
            Self::Dead => "dead",
        }
    }
}

/// Why a path waits for which the kernel, or `max-endpoints`, has no room.
pub(super) const NO_SLOT: &str = "no slot left";

/// What is known of a path.
struct Path<'a> {
    state: State,
    reason: Option<&'static str>,
    /// What can be done about it, or nothing.
    advice: &'static str,
    /// errno of the kernel's refusal, or 0.
    errno: i32,
    endpoint: Option<&'a Endpoint>,
    ours: bool,
    /// The endpoint stays although the path is lost.
    kept: bool,
}

impl Engine {
    /// Returns what is known of the path of an address.
    fn path(&self, address: &LocalAddress) -> Path<'_> {
        let known = self.endpoints.endpoints();
        let ip = address.address;
        let slot = known
            .ours()
            .iter()
            .find(|s| s.endpoint.address == ip && !s.is_deleting());
        let foreign = known
            .others()
            .iter()
            .find(|e| e.address == ip && !e.flags.contains(EndpointFlags::IMPLICIT));
        let endpoint = slot.map(|slot| &slot.endpoint).or(foreign);
        let mut path = Path {
            state: State::Unused,
            reason: Some(address.verdict.reason()),
            advice: address.verdict.advice(),
            errno: 0,
            endpoint,
            ours: slot.is_some(),
            kept: slot.is_some_and(|slot| slot.is_kept()),
        };
        path.state = match address.verdict {
            Verdict::Usable => State::Active,
            Verdict::Standby => State::Standby,
            Verdict::DeclaredDown | Verdict::Dead | Verdict::AllDead => State::Dead,
            Verdict::Down | Verdict::NoCarrier => State::Waiting,
            verdict if verdict.is_waiting() => State::Waiting,
            _ => return path,
        };
        if path.state != State::Active {
            return path;
        }
        let interface = self.network.interface(address.index);
        let flags = match (path.endpoint, interface) {
            (Some(endpoint), _) => endpoint.flags,
            (None, Some(interface)) => interface.policy.flags,
            (None, None) => EndpointFlags(0),
        };
        let is_backup = flags.contains(EndpointFlags::BACKUP);
        let is_it = |want: &Want| want.address == ip;
        let refused = known.refusals().find(|(refused, _)| *refused == ip);
        (path.state, path.reason, path.advice) = match (path.endpoint, refused) {
            (Some(_), _) if !path.ours => (
                State::Foreign,
                Some("made by another program"),
                "adopt = yes takes it over",
            ),
            (None, _) if self.lacks_slot(ip) => (
                State::Waiting,
                Some(NO_SLOT),
                "see priority and max-endpoints",
            ),
            (None, Some((_, errno))) => {
                path.errno = errno;
                (State::Failed, Some("refused"), "")
            }
            (None, None) if self.endpoints.wanted().iter().any(is_it) => {
                (State::Waiting, Some("no endpoint yet"), "")
            }
            _ if is_backup => (State::Backup, None, ""),
            _ => (State::Active, None, ""),
        };
        path
    }

    /// Returns whether an address without endpoint waits for a slot, be that known before or by the
    /// kernel's refusal.
    pub(super) fn lacks_slot(&self, ip: IpAddr) -> bool {
        let mut refusals = self.endpoints.endpoints().refusals();
        self.endpoints
            .wanted()
            .left_out()
            .any(|want| want.address == ip)
            || refusals.any(|(refused, errno)| errno == ERANGE && refused == ip)
    }

    /// Returns the addresses that a request is about: those of an interface, one by itself, or
    /// without a `subject` all that could be paths.
    fn concerned(&self, subject: &str, address: &LocalAddress) -> bool {
        if subject.is_empty() {
            return address.may_be_path();
        }
        let interface = self.network.interface(address.index);
        if interface.is_some_and(|interface| interface.name == subject) {
            return true;
        }
        subject.parse() == Ok(address.address)
    }

    /// Returns whether there is an interface or an address of this name.
    pub fn knows(&self, subject: &str) -> bool {
        let mut addresses = self.network.addresses();
        subject.is_empty()
            || self.network.interfaces().any(|i| i.name == subject)
            || addresses.any(|address| self.concerned(subject, address))
    }

    /// Returns whether a path is in use, and whether one is not that should be.
    pub fn in_use(&self, subject: &str) -> (bool, bool) {
        let (mut used, mut missing) = (false, false);
        let addresses = self.network.addresses();
        for address in addresses.filter(|a| self.concerned(subject, a)) {
            let state = self.path(address).state;
            used |= matches!(state, State::Active | State::Backup | State::Foreign);
            let no_link = matches!(address.verdict, Verdict::Down | Verdict::NoCarrier);
            let lost = matches!(state, State::Dead | State::Failed) || no_link;
            missing |= lost && address.may_be_path();
        }
        (used, missing)
    }

    /// Writes the row of the address at a place of the table. `None` if there are no more; or else
    /// whether there was something to write.
    pub fn write_path(
        &self,
        now: Instant,
        at: usize,
        subject: &str,
        follows: bool,
        form: &mut Form<'_>,
    ) -> Option<bool> {
        let address = self.network.addresses().nth(at)?;
        if !self.concerned(subject, address) {
            return Some(false);
        }
        let interface = self.network.interface(address.index);
        let path = self.path(address);
        let name = self.name_of(address);
        form.row(follows);
        form.cell("ifname", Value::Text(&name));
        form.json("ifindex", Value::Number(address.index.0.into()));
        form.cell("address", Value::Text(&address.address));
        let family = if address.address.is_ipv4() {
            "ipv4"
        } else {
            "ipv6"
        };
        form.json("family", Value::Code(family));
        form.cell("state", Value::Code(path.state.word()));
        match &path.endpoint {
            Some(endpoint) => {
                form.open("endpoint", "{");
                form.cell("id", Value::Number(endpoint.id.0.into()));
                form.cell("flags", Value::List(&AddressFlags(endpoint.flags)));
                form.json("ours", Value::Flag(path.ours));
                form.json("kept", Value::Flag(path.kept));
                form.close("}");
            }
            None => {
                form.cell("endpoint", Value::Nothing);
                form.shown(Value::Nothing);
            }
        }
        form.cell("since", Value::Span(now.age(address.since)));
        self.write_joins(address.address, form);
        form.cell("reason", path.reason.map_or(Value::Nothing, Value::Code));
        if path.errno != 0 {
            form.json("errno", Value::Number(path.errno.unsigned_abs().into()));
            form.words(": ");
            form.append(&Errno(path.errno));
        }
        if path.advice.is_empty() {
            form.json("advice", Value::Nothing);
        } else {
            form.json("advice", Value::Text(&path.advice));
            for part in [" (", path.advice, ")"] {
                form.words(part);
            }
        }
        if path.kept {
            form.words("; endpoint kept for connections");
        }
        #[cfg(feature = "health")]
        self.write_probes(now, address, form);
        if let Some(interface) = interface {
            form.json("priority", Value::Signed(interface.policy.priority));
            form.json("declared", Value::Code(interface.declared.word()));
            if interface.declared == Declared::Backup {
                form.words("; declared backup");
            }
        }
        form.end("}");
        Some(true)
    }

    /// Writes what became of the joins from an address. The kernel does not tell which of its own
    /// path manager's came about.
    fn write_joins(&self, address: IpAddr, form: &mut Form<'_>) {
        let tally = self.report.joins.of(address);
        let (joined, failed) = tally.map_or((0, 0), |tally| (tally.joined, tally.failed));
        let known = |count: u32| match self.manages_connections() {
            true => Value::Number(count.into()),
            false => Value::Nothing,
        };
        form.open("joins", "{");
        form.json("tried", known(joined.saturating_add(failed)));
        form.cell("joined", known(joined));
        form.cell("failed", Value::Number(failed.into()));
        form.close("}");
    }

    /// Writes to which uplinks new connections are steered.
    #[cfg(feature = "health")]
    fn write_steering(&self, form: &mut Form<'_>) {
        form.sentence();
        form.open("steering", "{");
        let mut start = "steering: ";
        let families = [("ipv4 by ", "ipv4"), ("ipv6 by ", "ipv6")];
        for (index, (label, name)) in self.router.steered().into_iter().zip(families) {
            match self.network.interface(index) {
                Some(interface) => {
                    form.words(core::mem::take(&mut start));
                    form.field(label, name, Value::Text(&interface.name));
                }
                None => form.json(name, Value::Nothing),
            }
        }
        form.close("}");
        form.words(if start.is_empty() { "\n" } else { "" });
    }

    /// Writes steering, limits and counters, which come last.
    pub fn write_summary(&self, form: &mut Form<'_>) {
        #[cfg(feature = "health")]
        self.write_steering(form);
        form.sentence();
        if let Some(limits) = self.endpoints.limits().current() {
            form.open("limits", "{");
            form.field(
                "limits: subflows ",
                "subflows",
                Value::Number(limits.subflows.into()),
            );
            let accepted = Value::Number(limits.add_addr_accepted.into());
            form.field("add_addr_accepted ", "add_addr_accepted", accepted);
            form.close("}");
            form.words("\n");
        }
        form.sentence();
        form.open("counters", "{");
        let counters = &self.report.counters;
        let tables = self.network.refused() + self.plugins.queue.refused();
        for (label, name, value) in [
            ("counters: events ", "events", counters.events),
            (
                "connection events ",
                "connection_events",
                counters.connection_events,
            ),
            ("overflows ", "overflows", counters.overflows),
            ("commands ", "commands", counters.commands),
            ("refused ", "refused", counters.refusals),
            ("tables full ", "tables_full", tables.into()),
        ] {
            form.field(label, name, Value::Number(value));
        }
        form.close("}");
    }

    /// Writes a line with the ends of the connection at a place of the table and for how many seconds
    /// it has been there, if a plugin has seen it begin. Returns false if there are no more.
    pub fn write_age(&self, now: Instant, at: usize, out: &mut dyn Write) -> bool {
        let found = self.connections.table().age(now, at);
        if let Some(Some((local, remote, age))) = found {
            let _ = writeln!(out, "{local} {remote} {age}");
        }
        found.is_some()
    }

    /// Writes what matters most in one line: how many endpoints or paths there are, and what waits.
    pub fn write_line(&self, out: &mut dyn Write) -> fmt::Result {
        let is_used = |address: &&LocalAddress| {
            matches!(
                self.path(address).state,
                State::Active | State::Backup | State::Foreign
            )
        };
        let used = self.network.usable().filter(is_used).count();
        let what = match self.manages_connections() {
            true => "path",
            false => "endpoint",
        };
        write!(out, "{used} {what}{}", if used == 1 { "" } else { "s" })?;
        let mut separator = ": ";
        let mut last = ("", "");
        for waits in [false, true] {
            for address in self.network.addresses() {
                let verdict = address.verdict;
                let reason = match waits {
                    false if verdict.is_used() && is_used(&address) => "",
                    true if verdict.is_waiting() => verdict.reason(),
                    _ => continue,
                };
                let told = (self.name_of(address), reason);
                if core::mem::replace(&mut last, told) == told {
                    continue;
                }
                let parts = match waits {
                    false => [separator, told.0, "", ""],
                    true => ["; ", told.0, " waits: ", reason],
                };
                for part in parts {
                    out.write_str(part)?;
                }
                separator = ", ";
            }
        }
        Ok(())
    }

    fn name_of(&self, address: &LocalAddress) -> &str {
        let interface = self.network.interface(address.index);
        interface.map_or("?", |interface| interface.name.as_str())
    }
}
