// SPDX-License-Identifier: BSD-3-Clause
//! What people want to hear of: the one source of the log's lines about paths and of
//! `mptcpd monitor`.

use core::fmt;
use core::net::IpAddr;

use super::Engine;
use crate::capacity;
use crate::config::flags::AddressFlags;
use crate::control::{Form, Value};
use crate::endpoint::Endpoints;
use crate::netlink::mptcp::{AddressId, Command, EndpointFlags};
use crate::netlink::route::Name;
use crate::network::{Declared, Network, Verdict};
use crate::table::Table;
use crate::time::{Duration, Instant};

/// A path that is lost so often within [`WINDOW`] is not logged each time any more.
const FLAPS: u8 = 4;
const WINDOW: Duration = Duration::from_secs(60);

/// What has happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// A path that was used is lost.
    Lost(Verdict),
    /// A path is used; if it was lost before, after how long.
    Used(Option<Duration>),
    /// The verdict on an address that is not used changes.
    Verdict(Verdict),
    /// A path comes and goes.
    Flapping,
    EndpointAdded(EndpointFlags),
    EndpointChanged(EndpointFlags),
    EndpointRemoved,
    /// Something was said of an interface.
    Declared(Declared),
    /// Events of the kernel were lost.
    Overflow,
    /// The configuration was read again, or refused.
    Reloaded(bool),
}

/// Something that has happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct News {
    pub what: What,
    /// The interface, if it is about one.
    pub name: Name,
    pub address: Option<IpAddr>,
    /// The endpoint, if there is one.
    pub id: AddressId,
    /// Not for the log, unless that has everything.
    pub quiet: bool,
}

const _: () = assert!(size_of::<News>() <= 80);

impl News {
    /// Returns one that is about neither interface nor address.
    pub fn of(what: What) -> Self {
        Self {
            what,
            name: Name::new(),
            address: None,
            id: AddressId::NONE,
            quiet: true,
        }
    }

    /// Writes it as JSON, at `time` in milliseconds since 1970.
    pub fn write(&self, time: u64, out: &mut dyn fmt::Write) {
        use What::*;
        let mut form = Form::new(out, true);
        form.row(false);
        form.json("v", Value::Number(1));
        form.json("t", Value::Span(Duration::from_millis(time)));
        let (event, reason) = match self.what {
            Lost(verdict) => ("path_lost", Some(verdict)),
            Used(_) => ("path_used", None),
            Verdict(verdict) => ("verdict", Some(verdict)),
            Flapping => ("path_flapping", None),
            EndpointAdded(_) => ("endpoint_added", None),
            EndpointChanged(_) => ("endpoint_changed", None),
            EndpointRemoved => ("endpoint_removed", None),
            Declared(_) => ("declared", None),
            Overflow => ("overflow", None),
            Reloaded(true) => ("reloaded", None),
            Reloaded(false) => ("reload_failed", None),
        };
        form.json("event", Value::Code(event));
        if !self.name.is_empty() {
            form.json("ifname", Value::Text(&self.name));
        }
        if let Some(address) = &self.address {
            form.json("address", Value::Text(address));
        }
        if self.id != AddressId::NONE {
            form.json("endpoint", Value::Number(self.id.0.into()));
        }
        if let Some(verdict) = reason {
            form.json("reason", Value::Code(verdict.reason()));
        }
        match self.what {
            Used(Some(span)) => form.json("lost_for", Value::Span(span)),
            EndpointAdded(flags) | EndpointChanged(flags) => {
                form.json("flags", Value::List(&AddressFlags(flags)));
            }
            Declared(declared) => form.json("declared", Value::Code(declared.word())),
            _ => {}
        }
        form.end("}\n");
    }
}

/// For people: the line of the log and of the monitor.
impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use What::*;
        if !self.name.is_empty() {
            write!(f, "{}: ", self.name)?;
        }
        if let Some(address) = self.address {
            write!(f, "{address} ")?;
        }
        match self.what {
            Lost(verdict) => write!(f, "lost: {}", verdict.reason())?,
            Used(None) => f.write_str("is used")?,
            Used(Some(span)) => {
                let ms = span.as_millis();
                write!(f, "back after {}.{} s", ms / 1000, ms % 1000 / 100)?;
            }
            Verdict(verdict) => verdict.fmt(f)?,
            Flapping => f.write_str("comes and goes: not logged again for a minute")?,
            EndpointAdded(flags) => write!(f, "endpoint added: {}", AddressFlags(flags))?,
            EndpointChanged(flags) => write!(f, "endpoint changed: {}", AddressFlags(flags))?,
            EndpointRemoved => f.write_str("endpoint removed")?,
            Declared(declared) => write!(f, "declared {}", declared.word())?,
            Overflow => f.write_str("events of the kernel were lost; reading everything again")?,
            Reloaded(true) => f.write_str("configuration reloaded")?,
            Reloaded(false) => f.write_str("reload failed: keeping the current configuration")?,
        }
        if self.id != AddressId::NONE {
            write!(f, " (endpoint {})", self.id.0)?;
        }
        Ok(())
    }
}

