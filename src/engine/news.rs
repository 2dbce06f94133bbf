// SPDX-License-Identifier: BSD-3-Clause
//! What people want to hear of: the one source of the log's lines about paths and of
//! `mptcpd monitor`.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use super::Engine;
use super::status::NO_SLOT;
use crate::capacity;
use crate::config::flags::AddressFlags;
use crate::connection::Connections;
use crate::control::{Form, Value};
use crate::endpoint::Endpoints;
#[cfg(feature = "health")]
use crate::netlink::IfIndex;
use crate::netlink::mptcp::{AddressId, Command, EndpointFlags, Event, ip_of};
#[cfg(feature = "health")]
use crate::netlink::route::Family;
use crate::netlink::route::Name;
use crate::network::{Declared, Network, Verdict};
use crate::sys::errno::Errno;
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
    Used(Option<u64>),
    /// A path may be used, but has to wait for a slot in the kernel.
    LacksSlot,
    /// The verdict on an address that is not used changes.
    Verdict(Verdict),
    /// A path comes and goes.
    Flapping,
    /// How often it was lost meanwhile, and how it is now.
    Settled(u8, Verdict),
    EndpointAdded(EndpointFlags),
    EndpointChanged(EndpointFlags),
    EndpointRemoved,
    /// Something was said of an interface.
    Declared(Declared),
    /// New connections of the family are steered to an uplink from now on, or no longer.
    #[cfg(feature = "health")]
    Steered(Family, bool),
    /// Events of the kernel were lost.
    Overflow,
    /// The configuration was read again, or refused.
    Reloaded(bool),
    /// Of connections that a plugin follows.
    ConnectionEstablished,
    ConnectionClosed,
    SubflowEstablished,
    /// With the errno that ended it, or 0.
    SubflowClosed(u8),
}

/// Something that has happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct News {
    pub what: What,
    /// The interface, if it is about one.
    pub name: Name,
    pub address: Option<IpAddr>,
    /// The ends of a connection or a subflow.
    pub ends: Option<(SocketAddr, SocketAddr)>,
    /// The endpoint, if there is one.
    pub id: AddressId,
    /// Not for the log, unless that has everything.
    pub quiet: bool,
}

const _: () = assert!(size_of::<News>() <= 144);

impl News {
    /// Returns one that is about neither interface nor address.
    pub fn of(what: What) -> Self {
        Self {
            what,
            name: Name::new(),
            address: None,
            ends: None,
            id: AddressId::NONE,
            quiet: true,
        }
    }

    /// Returns its name in JSON, and how it is told.
    fn words(&self) -> (&'static str, &'static str) {
        use What::*;
        match self.what {
            Lost(_) => ("path_lost", "lost: "),
            Used(None) => ("path_used", "is used"),
            Used(Some(_)) => ("path_used", "back after "),
            LacksSlot => ("verdict", "waiting: "),
            Verdict(verdict) => ("verdict", verdict.kind()),
            Flapping => (
                "path_flapping",
                "comes and goes: not logged again for a minute",
            ),
            Settled(..) => ("path_settled", "was lost "),
            EndpointAdded(_) => ("endpoint_added", "endpoint added: "),
            EndpointChanged(_) => ("endpoint_changed", "endpoint changed: "),
            EndpointRemoved => ("endpoint_removed", "endpoint removed"),
            Declared(_) => ("declared", "declared "),
            #[cfg(feature = "health")]
            Steered(_, true) => (
                "steering_begun",
                "takes new connections off a dead uplink: ",
            ),
            #[cfg(feature = "health")]
            Steered(_, false) => ("steering_ended", "takes new connections no longer: "),
            Overflow => (
                "overflow",
                "events of the kernel were lost; reading everything again",
            ),
            Reloaded(true) => ("reloaded", "configuration reloaded"),
            Reloaded(false) => (
                "reload_failed",
                "reload failed: keeping the current configuration",
            ),
            ConnectionEstablished => ("connection_established", "connection established"),
            ConnectionClosed => ("connection_closed", "connection closed"),
            SubflowEstablished => ("subflow_established", "subflow established"),
            SubflowClosed(0) => ("subflow_closed", "subflow closed"),
            SubflowClosed(_) => ("subflow_closed", "subflow closed: "),
        }
    }

