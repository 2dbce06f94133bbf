// SPDX-License-Identifier: BSD-3-Clause
use super::address_id::AddressIds;
use super::*;
use crate::netlink::diag::{self, Ends};
use crate::netlink::mptcp::{Command, Endpoint, EndpointFlags, SubflowAddress};
use crate::request::Request;

const TOKEN: Token = Token::new(0xabcd_1234);

fn end(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn connection(token: Token, local: &str) -> ConnectionEvent {
    ConnectionEvent {
        token,
        local: end(local),
        remote: end("192.0.2.1:80"),
        server_side: false,
        deny_join_id0: false,
        mapped: false,
    }
}

fn subflow(local: &str, mapped: bool) -> SubflowEvent {
    SubflowEvent {
        token: TOKEN,
        local: end(local),
        remote: end("192.0.2.1:80"),
        local_id: AddressId(3),
        remote_id: AddressId(0),
        backup: false,
        ifindex: IfIndex(7),
        error: 0,
        reset_reason: None,
        reset_flags: 0,
        mapped,
    }
}

fn bare(text: &str) -> SubflowAddress {
    end(text).into()
}

fn create(local: &str) -> Request {
    let mut local = bare(local);
    local.flags = EndpointFlags::BACKUP;
    Request::Kernel(Command::CreateSubflow {
        token: TOKEN,
        local,
        remote: bare("192.0.2.1:80"),
    })
}

fn table() -> Connections {
    let mut table = Connections::new(2);
    assert!(table.insert(&connection(TOKEN, "10.0.1.1:1000"), 0, true));
    table
}

/// Local end, established, backup and closing of each subflow.
fn subflows(table: &Connections) -> Vec<(String, bool, bool, bool)> {
    let connection = table.get(TOKEN).unwrap();
    connection
        .subflows()
        .map(|s| (s.local.to_string(), s.established, s.backup_here, s.closing))
        .collect()
}

#[test]
fn a_full_table_counts_what_it_refuses() {
    let mut table = table();
    assert!(table.insert(&connection(Token::new(2), "10.0.1.1:1001"), 0, true));
    assert!(!table.insert(&connection(Token::new(3), "10.0.1.1:1002"), 0, true));
    assert_eq!((table.len(), table.refused()), (2, 1));
    table.remove(TOKEN);
    assert!(table.get(TOKEN).is_none());
    assert!(table.insert(&connection(Token::new(3), "10.0.1.1:1002"), 0, true));
    let mut tokens: Vec<u32> = table.iter().map(|c| c.token.get()).collect();
    tokens.sort_unstable();
    assert_eq!(tokens, [2, 3]);
}

#[test]
fn a_reused_token_is_another_connection() {
    let mut table = table();
    let same = connection(TOKEN, "10.0.1.1:1000");
    assert_eq!(table.lookup(&same), Lookup::Known);
    assert_eq!(
        table.lookup(&connection(TOKEN, "10.0.1.1:1001")),
        Lookup::TokenReused
    );
    table.apply_command(&Request::Kernel(Command::Announce {
        token: TOKEN,
        address: bare("10.0.2.1:0").with_id(AddressId(200)),
    }));
    assert!(table.get(TOKEN).unwrap().announced().eq([AddressId(200)]));
    table.remove(TOKEN);
    table.insert(&same, 0, true);
    let fresh = table.get(TOKEN).unwrap();
    assert_eq!(
        (fresh.announced().count(), fresh.subflows().count()),
        (0, 1)
    );
}

#[test]
fn a_subflow_asked_for_becomes_the_one_established() {
    let mut table = table();
    let first = ("10.0.1.1:1000".to_owned(), true, false, false);
    table.apply_command(&create("10.0.2.1:0"));
    let asked = ("10.0.2.1:0".to_owned(), false, true, false);
    assert_eq!(subflows(&table), [first.clone(), asked]);
    table.subflow_established(&subflow("10.0.2.1:4000", false));
    let made = ("10.0.2.1:4000".to_owned(), true, true, false);
    assert_eq!(subflows(&table), [first.clone(), made]);
    assert_eq!(
        table.subflow_closed(&subflow("10.0.2.1:4000", false)),
        Some(true)
    );
    // Again, and garbage.
    assert_eq!(table.subflow_closed(&subflow("10.0.2.1:4000", false)), None);
    assert_eq!(table.subflow_closed(&subflow("0.0.0.0:0", false)), None);
    table.apply_command(&create("10.0.2.1:0"));
    table.revert_command(&create("10.0.2.1:0"), false);
    assert_eq!(subflows(&table), [first]);
}

#[test]
fn commands_name_subflows_as_the_kernel_does() {
    let mut table = table();
    table.subflow_established(&subflow("10.0.2.1:4000", true));
    let command = |local: &str| Command::DestroySubflow {
        token: TOKEN,
        local: bare(local),
        remote: bare("192.0.2.1:80"),
    };
    let plain = command("10.0.1.1:1000");
    assert_eq!(table.translate(plain), plain);
    let Command::DestroySubflow { local, remote, .. } = table.translate(command("10.0.2.1:4000"))
    else {
        panic!("another command");
    };
    assert_eq!(
        [local.address, remote.address].map(|ip| ip.to_string()),
        ["::ffff:10.0.2.1", "::ffff:192.0.2.1"]
    );
    table.apply_command(&Request::Kernel(command("10.0.2.1:4000")));
    assert!(subflows(&table)[1].3);
    table.revert_command(&Request::Kernel(command("10.0.2.1:4000")), false);
    assert!(!subflows(&table)[1].3);
}

fn ends(local: &str) -> Ends {
    Ends {
        local: end(local),
        remote: end("192.0.2.1:80"),
        mapped: false,
    }
}

fn shown(token: Token, local: &str) -> diag::Connection {
    diag::Connection {
        token,
        ends: ends(local),
        established: true,
        fallback: false,
    }
}

fn shown_subflow(token: Token, local: &str) -> diag::Subflow {
    diag::Subflow {
        token,
        ends: ends(local),
        local_id: AddressId(3),
        remote_id: AddressId(0),
        ifindex: IfIndex(7),
        backup_here: false,
        backup_there: false,
        opened_here: true,
        initial: false,
        established: true,
        retransmissions: 0,
        fully_established: true,
    }
}

#[test]
fn a_dump_tells_what_was_missed() {
    let mut table = table();
    assert!(table.insert(&connection(Token::new(2), "10.0.1.1:1001"), 0, true));
    table.subflow_established(&subflow("10.0.2.1:4000", false));
    table.begin_dump();
    assert_eq!(table.on_dumped(&shown(TOKEN, "10.0.1.1:1000")), None);
    table.on_subflow_dumped(&shown_subflow(TOKEN, "10.0.1.1:1000"));
    table.on_subflow_dumped(&shown_subflow(TOKEN, "10.0.3.1:4001"));
    // It comes from an event in the middle of the dump.
    table.subflow_established(&subflow("10.0.4.1:4002", false));
    // A dump that was interrupted proves no end.
    assert_eq!(table.next_difference(Token::new(2), false), None);
    assert_eq!(
        table.next_difference(Token::new(2), true),
        Some(Difference::Closed)
    );
    let established = connection(TOKEN, "10.0.1.1:1000");
    assert_eq!(
        table.next_difference(TOKEN, true),
        Some(Difference::Established(established))
    );
    assert_eq!(
        table.next_difference(TOKEN, true),
        Some(Difference::SubflowClosed {
            event: subflow("10.0.2.1:4000", false),
            was_open: true
        })
    );
    assert_eq!(
        table.next_difference(TOKEN, true),
        Some(Difference::Subflow(subflow("10.0.3.1:4001", false)))
    );
    assert_eq!(table.next_difference(TOKEN, true), None);
}

#[test]
fn what_a_dump_passes_over_is_asked_for() {
    let mut table = table();
    assert!(table.insert(&connection(Token::new(2), "10.0.1.1:1001"), 0, true));
    assert_eq!(table.next_unmarked(0), None);
    table.begin_dump();
    assert_eq!(table.next_unmarked(0), Some((0, TOKEN)));
    assert_eq!(table.next_unmarked(1), Some((1, Token::new(2))));
    assert_eq!(table.next_unmarked(2), None);
    assert_eq!(table.on_dumped(&shown(TOKEN, "10.0.1.1:1000")), None);
    assert_eq!(table.next_unmarked(0), Some((1, Token::new(2))));
    let (_, event) = table
        .on_dumped(&shown(Token::new(3), "10.0.1.1:1002"))
        .unwrap();
    assert!(!table.insert_dumped(&event, 0) && table.is_overfull());
    table.begin_dump();
    assert!(!table.is_overfull());
}

#[test]
fn a_connection_found_is_told_with_all_that_belongs_to_it() {
    let mut table = Connections::new(2);
    let mut ids = AddressIds::default();
    table.begin_dump();
    for token in [Token::NONE, Token::new(5)] {
        let fallback = diag::Connection {
            fallback: token != Token::NONE,
            ..shown(token, "10.0.1.1:1")
        };
        assert_eq!(table.on_dumped(&fallback), None);
    }
    let (known, event) = table.on_dumped(&shown(TOKEN, "10.0.1.1:1000")).unwrap();
    assert_eq!((known, event.server_side), (Lookup::New, true));
    assert!(table.insert_dumped(&event, 0));
    table.on_subflow_dumped(&shown_subflow(TOKEN, "10.0.2.1:4000"));
    table.on_subflow_dumped(&shown_subflow(TOKEN, "10.0.1.1:1000"));
    // Nothing before the dump is known to be whole, nor before it is introduced.
    assert_eq!(table.next_pending(), None);
    table.end_dump();
    assert_eq!(table.next_difference(TOKEN, true), None);
    assert_eq!(table.manager(TOKEN), None);
    assert_eq!(table.next_pending(), Some(TOKEN));
    let announced = Endpoint {
        address: end("10.0.2.1:0").ip(),
        port: 0,
        id: AddressId(9),
        flags: EndpointFlags::SIGNAL,
        ifindex: IfIndex::NONE,
    };
    table.on_address(TOKEN, &announced, &mut ids);
    let event = connection(TOKEN, "10.0.1.1:1000");
    table.addresses_done(TOKEN, false);
    assert!(table.take_all_read() && !table.take_all_read());
    assert_eq!(table.take_ready(0), Some(event));
    assert_eq!(table.take_ready(0), None);
    assert_eq!(ids.id(announced.address, &|_| true), Some(AddressId(9)));
    let found = table.get(TOKEN).unwrap();
    assert!(found.announced().eq([AddressId(9)]) && !found.is_kernel_managed());
    // The initial subflow comes first, and goes without saying.
    let locals: Vec<_> = found.subflows().map(|s| s.local.port()).collect();
    assert_eq!(locals, [1000, 4000]);
    assert_eq!(
        table.next_difference(TOKEN, false),
        Some(Difference::Established(event))
    );
    assert_eq!(
        table.next_difference(TOKEN, false),
        Some(Difference::Subflow(subflow("10.0.2.1:4000", false)))
    );
    assert_eq!(table.next_difference(TOKEN, true), None);
}

#[test]
fn a_dump_before_the_event_does_not_tell_a_subflow_twice() {
    let mut table = table();
    table.begin_dump();
    assert_eq!(table.on_dumped(&shown(TOKEN, "10.0.1.1:1000")), None);
    table.on_subflow_dumped(&shown_subflow(TOKEN, "10.0.1.1:1000"));
    table.on_subflow_dumped(&shown_subflow(TOKEN, "10.0.2.1:4000"));
    let new = subflow("10.0.2.1:4000", false);
    while table.next_difference(TOKEN, true).is_some() {}
    assert!(!table.subflow_established(&new));
    assert!(table.subflow_closed(&new).is_some() && table.subflow_established(&new));
}

/// Events between the dump and the introduction are news when that comes.
#[test]
fn what_happens_before_the_introduction_is_told_after_it() {
    let mut table = Connections::new(1);
    table.begin_dump();
    let (_, event) = table.on_dumped(&shown(TOKEN, "10.0.1.1:1000")).unwrap();
    assert!(table.insert_dumped(&event, 0));
    table.end_dump();
    let event = connection(TOKEN, "10.0.1.1:1000");
    assert!(!table.establish(&event));
    let new = subflow("10.0.2.1:4000", false);
    assert!(!table.subflow_established(&new));
    table.addresses_done(TOKEN, false);
    assert_eq!(table.take_ready(0), Some(event));
    assert_eq!(
        table.next_difference(TOKEN, false),
        Some(Difference::Established(event))
    );
    assert_eq!(
        table.next_difference(TOKEN, false),
        Some(Difference::Subflow(new))
    );
    assert!(!table.establish(&event) && !table.subflow_established(&new));
}

#[test]
fn a_connection_found_that_ends_untold_is_forgotten() {
    let mut table = Connections::new(1);
    table.begin_dump();
    let (_, event) = table.on_dumped(&shown(TOKEN, "10.0.1.1:1000")).unwrap();
    assert!(table.insert_dumped(&event, 0));
    table.begin_dump();
    assert_eq!(table.next_difference(TOKEN, true), Some(Difference::Closed));
    table.remove_pending();
    assert!(table.is_empty());
}

#[test]
fn announced_ids_come_to_an_end() {
    let mut table = table();
    let ids = [0, 63, 64, 255].map(AddressId);
    for id in ids {
        table.set_announced(TOKEN, id, true);
    }
    assert!(table.get(TOKEN).unwrap().announced().eq(ids));
}
