// SPDX-License-Identifier: BSD-3-Clause
//! What the bench has in the place of a kernel: it does what it is asked to, and answers.

use core::net::{IpAddr, SocketAddr};

use super::{Bench, Device, Joined, PENDING, PERMANENT, subflow};
use crate::engine::{Command as Asked, Incomplete, Input};
use crate::netlink::diag::{self, Query};
use crate::netlink::mptcp::{Command, ConnectionEvent, EndpointFlags, Event, Limits, SubflowEvent};
use crate::netlink::route::{Address, Family, Hop, Link, Notification, Route};
use crate::network::route::{TABLE_MAIN, UNICAST};
use crate::network::way::Question;
use crate::network::{IFF_RUNNING, IFF_UP, Part};
use crate::request::{CommandId, Failure};

impl Bench {
    /// Ends subflows, with an event for each.
    pub(super) fn end(&mut self, error: u8, which: &dyn Fn(&SubflowEvent) -> bool) {
        let (gone, rest) = core::mem::take(&mut self.subflows)
            .into_iter()
            .partition::<Vec<_>, _>(|s| which(&s.event));
        self.subflows = rest;
        for subflow in gone {
            let event = SubflowEvent {
                error,
                ..subflow.event
            };
            self.tell(Input::Connection(&Event::SubflowClosed(event)));
        }
    }

    /// Lets the daemon act until it waits.
    pub(super) fn run(&mut self) {
        for _ in 0..1000 {
            self.engine.settle(self.now);
            let (mut last, mut asked) = (None, false);
            while let Some((number, command)) = self.engine.poll_command(self.now) {
                asked = true;
                if let Asked::PathManager(command) = command {
                    self.obey(number, command);
                    last = Some(number);
                } else {
                    self.answer(number, command);
                }
            }
            if let Some(last) = last {
                self.tell(Input::Done(last));
                self.answer_joins();
            }
            if !asked {
                return;
            }
        }
        panic!("the daemon asks for more and more: {:?}", self.asked());
    }

    /// Peers answer to the subflows that were asked for.
    fn answer_joins(&mut self) {
        let cut = &self.cut;
        let over = |s: &SubflowEvent| {
            [s.local.ip(), s.remote.ip()]
                .iter()
                .any(|a| cut.contains(a))
        };
        let (mut news, mut failed) = (Vec::new(), Vec::new());
        for subflow in &mut self.subflows {
            if subflow.event.error == PENDING {
                subflow.event.error = 0;
                match over(&subflow.event) {
                    true => failed.push(subflow.event),
                    false => news.push(subflow.event),
                }
            }
        }
        for event in news {
            self.tell(Input::Connection(&Event::SubflowEstablished(event)));
        }
        for event in failed {
            self.end(libc::EHOSTUNREACH as u8, &|s| *s == event);
        }
    }

    /// Carries out a command.
    fn obey(&mut self, number: CommandId, command: Command) {
        // Limits are the engine's own business.
        if !matches!(command, Command::SetLimits(_)) {
            self.commands.push(command);
        }
        let refusal = match command {
            _ if self.refusal.is_some() => self.refusal,
            Command::CreateSubflow {
                token,
                local,
                remote,
            } => {
                let port = 40_000 + self.number();
                let there = self.connections.iter().any(|c| c.token == token);
                let event = SubflowEvent {
                    local_id: local.id,
                    remote_id: remote.id,
                    ifindex: local.ifindex,
                    error: PENDING,
                    ..subflow(token, ((local.address, port).into(), remote.socket()))
                };
                self.subflows.push(Joined {
                    event,
                    backup_here: local.flags.contains(EndpointFlags::BACKUP),
                    ours: true,
                });
                (!there).then_some(libc::ESRCH)
            }
            Command::DestroySubflow {
                token,
                local,
                remote,
            } => {
                let ends = (local.socket(), remote.socket());
                let its = |s: &SubflowEvent| s.token == token && (s.local, s.remote) == ends;
                let there = self.subflows.iter().any(|s| its(&s.event));
                self.end(0, &its);
                (!there).then_some(libc::ESRCH)
            }
            Command::RemoveAddress { token, id } => {
                self.end(0, &|s| s.token == token && s.local_id == id);
                None
            }
            Command::SetBackup {
                token,
                local,
                remote,
                backup,
            } => {
                let ends = (local.socket(), remote.socket());
                for s in &mut self.subflows {
                    if s.event.token == token && (s.event.local, s.event.remote) == ends {
                        s.backup_here = backup;
                    }
                }
                None
            }
            _ => None,
        };
        if let Some(errno) = refusal {
            self.fail(number, errno);
        }
    }

    fn fail(&mut self, number: CommandId, errno: i32) {
        let failure = Failure { errno, message: "" };
        self.tell(Input::Failed(number, failure));
    }

