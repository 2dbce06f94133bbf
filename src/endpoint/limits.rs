// SPDX-License-Identifier: BSD-3-Clause
//! The namespace's limits: high enough for our endpoints, never below the administrator's.

use libc::EINVAL;

use super::Want;
use crate::netlink::mptcp::{EndpointFlags, Limits};
use crate::request::CommandId;
use crate::time::{Instant, Retry};

/// The limits that the configuration fixes, where it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fixed {
    pub subflows: Option<u32>,
    pub add_addr_accepted: Option<u32>,
}

#[derive(Debug, Default)]
pub struct LimitKeeper {
    /// What the administrator had set before us, or has raised since: a count of subflows and
    /// of addresses, as all limits here.
    baseline: Limits,
    /// What the kernel has, so far as we know.
    current: Option<Limits>,
    /// What we set last.
    set: Option<Limits>,
    /// What the configuration said last.
    fixed: Fixed,
    /// The largest limit the kernel takes, once it has refused more.
    max_accepted: Option<u32>,
    /// The command in flight.
    command: Option<CommandId>,
    /// What we had set before that command.
    previous: Option<Limits>,
    /// When to try again, if the kernel refuses for a reason other than the size.
    retry: Retry,
}

/// The largest limit that kernels take up to 6.18, tried when a larger one was refused.
const USUAL_MAX: u32 = 8;

impl LimitKeeper {
    /// Takes back what an earlier run of the daemon knew, from the run-state file.
    pub fn remember(&mut self, baseline: Limits, set: Option<Limits>) {
        self.baseline = baseline;
        self.set = set;
    }

    pub fn baseline(&self) -> Limits {
        self.baseline
    }

    /// Returns the largest limits of ours that the kernel may have, if we have set any: what we
    /// set last and, until the kernel has acknowledged that, what we had set before.
    pub fn set(&self) -> Option<Limits> {
        let before = self.previous.filter(|_| self.command.is_some());
        match (self.set, before) {
            (Some(set), Some(before)) => Some(Limits {
                subflows: set.subflows.max(before.subflows),
                add_addr_accepted: set.add_addr_accepted.max(before.add_addr_accepted),
            }),
            (set, _) => set,
        }
    }

    pub fn current(&self) -> Option<Limits> {
        self.current
    }

    /// The kernel's limits were read. What is above what we set is the administrator's.
    pub fn on_read(&mut self, limits: Limits) {
        match self.set {
            None => self.baseline = limits,
            Some(set) => {
                if limits.subflows > set.subflows {
                    self.baseline.subflows = limits.subflows;
                }
                if limits.add_addr_accepted > set.add_addr_accepted {
                    self.baseline.add_addr_accepted = limits.add_addr_accepted;
                }
            }
        }
        self.current = Some(limits);
    }

    /// Returns when a refused command may be tried again.
    pub fn deadline(&self) -> Instant {
        self.retry.at()
    }

    /// Tries again what was refused, unless what the kernel takes is what kernels take.
    pub fn forget_refusals(&mut self) {
        self.max_accepted = self.max_accepted.filter(|most| *most >= USUAL_MAX);
        self.retry.retry_now();
    }

    /// Forgets what was learned of the kernel, to learn it anew.
    pub fn forget_kernel(&mut self) {
        self.max_accepted = None;
        self.retry.retry_now();
    }

    /// The kernel did everything it was asked up to this command.
    pub fn done(&mut self, last: CommandId) {
        if self
            .command
            .is_some_and(|command| command.is_acked_by(last))
        {
            self.command = None;
            self.retry.succeeded();
        }
    }

