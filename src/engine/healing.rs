// SPDX-License-Identifier: BSD-3-Clause
//! The connections of the in-kernel path manager: which of our endpoints they need, and which
//! they lack a subflow of.
//!
//! The kernel tries each join once, makes no subflow again that has ended, and closes those of an
//! endpoint that is deleted. So before an endpoint goes, a look at all subflows tells whether a
//! connection would lose its last working one; and after a subflow has ended or a path has
//! returned, and now and then, a look tells whether endpoints are to be made again for the sake of
//! connections that have no subflow there. Between looks nothing is known, and nothing costs.

use core::net::IpAddr;

use super::Incomplete;
use crate::capacity;
use crate::connection::CALM;
use crate::connection::coverage::{Coverage, Covered, Paths};
use crate::endpoint::Slot;
use crate::logging;
use crate::netlink::diag::{Connection, Query, Subflow};
use crate::netlink::mptcp::{Endpoint, EndpointFlags, Token, ip_of};
use crate::netlink::route::Family;
use crate::table::{Mark, Table};
use crate::time::{Backoff, Duration, Instant};

/// When to look whether connections have come to use a path that is new or has returned: when a
/// join has had its time, and when a first retransmission of it has. In between as well, with
/// back-off, where joins are under way or a subflow is stuck that another can soon do without.
const RETURN_CHECKS: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(3000)];
/// Attempts in vain after which a subflow that is lacked is hardly a reason any more to disturb
/// others: it counts for so much less.
const HOPELESS: u8 = 5;
const SELDOM: u32 = 160;
/// So many healthy subflows may be made anew for the sake of one that is lacked, and one more for
/// each second that it has been. Being made anew costs one 40 to 80 ms, in which its connection
/// uses the others.
const WORTH: u32 = 4;
/// A subflow that lives for so long has been made, whatever ends it later: of the attempts that this
/// took two or three count against the next one.
const MADE: Duration = Duration::from_secs(1);
/// After this long without another loss, one is answered quickly again.
const QUIET: Duration = Duration::from_secs(60);

/// Returns how long to wait after so many attempts: from 250 ms up to a minute.
fn wait(attempts: Backoff) -> Duration {
    attempts.wait(Duration::from_millis(250), Duration::from_secs(60))
}

/// An endpoint of ours, as it was when the look began.
#[derive(Clone, Copy)]
struct Path {
    address: IpAddr,
    /// Where it listens itself, for subflows that peers make; 0 is nowhere.
    port: u16,
    /// The kernel has it, and it has a path.
    usable: bool,
    /// Connections that this host opens make subflows from it.
    joins: bool,
    /// It was lost with all others, and has just returned: peers may wait as long as that took
    /// before they send there again.
    returned: bool,
}

/// A subflow that a connection should have and has not.
struct Missing {
    token: Token,
    address: IpAddr,
    /// Attempts in vain.
    attempts: Backoff,
    /// When it was found missing, or was last tried in vain.
    since: Instant,
    /// When it may be tried again.
    at: Instant,
    /// The last look has shown the connection without it.
    marked: bool,
}

const _: () = assert!(size_of::<Missing>() <= 40);

impl Mark for Missing {
    fn mark(&mut self) -> &mut bool {
        &mut self.marked
    }
}

/// A look at the connections: the one under way, or what came of the last one.
#[derive(Default)]
struct Look {
    /// What it asks: whether any connection needs what is to go, at a third of the cost of all the
    /// rest; for subflows; for connections that have none left.
    step: Option<Query>,
    /// It is for departures alone, and leaves out connections without subflows.
    brief: bool,
    /// Those are still to be asked for.
    asks_for_bare: bool,
    /// What it finds may be older than what it is asked for.
    outdated: bool,
    /// It showed all there is.
    complete: bool,
    /// The kernel cannot show subflows.
    unavailable: bool,
    /// Subflows are being joined, or stuck.
    unsettled: bool,
    /// Endpoints that may have to go.
    departing: Paths,
    /// One of those has a socket that is not known to be of any connection.
    doubtful: bool,
    /// Endpoints whose subflows end after it.
    ending: Paths,
}

