// SPDX-License-Identifier: BSD-3-Clause
//! The namespace's limits: high enough for our endpoints, never below the administrator's.

use libc::EINVAL;

use super::Want;
use crate::netlink::mptcp::{EndpointFlags, Limits};
use crate::request::{CommandId, Failure};
use crate::time::{Instant, Retry};

/// The limits that the configuration fixes, where it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fixed {
    pub subflows: Option<u32>,
    pub add_addr_accepted: Option<u32>,
    /// Peers may announce addresses although no endpoint is wanted.
    pub accepts: bool,
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

/// The largest limit that kernels take up to 7.1, tried when a larger one was refused without saying
/// how much would do; and the largest that is set without being asked for: 64 subflows, as later
/// kernels take them, are of no use to a connection.
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

    /// The kernel's limits were read. What is above what we set is the administrator's, and what is
    /// below shows that no more is asked for.
    pub fn on_read(&mut self, limits: Limits) {
        let was = self.current.replace(limits);
        let Some(set) = self.set else {
            self.baseline = limits;
            return;
        };
        let follow = |baseline: &mut u32, of: fn(&Limits) -> u32| {
            let (seen, set) = (of(&limits), of(&set));
            if seen > set {
                *baseline = seen;
            } else if seen < set || was.is_some_and(|was| of(&was) != seen) {
                *baseline = seen.min(*baseline);
            }
        };
        follow(&mut self.baseline.subflows, |limits| limits.subflows);
        follow(&mut self.baseline.add_addr_accepted, |l| {
            l.add_addr_accepted
        });
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
    /// more than endpoints, and as many announced addresses if our endpoints make subflows or there are
    /// none; but no more than older kernels take.
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
            count = (count + 1).min(USUAL_MAX);
            client |= want.flags.contains(EndpointFlags::SUBFLOW);
        }
        client |= count == 2 && fixed.accepts;
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
    pub fn failed(
        &mut self,
        now: Instant,
        command: CommandId,
        failure: Failure<'_>,
    ) -> Option<bool> {
        self.command.take_if(|sent| *sent == command)?;
        let tried = self.set.unwrap_or_default();
        let tried = tried.subflows.max(tried.add_addr_accepted);
        // What was refused is not what is found there later: that would be the administrator's.
        self.set = self.previous;
        if failure.errno == EINVAL && tried > 0 {
            let most = match maximum(failure.message).filter(|most| *most < tried) {
                Some(most) => most,
                None if tried > USUAL_MAX => USUAL_MAX,
                None => tried - 1,
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

/// Returns the number in "limit greater than maximum (8)", which newer kernels say.
fn maximum(message: &str) -> Option<u32> {
    let (_, number) = message.strip_suffix(')')?.split_once('(')?;
    number.parse().ok()
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
            ..Fixed::default()
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
                assert_eq!(keeper.failed(NOW, command, refused("")), Some(false));
                keeper.on_read(limits(0, 0));
            } else {
                most = target.subflows;
            }
        }
        assert_eq!(keeper.current(), Some(limits(5, 5)));
        assert_eq!(keeper.failed(NOW, CommandId(77), refused("")), None);
    }

    fn refused(message: &str) -> Failure<'_> {
        let errno = EINVAL;
        Failure { errno, message }
    }

    #[test]
    fn the_kernel_says_how_much_it_takes() {
        let fixed = Fixed {
            subflows: Some(100),
            ..Fixed::default()
        };
        for (message, most) in [
            ("limit greater than maximum (64)", 64),
            ("limit greater than maximum (100)", 8),
            ("limit greater than maximum", 8),
            ("(none)", 8),
        ] {
            let mut keeper = LimitKeeper::default();
            keeper.on_read(limits(2, 0));
            let target = keeper.target(NOW, &[], fixed).unwrap();
            keeper.sent(target, CommandId(1));
            let report = keeper.failed(NOW, CommandId(1), refused(message));
            assert_eq!(report, Some(true), "the user has asked for more");
            keeper.on_read(limits(2, 0));
            assert_eq!(keeper.target(NOW, &[], fixed), Some(limits(most, 0)));
        }
    }

    #[test]
    fn eight_are_enough_unless_more_are_asked_for() {
        let mut keeper = LimitKeeper::default();
        keeper.on_read(limits(2, 0));
        let wants = [want(EndpointFlags::SUBFLOW); 40];
        let fixed = Fixed::default();
        assert_eq!(keeper.target(NOW, &wants, fixed), Some(limits(8, 8)));
        let accepts = Fixed {
            accepts: true,
            ..fixed
        };
        assert_eq!(keeper.target(NOW, &[], fixed), None);
        assert_eq!(keeper.target(NOW, &[], accepts), Some(limits(2, 2)));
        let signal = [want(EndpointFlags::SIGNAL)];
        assert_eq!(keeper.target(NOW, &signal, accepts), Some(limits(3, 0)));
    }

    #[test]
    fn what_the_administrator_lowers_is_not_raised_again() {
        let mut keeper = LimitKeeper::default();
        let wants = [want(EndpointFlags::SUBFLOW); 2];
        let target = |keeper: &mut LimitKeeper| keeper.target(NOW, &wants, Fixed::default());
        keeper.on_read(limits(2, 0));
        keeper.sent(limits(4, 4), CommandId(1));
        keeper.done(CommandId(1));
        keeper.on_read(limits(4, 4));
        assert_eq!(keeper.baseline(), limits(2, 0), "that is our own doing");
        for lowered in [limits(6, 7), limits(4, 4), limits(3, 3)] {
            keeper.on_read(limits(8, 8));
            assert_eq!(target(&mut keeper), None, "raised");
            keeper.on_read(lowered);
            assert_eq!(keeper.baseline(), lowered);
            let raised = Some(limits(4, 4)).filter(|_| lowered.subflows < 4);
            assert_eq!(target(&mut keeper), raised);
        }
    }
}
