// SPDX-License-Identifier: BSD-3-Clause
//! Connections that are found rather than heard of: those of before the start, and those whose
//! events were lost.
//!
//! A dump of inet_diag shows what there is; the table says what is news in it. Of a connection
//! that is new, the addresses it announces are read before the plugin hears of it.

#[cfg(feature = "quality")]
use core::net::SocketAddr;

use super::Incomplete;
use super::connections::ConnectionManager;
use super::plugins::{PluginHost, View};
#[cfg(feature = "quality")]
use crate::connection::Subflow;
use crate::connection::{Difference, Lookup};
use crate::logging;
use crate::netlink::diag::{self, Query};
use crate::netlink::mptcp::{Endpoint, Token, ip_of};
use crate::sys::errno::Errno;

impl ConnectionManager {
    /// Returns the next question to inet_diag; the first one begins a comparison.
    pub(super) fn next_query(&mut self) -> Query {
        self.sync.next_query(&mut self.table)
    }

    /// The answer to a question ended. Returns the result of the comparison, if that is at its
    /// end.
    pub(super) fn on_query_end(
        &mut self,
        result: Result<(), Incomplete>,
    ) -> Option<Result<(), Incomplete>> {
        self.sync.on_query_end(result)
    }

    /// Takes in a connection that inet_diag shows.
    pub(super) fn on_diag_connection(
        &mut self,
        view: View<'_>,
        host: &mut PluginHost,
        found: &diag::Connection,
    ) {
        let Some((known, event)) = self.table.on_dumped(found) else {
            return;
        };
        if known == Lookup::TokenReused {
            self.on_closed(view, host, event.token);
        }
        if !self.table.insert_dumped(&event, host.manager()) {
            self.report_overflow(view);
        }
    }

    /// Takes in a subflow that inet_diag shows.
    pub(super) fn on_diag_subflow(&mut self, host: &mut PluginHost, found: &diag::Subflow) {
        self.table.on_subflow_dumped(found);
        host.ids.learn(ip_of(&found.ends.local), found.local_id);
    }

    /// Hands a plugin what TCP knows of a subflow's path.
    #[cfg(feature = "quality")]
    pub(super) fn on_quality(
        &mut self,
        view: View<'_>,
        host: &mut PluginHost,
        (token, local, remote): (Token, SocketAddr, SocketAddr),
        quality: &diag::Quality,
    ) {
        host.call_manager(view, &mut self.table, token, &mut |p, cx| {
            let connection = cx.connections.get(token);
            let ends = |s: &&Subflow| (s.local, s.remote) == (local, remote);
            let found = connection.and_then(|c| Some((c, c.subflows().find(ends)?)));
            if let Some((connection, subflow)) = found {
                p.subflow_measured(cx, &connection, subflow, quality);
            }
        });
    }

    /// Returns whether the kernel shows no connections at all, as one without mptcp_diag or
    /// inet_diag, which refuses each time, and so does a security policy. Whatever else goes wrong
    /// may go well later.
    pub(super) fn is_unavailable(&mut self, result: Result<(), Incomplete>) -> bool {
        let Some(errno) = result.err().and_then(Incomplete::no_diag) else {
            self.sync.unavailable = false;
            return false;
        };
        self.table.remove_pending();
        self.table.end_dump();
        if !core::mem::replace(&mut self.sync.unavailable, true) {
            let cause = Errno(errno);
            logging::warn!(
                "the kernel does not show connections ({cause}; no mptcp_diag?): those of before \
                 the start, and those whose events are lost, are not managed"
            );
        }
        true
    }

    /// The comparison ended; `whole` says that nothing was missed. Returns whether it should be
    /// made again at once, because it has become due again meanwhile, or because connections that
    /// have ended leave room for others.
    pub(super) fn on_sync_end(
        &mut self,
        view: View<'_>,
        host: &mut PluginHost,
        whole: bool,
    ) -> bool {
        if whole {
            self.table.end_dump();
        }
        let before = self.table.len();
        for at in 0..self.table.end() {
            if let Some(token) = self.table.token_at(at) {
                self.notify(view, host, token, whole);
            }
        }
        self.sync.outdated || (self.table.is_overfull() && self.table.len() < before)
    }

    /// Takes in an address of a connection found, which is none of the kernel's `endpoints`:
    /// before Linux 6.10 the kernel ignores the token and shows those.
    pub(super) fn on_address(
        &mut self,
        host: &mut PluginHost,
        token: Token,
        known: &Endpoint,
        endpoints: &crate::endpoint::Endpoints,
    ) {
        let same = |endpoint: &Endpoint| endpoint == known;
        let ours = endpoints.ours().iter().map(|slot| &slot.endpoint);
        if !endpoints.others().iter().chain(ours).any(same) {
            self.table.on_address(token, known, &mut host.ids);
        }
    }

    /// Those were all the addresses of a connection found.
    pub(super) fn on_addresses_end(&mut self, token: Token, kernel_managed: bool) {
        self.table.addresses_done(token, kernel_managed);
    }

    /// Tells the plugin of the connections found, once all have been read: the host, which gives
    /// out ids, needs to know all of those given out before.
    pub(super) fn introduce(&mut self, view: View<'_>, host: &mut PluginHost) {
        if !self.table.take_all_read() {
            return;
        }
        self.sync.done = true;
        for at in 0..self.table.end() {
            let Some(event) = self.table.take_ready(at) else {
                continue;
            };
            let token = event.token;
            host.call_manager(view, &mut self.table, token, &mut |p, cx| {
                p.new_connection(cx, &event)
            });
            self.notify(view, host, token, false);
            // What the peer has announced meanwhile.
            let mut told = 0;
            while let Some(new) = self.table.remote_address(token, told) {
                host.call_manager(view, &mut self.table, token, &mut |p, cx| {
                    p.new_address(cx, token, new.id, new.address);
                });
                told += 1;
            }
        }
    }

    /// Tells the plugin what the comparison has shown of a connection.
    fn notify(&mut self, view: View<'_>, host: &mut PluginHost, token: Token, whole: bool) {
        while let Some(news) = self.table.next_difference(token, whole) {
            match news {
                Difference::Closed => self.on_closed(view, host, token),
                Difference::Established(event) => {
                    host.call_manager(view, &mut self.table, token, &mut |p, cx| {
                        p.connection_established(cx, &event)
                    });
                }
                Difference::Subflow(event) => {
                    host.call_manager(view, &mut self.table, token, &mut |p, cx| {
                        p.new_subflow(cx, &event)
                    });
                }
                Difference::SubflowClosed { event, was_open } => {
                    host.call_manager(view, &mut self.table, token, &mut |p, cx| {
                        p.subflow_closed(cx, &event, was_open)
                    });
                }
            }
        }
    }
}