/// Ends of subflows, and how soon each is answered.
#[derive(Default)]
struct Losses {
    /// One since the last look.
    unseen: bool,
    last: Instant,
    /// Looks after them that found nothing to do.
    vain: Backoff,
}

pub(super) struct Healer {
    coverage: Coverage,
    paths: Table<Path>,
    missing: Table<Missing>,
    look: Look,
    losses: Losses,
    /// When to look.
    look_at: Instant,
    /// When to look once more after a path has returned.
    recheck_at: Instant,
    /// An endpoint is to go: the next look is for that alone, unless another one is due.
    departing: bool,
    /// A look is due that leaves out nothing.
    full_due: bool,
    /// Looks in a row after which something had to wait for connections.
    kept: Backoff,
    /// Subflows have been made anew without a word to the peers.
    untold_works: bool,
    /// The log has been told of subflows that cannot be had.
    hopeless_reported: bool,
}

impl Healer {
    pub(super) fn new() -> Self {
        Self {
            coverage: Coverage::default(),
            paths: Table::new(capacity::ENDPOINTS),
            missing: Table::new(capacity::MISSING_SUBFLOWS),
            look: Look::default(),
            losses: Losses::default(),
            look_at: Instant::NEVER,
            recheck_at: Instant::NEVER,
            departing: false,
            full_due: false,
            kept: Backoff::default(),
            untold_works: false,
            hopeless_reported: false,
        }
    }

    /// Returns when to look.
    pub(super) fn deadline(&self) -> Instant {
        self.look_at.min(self.recheck_at)
    }

