// SPDX-License-Identifier: BSD-3-Clause
//! The kernel's path manager, `mptcp_pm`: its family, commands in batches, what becomes of them,
//! and the events of connections.
//!
//! Commands go out several to a datagram and without asking for acknowledgements: the kernel
//! carries them out within `send(2)` and reports failures unasked, so that silence by the next
//! look means success.

use crate::engine::{Engine, Incomplete, Input, Source};
use crate::features::{HEALING, USERSPACE};
use crate::logging;
use crate::netlink::attribute::Builder;
use crate::netlink::filter;
use crate::netlink::generic::{self, Controller};
use crate::netlink::message::{Ack, Message, Messages};
use crate::netlink::mptcp::{self, Command};
use crate::request::{CommandId, Reply};
use crate::sys::errno::Errno;
use crate::sys::netlink::{Received, Socket};
use crate::time::{Duration, Instant, Retry};

use super::coalesce::EventCoalescer;
use super::exchange::{exchange, read_all};
use super::{Buffers, EVENT_BUFFER, fail, hand_refusal, open_socket};

/// So many commands may be without an answer: the kernel keeps some 250 refusals for us, and those
/// of another datagram are to fit.
const MAX_UNANSWERED: u32 = 64;
/// Bytes of a batch of commands, after which it is sent.
const BATCH: usize = 2048;
/// After this long without the kernel's path manager, say so.
const PATIENCE: Duration = Duration::from_secs(10);
/// The number of the daemon's own request to nlctrl, which no command of the engine's has.
const FAMILY_REQUEST: CommandId = CommandId(0);

/// The generic-netlink family of the path manager.
#[derive(Clone, Copy)]
struct Family {
    id: u16,
    /// Number of the multicast group of events.
    events: Option<u32>,
}

/// The family, and when to look for it.
struct Discovery {
    family: Option<Family>,
    /// When to say that it is missing.
    complain_at: Instant,
    /// When to ask for it again.
    retry: Retry,
}

/// Commands that have been encoded and not been sent.
struct Batch {
    bytes: Vec<u8>,
    length: usize,
    /// The first and the last number.
    numbers: Option<(CommandId, CommandId)>,
}

/// Whether events of connections are wanted, and come.
#[derive(Default)]
struct Subscription {
    wanted: bool,
    joined: bool,
}

pub(super) struct PathManager {
    /// Commands and their answers.
    pub commands: Socket,
    /// Events of connections and of nlctrl.
    pub events: Socket,
    discovery: Discovery,
    subscription: Subscription,
    batch: Batch,
    /// The first and the last command sent whose failure could still be reported.
    unanswered: Option<(CommandId, CommandId)>,
    pub coalescer: EventCoalescer,
    /// Events were lost, and there may be more to read before that is told.
    pub lost: bool,
}

impl PathManager {
    /// Opens the sockets. The error is for the user.
    pub(super) fn open(now: Instant) -> Result<Self, String> {
        let events = open_socket(libc::NETLINK_GENERIC)?;
        events.set_receive_buffer(EVENT_BUFFER);
        if let Err(error) = events.join(generic::CONTROLLER_GROUP) {
            logging::debug!("cannot watch for the path manager to appear: {error}");
        }
        Ok(Self {
            commands: open_socket(libc::NETLINK_GENERIC)?,
            events,
            discovery: Discovery {
                family: None,
                complain_at: now + PATIENCE,
                retry: Retry::new(),
            },
            subscription: Subscription::default(),
            batch: Batch {
                bytes: vec![0; BATCH + mptcp::COMMAND_LENGTH],
                length: 0,
                numbers: None,
            },
            unanswered: None,
            coalescer: EventCoalescer::default(),
            lost: false,
        })
    }

    /// Returns when to call [`Self::on_time`].
    pub(super) fn deadline(&self) -> Instant {
        self.discovery.complain_at.min(self.discovery.retry.at())
    }

