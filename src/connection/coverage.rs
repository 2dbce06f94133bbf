// SPDX-License-Identifier: BSD-3-Clause
//! Which paths the connections of the in-kernel path manager use: one look at all subflows.
//!
//! Nothing of it is kept up to date. A look begins with the local addresses that matter, takes in
//! every subflow that inet_diag shows, and then says of each connection over which of those
//! addresses it has subflows, and which of them work.

use core::net::IpAddr;

use crate::capacity;
use crate::netlink::diag::{Connection, Subflow};
use crate::netlink::mptcp::{Token, ip_of};
use crate::table::Table;

/// Local addresses, by their number: bit n stands for the address with number n.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Paths(u64);

impl Paths {
    /// Returns the set of one path; empty if the number is beyond the 64 that a look can tell
    /// apart.
    pub fn one(number: usize) -> Self {
        let bit = u32::try_from(number).ok().and_then(|n| 1u64.checked_shl(n));
        Self(bit.unwrap_or(0))
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Returns those of them that are not in `other`.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// What a look shows of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Covered {
    pub token: Token,
    /// Paths with an established subflow, or with the one that opens the connection.
    pub established: Paths,
    /// Those of them whose subflow works, by path and by its own retransmissions.
    pub working: Paths,
    /// Established ones that have sent in vain so often, here or there, that another try is far off.
    pub stuck: Paths,
    /// Paths that are being joined.
    pub joining: Paths,
    /// A subflow from another address works.
    pub works_elsewhere: bool,
    /// The peer has not answered yet: its end would be the connection's, which cannot be joined.
    pub opening: bool,
    /// This host opened it: it is for this host to join.
    pub opened_here: bool,
    /// The peer has an IPv4 or IPv6 address in it.
    pub ipv4: bool,
    pub ipv6: bool,
    pub subflows: usize,
}

impl Covered {
    /// Returns whether it is for this host to join it. Which side opened a connection that has no
    /// subflow left is not known.
    pub fn is_joined_here(&self) -> bool {
        !self.opening && (self.opened_here || self.subflows == 0)
    }

    /// Returns whether it has a subflow that works on none but these paths.
    pub fn depends_on(&self, paths: Paths) -> bool {
        !self.works_elsewhere && paths.contains(self.working)
    }

    /// Returns whether a subflow on one of these paths is all that would bring the connection
    /// back, should none of its subflows work now.
    pub fn hangs_on(&self, paths: Paths) -> bool {
        self.depends_on(paths)
            && (!self.working.is_empty() || self.established.without(paths).is_empty())
    }
}

/// The subflows of a look.
pub struct Coverage {
    /// By token once the look is complete; see [`pack`].
    subflows: Table<u64>,
}

/// Retransmissions in a row after which a subflow counts as stuck: with the smallest timeout the
/// kernel has, that is after 1.4 s, and the next one is 1.6 s away.
const STUCK_AFTER: u8 = 3;

/// The path of a subflow from an address that does not matter.
const ELSEWHERE: u8 = u8::MAX - 1;
/// What stands for a connection itself: it comes after all of its subflows.
const NOWHERE: u8 = u8::MAX;

const ESTABLISHED: u8 = 1;
const WORKING: u8 = 1 << 1;
const JOINING: u8 = 1 << 2;
const OPENED_HERE: u8 = 1 << 3;
const IPV6: u8 = 1 << 4;
const SUBFLOW: u8 = 1 << 5;
const STUCK: u8 = 1 << 6;
const OPENING: u8 = 1 << 7;

/// Eight octets for each subflow, in the order that sorts them: token, path and flags.
fn pack(token: Token, path: u8, flags: u8) -> u64 {
    u64::from(token.get()) << 32 | u64::from(path) << 8 | u64::from(flags)
}

fn token_of(packed: u64) -> Token {
    Token::new((packed >> 32) as u32)
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            subflows: Table::new(capacity::COVERED_SUBFLOWS),
        }
    }
}

impl Coverage {
    /// A look begins.
    pub fn begin(&mut self) {
        self.subflows.clear();
    }