    /// Carries out what is no command of the path manager, and answers it.
    fn answer(&mut self, number: CommandId, command: Asked) {
        match command {
            Asked::DumpNetwork(part, _) => {
                let mut items = Vec::new();
                for device in &self.devices {
                    match part {
                        Part::Links => items.push(device.link()),
                        Part::Addresses => {
                            let all = device.addresses.iter();
                            items.extend(all.map(|a| Notification::Address(device.address(*a))));
                        }
                        Part::Routes(_) | Part::Rules(_) => {}
                    }
                }
                for item in &items {
                    self.tell(Input::NetworkItem(item));
                }
                self.tell(Input::NetworkEnd(part, Ok(())));
            }
            Asked::AskWay(question) => {
                let route = self.way(&question);
                self.tell(Input::Way(question, Ok(route.as_ref())));
            }
            Asked::DumpEndpoints => self.tell(Input::EndpointsEnd(Ok(()))),
            Asked::GetLimits => self.tell(Input::Limits(Ok(Limits::default()))),
            Asked::DumpAddresses(token) => {
                self.tell(Input::ConnectionAddressesEnd(token, Ok(())));
            }
            Asked::Diag(query) => {
                let result = self.diag(query);
                self.tell(Input::DiagEnd(result));
            }
            Asked::Listen(local) => self.tell(Input::Listening(number, local)),
            Asked::Probe(local) if self.unserved.contains(&local.port()) => {
                self.fail(number, libc::ECONNREFUSED);
            }
            Asked::Probe(local) => self.tell(Input::Listening(number, local)),
            _ => {}
        }
    }

    fn way(&self, question: &Question) -> Option<Route> {
        let mut all = self.devices.iter();
        let device = all.find(|device| device.index == question.holder)?;
        (device.routed && device.up).then(|| device.route())
    }

    /// Answers a question to inet_diag.
    fn diag(&mut self, query: Query) -> Result<(), Incomplete> {
        let family = |local: &SocketAddr| Family::of(local.ip());
        let ends = |(local, remote)| diag::Ends {
            local,
            remote,
            mapped: false,
        };
        let connection = |c: &ConnectionEvent| diag::Connection {
            token: c.token,
            ends: ends((c.local, c.remote)),
            established: true,
            fallback: false,
        };
        match query {
            // That is for the in-kernel path manager.
            Query::Sockets => {}
            Query::Connections(of) => {
                let its = self.connections.iter().filter(|c| family(&c.local) == of);
                for found in its.map(connection).collect::<Vec<_>>() {
                    self.tell(Input::DiagConnection(found));
                }
            }
            Query::Connection(token) => {
                let found = self.connections.iter().find(|c| c.token == token);
                let found = found
                    .map(connection)
                    .ok_or(Incomplete::Refused(libc::ENOENT))?;
                self.tell(Input::DiagConnection(found));
            }
            Query::Subflows(of) => {
                let its = self
                    .subflows
                    .iter()
                    .filter(|s| family(&s.event.local) == of);
                let shown = its.map(|s| diag::Subflow {
                    token: s.event.token,
                    ends: ends((s.event.local, s.event.remote)),
                    local_id: s.event.local_id,
                    remote_id: s.event.remote_id,
                    ifindex: s.event.ifindex,
                    backup_here: s.backup_here,
                    backup_there: false,
                    opened_here: s.ours,
                    initial: false,
                    established: true,
                    retransmissions: 0,
                    fully_established: true,
                });
                for found in shown.collect::<Vec<_>>() {
                    #[cfg(feature = "quality")]
                    {
                        let local = found.ends.local.ip();
                        let known = self.quality.iter().find(|(of, _)| *of == local);
                        let quality = known.map(|known| known.1).unwrap_or_default();
                        self.tell(Input::DiagQuality(found.token, found.ends, quality));
                    }
                    self.tell(Input::DiagSubflow(found));
                }
            }
        }
        Ok(())
    }
}

impl Device {
    pub(super) fn link(&self) -> Notification {
        Notification::Link(Link {
            index: self.index,
            flags: IFF_UP | if self.up { IFF_RUNNING } else { 0 },
            name: self.name.clone(),
            vrf_table: 0,
            tunnel: false,
        })
    }

    pub(super) fn address(&self, (local, prefix_len): (IpAddr, u8)) -> Address {
        Address {
            index: self.index,
            local,
            peer: None,
            prefix_len,
            flags: PERMANENT,
            scope: 0,
        }
    }

    pub(super) fn route(&self) -> Route {
        let hop = Hop {
            oif: self.index,
            gateway: self.gateway,
            flags: 0,
        };
        Route {
            family: Family::Ipv4,
            table: TABLE_MAIN,
            destination: None,
            destination_len: 0,
            source: None,
            source_len: 0,
            preferred_source: None,
            metric: self.metric,
            protocol: 4,
            kind: UNICAST,
            scope: 0,
            hops: core::iter::once(hop).collect(),
        }
    }
}