/// A path that was lost, and may be back.
struct Loss {
    name: Name,
    address: IpAddr,
    /// [`Instant::NEVER`] once it is back.
    at: Instant,
    /// Since when `times` are counted.
    since: Instant,
    times: u8,
}

const _: () = assert!(size_of::<Loss>() <= 64);

/// What is to be told, and what that takes to know.
pub(super) struct Reporter {
    waiting: Table<News>,
    losses: Table<Loss>,
    /// What there is at the start is told in one line.
    started: bool,
}

impl Reporter {
    pub(super) fn new() -> Self {
        Self {
            waiting: Table::new(capacity::NEWS),
            losses: Table::new(capacity::LOST_PATHS),
            started: false,
        }
    }

    pub(super) fn push(&mut self, event: News) {
        self.waiting.push(event);
    }

    /// Notes a command for an endpoint.
    pub(super) fn on_command(&mut self, command: &Command) {
        let (what, endpoint) = match command {
            Command::AddEndpoint(e) => (What::EndpointAdded(e.flags), e),
            Command::SetFlags(e) => (What::EndpointChanged(e.flags), e),
            Command::DeleteEndpoint(e) => (What::EndpointRemoved, e),
            _ => return,
        };
        self.push(News {
            address: Some(endpoint.address),
            id: endpoint.id,
            ..News::of(what)
        });
    }

    /// Finds what the last judgement of the network has changed.
    pub(super) fn on_judged(&mut self, now: Instant, network: &mut Network, known: &Endpoints) {
        let mut from = 0;
        while let Some((at, before)) = network.next_change(now, from) {
            from = at + 1;
            let Some(address) = network.address_at(at) else {
                return;
            };
            let (ip, verdict) = (address.address, address.verdict);
            let interface = network.interface_or_gone(address.index);
            let name = interface.map(|i| i.name.clone()).unwrap_or_default();
            let was_used = before == Verdict::Usable;
            let unknown = before == Verdict::Unjudged && verdict == Verdict::Gone;
            if unknown || !(was_used || address.may_be_path()) {
                continue;
            }
            let mut quiet = !self.started;
            let what = match verdict {
                Verdict::Usable => What::Used(self.on_used(now, &name, ip, &mut quiet)),
                _ if was_used && verdict != Verdict::Standby => {
                    self.on_lost(now, &name, ip, &mut quiet);
                    What::Lost(verdict)
                }
                _ => {
                    quiet |= !was_used;
                    What::Verdict(verdict)
                }
            };
            let ours = known.ours().iter().find(|slot| slot.endpoint.address == ip);
            self.push(News {
                what,
                name,
                address: Some(ip),
                id: ours.map_or(AddressId::NONE, |slot| slot.endpoint.id),
                quiet,
            });
        }
        self.started = true;
    }

    fn loss(&mut self, name: &Name, ip: IpAddr) -> Option<&mut Loss> {
        let mut losses = self.losses.iter_mut();
        losses.find(|loss| loss.address == ip && loss.name == *name)
    }

    /// Returns for how long it was lost.
    fn on_used(
        &mut self,
        now: Instant,
        name: &Name,
        ip: IpAddr,
        quiet: &mut bool,
    ) -> Option<Duration> {
        let loss = self
            .loss(name, ip)
            .filter(|loss| loss.at != Instant::NEVER)?;
        *quiet |= loss.times >= FLAPS;
        let at = core::mem::replace(&mut loss.at, Instant::NEVER);
        Some(now.saturating_since(at))
    }

    fn on_lost(&mut self, now: Instant, name: &Name, ip: IpAddr, quiet: &mut bool) {
        if self.loss(name, ip).is_none() {
            if self.losses.is_full() {
                self.losses.remove(0);
            }
            self.losses.push(Loss {
                name: name.clone(),
                address: ip,
                at: now,
                since: now,
                times: 0,
            });
        }
        let Some(loss) = self.loss(name, ip) else {
            return;
        };
        loss.at = now;
        if now.saturating_since(loss.since) > WINDOW {
            (loss.since, loss.times) = (now, 0);
        }
        loss.times = loss.times.saturating_add(1);
        let times = loss.times;
        *quiet |= times > FLAPS;
        if times == FLAPS {
            *quiet = true;
            self.push(News {
                name: name.clone(),
                address: Some(ip),
                quiet: false,
                ..News::of(What::Flapping)
            });
        }
    }
}

impl Engine {
    /// Returns the next thing that has happened, and forgets it.
    pub fn next_news(&mut self) -> Option<News> {
        let mut event = self.reporter.waiting.remove(0)?;
        // The endpoint of a path that is used again is younger than the news.
        if event.id == AddressId::NONE {
            if let (What::Used(_), Some(ip)) = (event.what, event.address) {
                let mut ours = self.endpoints.endpoints().ours().iter();
                let slot = ours.find(|slot| slot.endpoint.address == ip);
                event.id = slot.map_or(AddressId::NONE, |slot| slot.remembered().id);
            }
        }
        Some(event)
    }

    /// Returns how many events there was no room for.
    pub fn news_dropped(&self) -> u32 {
        self.reporter.waiting.refused()
    }
}