    /// Takes in a subflow. `number` is that of its local address, if that matters; `alive` says
    /// whether that address has a way out, and `waits` whether it had none for a while, so that the
    /// peer may wait for as long.
    pub fn add(&mut self, subflow: &Subflow, number: Option<usize>, alive: bool, waits: bool) {
        let local: IpAddr = ip_of(&subflow.ends.local);
        if subflow.token == Token::NONE || local.is_loopback() {
            return;
        }
        // What has been sent and not been acknowledged in time says that a path may be dead.
        let silent = subflow.retransmissions > 0;
        let opening = subflow.initial && !subflow.established;
        let mut flags = 0;
        for (flag, set) in [
            (ESTABLISHED, subflow.established || opening),
            (OPENING, opening),
            (WORKING, subflow.established && alive && !silent),
            (JOINING, !subflow.established && !opening && !silent),
            (OPENED_HERE, subflow.opened_here),
            (IPV6, subflow.ends.remote.is_ipv6()),
            (SUBFLOW, true),
            (
                STUCK,
                subflow.established && (waits || subflow.retransmissions >= STUCK_AFTER),
            ),
        ] {
            flags |= if set { flag } else { 0 };
        }
        let path = number.and_then(|n| u8::try_from(n).ok().filter(|n| *n < 64));
        let packed = pack(subflow.token, path.unwrap_or(ELSEWHERE), flags);
        self.subflows.push(packed);
    }

    /// Takes in a connection, lest one without subflows go unseen.
    pub fn add_connection(&mut self, connection: &Connection) {
        let flags = if connection.ends.remote.is_ipv6() {
            IPV6
        } else {
            0
        };
        if connection.token != Token::NONE && !ip_of(&connection.ends.local).is_loopback() {
            self.subflows.push(pack(connection.token, NOWHERE, flags));
        }
    }

    /// Keeps only the connections that have no subflow, for a second look at the subflows. Returns
    /// whether there are any; if not, nothing is forgotten.
    pub fn keep_bare(&mut self) -> bool {
        self.subflows.sort_unstable();
        if self.connections().all(|connection| connection.subflows > 0) {
            return false;
        }
        let mut with_subflows = Token::NONE;
        self.subflows.retain(|packed| {
            let token = token_of(*packed);
            let [.., path, _] = packed.to_be_bytes();
            if path != NOWHERE {
                with_subflows = token;
            }
            token != with_subflows
        });
        true
    }

    /// The look is complete. Returns whether it shows all subflows.
    pub fn finish(&mut self) -> bool {
        self.subflows.sort_unstable();
        !self.subflows.is_short()
    }

    /// Returns the connections that the look shows, once each.
    pub fn connections(&self) -> impl Iterator<Item = Covered> {
        let mut rest: &[u64] = &self.subflows;
        core::iter::from_fn(move || {
            let token = token_of(*rest.first()?);
            let mut covered = Covered {
                token,
                ..Covered::default()
            };
            while let Some((first, others)) = rest.split_first() {
                if token_of(*first) != token {
                    break;
                }
                covered.add(*first);
                rest = others;
            }
            Some(covered)
        })
    }
}

