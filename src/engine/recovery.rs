//! Connections that are found rather than heard of: those of before the start, and those whose
//! events were lost.
//!
//! A dump shows what there is; the table says what is news in it. Of a connection that is new,
//! the addresses it announces are read before the plugin hears of it.

use libc::{EACCES, ENOENT, EOPNOTSUPP, EPERM, EPROTONOSUPPORT};

use super::due::Due;
use super::{Engine, Incomplete, owner};
use crate::connection::{Connection, Known, News};
use crate::logging;
use crate::netlink::diag;
use crate::netlink::mptcp::{Endpoint, SubflowAddress};
use crate::request::{Queue, Request};
use crate::time::Instant;

impl Engine {
    pub(super) fn found(&mut self, now: Instant, found: &diag::Connection) {
        let Some((known, event)) = self.connections.saw(found) else {
            return;
        };
        if known == Known::Reused {
            self.part(now, event.token);
        }
        if !self.connections.found(&event, owner(self.default)) {
            self.say_unmanaged();
        }
    }

    pub(super) fn found_subflow(&mut self, found: &diag::Subflow) {
        self.connections.saw_subflow(found);
        self.ids.learn(found.ends.local.ip(), found.local_id);
    }

    /// The dump is over. A kernel without mptcp_diag or inet_diag refuses it each time, and so
    /// does a security policy; whatever else goes wrong may go well later.
    pub(super) fn recovered(&mut self, now: Instant, result: Result<(), Incomplete>) {
        if let Err(Incomplete::Refused(
            errno @ (ENOENT | EOPNOTSUPP | EPROTONOSUPPORT | EPERM | EACCES),
        )) = result
        {
            self.due.remove(Due::CONNECTIONS);
            self.connections.forget_found();
            self.connections.finish();
            if !core::mem::replace(&mut self.blind, true) {
                logging::warn!(
                    "the kernel does not show connections (errno {errno}; no mptcp_diag?): those \
                     of before the start, and those whose events are lost, are not managed"
                );
            }
            return;
        }
        self.blind = false;
        let whole = self.dumped(now, Due::CONNECTIONS, result);
        if whole {
            self.connections.finish();
        }
        let before = self.connections.len();
        for at in 0..self.connections.end() {
            if let Some(token) = self.connections.token_at(at) {
                self.tell_news(now, token, whole);
            }
        }
        // Those that have ended leave room for those that found none.
        if self.connections.is_overfull() && self.connections.len() < before {
            self.due.add(Due::CONNECTIONS);
        }
    }

    pub(super) fn learn(&mut self, token: u32, known: &Endpoint) {
        // Before Linux 6.10 the kernel ignores the token and shows its endpoints.
        let same = |endpoint: &Endpoint| endpoint == known;
        let others = self.endpoints.others().iter();
        let ours = self.endpoints.ours().iter().map(|slot| &slot.endpoint);
        if !others.chain(ours).any(same) {
            self.connections.learn(token, known, &mut self.ids);
        }
    }

    pub(super) fn learned(&mut self, now: Instant, token: u32, result: Result<(), Incomplete>) {
        // "userspace PM not selected": the connection is not for plugins.
        let kernel_managed = result == Err(Incomplete::Refused(libc::EINVAL));
        if result.is_err() && !kernel_managed {
            self.dumped(now, Due::NONE, result);
            return;
        }
        self.dumping.reset();
        self.connections.learned(token, kernel_managed);
    }

    /// Tells of the connections found, once all have been read: who gives out ids needs to know
    /// all of those given out before.
    pub(super) fn introduce(&mut self, now: Instant) {
        if !self.connections.all_read() {
            return;
        }
        self.acquainted = true;
        for at in 0..self.connections.end() {
            let Some(event) = self.connections.introduce(at) else {
                continue;
            };
            let token = event.token;
            self.listen_again(token);
            self.call_manager(now, token, |p, cx| p.new_connection(cx, &event));
            self.tell_news(now, token, false);
            // What the peer has announced meanwhile.
            let mut told = 0;
            while let Some(new) = self.connections.remote_address(token, told) {
                self.call_manager(now, token, |p, cx| {
                    p.new_address(cx, token, new.id, new.address);
                });
                told += 1;
            }
        }
    }

    /// An earlier run's listeners ended with it. Where no program listens, who was refused
    /// meanwhile is told once more that somebody does.
    fn listen_again(&mut self, token: u32) {
        let connection = self.connections.get(token).filter(|c| c.server_side);
        for id in connection.iter().flat_map(Connection::announced) {
            if let Some(address) = self.ids.address(id) {
                let address = SubflowAddress::at(address, 0).with_id(id);
                let request = Request::AnnounceWithListener { token, address };
                self.queue.push(Queue::ENGINE, request);
            }
        }
    }

    fn tell_news(&mut self, now: Instant, token: u32, whole: bool) {
        while let Some(news) = self.connections.next_news(token, whole) {
            match news {
                News::Closed => self.part(now, token),
                News::Established(event) => {
                    self.call_manager(now, token, |p, cx| p.connection_established(cx, &event));
                }
                News::Subflow(event) => {
                    self.call_manager(now, token, |p, cx| p.new_subflow(cx, &event));
                }
                News::SubflowClosed(event) => {
                    self.call_manager(now, token, |p, cx| p.subflow_closed(cx, &event));
                }
            }
        }
    }
}