    /// Returns whether it is time to look: true once.
    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        let due = self.deadline() <= now;
        for at in [&mut self.look_at, &mut self.recheck_at] {
            if *at <= now {
                *at = Instant::NEVER;
            }
        }
        self.full_due |= due;
        due
    }

    /// An endpoint is to go: the caller looks at once.
    pub(super) fn on_departure(&mut self) {
        self.departing = true;
        self.look.outdated = self.look.step.is_some();
        self.kept.reset();
    }

    /// An endpoint is new, or has its path again.
    pub(super) fn on_path_gained(&mut self, now: Instant) {
        let [soon, later] = RETURN_CHECKS;
        self.look_at = self.look_at.min(now + soon);
        self.recheck_at = now + later;
        self.kept.reset();
        self.losses.vain.reset();
    }

    /// A subflow has ended, or could not be made, or events of that kind were lost.
    pub(super) fn on_loss(&mut self, now: Instant) {
        if now.saturating_since(self.losses.last) > QUIET {
            self.losses.vain.reset();
        }
        (self.losses.last, self.losses.unseen) = (now, true);
        self.look_at = self.look_at.min(now + wait(self.losses.vain).max(CALM));
    }

    /// Returns the next question to inet_diag; the first one begins a look, with these endpoints.
    pub(super) fn next_query<'a>(&mut self, ours: impl Iterator<Item = &'a Slot>) -> Query {
        if self.look.step.is_none() {
            let brief = core::mem::take(&mut self.departing) && !self.full_due;
            self.look = Look {
                step: brief.then_some(Query::Sockets),
                brief,
                asks_for_bare: !brief,
                unsettled: self.look.unsettled,
                ..Look::default()
            };
            self.coverage.begin();
            self.paths.clear();
            for slot in ours {
                let (endpoint, usable) = (&slot.endpoint, slot.is_usable());
                if !slot.has_path() {
                    // What has failed there says nothing of a path that returns.
                    self.missing.retain(|m| m.address != endpoint.address);
                }
                if !slot.is_settled() {
                    self.look.departing.add(Paths::one(self.paths.len()));
                }
                self.paths.push(Path {
                    address: endpoint.address,
                    port: endpoint.port,
                    usable,
                    returned: slot.has_returned(),
                    joins: usable && endpoint.flags.contains(EndpointFlags::SUBFLOW),
                });
            }
        }
        *(self.look.step).get_or_insert(Query::Subflows(Family::Ipv4))
    }

    /// Takes in a subflow. `is_up` says of an address without an endpoint whether it has a link.
    pub(super) fn on_subflow(&mut self, subflow: &Subflow, is_up: &dyn Fn(IpAddr) -> bool) {
        let local = subflow.ends.local;
        let at = |port| self.find_path(ip_of(&local), port);
        let number = at(local.port()).or_else(|| at(0));
        let path = number.and_then(|number| self.paths.get(number));
        let alive = path.map_or_else(|| is_up(ip_of(&local)), |path| path.usable);
        let waits = path.is_some_and(|path| path.returned);
        self.look.doubtful |= subflow.token == Token::NONE
            && number.is_some_and(|number| self.look.departing.contains(Paths::one(number)));
        self.coverage.add(subflow, number, alive, waits);
    }

    fn find_path(&self, address: IpAddr, port: u16) -> Option<usize> {
        let is_it = |path: &Path| (path.address, path.port) == (address, port);
        self.paths.iter().position(is_it)
    }

    /// Takes in a connection, which may be without subflows.
    pub(super) fn on_connection(&mut self, connection: &Connection) {
        if connection.established && !connection.fallback {
            self.coverage.add_connection(connection);
        }
    }

    /// The answer to a question ended. Returns the result of the look, if that is at its end. That
    /// the kernel cannot show subflows at all is a result like another.
    pub(super) fn on_query_end(
        &mut self,
        result: Result<(), Incomplete>,
    ) -> Option<Result<(), Incomplete>> {
        use Family::{Ipv4, Ipv6};
        let unavailable = result.err().and_then(Incomplete::no_diag).is_some();
        // Without mptcp_diag those without subflows go unseen.
        let partly = matches!(self.look.step, Some(Query::Connections(_)));
        self.look.step = match (self.look.step, result) {
            (Some(Query::Sockets), _) => match result.is_ok() && self.may_all_depart() {
                true => None,
                false => {
                    self.coverage.begin();
                    Some(Query::Subflows(Ipv4))
                }
            },
            (Some(Query::Subflows(Ipv4)), Ok(())) => Some(Query::Subflows(Ipv6)),
            (Some(Query::Subflows(Ipv6)), Ok(())) if self.look.asks_for_bare => {
                self.look.asks_for_bare = false;
                Some(Query::Connections(Ipv4))
            }
            (Some(Query::Connections(Ipv4)), Ok(())) => Some(Query::Connections(Ipv6)),
            // One that was opened meanwhile seems to have no subflow.
            (Some(Query::Connections(Ipv6)), Ok(())) if self.coverage.keep_bare() => {
                Some(Query::Subflows(Ipv4))
            }
            _ => None,
        };
        if self.look.step.is_some() {
            return None;
        }
        self.look.complete = self.coverage.finish();
        self.look.unavailable = unavailable && !partly;
        Some(if unavailable { Ok(()) } else { result })
    }

    /// Returns whether no connection would lose its last working subflow if all went that may have
    /// to. What is no subflow stands alone and is taken for one that may not be lost.
    fn may_all_depart(&mut self) -> bool {
        let departing = self.look.departing;
        let needs = |c: Covered| {
            c.established.without(departing) != c.established && c.depends_on(departing)
        };
        self.coverage.finish() && !self.look.doubtful && !self.coverage.connections().any(needs)
    }

    /// Returns whether a path has returned so recently that connections may not have come to use it.
    pub(super) fn is_settling(&self) -> bool {
        self.recheck_at != Instant::NEVER
    }

    /// Returns whether the look that has ended is older than what it was to tell.
    pub(super) fn is_outdated(&self) -> bool {
        self.look.outdated
    }

    /// Returns whether the look that has ended found that the kernel cannot show subflows.
    pub(super) fn is_unavailable(&self) -> bool {
        self.look.unavailable
    }

    /// Returns whether a connection has its last working subflow from this endpoint; if not, its
    /// subflows end. Where that cannot be told, it may be so.
    pub(super) fn is_needed(&mut self, endpoint: &Endpoint) -> bool {
        let Some(number) = self.find_path(endpoint.address, endpoint.port) else {
            return true;
        };
        let (one, mut ending) = (Paths::one(number), self.look.ending);
        ending.add(one);
        let is_last = |c: Covered| c.established.contains(one) && c.depends_on(ending);
        let needed = !self.look.complete || self.coverage.connections().any(is_last);
        if !needed {
            self.look.ending = ending;
        }
        needed
    }

    /// Returns whether the look that has ended was for departures alone, and says nothing of what
    /// connections lack.
    pub(super) fn is_brief(&self) -> bool {
        self.look.brief
    }

    /// Finds what connections lack, where the kernel makes at most `limit` subflows beside the
    /// first. `failed` is told from where a join has failed, once for each time it was tried.
    pub(super) fn find_missing(
        &mut self,
        now: Instant,
        limit: usize,
        failed: &mut dyn FnMut(IpAddr),
    ) {
        (self.full_due, self.look.unsettled) = (false, false);
        self.missing.unmark(|_| true);
        if !self.look.complete || self.look.unavailable {
            return;
        }
        for connection in self.coverage.connections() {
            self.look.unsettled |= !connection.joining.is_empty() || !connection.stuck.is_empty();
            if !connection.is_joined_here() || connection.subflows > limit {
                continue;
            }
            for (number, path) in self.paths.iter().enumerate() {
                let one = Paths::one(number);
                let reachable = match path.address {
                    IpAddr::V4(_) => connection.ipv4,
                    IpAddr::V6(_) => connection.ipv6,
                };
                let mut used = connection.established.without(connection.stuck);
                used.add(connection.joining);
                if path.joins
                    && reachable
                    && !used.contains(one)
                    && note_missing(&mut self.missing, now, connection.token, path.address)
                {
                    failed(path.address);
                }
            }
        }
        // What is made is remembered for a while, lest a middlebox that ends it each time be
        // answered each time at once.
        self.missing.sweep_unmarked(|m| m.at + QUIET < now);
        let is_made = |m: &&mut Missing| !m.marked && m.since + MADE <= now;
        for made in self.missing.iter_mut().filter(is_made) {
            let failures = made.attempts.failures();
            self.untold_works |= failures % 2 == 1;
            made.attempts.limit(2 + failures % 2);
            made.at = made.at.min(now + wait(made.attempts));
        }
        if self.missing.iter().all(|m| !m.marked) {
            self.hopeless_reported = false;
        }
    }

    /// Returns the address of an endpoint whose subflows are worth to be made again now, each once,
    /// and whether peers are to be told. What they are told they may hear only when the new subflow is
    /// there, and end that: the id is the old one where the address is that of the first subflow. But
    /// where one is stuck nothing else tells them, and some kernels know no other way (before Linux
    /// 5.18): until it is known to work each second attempt is the other one, and then one of eight.
    pub(super) fn next_renewal(&mut self, now: Instant) -> Option<(IpAddr, bool)> {
        for number in 0..self.paths.len() {
            // At the same address there may be another one, with a port, for peers to join.
            let Path { address, joins, .. } = *self.paths.get(number)?;
            let due = |m: &Missing| joins && m.marked && m.address == address && m.at <= now;
            let lacking = self.missing.iter().filter(|m| due(m)).count();
            if lacking == 0 {
                continue;
            }
            // In parts of which `SELDOM` weigh as much as one healthy subflow.
            let (mut worth, mut rise) = (0u32, 0u32);
            for missing in self.missing.iter().filter(|m| due(m)) {
                let waited = now.saturating_since(missing.since).as_millis() / 1000;
                let (base, each) = match missing.attempts.failures() < HOPELESS {
                    true => (WORTH, SELDOM),
                    false => (0, 1),
                };
                worth = worth.saturating_add((base + waited) * each);
                rise += each;
            }
            let one = Paths::one(number);
            let covered = self.coverage.connections();
            let is_healthy = |c: &Covered| c.established.without(c.stuck).contains(one);
            let healthy = covered.filter(is_healthy).count() as u32 * SELDOM;
            let mut covered = self.coverage.connections();
            let mut cut = self.look.ending;
            cut.add(one);
            let would_cut = |c: Covered| c.established.contains(one) && c.hangs_on(cut);
            if covered.any(would_cut) {
                continue;
            }
            if healthy > worth {
                let enough = (healthy - worth).div_ceil(rise);
                self.look_at = self.look_at.min(now + Duration::from_secs(enough));
                continue;
            }
            let mut fewest = u8::MAX;
            for missing in self.missing.iter_mut().filter(|m| due(m)) {
                fewest = fewest.min(missing.attempts.failures());
                missing.attempts.failed();
                missing.since = now;
                missing.at = now + wait(missing.attempts);
            }
            self.losses.vain.reset();
            self.look.ending = cut;
            logging::info!(
                "making endpoint {address} again: connections without a subflow there: {lacking}"
            );
            let last = if self.untold_works { 7 } else { 1 };
            let is_stuck = |c: Covered| c.stuck.contains(one);
            let told = fewest & last == last || self.coverage.connections().any(is_stuck);
            return Some((address, told));
        }
        None
    }

    /// Sets when to look next: after `interval` seconds, unless that is 0; and earlier where an
    /// endpoint had to stay (`kept`), where a path has just returned that is not yet in use, or
    /// where a subflow may be tried again.
    pub(super) fn schedule(&mut self, now: Instant, interval: u32, kept: bool) {
        if kept || (self.is_settling() && self.look.unsettled) {
            self.look_at = self.look_at.min(now + wait(self.kept));
            self.kept.failed();
        }
        if core::mem::take(&mut self.losses.unseen) {
            self.losses.vain.failed();
        }
        if interval != 0 && self.paths.iter().any(|path| path.joins) {
            self.look_at = self.look_at.min(now + Duration::from_secs(interval));
        }
        let waiting = self.missing.iter().filter(|m| m.marked && m.at > now);
        let next = waiting.map(|m| m.at).min().unwrap_or(Instant::NEVER);
        self.look_at = self.look_at.min(next);
        let hopeless = |m: &Missing| m.marked && m.attempts.failures() >= HOPELESS;
        if let Some(missing) = self.missing.iter().find(|m| hopeless(m)) {
            if !core::mem::replace(&mut self.hopeless_reported, true) {
                let address = missing.address;
                logging::warn!(
                    "a connection gets no subflow from {address}: its peer or the way there does \
                     not take it; trying again now and then"
                );
            }
        }
    }
}