impl Covered {
    fn add(&mut self, packed: u64) {
        let [.., path, flags] = packed.to_be_bytes();
        let has = |flag| flags & flag != 0;
        let path = if path == ELSEWHERE {
            self.works_elsewhere |= has(WORKING);
            Paths::default()
        } else {
            Paths::one(path.into())
        };
        for (paths, flag) in [
            (&mut self.established, ESTABLISHED),
            (&mut self.working, WORKING),
            (&mut self.joining, JOINING),
            (&mut self.stuck, STUCK),
        ] {
            if has(flag) {
                paths.add(path);
            }
        }
        self.opening |= has(OPENING);
        self.opened_here |= has(OPENED_HERE);
        self.ipv6 |= has(IPV6);
        self.ipv4 |= !has(IPV6);
        self.subflows += usize::from(has(SUBFLOW));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::IfIndex;
    use crate::netlink::diag::Ends;
    use crate::netlink::mptcp::AddressId;

    fn subflow(token: u32, local: &str, established: bool, retransmissions: u8) -> Subflow {
        Subflow {
            token: Token::new(token),
            ends: Ends {
                local: local.parse().unwrap(),
                remote: "10.9.0.1:80".parse().unwrap(),
                mapped: false,
            },
            local_id: AddressId::INITIAL,
            remote_id: AddressId::INITIAL,
            ifindex: IfIndex::NONE,
            backup_here: false,
            backup_there: false,
            opened_here: token != 7,
            initial: token == 5,
            established,
            retransmissions,
            fully_established: true,
        }
    }

    fn look(subflows: &[(Subflow, Option<usize>, bool)]) -> Vec<Covered> {
        let mut coverage = Coverage::default();
        coverage.begin();
        for (subflow, number, alive) in subflows {
            coverage.add(subflow, *number, *alive, false);
        }
        assert!(coverage.finish());
        coverage.connections().collect()
    }

    #[test]
    fn subflows_are_gathered_by_connection_in_any_order() {
        let found = look(&[
            (subflow(9, "10.0.1.1:1", true, 0), Some(0), true),
            (subflow(7, "10.0.1.1:2", true, 0), Some(0), true),
            (subflow(9, "10.0.2.1:3", false, 0), Some(1), true),
            (subflow(9, "10.0.3.1:4", true, 2), Some(2), true),
        ]);
        let [seven, nine] = found[..] else {
            panic!("{found:?}")
        };
        assert_eq!([seven.token, nine.token], [7, 9].map(Token::new));
        assert!(!seven.opened_here && nine.opened_here);
        assert_eq!(
            nine.working,
            Paths::one(0),
            "one retransmits, one only joins"
        );
        assert_eq!(nine.joining, Paths::one(1));
        assert!(nine.established.contains(Paths::one(2)));
        assert!(nine.ipv4 && !nine.ipv6 && nine.subflows == 3);
    }

    #[test]
    fn only_where_a_connection_is_bare_are_the_others_forgotten() {
        let (mut coverage, first) = (Coverage::default(), subflow(9, "10.0.1.1:1", true, 0));
        let mut whole = Connection {
            token: first.token,
            ends: first.ends,
            established: true,
            fallback: false,
        };
        coverage.begin();
        coverage.add(&first, Some(0), true, false);
        coverage.add_connection(&whole);
        assert!(!coverage.keep_bare());
        assert_eq!(coverage.connections().next().unwrap().subflows, 1);
        whole.token = Token::new(7);
        coverage.add_connection(&whole);
        assert!(coverage.keep_bare());
        let [bare] = coverage.connections().collect::<Vec<_>>()[..] else {
            panic!()
        };
        assert_eq!((bare.token, bare.subflows), (whole.token, 0));
    }

    #[test]
    fn a_connection_depends_on_its_last_working_path() {
        let lost = |alive| (subflow(9, "10.0.1.1:1", true, 0), Some(0), alive);
        let [alone] = look(&[lost(false)])[..] else {
            panic!()
        };
        assert!(alone.depends_on(Paths::one(0)));
        let other = |number, silent| (subflow(9, "10.0.2.1:1", true, silent), number, true);
        for number in [Some(1), None] {
            let [two] = look(&[lost(false), other(number, 0)])[..] else {
                panic!()
            };
            assert!(!two.depends_on(Paths::one(0)));
            let [two] = look(&[lost(false), other(number, 3)])[..] else {
                panic!()
            };
            assert!(two.depends_on(Paths::one(0)), "the other path is silent");
        }
    }

    /// A stuck subflow may be made again for the sake of its connection, which another one holds
    /// meanwhile; the only one there is may not, nor one beside which none works.
    #[test]
    fn a_connection_hangs_on_the_only_subflow_that_is_left() {
        let stuck = |local, number| (subflow(9, local, true, 5), Some(number), true);
        let [one] = look(&[stuck("10.0.1.1:1", 0)])[..] else {
            panic!()
        };
        assert!(one.hangs_on(Paths::one(0)) && one.stuck == Paths::one(0));
        let [two] = look(&[stuck("10.0.1.1:1", 0), stuck("10.0.2.1:1", 1)])[..] else {
            panic!()
        };
        assert!(!two.hangs_on(Paths::one(0)) && !two.hangs_on(Paths::one(1)));
        assert!(two.depends_on(Paths::one(0)), "neither may go for good");
        let works = (subflow(9, "10.0.2.1:1", true, 0), Some(1), true);
        let [two] = look(&[stuck("10.0.1.1:1", 0), works])[..] else {
            panic!()
        };
        assert!(!two.hangs_on(Paths::one(0)) && two.hangs_on(Paths::one(1)));
    }

    /// Until the peer answers, the first subflow is all there is of a connection.
    #[test]
    fn a_connection_that_is_being_opened_hangs_on_its_first_subflow() {
        for (alive, retransmissions) in [(true, 0), (true, 3), (false, 0)] {
            let first = subflow(5, "10.0.1.1:1", false, retransmissions);
            let [opening] = look(&[(first, Some(0), alive)])[..] else {
                panic!()
            };
            let path = Paths::one(0);
            assert!(opening.established.contains(path));
            assert!(opening.depends_on(path) && opening.hangs_on(path));
            assert!(!opening.is_joined_here() && opening.joining.is_empty());
        }
        let there = look(&[(subflow(5, "10.0.1.1:1", true, 0), Some(0), true)]);
        assert!(there[0].is_joined_here());
    }

    #[test]
    fn loopback_connections_and_plain_sockets_do_not_matter() {
        let found = look(&[
            (subflow(9, "127.0.0.1:1", true, 0), None, true),
            (subflow(0, "10.0.1.1:1", true, 0), None, true),
        ]);
        assert!(found.is_empty());
    }
}
