// SPDX-License-Identifier: BSD-3-Clause
//! What the commands of plugins do to the table: each is taken to succeed until it is refused.

use core::net::IpAddr;

use super::storage::Place;
use super::{Connections, Subflow};
use crate::netlink::mptcp::{AddressId, Command, EndpointFlags, Token};
use crate::request::Request;

impl Connections {
    /// Takes in a command that a plugin gave, as if it had succeeded. Returns whether the address
    /// that it is about was announced before.
    pub(crate) fn apply_command(&mut self, request: &Request) -> bool {
        match *request {
            Request::AnnounceWithListener { token, address }
            | Request::AnnounceIfServed { token, address }
            | Request::Kernel(Command::Announce { token, address }) => {
                return self.set_announced(token, address.id, true);
            }
            Request::Kernel(Command::RemoveAddress { token, id }) => {
                if let Some(slot) = self.slots.get_mut(token) {
                    slot.own_initial_withdrawn |= id == AddressId(0);
                }
                return self.set_announced(token, id, false);
            }
            Request::Kernel(Command::CreateSubflow {
                token,
                local,
                remote,
            }) => {
                let asked = Subflow {
                    local: local.socket(),
                    remote: remote.socket(),
                    local_id: local.id,
                    remote_id: remote.id,
                    backup_here: local.flags.contains(EndpointFlags::BACKUP),
                    backup_there: false,
                    ifindex: local.ifindex,
                    established: false,
                    closing: false,
                    mapped: false,
                    marked: true,
                    notified: true,
                    place: Place::default(),
                };
                self.add_subflow(token, asked);
            }
            _ => self.adjust(request, true),
        }
        false
    }

    /// Takes back what a command that was refused has left here.
    pub(crate) fn revert_command(&mut self, request: &Request, kernel_managed: bool) {
        match *request {
            Request::Kernel(Command::CreateSubflow {
                token,
                local,
                remote,
            }) => {
                self.remove_subflow(token, local.socket(), remote.socket());
            }
            _ => self.adjust(request, false),
        }
        if let Some(slot) = request.token().and_then(|token| self.slots.get_mut(token)) {
            slot.kernel_managed |= kernel_managed;
        }
    }

    /// Notes whether an address is announced. Returns whether it was.
    pub(crate) fn set_announced(&mut self, token: Token, id: AddressId, announced: bool) -> bool {
        let Some(slot) = self.slots.get_mut(token) else {
            return false;
        };
        slot.announced.set(id.0, announced)
    }

    /// Notes what a command does to a subflow, or that it has not done it.
    fn adjust(&mut self, request: &Request, done: bool) {
        let Request::Kernel(mut command) = *request else {
            return;
        };
        let Some((token, [local, remote])) = command.subflow() else {
            return;
        };
        let Some(subflow) = self.subflow_mut(token, local.socket(), remote.socket()) else {
            return;
        };
        if let Command::SetBackup { backup, .. } = command {
            subflow.backup_here = backup == done;
            return;
        }
        subflow.closing = done;
        // With a subflow the kernel forgets its address (mptcp_userspace_pm_delete_local_addr), and
        // could not withdraw it: what is still to be announced is announced again.
        let id = subflow.local_id;
        if done {
            self.set_announced(token, id, false);
        }
    }

    /// The command in the words by which the kernel knows the subflow it is about.
    pub(crate) fn translate(&self, mut command: Command) -> Command {
        if let Some((token, [local, remote])) = command.subflow() {
            let at = self.find_subflow(token, local.socket(), remote.socket());
            if at
                .and_then(|at| self.subflows.get(at))
                .is_some_and(|s| s.mapped)
            {
                for end in [local, remote] {
                    if let IpAddr::V4(address) = end.address {
                        end.address = address.to_ipv6_mapped().into();
                    }
                }
            }
        }
        command
    }
}
