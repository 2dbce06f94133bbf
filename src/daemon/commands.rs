// SPDX-License-Identifier: BSD-3-Clause
//! What the engine asks for: each command goes to the driver of the socket that it is for.

use std::net::SocketAddr;

use super::path_manager::{Item, blocks};
use super::{Daemon, fail};
use crate::engine::{Command, Engine, Incomplete, Input};
use crate::features::{HEALING, SOURCE_ROUTING, USERSPACE};
use crate::logging;
use crate::netlink::mptcp;
use crate::request::CommandId;
use crate::sys::errno;
use crate::sys::{listener, sysctl};
use crate::time::Instant;

/// The other way out of a strict reverse-path filter, where there is one.
const OTHER_WAY: &str = match SOURCE_ROUTING {
    true => "use source-routing, or ",
    false => "",
};

impl Daemon {
    /// Carries out a command. Returns whether it was one that blocks.
    pub(super) fn carry_out(&mut self, now: Instant, number: CommandId, command: &Command) -> bool {
        if let Command::PathManager(command) = command {
            if !command.is_query() {
                let engine = &mut self.engine;
                if self.path_manager.queue(now, engine, number, command) {
                    self.flush(now);
                }
                return blocks(command);
            }
        }
        // Questions go together, and wait for nothing else.
        let is_question = matches!(command, Command::AskWay(_));
        if !is_question {
            self.flush(now);
        }
        let (engine, io) = (&mut self.engine, &mut self.io);
        if !is_question {
            self.path_manager.catch_up(now, engine, io);
        }
        match command {
            Command::AskWay(question) => {
                if self.rtnetlink.queue(number, *question) {
                    self.flush(now);
                }
            }
            Command::Subscribe(wanted) => {
                self.rtnetlink.subscribe(wanted.routes, engine.config());
                self.path_manager.subscribe(wanted.connections);
            }
            Command::DumpNetwork(part, protocol) => {
                let what = (*part, *protocol);
                self.rtnetlink.dump(now, engine, io, number, what);
            }
            Command::DumpEndpoints => {
                let question = (number, &mptcp::Command::DumpEndpoints);
                let mut each = |engine: &mut Engine, item: Item<'_>| {
                    if let Item::Endpoint(endpoint) = item {
                        engine.handle(now, Input::Endpoint(endpoint));
                    }
                };
                let pm = &mut self.path_manager;
                let result = pm.ask(now, engine, io, question, &mut each);
                engine.handle(now, Input::EndpointsEnd(result));
                // What could not be written before, if no command has come since.
                self.state.save(now, engine, io);
            }
            Command::GetLimits => self.get_limits(now, number),
            Command::Diag(query) if USERSPACE || HEALING => {
                self.diag.query(now, engine, io, (number, query))
            }
            Command::Route(change) => self.rtnetlink.change(now, engine, io, number, change),
            Command::CheckReversePath(name) => {
                if sysctl::has_strict_reverse_path(name) {
                    logging::warn!(
                        "{name}: strict rp_filter drops what comes in, since another interface is \
                         preferred: {OTHER_WAY}write 2 to \
                         /proc/sys/net/ipv4/conf/{name}/rp_filter"
                    );
                }
            }
            command => self.serve_plugins(now, number, command),
        }
        false
    }

    /// Carries out what only plugins that manage connections need.
    fn serve_plugins(&mut self, now: Instant, number: CommandId, command: &Command) {
        if !USERSPACE {
            return;
        }
        let (engine, io) = (&mut self.engine, &mut self.io);
        match command {
            Command::PathManager(command) => {
                let question = (number, command);
                self.path_manager.reply_to(now, engine, io, question);
            }
            Command::DumpAddresses(token) => {
                let token = *token;
                let question = (number, &mptcp::Command::DumpAddresses { token });
                let mut each = |engine: &mut Engine, item: Item<'_>| {
                    if let Item::Endpoint(address) = item {
                        engine.handle(now, Input::ConnectionAddress(token, address));
                    }
                };
                let pm = &mut self.path_manager;
                let result = pm.ask(now, engine, io, question, &mut each);
                engine.handle(now, Input::ConnectionAddressesEnd(token, result));
            }
            Command::Listen(local) => {
                let result = self.listeners.open(*local);
                self.listening(now, number, result, "cannot listen there");
            }
            Command::Probe(local) => {
                let result = listener::probe(*local).map(|()| *local);
                self.listening(now, number, result, "");
            }
            Command::Unlisten(local) => {
                if self.listeners.close(*local) {
                    engine.handle(now, Input::Done(number));
                } else {
                    fail(engine, now, number, libc::EINVAL, "nobody listens there");
                }
            }
            Command::CloseListener(local) => {
                self.listeners.close(*local);
            }
            _ => {}
        }
    }

    fn get_limits(&mut self, now: Instant, number: CommandId) {
        let (engine, io) = (&mut self.engine, &mut self.io);
        let mut shown = Err(Incomplete::Interrupted);
        let mut each = |_: &mut Engine, item: Item<'_>| {
            if let Item::Limits(limits) = item {
                shown = Ok(limits);
            }
        };
        let question = (number, &mptcp::Command::GetLimits);
        let pm = &mut self.path_manager;
        let result = pm.ask(now, engine, io, question, &mut each);
        engine.handle(now, Input::Limits(result.and(shown)));
    }

    fn listening(
        &mut self,
        now: Instant,
        number: CommandId,
        result: errno::Result<SocketAddr>,
        message: &str,
    ) {
        match result {
            Ok(local) => self.engine.handle(now, Input::Listening(number, local)),
            Err(error) => {
                fail(&mut self.engine, now, number, error.0, message);
            }
        }
    }
}
