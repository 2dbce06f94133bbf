// SPDX-License-Identifier: BSD-3-Clause
use super::limits::Fixed;
use super::manager::{EndpointManager, Terms};
use super::*;
use crate::netlink::IfIndex;
use crate::request::Failure;
use libc::{EAGAIN, EINVAL, EOPNOTSUPP, ERANGE};

const NOW: Instant = Instant(1000);

fn ip(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

fn want(last: u8) -> Want {
    Want {
        address: ip(last),
        port: 0,
        flags: EndpointFlags::SUBFLOW,
        ifindex: IfIndex(1),
        priority: 0,
        sequence: u32::from(last),
    }
}

fn endpoint(last: u8, id: u8) -> Endpoint {
    Endpoint {
        address: ip(last),
        port: 0,
        id: AddressId(id),
        flags: EndpointFlags::SUBFLOW,
        ifindex: IfIndex(1),
    }
}

fn settled(endpoints: &Endpoints, wants: &[Want]) -> Wanted {
    let mut wanted = Wanted::default();
    wants.iter().for_each(|want| wanted.add(*want));
    wanted.settle(endpoints, 255);
    wanted
}

/// Last bytes of the addresses.
fn last<'a>(wants: impl Iterator<Item = &'a Want>) -> Vec<u8> {
    wants
        .map(|want| match want.address {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(_) => unreachable!(),
        })
        .collect()
}

/// A kernel that takes a number of endpoints, of which some are somebody else's.
struct Kernel {
    endpoints: Vec<Endpoint>,
    room: usize,
    /// What it answers when that is taken.
    full: i32,
    /// Flags it does not know, and drops.
    drops: u32,
    can_set_flags: bool,
    sequence: u32,
    /// Addresses without which a connection would lose its last working subflow.
    needed: Vec<IpAddr>,
    /// The largest number of commands it was given at once.
    burst: usize,
}

impl Kernel {
    fn new(room: usize) -> Self {
        Self {
            endpoints: Vec::new(),
            room,
            full: ERANGE,
            drops: 0,
            can_set_flags: true,
            sequence: 0,
            needed: Vec::new(),
            burst: 0,
        }
    }

    fn run(&mut self, command: Command) -> Result<(), i32> {
        let at = |endpoints: &[Endpoint], id| endpoints.iter().position(|e| e.id == id);
        match command {
            Command::AddEndpoint(_) if self.endpoints.len() >= self.room => return Err(self.full),
            Command::AddEndpoint(mut new) => {
                // It replaces one of the kernel's own.
                self.endpoints
                    .retain(|e| !is_implicit(e) || e.address != new.address);
                new.flags.0 &= !self.drops;
                self.endpoints.push(new);
            }
            Command::SetFlags(_) if !self.can_set_flags => return Err(EOPNOTSUPP),
            Command::SetFlags(new) => {
                let at = at(&self.endpoints, new.id).ok_or(EINVAL)?;
                self.endpoints[at].flags.0 = new.flags.0 & !self.drops;
            }
            Command::DeleteEndpoint(gone) => {
                let at = at(&self.endpoints, gone.id).ok_or(EINVAL)?;
                self.endpoints.remove(at);
            }
            Command::SetLimits(_) => {}
            _ => unreachable!(),
        }
        Ok(())
    }

    fn dump(&self, now: Instant, endpoints: &mut Endpoints) -> bool {
        endpoints.begin_dump();
        self.endpoints.iter().for_each(|e| endpoints.on_dumped(*e));
        endpoints.finish_dump(now)
    }

    /// Reconciles once; returns the commands and whether a dump is due.
    fn round(
        &mut self,
        now: Instant,
        endpoints: &mut Endpoints,
        wants: &[Want],
    ) -> (Vec<Command>, bool) {
        let mut sent = Vec::new();
        let wanted = settled(endpoints, wants);
        endpoints.reconcile(now, &wanted, &mut |command| {
            self.sequence += 1;
            let number = CommandId(self.sequence);
            sent.push((number, command));
            Some(number)
        });
        self.burst = self.burst.max(sent.len());
        let mut dump = false;
        for (number, command) in &sent {
            if let Err(errno) = self.run(*command) {
                let refused = endpoints.failed(now, *number, errno);
                dump |= refused.expect("it is one of ours").dump;
            }
            endpoints.done(*number);
        }
        (sent.into_iter().map(|(_, command)| command).collect(), dump)
    }

