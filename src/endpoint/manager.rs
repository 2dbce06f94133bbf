// SPDX-License-Identifier: BSD-3-Clause
//! The endpoints and limits that the kernel should have: what plugins want against what there is,
//! and whether the run state has to be written.

use core::net::IpAddr;

use super::limits::{Fixed, LimitKeeper};
use super::{Endpoints, Slot, Wanted};
use crate::config::Prefixes;
use crate::config::flags::AddressFlags;
use crate::logging;
use crate::netlink::mptcp::{Command, Endpoint, EndpointFlags, Limits};
use crate::request::{CommandId, Failure};
use crate::state::State;
use crate::time::Instant;

/// Flags that say what an endpoint is for.
const FLAGS: u32 = EndpointFlags::SIGNAL.0 | EndpointFlags::SUBFLOW.0 | EndpointFlags::LAMINAR.0;

#[derive(Default)]
pub struct EndpointManager {
    endpoints: Endpoints,
    wanted: Wanted,
    limits: LimitKeeper,
    /// How often the run state changed, and at which of those changes it was last written.
    changes: u32,
    saved: u32,
    leave: Leave,
    reported: Reported,
}

/// How far the end has come.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Leave {
    #[default]
    No,
    /// What is still ours has to be looked at.
    LookDue,
    /// What that shows can be removed.
    Looking,
}

/// What the log has been told, so that it is told once.
#[derive(Default)]
struct Reported {
    /// Under which `max-endpoints` addresses wait, if any do: another one may not help either.
    waiting: Option<usize>,
    /// Endpoints of others on wanted addresses.
    foreign: [Option<IpAddr>; 8],
    unsupported: EndpointFlags,
}

/// What configuration and network say of endpoints.
pub struct Terms<'a> {
    pub fixed: Fixed,
    /// No more than so many are made.
    pub most: usize,
    /// Those of others here become ours.
    pub adopt: &'a Prefixes,
    /// Whether an interface has the address.
    pub is_local: &'a dyn Fn(IpAddr) -> bool,
}

/// What came of a reconciliation.
#[derive(Clone, Copy)]
pub struct Reconciled {
    /// Every command found room in the queue.
    pub complete: bool,
    /// Only a dump can tell the ids of some endpoints.
    pub needs_dump: bool,
    /// Only a look at the connections can tell whether an endpoint may be deleted.
    pub needs_look: bool,
    /// An endpoint is new, another, or wanted again: connections should come to have subflows there.
    pub gained: bool,
}

/// What a refusal calls for.
pub enum Refusal {
    /// The endpoints are in doubt: dump them. Somebody may have to be told of the address.
    Endpoint { dump: bool, report: Option<IpAddr> },
    /// The limits are in doubt; whether it is worth telling.
    Limits { report: bool },
}

impl EndpointManager {
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Takes in an endpoint that the dump under way shows.
    pub fn on_dumped(&mut self, endpoint: Endpoint) {
        self.endpoints.on_dumped(endpoint);
    }

    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    pub fn limits(&self) -> &LimitKeeper {
        &self.limits
    }

    pub fn begin_dump(&mut self) {
        self.endpoints.begin_dump();
    }

    /// The dump was whole: what it did not show is gone.
    pub fn finish_dump(&mut self, now: Instant) {
        if self.endpoints.finish_dump(now) {
            self.mark_state_changed();
        }
    }

    /// Takes in the limits that the kernel shows.
    pub fn on_limits(&mut self, limits: Limits) {
        self.limits.on_read(limits);
    }

    /// Takes back an endpoint of an earlier run.
    pub fn remember(&mut self, endpoint: Endpoint) {
        self.endpoints.remember(endpoint);
    }

    /// Takes back the run state of an earlier run.
    pub fn restore(&mut self, state: &State) {
        self.endpoints.set_last_id(state.last_id);
        self.limits.remember(state.baseline, state.set);
    }

    /// Notes that the run state changed, or could not be written.
    pub fn mark_state_changed(&mut self) {
        self.changes = self.changes.wrapping_add(1);
    }

    /// Returns what the run state should say, if that changed since the last call.
    pub fn state_to_save(&mut self) -> Option<State> {
        if self.saved == self.changes {
            return None;
        }
        self.saved = self.changes;
        Some(State {
            generation: 0,
            last_id: self.endpoints.last_id(),
            baseline: self.limits.baseline(),
            set: self.limits.set(),
        })
    }