    /// Writes it: the line of the log and of the monitor, without its end.
    pub fn write(&self, form: &mut Form<'_>) {
        use What::*;
        let (event, words) = self.words();
        form.json("event", Value::Code(event));
        if !self.name.is_empty() {
            form.field("", "ifname", Value::Text(&self.name));
            form.words(": ");
        }
        if let Some(address) = &self.address {
            form.field("", "address", Value::Text(address));
            form.words(" ");
        }
        if let Some((local, remote)) = &self.ends {
            form.field("", "local", Value::Text(local));
            form.field(" to ", "remote", Value::Text(remote));
            form.words(" ");
        }
        form.words(words);
        match self.what {
            Lost(verdict) | Verdict(verdict) => {
                form.field("", "reason", Value::Code(verdict.reason()));
            }
            Used(Some(span)) => form.field("", "lost_for", Value::Seconds(span)),
            LacksSlot => form.field("", "reason", Value::Code(NO_SLOT)),
            Settled(times, verdict) => {
                form.field("", "times", Value::Number(times.into()));
                form.words(" times within a minute; now ");
                form.words(verdict.kind());
                form.field("", "reason", Value::Code(verdict.reason()));
            }
            EndpointAdded(flags) | EndpointChanged(flags) => {
                form.field("", "flags", Value::List(&AddressFlags(flags)));
            }
            Declared(declared) => form.field("", "declared", Value::Code(declared.word())),
            #[cfg(feature = "health")]
            Steered(family, _) => form.field("", "family", Value::Code(family.word())),
            SubflowClosed(errno) if errno != 0 => {
                form.json("errno", Value::Number(errno.into()));
                form.append(&Errno(errno.into()));
            }
            _ => {}
        }
        if self.id != AddressId::NONE {
            form.field(" (endpoint ", "endpoint", Value::Number(self.id.0.into()));
            form.words(")");
        }
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(&mut Form::new(f, false, ""));
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
    /// Somebody is listening who wants to hear of connections.
    pub(super) monitored: bool,
}

impl Reporter {
    pub(super) fn new() -> Self {
        Self {
            waiting: Table::new(capacity::NEWS),
            losses: Table::new(capacity::LOST_PATHS),
            started: false,
            monitored: false,
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

    /// Notes an event of a connection that a plugin follows, of which the table is yet to hear.
    pub(super) fn on_event(&mut self, event: &Event, network: &Network, known: &Connections) {
        // However many there are, paths find room beside them.
        if !self.monitored || self.waiting.len() >= capacity::NEWS / 2 {
            return;
        }
        let (what, ends) = match event {
            Event::Established(c) => (What::ConnectionEstablished, (c.local, c.remote)),
            Event::Closed { token } => match known.get(*token) {
                Some(c) => (What::ConnectionClosed, (c.local, c.remote)),
                None => return,
            },
            Event::SubflowEstablished(s) => (What::SubflowEstablished, (s.local, s.remote)),
            Event::SubflowClosed(s) => (What::SubflowClosed(s.error), (s.local, s.remote)),
            _ => return,
        };
        let interface = network.interface_of(ip_of(&ends.0));
        self.push(News {
            name: interface.map(|i| i.name.clone()).unwrap_or_default(),
            ends: Some(ends),
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
            let was_used = before.is_used();
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
                ends: None,
                id: ours.map_or(AddressId::NONE, |slot| slot.endpoint.id),
                quiet,
            });
        }
        self.started = true;
    }

    /// Returns when a minute is over in which a path came and went.
    pub(super) fn deadline(&self) -> Instant {
        let flapping = self.losses.iter().filter(|loss| loss.times >= FLAPS);
        let ends = flapping.map(|loss| loss.since + WINDOW);
        ends.min().unwrap_or(Instant::NEVER)
    }

    /// Says how such paths are now, of which not everything was logged.
    pub(super) fn on_time(&mut self, now: Instant, network: &Network) {
        let is_over = |loss: &&mut Loss| loss.times >= FLAPS && loss.since + WINDOW <= now;
        while let Some(loss) = self.losses.iter_mut().find(is_over) {
            let times = core::mem::take(&mut loss.times);
            let (name, ip) = (loss.name.clone(), loss.address);
            let on = |index| network.interface(index).is_some_and(|i| i.name == name);
            let mut addresses = network.addresses();
            let address = addresses.find(|a| a.address == ip && on(a.index));
            let verdict = address.map_or(Verdict::Gone, |a| a.verdict);
            self.push(News {
                name,
                address: Some(ip),
                quiet: false,
                ..News::of(What::Settled(times, verdict))
            });
        }
    }

    fn loss(&mut self, name: &Name, ip: IpAddr) -> Option<&mut Loss> {
        let mut losses = self.losses.iter_mut();
        losses.find(|loss| loss.address == ip && loss.name == *name)
    }

    /// Returns for how long it was lost.
    fn on_used(&mut self, now: Instant, name: &Name, ip: IpAddr, quiet: &mut bool) -> Option<u64> {
        let loss = self
            .loss(name, ip)
            .filter(|loss| loss.at != Instant::NEVER)?;
        *quiet |= loss.times >= FLAPS;
        let at = core::mem::replace(&mut loss.at, Instant::NEVER);
        Some(now.age(at))
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
    /// Finds whether steering has begun or ended.
    #[cfg(feature = "health")]
    pub(super) fn report_steering(&mut self) {
        let steered = self.router.steered();
        let before = core::mem::replace(&mut self.report.steered, steered);
        let changes = before.into_iter().zip(steered);
        for ((before, now), family) in changes.zip([Family::Ipv4, Family::Ipv6]) {
            if before == now {
                continue;
            }
            let begins = now != IfIndex::NONE;
            let index = if begins { now } else { before };
            let interface = self.network.interface_or_gone(index);
            self.report.news.push(News {
                name: interface.map(|i| i.name.clone()).unwrap_or_default(),
                quiet: false,
                ..News::of(What::Steered(family, begins))
            });
        }
    }

    /// Returns the next thing that has happened, and forgets it.
    pub fn next_news(&mut self) -> Option<News> {
        let mut event = self.report.news.waiting.take(0)?;
        // The endpoint of a path that is used again is younger than the news.
        if event.id == AddressId::NONE {
            if let (What::Used(_) | What::Settled(..), Some(ip)) = (event.what, event.address) {
                let mut ours = self.endpoints.endpoints().ours().iter();
                let slot = ours.find(|slot| slot.endpoint.address == ip);
                event.id = slot.map_or(AddressId::NONE, |slot| slot.remembered().id);
                if matches!(event.what, What::Used(_)) && self.lacks_slot(ip) {
                    event.what = What::LacksSlot;
                }
            }
        }
        Some(event)
    }

    /// Returns whether something is yet to be told.
    pub fn has_news(&self) -> bool {
        !self.report.news.waiting.is_empty()
    }

    /// Says whether somebody wants to hear of connections.
    pub fn set_monitored(&mut self, monitored: bool) {
        self.report.news.monitored = monitored;
    }

    /// Returns how many events there was no room for.
    pub fn news_dropped(&self) -> u32 {
        self.report.news.waiting.refused()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_path_is_that_came_and_went_is_told_once_the_minute_is_over() {
        let mut reporter = Reporter::new();
        let (name, network) = (Name::try_from("wan1").unwrap(), Network::new());
        let ip = "10.0.1.1".parse().unwrap();
        let seconds = |seconds| Instant(0) + Duration::from_secs(seconds);
        let mut logged = vec![];
        for at in 1..=FLAPS + 2 {
            assert_eq!(reporter.deadline() == Instant::NEVER, at <= FLAPS);
            let mut quiet = false;
            reporter.on_lost(seconds(at.into()), &name, ip, &mut quiet);
            logged.push(!quiet);
            reporter.on_used(seconds(at.into()), &name, ip, &mut quiet);
        }
        assert_eq!(logged, [true, true, true, false, false, false]);
        let end = seconds(61);
        assert_eq!(reporter.deadline(), end);
        reporter.on_time(seconds(60), &network);
        reporter.on_time(end, &network);
        reporter.on_time(end, &network);
        let told: Vec<News> = core::iter::from_fn(|| reporter.waiting.take(0)).collect();
        let [flapping, settled] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(flapping.what, What::Flapping);
        assert!(!settled.quiet);
        let line = "wan1: 10.0.1.1 was lost 6 times within a minute; now gone";
        assert_eq!(settled.to_string(), line);
        assert_eq!(reporter.deadline(), Instant::NEVER);
    }

    #[cfg(feature = "health")]
    #[test]
    fn steering_is_told_to_people_and_programs() {
        for (begins, line, event) in [
            (
                true,
                "wan2: takes new connections off a dead uplink: ipv6",
                "steering_begun",
            ),
            (
                false,
                "wan2: takes new connections no longer: ipv6",
                "steering_ended",
            ),
        ] {
            let news = News {
                name: Name::try_from("wan2").unwrap(),
                ..News::of(What::Steered(Family::Ipv6, begins))
            };
            assert_eq!(news.to_string(), line);
            let mut json = String::new();
            news.write(&mut Form::new(&mut json, true, ""));
            let wanted = format!("\"event\":\"{event}\",\"ifname\":\"wan2\",\"family\":\"ipv6\"");
            assert_eq!(json, wanted);
        }
    }
}