    /// Looks for the path manager if that is due, and says if it is missing for long.
    pub(super) fn on_time(&mut self, now: Instant, engine: &mut Engine, io: &mut Buffers) {
        if self.discovery.family.is_none() && self.discovery.retry.is_due(now) {
            self.find_family(now, engine, io);
        }
        if self.discovery.complain_at <= now {
            self.discovery.complain_at = Instant::NEVER;
            logging::warn!("the kernel's MPTCP path manager is not there; waiting for it");
        }
    }

    /// Adds a command to the batch. Returns whether the batch is to be sent now: it is full, or
    /// the command blocks, as a deletion does for some 16 ms (the kernel waits for RCU).
    pub(super) fn queue(
        &mut self,
        now: Instant,
        engine: &mut Engine,
        number: CommandId,
        command: &Command,
    ) -> bool {
        let room = self.batch.bytes.get_mut(self.batch.length..);
        let mut out = Builder::new(room.unwrap_or_default());
        let Some(family) = self.discovery.family else {
            fail(
                engine,
                now,
                number,
                libc::EAGAIN,
                "the path manager is not there",
            );
            return self.note_unanswered(number);
        };
        if command.encode(&mut out, family.id, number).is_err() {
            fail(engine, now, number, libc::EMSGSIZE, "");
            return self.note_unanswered(number);
        }
        self.batch.length += out.bytes().len();
        let first = self.batch.numbers.map_or(number, |(first, _)| first);
        self.batch.numbers = Some((first, number));
        self.batch.length >= BATCH || blocks(command)
    }

    /// Has the engine told of the end of a command that was not sent.
    fn note_unanswered(&mut self, number: CommandId) -> bool {
        let first = self.unanswered.map_or(number, |(first, _)| first);
        self.unanswered = Some((first, number));
        false
    }

    /// Returns whether there are commands to be sent.
    pub(super) fn has_batch(&self) -> bool {
        self.batch.numbers.is_some()
    }

    /// Sends the batch.
    pub(super) fn flush(&mut self, now: Instant, engine: &mut Engine, io: &mut Buffers) {
        let Some((first, last)) = self.batch.numbers.take() else {
            return;
        };
        let many = |(oldest, _)| first.since(oldest) >= MAX_UNANSWERED;
        if self.unanswered.is_some_and(many) {
            self.read_answers(now, engine, io, true);
        }
        let length = core::mem::take(&mut self.batch.length);
        let bytes = self.batch.bytes.get(..length).unwrap_or_default();
        let result = self.commands.send(bytes);
        let oldest = self.unanswered.map_or(first, |(oldest, _)| oldest);
        self.unanswered = Some((oldest, last));
        if let Err(error) = result {
            logging::warn!("cannot send commands to the kernel: {error}");
            let mut number = first;
            while number.is_acked_by(last) {
                fail(engine, now, number, error.0, "");
                number = number.next();
            }
        }
    }

    /// Reads what the kernel says to the commands sent so far; all else went well.
    pub(super) fn read_answers(
        &mut self,
        now: Instant,
        engine: &mut Engine,
        io: &mut Buffers,
        ready: bool,
    ) {
        let last = self.unanswered.take();
        let lost = ready && self.read_refusals(now, engine, io);
        match last {
            Some((_, last)) if lost => engine.handle(now, Input::ResultsLost(last)),
            Some((_, last)) => engine.handle(now, Input::Done(last)),
            None => {}
        }
    }

    /// Hands the engine the refusals that have come. Returns whether some were lost.
    fn read_refusals(&self, now: Instant, engine: &mut Engine, io: &mut Buffers) -> bool {
        let mut lost = false;
        loop {
            match self.commands.receive(io.inbox.whole()) {
                Ok(Some(Received::Datagram(datagram))) => {
                    let mut messages = Messages::new(datagram);
                    while let Some(Ok(message)) = messages.next() {
                        hand_refusal(engine, now, &message);
                    }
                }
                Ok(Some(Received::Truncated)) => lost = true,
                Ok(None) => return lost,
                // The kernel tells that some were lost before it gives out the others.
                Err(error) if !lost => {
                    logging::warn!("cannot read the kernel's answers: {error}");
                    lost = true;
                }
                Err(_) => return lost,
            }
        }
    }

