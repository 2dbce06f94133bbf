// SPDX-License-Identifier: BSD-3-Clause
//! What the engine gives out, in the order of urgency: subscriptions, commands, and then what is
//! to be read from the kernel.

use libc::ENOSPC;

use super::due::Due;
use super::{Command, Engine, Input};
use crate::features::{HEALING, USERSPACE};
use crate::netlink::route::{Name, PROTOCOL};
use crate::request::{CommandId, Failure, Request, Task};
use crate::time::Instant;

impl Engine {
    /// Gives out the next thing to do, if there is one now, with its number.
    pub fn poll_command(&mut self, now: Instant) -> Option<(CommandId, Command)> {
        if self.subscribed != Some(self.of_use) {
            self.subscribed = Some(self.of_use);
            return Some(self.numbered(Command::Subscribe(self.of_use)));
        }
        if USERSPACE {
            if let Some((number, command)) = self.connections.next_command() {
                self.unacked = Some(number);
                return Some((number, Command::PathManager(command)));
            }
        }
        if let Some(task) = self.next_task(now) {
            return Some(task);
        }
        if self.endpoints.take_last_look() {
            return Some(self.numbered(Command::DumpEndpoints));
        }
        if USERSPACE && !self.plugins.queue.is_awaited() {
            if let Some(local) = self.connections.next_unused() {
                return Some(self.numbered(Command::CloseListener(local)));
            }
        }
        if let Some(name) = self.next_reverse_path_check() {
            return Some(self.numbered(Command::CheckReversePath(name)));
        }
        let command = self.next_read(now)?;
        Some(self.numbered(command))
    }

    fn numbered(&mut self, command: Command) -> (CommandId, Command) {
        (self.plugins.queue.number(), command)
    }

    /// Returns the next command of the queue.
    fn next_task(&mut self, now: Instant) -> Option<(CommandId, Command)> {
        while let Some(queued) = self.plugins.queue.pop() {
            let number = queued.number;
            let request = match queued.task {
                Task::Request(request) => request,
                Task::Route(change) => return Some((number, Command::Route(change))),
            };
            let command = match request {
                Request::Kernel(command) => {
                    if !command.is_query() {
                        self.unacked = Some(number);
                    }
                    Command::PathManager(match USERSPACE {
                        true => self.connections.table.translate(command),
                        false => command,
                    })
                }
                _ if !USERSPACE => continue,
                Request::Listen(local) => Command::Listen(local),
                Request::Unlisten(local) => Command::Unlisten(local),
                Request::AnnounceIfServed { token, address } => {
                    Command::Probe(self.connections.listener_address(token, address))
                }
                Request::AnnounceWithListener { token, address } => {
                    let local = self.connections.listener_address(token, address);
                    match self.connections.listens(local) {
                        Some(false) => Command::Listen(local),
                        Some(true) => {
                            self.handle(now, Input::Listening(number, local));
                            let (number, command) = self.connections.next_command()?;
                            self.unacked = Some(number);
                            return Some((number, Command::PathManager(command)));
                        }
                        None => {
                            let failure = Failure {
                                errno: ENOSPC,
                                message: "too many listeners",
                            };
                            self.on_failed(now, number, failure);
                            continue;
                        }
                    }
                }
            };
            return Some((number, command));
        }
        None
    }

    /// Returns an uplink whose reverse-path filter is to be looked at, each once.
    fn next_reverse_path_check(&mut self) -> Option<Name> {
        if !core::mem::take(&mut self.schedule.rp_filter_check_due) || !self.of_use.routes {
            return None;
        }
        let name = self.network.next_asymmetric_route();
        self.schedule.rp_filter_check_due = name.is_some();
        name
    }

    /// Returns what is to be read from the kernel now.
    fn next_read(&mut self, now: Instant) -> Option<Command> {
        let of_use = self.readable();
        let more = USERSPACE && self.connections.table.has_pending();
        if self.schedule.read_at(of_use, more) > now {
            return None;
        }
        if more {
            // Once all are known, plugins are told before another look finds others, of which it has
            // yet to show whose they are.
            let token = self.connections.table.next_pending();
            return token.map(Command::DumpAddresses);
        }
        let mut first = self.schedule.readable(of_use).first();
        if first == Due::WAYS {
            if let Some(question) = self.network.next_question(&self.config) {
                return Some(Command::AskWay(question));
            }
            // The answers may lead to further ones.
            self.schedule.due.remove(Due::WAYS);
            first = self.schedule.readable(of_use).first();
        }
        if let Some(part) = first.network_part() {
            self.network.begin(part);
            // Without routes of our own leftovers of ours are all there is to look for.
            let protocol = if of_use.own_routes { 0 } else { PROTOCOL };
            return Some(Command::DumpNetwork(part, protocol));
        }
        match first {
            Due::ENDPOINTS => {
                self.schedule.on_endpoints_dump(now);
                self.endpoints.begin_dump();
                Some(Command::DumpEndpoints)
            }
            Due::LIMITS => Some(Command::GetLimits),
            Due::SUBFLOWS if HEALING => {
                let ours = self.endpoints.endpoints().ours().iter();
                Some(Command::Diag(self.healer.next_query(ours)))
            }
            Due::CONNECTIONS if USERSPACE => Some(Command::Diag(self.connections.next_query())),
            _ => None,
        }
    }
}