    /// Returns when a refused command may be tried again.
    pub fn deadline(&self) -> Instant {
        self.endpoints.deadline().min(self.limits.deadline())
    }

    /// Returns whether the result of a command matters before anything else happens.
    pub fn awaits(&self) -> bool {
        self.endpoints.awaits()
    }

    /// Lets what was refused be tried at once, because something changed.
    pub fn retry_now(&mut self) {
        self.endpoints.retry_now();
    }

    /// Forgets refusals, for a resync.
    pub fn forget_refusals(&mut self) {
        self.endpoints.forget_refusals();
        self.limits.forget_refusals();
    }

    /// Forgets what was learnt of the kernel, to learn it anew.
    pub fn forget_kernel(&mut self) {
        self.endpoints.forget_kernel();
        self.limits.forget_kernel();
    }

    /// Returns the set of wanted endpoints, empty, to be filled for [`Self::reconcile`].
    pub fn clear_wanted(&mut self) -> &mut Wanted {
        self.wanted.clear();
        &mut self.wanted
    }

    /// Brings the kernel's endpoints and limits in step with what is wanted. `send` returns the
    /// number of a command, or `None` if there is no room for it.
    pub fn reconcile(
        &mut self,
        now: Instant,
        terms: &Terms<'_>,
        send: &mut dyn FnMut(Command) -> Option<CommandId>,
    ) -> Reconciled {
        let Terms {
            adopt, most, fixed, ..
        } = *terms;
        if !adopt.is_empty() && self.endpoints.adopt(&self.wanted, adopt) {
            self.mark_state_changed();
        }
        self.report_foreign();
        self.choose(terms);
        let Self {
            endpoints,
            wanted,
            limits,
            changes,
            ..
        } = self;
        let (mut complete, mut changed) = (true, false);
        let mut send = |command: Command| {
            let number = send(command);
            complete &= number.is_some();
            // What comes to be ours is written down first; what ceases to be can wait.
            if matches!(command, Command::AddEndpoint(_) | Command::SetFlags(_)) {
                changed = true;
                *changes = changes.wrapping_add(1);
            }
            number
        };
        // Limits first: a new endpoint makes subflows at once, if it may.
        let mut raised = false;
        if let Some(target) = limits.target(now, wanted.fits(), fixed) {
            if let Some(number) = send(Command::SetLimits(target)) {
                raised = limits.sent(target, number);
            }
        }
        let returned = endpoints.reconcile(now, wanted, &mut send);
        if wanted.is_met(endpoints, most) {
            endpoints.give_back();
        }
        let gained = returned || changed;
        if raised {
            self.mark_state_changed();
        }
        self.report(most);
        Reconciled {
            complete,
            needs_dump: self.endpoints.needs_dump(),
            needs_look: self.endpoints.has_requests(now),
            gained,
        }
    }

    /// Chooses what gets the slots. Where others hold these to nobody's use, they are to give way.
    fn choose(&mut self, terms: &Terms<'_>) {
        let Self {
            endpoints, wanted, ..
        } = self;
        wanted.settle(endpoints, terms.most);
        while wanted.lacks_room(terms.most) && endpoints.give_way(wanted, terms.is_local) {
            wanted.settle(endpoints, terms.most);
        }
    }

    /// Lets those endpoints that are not wanted as they are go, or be changed, where no connection
    /// needs them, as `is_needed` says; the log is told of those that stay. Returns whether any may
    /// go, or is newly known to be needed.
    pub fn decide_departures(
        &mut self,
        now: Instant,
        is_needed: &mut dyn FnMut(&Slot) -> bool,
    ) -> bool {
        self.endpoints
            .decide_departures(now, is_needed, &mut |slot| {
                let address = slot.endpoint.address;
                let how = match slot.has_path() {
                    true => "stays as it is",
                    false => "stays without a path",
                };
                logging::info!(
                    "endpoint {address} {how}: connections have no other path that works"
                );
            })
    }

    /// Notes that the path of an address has returned, whose endpoint was there all the time.
    #[cfg(feature = "health")]
    pub fn note_return(&mut self, address: IpAddr) {
        self.endpoints.note_return(address);
    }