    /// Reads what there is to be said of earlier commands, before one whose answer is waited for.
    pub(super) fn catch_up(&mut self, now: Instant, engine: &mut Engine, io: &mut Buffers) {
        self.read_answers(now, engine, io, self.unanswered.is_some());
    }

    /// Asks the path manager something for the engine, whose answer goes to `each` item by item.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        engine: &mut Engine,
        io: &mut Buffers,
        (number, command): (CommandId, &Command),
        each: &mut dyn FnMut(&mut Engine, Item<'_>),
    ) -> Result<(), Incomplete> {
        let Some(family) = self.discovery.family else {
            return Err(Incomplete::Refused(libc::EAGAIN));
        };
        self.catch_up(now, engine, io);
        let mut out = Builder::new(&mut io.out);
        let encoded = command.encode(&mut out, family.id, number);
        let request = encoded.map(|()| out.bytes());
        let buffer = io.inbox.whole();
        exchange(&self.commands, request, buffer, number, &mut |message| {
            if let Some(ack) = message.ack() {
                return each(engine, Item::Ack(ack));
            }
            let Some((_, attributes)) =
                generic::parse_header(message.payload).filter(|_| message.kind == family.id)
            else {
                return;
            };
            if let Some(endpoint) = mptcp::decode_endpoint(attributes) {
                each(engine, Item::Endpoint(endpoint));
            } else if let Some(limits) = mptcp::decode_limits(attributes) {
                each(engine, Item::Limits(limits));
            }
        })
    }