    /// Reconciles, with dumps where they are due, until nothing is left to do.
    fn settle(&mut self, now: Instant, endpoints: &mut Endpoints, wants: &[Want]) {
        for _ in 0..100 {
            let (sent, dump) = self.round(now, endpoints, wants);
            let (dump, look) = (dump || endpoints.needs_dump(), endpoints.has_requests(now));
            if look {
                let is_needed = &mut |slot: &Slot| self.needed.contains(&slot.endpoint.address);
                endpoints.decide_departures(now, is_needed, &mut |_| ());
            }
            if dump {
                self.dump(now, endpoints);
            }
            if look || dump {
                continue;
            }
            if sent.is_empty() {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    /// Has the endpoints managed, from a look at the connections to where nothing is left to do.
    fn manage(&mut self, manager: &mut EndpointManager, wants: &[Want]) {
        let terms = Terms {
            fixed: Fixed::default(),
            most: 8,
            adopt: &Prefixes::default(),
            is_local: &|address| address != ip(6),
        };
        let (mut dump, mut look) = (true, true);
        for _ in 0..20 {
            if dump {
                manager.begin_dump();
                self.endpoints.iter().for_each(|e| manager.on_dumped(*e));
                manager.finish_dump(NOW);
            }
            if look {
                let is_needed = &mut |slot: &Slot| self.needed.contains(&slot.endpoint.address);
                manager.decide_departures(NOW, is_needed);
            }
            manager.retry_now();
            let wanted = manager.clear_wanted();
            wants.iter().for_each(|want| wanted.add(*want));
            let mut sent = Vec::new();
            let come = manager.reconcile(NOW, &terms, &mut |command| {
                self.sequence += 1;
                sent.push((CommandId(self.sequence), command));
                Some(CommandId(self.sequence))
            });
            (dump, look) = (come.needs_dump, come.needs_look);
            for (number, command) in &sent {
                if let Err(errno) = self.run(*command) {
                    let failure = Failure { errno, message: "" };
                    manager.failed(NOW, *number, failure);
                    dump = true;
                }
                manager.done(*number);
            }
            if !dump && !look && sent.is_empty() {
                return;
            }
        }
        panic!("it does not come to rest");
    }
}

#[test]
fn wants_go_by_priority_and_then_by_arrival() {
    let first = Want {
        priority: -1,
        ..want(9)
    };
    let wants = [want(3), first, want(1), want(2)];
    let wanted = settled(&Endpoints::new(), &wants);
    assert_eq!(last(wanted.iter()), [9, 1, 2, 3]);
    assert_eq!(last(wanted.chosen()), [9, 1, 2, 3], "there is room for all");
    assert_eq!(wanted.waiting(), 0);
}

#[test]
fn of_duplicates_the_best_is_left() {
    let better = Want {
        priority: -1,
        flags: EndpointFlags::SIGNAL,
        sequence: 99,
        ..want(1)
    };
    let port = Want { port: 5, ..want(1) };
    let wanted = settled(&Endpoints::new(), &[want(1), port, want(2), better]);
    let left: Vec<Want> = wanted.iter().copied().collect();
    assert_eq!(left, [better, port, want(2)]);
}

#[test]
fn an_endpoint_that_exists_keeps_its_slot_from_equals_only() {
    let (mut kernel, mut endpoints) = (Kernel::new(2), Endpoints::new());
    kernel.settle(NOW, &mut endpoints, &[want(5), want(6), want(7)]);
    assert_eq!(endpoints.capacity(), Some(2));
    let older = settled(&endpoints, &[want(1), want(5), want(6)]);
    assert_eq!(last(older.fits()), [5, 6]);
    assert_eq!(older.waiting(), 1);
    let better = Want {
        priority: -1,
        ..want(9)
    };
    let wanted = settled(&endpoints, &[better, want(5), want(6)]);
    assert_eq!(last(wanted.fits()), [9, 5]);
}

#[test]
fn every_uplink_has_one_for_each_family_before_any_has_a_second() {
    let on = |ifindex: u32, last: u8| Want {
        ifindex: IfIndex(ifindex),
        ..want(last)
    };
    let (mut kernel, mut endpoints) = (Kernel::new(4), Endpoints::new());
    let two = [on(1, 1), on(1, 2), on(1, 3), on(2, 4), on(2, 5)];
    kernel.settle(NOW, &mut endpoints, &two);
    let wanted = settled(&endpoints, &two);
    assert_eq!(last(wanted.fits()), [1, 4, 2, 5]);
    // What holds a slot keeps it from its equals, and not from the first of an uplink.
    let mut more = Vec::from(two);
    more.extend([on(3, 7), on(2, 8), on(3, 9)]);
    let wanted = settled(&endpoints, &more);
    assert_eq!(last(wanted.fits()), [1, 4, 7, 2]);
    let first = Want {
        priority: -1,
        ..on(1, 3)
    };
    more.push(first);
    assert_eq!(last(settled(&endpoints, &more).fits()), [3, 4, 7, 1]);
    // Where all fit there is nothing to share.
    assert_eq!(last(settled(&endpoints, &two[..4]).fits()), [1, 2, 4, 3]);
    // No more than are asked for.
    let mut wanted = settled(&Endpoints::new(), &two);
    wanted.settle(&Endpoints::new(), 3);
    assert_eq!(last(wanted.fits()), [1, 4, 2]);
    assert_eq!((wanted.waiting(), wanted.lacks_room(3)), (2, false));
    // Unique local addresses are the last.
    let private = Want {
        address: "fd00::1".parse().unwrap(),
        sequence: 0,
        ..on(4, 1)
    };
    let mut wanted = settled(&Endpoints::new(), &[private, on(1, 1), on(1, 2)]);
    wanted.settle(&Endpoints::new(), 2);
    assert_eq!(last(wanted.fits()), [1, 2]);
}

#[test]
fn what_is_of_no_use_gives_way() {
    let (kernel, mut endpoints) = (Kernel::new(8), Endpoints::new());
    drop(kernel);
    let with = |last: u8, flags: EndpointFlags| Endpoint {
        flags,
        ..endpoint(last, last)
    };
    endpoints.begin_dump();
    for other in [
        with(1, EndpointFlags::SUBFLOW),
        with(2, EndpointFlags::SUBFLOW),
        with(3, EndpointFlags::SIGNAL),
        with(4, EndpointFlags::IMPLICIT),
        with(5, EndpointFlags::IMPLICIT),
        Endpoint {
            ifindex: IfIndex::NONE,
            ..with(6, EndpointFlags::SUBFLOW)
        },
    ] {
        endpoints.on_dumped(other);
    }
    endpoints.finish_dump(NOW);
    let wanted = settled(&endpoints, &[want(5), want(9)]);
    let mut given = Vec::new();
    while endpoints.give_way(&wanted, &|address| address == ip(2)) {
        given.extend(endpoints.ours().last().map(|slot| slot.endpoint.id.0));
    }
    assert_eq!(given, [4, 1], "what the kernel made itself goes first");
    assert_eq!(endpoints.others().len(), 4);
    assert!(endpoints.has_requests(NOW), "connections may need it");
}

#[test]
fn where_a_connection_needs_what_is_to_give_way_another_does() {
    let (mut kernel, mut manager) = (Kernel::new(2), EndpointManager::default());
    let implicit = |last: u8| Endpoint {
        flags: EndpointFlags::IMPLICIT,
        ..endpoint(last, last)
    };
    let all = |kernel: &Kernel| {
        kernel
            .endpoints
            .iter()
            .map(|e| e.address)
            .collect::<Vec<_>>()
    };
    // What the kernel made itself is the first to give way, and is needed.
    for other in [implicit(5), endpoint(6, 6)] {
        kernel.endpoints = vec![implicit(4), other];
        kernel.needed = vec![ip(4)];
        kernel.manage(&mut manager, &[want(8)]);
        assert_eq!(all(&kernel), [ip(4), ip(8)]);
        // Where there is room, it is left alone when no connection needs it any more.
        kernel.needed.clear();
        kernel.manage(&mut manager, &[want(8)]);
        assert_eq!(all(&kernel), [ip(4), ip(8)]);
        kernel.needed = vec![ip(4)];
        kernel.manage(&mut manager, &[want(8), want(9)]);
        assert_eq!(all(&kernel), [ip(4), ip(8)]);
        assert_eq!(manager.wanted().waiting(), 1);
        kernel.needed.clear();
        kernel.manage(&mut manager, &[want(8), want(9)]);
        assert_eq!(all(&kernel), [ip(8), ip(9)]);
        kernel.manage(&mut manager, &[]);
        assert_eq!(kernel.endpoints, []);
    }
}

#[test]
fn an_endpoint_of_somebody_else_takes_none_of_our_slots() {
    let (mut kernel, mut endpoints) = (Kernel::new(3), Endpoints::new());
    kernel.endpoints.push(endpoint(1, 77));
    kernel.dump(NOW, &mut endpoints);
    assert!(endpoints.foreign(ip(1), 0) && !endpoints.foreign(ip(1), 5));
    let wants = [want(1), want(2), want(3), want(4)];
    kernel.settle(NOW, &mut endpoints, &wants);
    assert_eq!(endpoints.capacity(), Some(3));
    let wanted = settled(&endpoints, &wants);
    assert_eq!(last(wanted.fits()), [1, 2, 3]);
    assert_eq!(endpoints.others(), [endpoint(1, 77)]);
    assert_eq!(endpoints.ours().len(), 2);
}

#[test]
fn the_capacity_is_learned_from_a_refusal() {
    for full in [ERANGE, EINVAL] {
        let (mut kernel, mut endpoints) = (Kernel::new(8), Endpoints::new());
        kernel.full = full;
        let wants: Vec<Want> = (1..=40).map(want).collect();
        assert_eq!(endpoints.capacity(), None);
        kernel.settle(NOW, &mut endpoints, &wants);
        assert_eq!(endpoints.capacity(), Some(8), "errno {full}");
        assert_eq!(endpoints.ours().len(), 8);
        assert!(kernel.burst <= MAX_UNACKED_ADDS, "{}", kernel.burst);
        assert_eq!(settled(&endpoints, &wants).waiting(), 32);
        assert!(endpoints.refusals().all(|(_, errno)| errno == ERANGE));
    }
}

#[test]
fn what_is_not_valid_says_nothing_of_room() {
    let (mut kernel, mut endpoints) = (Kernel::new(5), Endpoints::new());
    kernel.full = EINVAL;
    let wants: Vec<Want> = (1..=7).map(want).collect();
    kernel.settle(NOW, &mut endpoints, &wants);
    assert_eq!(endpoints.capacity(), None);
}

#[test]
fn a_kernel_that_has_grown_is_asked_for_one_more_at_a_time() {
    let (mut kernel, mut endpoints) = (Kernel::new(8), Endpoints::new());
    let wants: Vec<Want> = (1..=12).map(want).collect();
    kernel.settle(NOW, &mut endpoints, &wants);
    let later = NOW + crate::time::Duration::from_secs(60);
    endpoints.forget_refusals();
    let (sent, dump) = kernel.round(later, &mut endpoints, &wants);
    assert_eq!((sent.len(), dump), (1, true), "a full one is asked once");
    kernel.dump(later, &mut endpoints);
    assert_eq!(endpoints.capacity(), Some(8));
    kernel.room = 10;
    endpoints.forget_refusals();
    kernel.settle(later, &mut endpoints, &wants);
    assert_eq!(endpoints.capacity(), Some(10));
    assert_eq!(endpoints.ours().len(), 10);
    endpoints.forget_kernel();
    assert_eq!(endpoints.capacity(), None);
}

fn with_fullmesh(last: u8) -> Want {
    Want {
        flags: EndpointFlags(EndpointFlags::SUBFLOW.0 | EndpointFlags::FULLMESH.0),
        ..want(last)
    }
}

#[test]
fn a_flag_is_unsupported_when_it_is_missing_twice() {
    let (mut kernel, mut endpoints) = (Kernel::new(8), Endpoints::new());
    kernel.drops = EndpointFlags::FULLMESH.0;
    let wants = [with_fullmesh(1)];
    kernel.round(NOW, &mut endpoints, &wants);
    assert!(endpoints.needs_dump());
    kernel.dump(NOW, &mut endpoints);
    assert_eq!(endpoints.unsupported().0, 0, "somebody may have removed it");
    let (sent, _) = kernel.round(NOW, &mut endpoints, &wants);
    assert_eq!(sent, [], "not before a look at the connections");
    assert!(endpoints.decide_departures(NOW, &mut |_| false, &mut |_| ()));
    kernel.dump(NOW, &mut endpoints);
    let (sent, _) = kernel.round(NOW, &mut endpoints, &wants);
    assert!(matches!(sent[..], [Command::SetFlags(_)]), "{sent:?}");
    assert!(endpoints.needs_dump());
    kernel.dump(NOW, &mut endpoints);
    assert_eq!(endpoints.unsupported(), EndpointFlags::FULLMESH);
    let (sent, _) = kernel.round(NOW, &mut endpoints, &wants);
    assert_eq!(sent, [], "it is not asked for again");
    endpoints.forget_kernel();
    assert_eq!(endpoints.unsupported().0, 0);
}

#[test]
fn a_flag_that_the_kernel_keeps_needs_one_dump() {
    let (mut kernel, mut endpoints) = (Kernel::new(8), Endpoints::new());
    kernel.settle(NOW, &mut endpoints, &[with_fullmesh(1)]);
    kernel.round(NOW, &mut endpoints, &[with_fullmesh(1), with_fullmesh(2)]);
    assert!(!endpoints.needs_dump(), "known to be kept");
    assert_eq!(endpoints.unsupported().0, 0);
}

#[test]
fn an_endpoint_is_made_anew_where_flags_cannot_be_set() {
    let (mut kernel, mut endpoints) = (Kernel::new(8), Endpoints::new());
    kernel.settle(NOW, &mut endpoints, &[want(1)]);
    let id = kernel.endpoints[0].id;
    kernel.can_set_flags = false;
    let backup = Want {
        flags: EndpointFlags(EndpointFlags::SUBFLOW.0 | EndpointFlags::BACKUP.0),
        ..want(1)
    };
    let later = NOW + crate::time::Duration::from_secs(60);
    kernel.settle(NOW, &mut endpoints, &[backup]);
    kernel.settle(later, &mut endpoints, &[backup]);
    assert_eq!(kernel.endpoints.len(), 1);
    assert_eq!(kernel.endpoints[0].flags, backup.flags);
    assert_ne!(kernel.endpoints[0].id, id, "ids are not reused at once");
}

#[test]
fn an_endpoint_that_a_connection_needs_stays_until_it_does_not() {
    let (mut kernel, mut endpoints) = (Kernel::new(8), Endpoints::new());
    kernel.settle(NOW, &mut endpoints, &[want(1), want(2)]);
    kernel.needed = vec![ip(1)];
    kernel.settle(NOW, &mut endpoints, &[]);
    assert_eq!(kernel.endpoints, [endpoint(1, 1)], "the other one goes");
    assert!(endpoints.ours().iter().all(Slot::is_kept));
    // The new path first: a connection that has joined it needs the old one no more.
    kernel.settle(NOW, &mut endpoints, &[want(3)]);
    assert_eq!(kernel.endpoints, [endpoint(1, 1), endpoint(3, 3)]);
    assert!(endpoints.decide_departures(NOW, &mut |_| false, &mut |_| panic!("told twice")));
    kernel.settle(NOW, &mut endpoints, &[want(3)]);
    assert_eq!(kernel.endpoints, [endpoint(3, 3)]);
}

#[test]
fn an_endpoint_that_is_wanted_again_was_never_touched() {
    let (mut kernel, mut endpoints) = (Kernel::new(8), Endpoints::new());
    kernel.settle(NOW, &mut endpoints, &[want(1)]);
    kernel.needed = vec![ip(1)];
    kernel.settle(NOW, &mut endpoints, &[]);
    let (sent, _) = kernel.round(NOW, &mut endpoints, &[want(1)]);
    assert_eq!(sent, []);
    assert!(endpoints.ours().iter().all(Slot::is_settled));
    // And what a look that comes too late says of it no longer matters.
    assert!(!endpoints.decide_departures(NOW, &mut |_| false, &mut |_| ()));
}

#[test]
fn where_the_kernel_is_full_a_path_that_works_replaces_one_that_is_lost() {
    let (mut kernel, mut endpoints) = (Kernel::new(2), Endpoints::new());
    kernel.settle(NOW, &mut endpoints, &[want(1), want(2)]);
    kernel.needed = vec![ip(1), ip(2)];
    let later = NOW + crate::time::Duration::from_secs(60);
    kernel.settle(NOW, &mut endpoints, &[want(3)]);
    kernel.settle(later, &mut endpoints, &[want(3)]);
    let addresses: Vec<_> = kernel.endpoints.iter().map(|e| e.address).collect();
    assert_eq!(addresses, [ip(2), ip(3)]);
}

/// The kernel looks for room before it replaces what it made itself.
#[test]
fn a_full_kernel_is_not_asked_to_replace_an_endpoint_of_its_own() {
    let (mut kernel, mut endpoints) = (Kernel::new(2), Endpoints::new());
    kernel.settle(NOW, &mut endpoints, &[want(1)]);
    let implicit = Endpoint {
        flags: EndpointFlags::IMPLICIT,
        ..endpoint(2, 9)
    };
    kernel.endpoints.push(implicit);
    kernel.dump(NOW, &mut endpoints);
    kernel.needed = vec![ip(1)];
    kernel.settle(NOW, &mut endpoints, &[want(1), want(2)]);
    kernel.room = 3;
    endpoints.forget_kernel();
    kernel.settle(NOW, &mut endpoints, &[want(1), want(2)]);
    let addresses: Vec<_> = kernel.endpoints.iter().map(|e| e.address).collect();
    assert_eq!(addresses, [ip(1), ip(2)]);
    assert_eq!(endpoints.refusals().count(), 0);
}

/// The uplink's second address, or its first, has to give its slot to another uplink.
#[test]
fn of_equals_the_endpoint_that_connections_need_keeps_its_slot() {
    let other = Want {
        ifindex: IfIndex(2),
        ..want(3)
    };
    let wants = [want(1), want(2), other];
    for (needed, stay) in [(vec![1], [1, 3]), (vec![2], [2, 3]), (vec![1, 2], [1, 2])] {
        let (mut kernel, mut endpoints) = (Kernel::new(2), Endpoints::new());
        kernel.settle(NOW, &mut endpoints, &wants[..2]);
        kernel.needed = needed.iter().map(|last| ip(*last)).collect();
        let later = NOW + crate::time::Duration::from_secs(60);
        kernel.settle(NOW, &mut endpoints, &wants);
        kernel.settle(later, &mut endpoints, &wants);
        let addresses: Vec<_> = kernel.endpoints.iter().map(|e| e.address).collect();
        assert_eq!(addresses, stay.map(ip), "connections need {needed:?}");
    }
}

#[test]
fn an_endpoint_that_moves_to_another_device_is_made_again_at_once() {
    let (mut kernel, mut endpoints) = (Kernel::new(8), Endpoints::new());
    kernel.settle(NOW, &mut endpoints, &[want(1)]);
    kernel.needed = vec![ip(1)];
    let moved = Want {
        ifindex: IfIndex(2),
        ..want(1)
    };
    kernel.settle(NOW, &mut endpoints, &[moved]);
    assert_eq!(kernel.endpoints.len(), 1);
    assert_eq!(kernel.endpoints[0].ifindex, IfIndex(2));
}

#[test]
fn a_renewed_endpoint_is_deleted_and_added_once_with_another_id() {
    let (mut kernel, mut endpoints) = (Kernel::new(8), Endpoints::new());
    kernel.settle(NOW, &mut endpoints, &[want(1), want(2)]);
    endpoints.renew(NOW, ip(1), true);
    let (sent, _) = kernel.round(NOW, &mut endpoints, &[want(1), want(2)]);
    assert_eq!(sent, [], "not before a look at the endpoints");
    assert!(endpoints.needs_dump());
    kernel.dump(NOW, &mut endpoints);
    let (sent, _) = kernel.round(NOW, &mut endpoints, &[want(1), want(2)]);
    assert_eq!(
        sent,
        [
            Command::DeleteEndpoint(endpoint(1, 1)),
            Command::AddEndpoint(endpoint(1, 3))
        ]
    );
    let (sent, _) = kernel.round(NOW, &mut endpoints, &[want(1), want(2)]);
    assert_eq!(sent, []);
}

#[test]
fn a_renewal_that_peers_need_not_hear_of_changes_flags_there_and_back() {
    let (mut kernel, mut endpoints) = (Kernel::new(8), Endpoints::new());
    kernel.settle(NOW, &mut endpoints, &[want(1)]);
    endpoints.renew(NOW, ip(1), false);
    kernel.dump(NOW, &mut endpoints);
    let (sent, _) = kernel.round(NOW, &mut endpoints, &[want(1)]);
    let there = endpoint(1, 1);
    let flags = EndpointFlags(there.flags.0 | EndpointFlags::FULLMESH.0);
    let both = [Endpoint { flags, ..there }, there].map(Command::SetFlags);
    assert_eq!(sent, both);
    let (sent, _) = kernel.round(NOW, &mut endpoints, &[want(1)]);
    assert_eq!(sent, []);
}

#[test]
fn an_added_endpoint_that_no_dump_shows_is_not_made_again_at_once() {
    let (mut kernel, mut endpoints) = (Kernel::new(8), Endpoints::new());
    kernel.round(NOW, &mut endpoints, &[want(1)]);
    kernel.endpoints.clear();
    assert!(kernel.dump(NOW, &mut endpoints), "the set has changed");
    assert_eq!(endpoints.refusals().next(), Some((ip(1), EAGAIN)));
    let (sent, _) = kernel.round(NOW, &mut endpoints, &[want(1)]);
    assert_eq!(sent, []);
    let retry = endpoints.deadline();
    assert!(retry > NOW && retry < Instant::NEVER);
    let (sent, _) = kernel.round(retry, &mut endpoints, &[want(1)]);
    assert_eq!(sent.len(), 1);
    assert_eq!(endpoints.refusals().count(), 0);
}

#[test]
fn a_change_lets_a_refused_endpoint_be_tried_at_once() {
    let (mut kernel, mut endpoints) = (Kernel::new(8), Endpoints::new());
    kernel.round(NOW, &mut endpoints, &[want(1)]);
    kernel.endpoints.clear();
    kernel.dump(NOW, &mut endpoints);
    endpoints.retry_now();
    let (sent, _) = kernel.round(NOW, &mut endpoints, &[want(1)]);
    assert_eq!(sent.len(), 1);
}

#[test]
fn an_id_that_has_changed_hands_is_not_deleted() {
    let (mut kernel, mut endpoints) = (Kernel::new(8), Endpoints::new());
    kernel.settle(NOW, &mut endpoints, &[want(1)]);
    kernel.endpoints = vec![endpoint(9, 1)];
    kernel.settle(NOW, &mut endpoints, &[]);
    assert_eq!(kernel.endpoints, [endpoint(9, 1)]);
    assert_eq!(endpoints.ours().len(), 0);
}