    /// Forgets which paths have just returned.
    pub fn settle_returns(&mut self) {
        self.endpoints.settle_returns();
    }

    /// Has the subflows of an endpoint made again, for those that connections lack there; `told` says
    /// that peers are to end theirs.
    pub fn renew(&mut self, now: Instant, address: IpAddr, told: bool) {
        self.endpoints.renew(now, address, told);
    }

    /// Has ours be looked at for the last time, to be removed.
    pub fn leave(&mut self) {
        self.leave = Leave::LookDue;
    }

    /// Returns whether the last look is to begin now.
    pub fn take_last_look(&mut self) -> bool {
        let due = self.leave == Leave::LookDue;
        if due {
            self.leave = Leave::Looking;
            self.begin_dump();
        }
        due
    }

    /// Returns whether the dump that ends was the last look.
    pub fn is_leaving(&self) -> bool {
        self.leave == Leave::Looking
    }

    /// Deletes all endpoints of ours and gives the administrator's limits back.
    pub fn remove_all(&mut self, send: &mut dyn FnMut(Command) -> Option<CommandId>) {
        self.endpoints.remove_all(send);
        if let Some(baseline) = self.limits.restore() {
            send(Command::SetLimits(baseline));
        }
    }

    /// Every command up to this one that has not failed is done. Returns whether something has
    /// waited for that.
    pub fn done(&mut self, last: CommandId) -> bool {
        self.limits.done(last);
        self.endpoints.done(last)
    }

    /// The kernel refused a command. Returns what that calls for; `None` if it was none of these.
    pub fn failed(
        &mut self,
        now: Instant,
        command: CommandId,
        failure: Failure<'_>,
    ) -> Option<Refusal> {
        if let Some(refused) = self.endpoints.failed(now, command, failure.errno) {
            self.mark_state_changed();
            return Some(Refusal::Endpoint {
                dump: refused.dump,
                report: refused.report.map(|endpoint| endpoint.address),
            });
        }
        let report = self.limits.failed(now, command, failure)?;
        Some(Refusal::Limits { report })
    }

    /// Tells the log, once, of endpoints of others on wanted addresses.
    fn report_foreign(&mut self) {
        let Self {
            endpoints,
            wanted,
            reported,
            ..
        } = self;
        let told = &mut reported.foreign;
        for known in told.iter_mut() {
            let mut others = endpoints.others().iter();
            if !others.any(|e| Some(e.address) == *known) {
                *known = None;
            }
        }
        for endpoint in endpoints.in_the_way(wanted) {
            let (ip, id) = (endpoint.address, endpoint.id.0);
            if told.contains(&Some(ip)) {
                continue;
            }
            let Some(place) = told.iter_mut().find(|known| known.is_none()) else {
                continue;
            };
            *place = Some(ip);
            let maker = match endpoint.flags.0 & FLAGS {
                0 => "the mptcpd written in C",
                _ if endpoint.ifindex.0 != 0 => "NetworkManager",
                _ => "somebody by hand",
            };
            logging::warn!(
                "{ip} has an endpoint (id {id}) that is not ours, likely of {maker}: it will not \
                 follow its link (adopt = yes takes it over)"
            );
        }
    }

    /// Tells the log, once, what does not fit the kernel, or is more than `most`.
    fn report(&mut self, most: usize) {
        let waiting = self.wanted.waiting();
        let taken = self.endpoints.capacity();
        // While the capacity is being learnt anew, which addresses have to wait is not known.
        if taken.is_some() || waiting > 0 {
            let told = (waiting > 0).then_some(most);
            if told.is_some() && self.reported.waiting != told {
                match taken {
                    Some(taken) if taken <= most => logging::warn!(
                        "the kernel takes {taken} endpoints (max-endpoints is {most}); addresses \
                         without one: {waiting}"
                    ),
                    _ => logging::warn!(
                        "max-endpoints allows {most} endpoints; addresses without one: {waiting}"
                    ),
                }
            }
            self.reported.waiting = told;
        }
        let unsupported = self.endpoints.unsupported().0;
        if unsupported & !self.reported.unsupported.0 != 0 {
            let flags = AddressFlags(self.endpoints.unsupported());
            logging::warn!("this kernel does not support endpoint flag {flags}");
        }
        self.reported.unsupported.0 |= unsupported;
    }
}