/// Notes that a connection has no subflow from an address. What does not fit is found later. Returns
/// whether another try has failed.
fn note_missing(missing: &mut Table<Missing>, now: Instant, token: Token, address: IpAddr) -> bool {
    let is_it = |m: &&mut Missing| m.token == token && m.address == address;
    if let Some(known) = missing.iter_mut().find(is_it) {
        known.marked = true;
        return known.at <= now;
    }
    missing.push(Missing {
        token,
        address,
        attempts: Backoff::default(),
        since: now,
        at: now,
        marked: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{Endpoints, Want, Wanted};
    use crate::netlink::IfIndex;
    use crate::netlink::diag::Ends;
    use crate::netlink::mptcp::AddressId;

    fn endpoint(last: u8) -> Endpoint {
        Endpoint {
            address: [10, 0, last, 2].into(),
            port: 0,
            id: AddressId(last),
            flags: EndpointFlags::SUBFLOW,
            ifindex: IfIndex(last.into()),
        }
    }

    /// Endpoints, of which only the last is to stay.
    fn endpoints(numbers: &[u8]) -> Endpoints {
        let (mut endpoints, mut wanted) = (Endpoints::new(), Wanted::default());
        for number in numbers {
            endpoints.remember(endpoint(*number));
        }
        let Endpoint {
            address, ifindex, ..
        } = endpoint(*numbers.last().unwrap());
        wanted.add(Want {
            address,
            port: 0,
            flags: EndpointFlags::SUBFLOW,
            ifindex,
            priority: 0,
            sequence: 0,
        });
        wanted.settle(&endpoints, 8);
        endpoints.reconcile(Instant(1000), &wanted, &mut |_| None);
        endpoints
    }

    fn socket(inode: u32, last: u8) -> Subflow {
        Subflow {
            token: Token::new(inode),
            ends: Ends {
                local: (endpoint(last).address, 5000).into(),
                remote: "10.9.0.1:443".parse().unwrap(),
                mapped: false,
            },
            local_id: AddressId::INITIAL,
            remote_id: AddressId::INITIAL,
            ifindex: IfIndex::NONE,
            backup_here: false,
            backup_there: false,
            opened_here: false,
            initial: true,
            established: true,
            retransmissions: 0,
            fully_established: false,
        }
    }

    /// What is shown by sockets alone suffices where every connection has another one that works;
    /// else it may be that these are none.
    #[test]
    fn subflows_are_looked_at_only_where_sockets_leave_a_doubt() {
        let endpoints = endpoints(&[1, 2]);
        let [two, one, nobodys] = [
            vec![socket(7, 1), socket(7, 2), socket(8, 2)],
            vec![socket(7, 1), socket(8, 2)],
            vec![socket(7, 1), socket(7, 2), socket(0, 1)],
        ];
        for (sockets, is_clear) in [(two, true), (one, false), (nobodys, false)] {
            let mut healer = Healer::new();
            healer.on_departure();
            assert_eq!(healer.next_query(endpoints.ours().iter()), Query::Sockets);
            for socket in &sockets {
                healer.on_subflow(socket, &|_| true);
            }
            if is_clear {
                assert_eq!(healer.on_query_end(Ok(())), Some(Ok(())));
                assert!(healer.is_brief() && !healer.is_needed(&endpoint(1)));
                continue;
            }
            assert_eq!(healer.on_query_end(Ok(())), None);
            let next = healer.next_query(endpoints.ours().iter());
            assert_eq!(next, Query::Subflows(Family::Ipv4));
        }
    }

    /// It has subflows, and is not to lose them for the sake of those that it seems to lack.
    #[test]
    fn a_connection_that_is_opened_during_a_look_lacks_nothing() {
        let endpoints = endpoints(&[1]);
        for has_subflow in [true, false] {
            let mut healer = Healer::new();
            let mut looks = 0;
            let mut opened = false;
            loop {
                match healer.next_query(endpoints.ours().iter()) {
                    Query::Subflows(Family::Ipv4) => {
                        looks += 1;
                        if opened && has_subflow {
                            healer.on_subflow(&socket(7, 1), &|_| true);
                        }
                    }
                    Query::Connections(Family::Ipv4) => {
                        opened = true;
                        healer.on_connection(&Connection {
                            token: Token::new(7),
                            ends: socket(7, 1).ends,
                            established: true,
                            fallback: false,
                        });
                    }
                    _ => {}
                }
                if healer.on_query_end(Ok(())).is_some() {
                    break;
                }
            }
            assert_eq!(looks, 2);
            healer.find_missing(Instant(2000), 8, &mut |_| {});
            let renewed = healer.next_renewal(Instant(2000));
            assert_eq!(renewed.is_none(), has_subflow, "{renewed:?}");
        }
    }
}