    /// Returns the limits to set, if they differ from the kernel's. As in the C daemon: two subflows
    /// more than endpoints, and as many announced addresses if our endpoints make subflows.
    pub fn target<'a>(
        &mut self,
        now: Instant,
        endpoints: impl IntoIterator<Item = &'a Want>,
        fixed: Fixed,
    ) -> Option<Limits> {
        self.fixed = fixed;
        if !self.retry.is_due(now) {
            return None;
        }
        self.retry.retry_now();
        let current = self.current?;
        let (mut count, mut client) = (2u32, false);
        for want in endpoints {
            count = count.saturating_add(1);
            client |= want.flags.contains(EndpointFlags::SUBFLOW);
        }
        let accepted = if client { count } else { 0 };
        let subflows = count.max(self.baseline.subflows);
        let accepted = accepted.max(self.baseline.add_addr_accepted);
        let most = self.max_accepted.unwrap_or(u32::MAX);
        let target = Limits {
            subflows: fixed.subflows.unwrap_or(subflows).min(most),
            add_addr_accepted: fixed.add_addr_accepted.unwrap_or(accepted).min(most),
        };
        (target != current).then_some(target)
    }

    /// A command to set `limits` is on its way. Returns whether that raises what we set:
    /// a later run that does not know of it would take it for the administrator's doing.
    pub fn sent(&mut self, limits: Limits, command: CommandId) -> bool {
        self.previous = self.set.replace(limits);
        self.current = Some(limits);
        self.command = Some(command);
        self.previous.is_none_or(|before| {
            limits.subflows > before.subflows || limits.add_addr_accepted > before.add_addr_accepted
        })
    }

    /// Returns the administrator's limits, to be set again when the daemon leaves for good.
    pub fn restore(&mut self) -> Option<Limits> {
        let set = self.set.take()?;
        self.current = Some(self.baseline);
        (set != self.baseline).then_some(self.baseline)
    }

    /// The kernel refused. Returns `None` if the command was not ours, else whether to log it.
    pub fn failed(&mut self, now: Instant, command: CommandId, errno: i32) -> Option<bool> {
        self.command.take_if(|sent| *sent == command)?;
        let tried = self.set.unwrap_or_default();
        let tried = tried.subflows.max(tried.add_addr_accepted);
        // What was refused is not what is found there later: that would be the administrator's.
        self.set = self.previous;
        if errno == EINVAL && tried > 0 {
            let most = if tried > USUAL_MAX {
                USUAL_MAX
            } else {
                tried - 1
            };
            self.max_accepted = Some(most);
            // Our own counting may well ask for too much; what the user asked for may not.
            return Some(self.fixed.subflows.max(self.fixed.add_addr_accepted) > Some(most));
        }
        let news = !self.retry.has_failed();
        self.retry.failed(now);
        Some(news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::IfIndex;

    const NOW: Instant = Instant(0);

    fn want(flags: EndpointFlags) -> Want {
        Want {
            address: core::net::Ipv4Addr::LOCALHOST.into(),
            port: 0,
            flags,
            ifindex: IfIndex::NONE,
            priority: 0,
            sequence: 0,
        }
    }

    fn limits(subflows: u32, add_addr_accepted: u32) -> Limits {
        Limits {
            subflows,
            add_addr_accepted,
        }
    }

    #[test]
    fn limits_follow_endpoints_and_never_fall_below_the_administrator() {
        let mut keeper = LimitKeeper::default();
        assert_eq!(
            keeper.target(NOW, &[], Fixed::default()),
            None,
            "unknown limits stay alone"
        );
        keeper.on_read(limits(2, 7));
        let wants = [want(EndpointFlags::SUBFLOW); 3];
        assert_eq!(
            keeper.target(NOW, &wants, Fixed::default()),
            Some(limits(5, 7))
        );
        keeper.sent(limits(5, 7), CommandId(1));
        keeper.on_read(limits(5, 7));
        assert_eq!(keeper.target(NOW, &wants, Fixed::default()), None);
        assert_eq!(
            keeper.target(NOW, &wants[..1], Fixed::default()),
            Some(limits(3, 7))
        );
        keeper.on_read(limits(8, 7));
        assert_eq!(
            keeper.target(NOW, &wants, Fixed::default()),
            None,
            "raised by somebody else"
        );
        let signal = [want(EndpointFlags::SIGNAL)];
        let fixed = Fixed {
            subflows: Some(1),
            add_addr_accepted: None,
        };
        assert_eq!(keeper.target(NOW, &signal, fixed), Some(limits(1, 7)));
    }

    #[test]
    fn a_refusal_teaches_the_most_the_kernel_takes() {
        let mut keeper = LimitKeeper::default();
        keeper.on_read(limits(0, 0));
        let wants = [want(EndpointFlags::SUBFLOW); 12];
        let mut most = 5;
        for command in (1..20).map(CommandId) {
            let Some(target) = keeper.target(NOW, &wants, Fixed::default()) else {
                break;
            };
            keeper.sent(target, command);
            if target.subflows > most {
                assert_eq!(keeper.failed(NOW, command, EINVAL), Some(false));
                keeper.on_read(limits(0, 0));
            } else {
                most = target.subflows;
            }
        }
        assert_eq!(keeper.current(), Some(limits(5, 5)));
        assert_eq!(keeper.failed(NOW, CommandId(77), EINVAL), None);
    }
}