    /// Carries out a plugin's command that asks for something.
    pub(super) fn reply_to(
        &mut self,
        now: Instant,
        engine: &mut Engine,
        io: &mut Buffers,
        (number, command): (CommandId, &Command),
    ) {
        let mut failed = false;
        let mut each = |engine: &mut Engine, item: Item<'_>| {
            let reply = match item {
                Item::Endpoint(endpoint) => Reply::Endpoint(endpoint),
                Item::Limits(limits) => Reply::Limits(limits),
                Item::Ack(ack) => {
                    failed = ack.errno != 0;
                    if failed {
                        fail(engine, now, number, ack.errno, ack.message);
                    }
                    return;
                }
            };
            engine.handle(now, Input::Reply(number, &reply));
        };
        match self.ask(now, engine, io, (number, command), &mut each) {
            Ok(()) => engine.handle(now, Input::Done(number)),
            Err(Incomplete::Interrupted) => fail(engine, now, number, libc::EINTR, ""),
            // Where the kernel itself refused, its words have told that already.
            Err(Incomplete::Refused(_)) if failed => {}
            Err(Incomplete::Refused(errno)) => fail(engine, now, number, errno, ""),
        }
    }

    /// Hands the engine the events that have come.
    pub(super) fn read_events(&mut self, now: Instant, engine: &mut Engine, io: &mut Buffers) {
        self.coalescer.on_events(now);
        let family = self.discovery.family;
        let mut appeared = None;
        let lost = read_all(
            &self.events,
            &mut io.inbox,
            &mut self.lost,
            &mut |message| {
                if message.kind == generic::CONTROLLER {
                    controller(message, &mut appeared);
                } else if (USERSPACE || HEALING)
                    && family.is_some_and(|family| family.id == message.kind)
                {
                    let Some((kind, attributes)) = generic::parse_header(message.payload) else {
                        return;
                    };
                    match &mptcp::decode_event(kind, attributes) {
                        Ok(event) => engine.handle(now, Input::Connection(event)),
                        Err(error) => {
                            logging::debug!("ignoring malformed connection event: {error}")
                        }
                    }
                }
            },
        );
        if lost {
            engine.handle(now, Input::EventsLost(Source::Connections));
            if family.is_none() {
                self.discovery.retry.retry_now();
            }
        }
        if let Some(found) = appeared {
            self.set_family(now, engine, found);
        }
    }

    /// Joins the group of connection events as soon as there is one: for all of them, or for the
    /// ends of subflows alone.
    pub(super) fn subscribe(&mut self, all: bool) {
        let all = USERSPACE && all;
        if self.subscription.wanted || !(all || HEALING) {
            return;
        }
        if !all {
            if let Err(error) = self.events.attach_filter(&filter::SUBFLOW_ENDS) {
                // Every connection would wake the daemon.
                logging::warn!("cannot hear of the ends of subflows: {error}");
                return;
            }
        }
        self.subscription.wanted = true;
        self.update_subscription();
    }

    fn update_subscription(&mut self) {
        let Some(family) = self.discovery.family else {
            return;
        };
        if !self.subscription.wanted || self.subscription.joined {
            return;
        }
        let result = match family.events {
            Some(group) => self.events.join(group),
            None => Err(Errno(libc::EOPNOTSUPP)),
        };
        match result {
            Ok(()) => self.subscription.joined = true,
            Err(error) => logging::error!("cannot hear of connections: {error}"),
        }
    }

    /// Asks nlctrl for the path manager's family.
    #[inline(never)] // 200 bytes less
    fn find_family(&mut self, now: Instant, engine: &mut Engine, io: &mut Buffers) {
        self.catch_up(now, engine, io);
        self.discovery.retry.failed(now);
        let mut out = Builder::new(&mut io.out);
        let mut found = None;
        let encoded = generic::get_family(&mut out, FAMILY_REQUEST, mptcp::FAMILY_NAME);
        let request = encoded.map(|()| out.bytes());
        let mut each = |message: &Message<'_>| controller(message, &mut found);
        let buffer = io.inbox.whole();
        let answer = exchange(&self.commands, request, buffer, FAMILY_REQUEST, &mut each);
        logging::debug!(
            "path manager {}",
            if answer.is_ok() { "found" } else { "not found" }
        );
        if let Some(found) = found {
            self.set_family(now, engine, found);
        }
    }

    fn set_family(&mut self, now: Instant, engine: &mut Engine, family: Option<Family>) {
        let discovery = &mut self.discovery;
        discovery.family = family;
        self.subscription.joined = false;
        discovery.complain_at = Instant::NEVER;
        discovery.retry.succeeded();
        if family.is_none() {
            discovery.complain_at = now + PATIENCE;
            discovery.retry.failed(now);
            logging::warn!("the kernel's MPTCP path manager has gone; waiting for it");
        }
        self.update_subscription();
        engine.handle(now, Input::PathManager(family.is_some()));
    }
}

/// An item of an answer.
pub(super) enum Item<'a> {
    Endpoint(mptcp::Endpoint),
    Limits(mptcp::Limits),
    /// Its end.
    Ack(Ack<'a>),
}

/// Returns whether the kernel takes long to carry out a command.
pub(super) fn blocks(command: &Command) -> bool {
    matches!(command, Command::DeleteEndpoint(_))
}

/// Notes what nlctrl says of the path manager, if anything: that it is gone, or that it is there.
fn controller(message: &Message<'_>, found: &mut Option<Option<Family>>) {
    match generic::decode(message.payload) {
        Some(Controller::New(family)) if family.name == mptcp::FAMILY_NAME => {
            *found = Some(Some(Family {
                id: family.id,
                events: family.group(mptcp::EVENT_GROUP),
            }));
        }
        Some(Controller::Gone(family)) if family.name == mptcp::FAMILY_NAME => {
            *found = Some(None);
        }
        _ => {}
    }
}
