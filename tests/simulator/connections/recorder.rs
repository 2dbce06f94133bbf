// SPDX-License-Identifier: BSD-3-Clause
//! A strategy, with a record of what it is told.

use core::net::SocketAddr;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use mptcpd::internal::netlink::mptcp::{AddressId, ConnectionEvent, SubflowEvent, Token};
use mptcpd::internal::network::{Interface, LocalAddress};
use mptcpd::internal::plugin::{CommandId, Context, Entry, Failure, Plugin, Request};

use super::Settings;

/// What the plugin knows of a connection, from what it has been told.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Recorded {
    pub established: bool,
    pub subflows: BTreeSet<(SocketAddr, SocketAddr)>,
    /// Ids of those that the peer announces.
    pub addresses: BTreeSet<AddressId>,
}

#[derive(Default)]
struct Record {
    open: BTreeMap<u32, Recorded>,
    wrong: Vec<String>,
}

thread_local! {
    static RECORD: RefCell<Record> = RefCell::default();
    /// Whether the daemon is to listen where no program does.
    pub static LISTEN: Cell<bool> = const { Cell::new(false) };
    /// What is recorded.
    pub static STRATEGY: Cell<Option<(&'static Entry, Settings)>> = const { Cell::new(None) };
}

/// What it knows, or what it should not have been told.
pub fn recorded() -> Result<BTreeMap<u32, Recorded>, String> {
    RECORD.with_borrow(|record| match record.wrong.first() {
        Some(wrong) => Err(format!("told wrongly: {wrong}")),
        None => Ok(record.open.clone()),
    })
}

struct Recorder(Box<dyn Plugin>);

pub const ENTRY: Entry = Entry::new("recorder", "with a record of what it is told", || {
    RECORD.take();
    let (strategy, _) = STRATEGY.get().expect("a strategy");
    Box::new(Recorder((strategy.create)()))
});

/// Notes what is told of a connection, which `check` finds right or not.
fn note(what: &str, token: Token, check: impl FnOnce(&mut Recorded) -> bool) {
    RECORD.with_borrow_mut(|record| {
        if !record.open.get_mut(&token.get()).is_some_and(check) {
            record.wrong.push(format!("{what} of {}", token.get()));
        }
    });
}

fn ends(subflow: &SubflowEvent) -> (SocketAddr, SocketAddr) {
    (subflow.local, subflow.remote)
}

impl Plugin for Recorder {
    fn wants_connections(&self) -> bool {
        self.0.wants_connections()
    }

    fn init(&mut self, cx: &mut Context<'_>) -> Result<(), String> {
        self.0.init(cx)
    }

    fn reload(&mut self, cx: &mut Context<'_>) {
        self.0.reload(cx);
    }

    fn update_interface(&mut self, cx: &mut Context<'_>, interface: &Interface) {
        self.0.update_interface(cx, interface);
    }

    fn new_connection(&mut self, cx: &mut Context<'_>, connection: &ConnectionEvent) {
        let ends = (connection.local, connection.remote);
        let (token, mut told) = (connection.token.get(), Recorded::default());
        // The table says whether the initial subflow of one that is found is still there.
        let known = cx.connection(connection.token).expect("in the table");
        if known.subflows().any(|s| (s.local, s.remote) == ends) {
            told.subflows.insert(ends);
        }
        RECORD.with_borrow_mut(|record| {
            if record.open.insert(token, told).is_some() {
                let wrong = format!("new_connection of {token}");
                record.wrong.push(wrong);
            }
        });
        self.0.new_connection(cx, connection);
    }

    fn connection_established(&mut self, cx: &mut Context<'_>, connection: &ConnectionEvent) {
        note("connection_established", connection.token, |told| {
            !core::mem::replace(&mut told.established, true)
        });
        self.0.connection_established(cx, connection);
    }

    fn connection_closed(&mut self, cx: &mut Context<'_>, token: Token) {
        note("connection_closed", token, |_| true);
        RECORD.with_borrow_mut(|record| record.open.remove(&token.get()));
        self.0.connection_closed(cx, token);
    }

    fn new_address(
        &mut self,
        cx: &mut Context<'_>,
        token: Token,
        id: AddressId,
        address: SocketAddr,
    ) {
        note("new_address", token, |told| {
            told.addresses.insert(id);
            true
        });
        self.0.new_address(cx, token, id, address);
    }

    fn address_removed(&mut self, cx: &mut Context<'_>, token: Token, id: AddressId) {
        note("address_removed", token, |told| {
            told.addresses.remove(&id);
            true
        });
        self.0.address_removed(cx, token, id);
    }

    fn new_subflow(&mut self, cx: &mut Context<'_>, subflow: &SubflowEvent) {
        note("new_subflow", subflow.token, |told| {
            told.subflows.insert(ends(subflow))
        });
        self.0.new_subflow(cx, subflow);
    }

    fn subflow_closed(&mut self, cx: &mut Context<'_>, subflow: &SubflowEvent, was_open: bool) {
        note("subflow_closed", subflow.token, |told| {
            // One asked for, that has not come about, is not known.
            told.subflows.remove(&ends(subflow));
            !subflow.local.ip().is_unspecified()
        });
        self.0.subflow_closed(cx, subflow, was_open);
    }

    fn new_local_address(&mut self, cx: &mut Context<'_>, address: &LocalAddress) {
        self.0.new_local_address(cx, address);
    }

    fn delete_local_address(&mut self, cx: &mut Context<'_>, address: &LocalAddress) {
        self.0.delete_local_address(cx, address);
    }

    fn command_done(
        &mut self,
        cx: &mut Context<'_>,
        command: CommandId,
        request: &Request,
        result: Result<(), Failure<'_>>,
    ) {
        self.0.command_done(cx, command, request, result);
    }

    fn timer(&mut self, cx: &mut Context<'_>, timer: u32) {
        self.0.timer(cx, timer);
    }

    fn connection_timer(&mut self, cx: &mut Context<'_>, token: Token, what: u64) {
        self.0.connection_timer(cx, token, what);
    }
}
