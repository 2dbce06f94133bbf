// SPDX-License-Identifier: BSD-3-Clause
//! rtnetlink: events of the network, dumps of it, and changes of our routes and rules.

use crate::config::Config;
use crate::engine::{Engine, Incomplete, Input, Source};
use crate::logging;
use crate::netlink::attribute::Builder;
use crate::netlink::filter;
use crate::netlink::message::Message;
use crate::netlink::route;
#[cfg(feature = "health")]
use crate::netlink::{IfIndex, Seq};
use crate::network::route::Change;
use crate::network::{Part, Question};
use crate::request::CommandId;
use crate::sys::netlink::Socket;
use crate::time::Instant;

use super::exchange::{ask, exchange, read_all};
use super::{Buffers, EVENT_BUFFER, hand_refusal, open_socket};

/// The groups that tell of routes and rules.
const ROUTING_GROUPS: [u32; 5] = [
    route::GROUP_IPV4_ROUTE,
    route::GROUP_IPV4_RULE,
    route::GROUP_IPV6_ROUTE,
    route::GROUP_IPV6_RULE,
    route::GROUP_NEXTHOP,
];

/// Questions asked with one datagram: the kernel keeps a page for each answer until that is read.
const QUESTIONS: usize = 16;

pub(super) struct Rtnetlink {
    pub events: Socket,
    requests: Socket,
    /// Questions that are asked together.
    questions: heapless::Vec<(CommandId, Question), QUESTIONS>,
    /// Joined [`ROUTING_GROUPS`].
    hears_routes: bool,
    /// Events were lost, and there may be more to read before that is told.
    pub lost: bool,
}

impl Rtnetlink {
    /// Opens the sockets and joins the groups of links and addresses. The error is for the user.
    pub(super) fn open() -> Result<Self, String> {
        let events = open_socket(libc::NETLINK_ROUTE)?;
        events.set_receive_buffer(EVENT_BUFFER);
        for group in [
            route::GROUP_LINK,
            route::GROUP_IPV4_ADDRESS,
            route::GROUP_IPV6_ADDRESS,
        ] {
            events
                .join(group)
                .map_err(|error| format!("cannot watch the network: {error}"))?;
        }
        let requests = open_socket(libc::NETLINK_ROUTE)?;
        requests.set_strict_check();
        Ok(Self {
            events,
            requests,
            questions: heapless::Vec::new(),
            hears_routes: false,
            lost: false,
        })
    }

    /// Joins the groups of routes and rules, or leaves them.
    pub(super) fn subscribe(&mut self, routes: bool, config: &Config) {
        if core::mem::replace(&mut self.hears_routes, routes) == routes {
            return;
        }
        if routes {
            // Not earlier: the kernel compiles it, a twentieth of a start that does without.
            self.filter(config);
        }
        for group in ROUTING_GROUPS {
            // A kernel without IPv6, policy routing or nexthop objects lacks some of them.
            let _ = if routes {
                self.events.join(group)
            } else {
                self.events.leave(group)
            };
        }
    }

    /// Has the kernel drop the events of routes that lead elsewhere.
    pub(super) fn filter(&self, config: &Config) {
        if self.hears_routes {
            let program = filter::routes(&|ipv4, at| config.destination(ipv4, at));
            if let Err(error) = self.events.attach_filter(&program) {
                logging::debug!("cannot filter route events: {error}");
            }
        }
    }

    /// Hands the engine the events that have come.
    pub(super) fn read_events(&mut self, now: Instant, engine: &mut Engine, io: &mut Buffers) {
        let lost = read_all(
            &self.events,
            &mut io.inbox,
            &mut self.lost,
            &mut |message| {
                if let Some(notification) = &route::decode(message.kind, message.payload) {
                    engine.handle(now, Input::Network(notification));
                }
            },
        );
        if lost {
            engine.handle(now, Input::EventsLost(Source::Network));
        }
    }

    /// Dumps a part of the network; of routes only those of `protocol`, unless that is 0.
    pub(super) fn dump(
        &self,
        now: Instant,
        engine: &mut Engine,
        io: &mut Buffers,
        number: CommandId,
        (part, protocol): (Part, u8),
    ) {
        let mut out = Builder::new(&mut io.out);
        let encoded = match part {
            Part::Links => route::dump_links(&mut out, number),
            Part::Addresses => route::dump_addresses(&mut out, number),
            Part::Routes(family) => route::dump_routes(&mut out, number, family, protocol),
            Part::Rules(family) => route::dump_rules(&mut out, number, family),
        };
        let request = encoded.map(|()| out.bytes());
        let mut each = |message: &Message<'_>| {
            if let Some(item) = &route::decode(message.kind, message.payload) {
                engine.handle(now, Input::NetworkItem(item));
            }
        };
        let buffer = io.inbox.whole();
        let result = exchange(&self.requests, request, buffer, number, &mut each);
        engine.handle(now, Input::NetworkEnd(part, result));
    }

    /// Puts a question to those that are asked together. Returns whether that is all there is room
    /// for.
    pub(super) fn queue(&mut self, number: CommandId, question: Question) -> bool {
        // There is room: whoever hears that it is full asks.
        let _ = self.questions.push((number, question));
        self.questions.is_full()
    }

    /// Asks the questions.
    pub(super) fn flush(&mut self, now: Instant, engine: &mut Engine, io: &mut Buffers) {
        if self.questions.is_empty() {
            return;
        }
        let mut out = Builder::new(&mut io.out);
        let mut encoded = Ok(());
        for (number, question) in &self.questions {
            encoded = encoded.and(route::get_route(&mut out, *number, &question.query()));
        }
        let questions = &mut self.questions;
        let mut each = |message: &Message<'_>| {
            let asked = questions
                .iter()
                .position(|(number, _)| *number == message.seq);
            let route;
            let answer = match message.ack() {
                // It has no room for the answer.
                Some(ack) if matches!(ack.errno, libc::ENOBUFS | libc::ENOMEM) => {
                    Err(Incomplete::Refused(ack.errno))
                }
                Some(_) => Ok(None),
                None => {
                    route = route::decode_answer(message.kind, message.payload);
                    Ok(route.as_ref())
                }
            };
            if let Some(at) = asked {
                let (_, question) = questions.swap_remove(at);
                engine.handle(now, Input::Way(question, answer));
            }
            !questions.is_empty()
        };
        let request = encoded.map(|()| out.bytes());
        let result = ask(&self.requests, request, &mut io.inbox, &mut each);
        let cause = result.err().unwrap_or(Incomplete::Interrupted);
        while let Some((_, question)) = self.questions.pop() {
            engine.handle(now, Input::Way(question, Err(cause)));
        }
    }

    /// Returns the counters of an interface; `None` if there are none.
    #[cfg(feature = "health")]
    pub(super) fn counters(&self, io: &mut Buffers, index: IfIndex) -> Option<route::Counters> {
        let mut out = Builder::new(&mut io.out);
        let encoded = route::get_counters(&mut out, Seq(0), index);
        let request = encoded.map(|()| out.bytes());
        let mut found = None;
        let mut each = |message: &Message<'_>| {
            found = route::decode_counters(message.kind, message.payload);
            false
        };
        ask(&self.requests, request, &mut io.inbox, &mut each).ok()?;
        found
    }

    /// Changes a route or a rule of ours.
    pub(super) fn change(
        &self,
        now: Instant,
        engine: &mut Engine,
        io: &mut Buffers,
        number: CommandId,
        change: &Change,
    ) {
        let mut out = Builder::new(&mut io.out);
        let encoded = change.encode(&mut out, number);
        let request = encoded.map(|()| out.bytes());
        let mut each = |message: &Message<'_>| {
            hand_refusal(engine, now, message);
        };
        let buffer = io.inbox.whole();
        if exchange(&self.requests, request, buffer, number, &mut each).is_ok() {
            engine.handle(now, Input::Done(number));
        }
    }
}
