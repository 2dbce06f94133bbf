// SPDX-License-Identifier: BSD-3-Clause
//! What is ours of the kernel's routes and rules: compared with what should be, whoever wants it.

use super::Refused;
use super::attempts::Attempts;
use crate::capacity;
use crate::netlink::route::{Family, PROTOCOL, Rule};
use crate::network::LocalAddress;
use crate::network::route::{Action, Change, Gateway, Item, Path, Routes, TO_TABLE};
use crate::request::CommandId;
use crate::table::Table;
use crate::time::Instant;

pub(super) struct Owned {
    /// What there should be; routes come before the rules that lead to them.
    wanted: Table<Item>,
    attempts: Attempts,
}

impl Default for Owned {
    fn default() -> Self {
        Self {
            wanted: Table::new(capacity::OWN_RULES + capacity::OWN_ROUTES),
            attempts: Attempts::default(),
        }
    }
}

impl Owned {
    /// Returns whether nothing is under way.
    pub(super) fn is_at_rest(&self) -> bool {
        self.attempts.are_done()
    }

    /// Returns when a change may be tried again.
    pub(super) fn deadline(&self) -> Instant {
        self.attempts.deadline()
    }

    /// Forgets what is wanted.
    pub(super) fn clear(&mut self) {
        self.wanted.clear();
    }

    /// Wants a rule, once. Returns whether there was room for it.
    pub(super) fn want_rule(&mut self, rule: &Rule) -> bool {
        let is_it = |known: &Item| matches!(known, Item::Rule(known) if known == rule);
        self.wanted.iter().any(is_it) || self.wanted.push(Item::Rule(*rule))
    }

    /// Wants a route, unless another one is wanted in its place. Returns whether there was room.
    pub(super) fn want_path(&mut self, path: &Path) -> bool {
        self.wanted.iter().any(|known| is_at(known, path)) || self.wanted.push(Item::Route(*path))
    }

    /// Compares what should be with what is and gives the changes to `send`, which returns their
    /// number, or `None` when it takes no more for now: call again. Routes come before the rules
    /// that lead to them, and rules go as they came, the last one first.
    pub(super) fn reconcile(
        &mut self,
        now: Instant,
        routes: &Routes,
        send: &mut dyn FnMut(Change) -> Option<CommandId>,
    ) {
        let Self { wanted, attempts } = self;
        attempts.begin();
        let mut room = true;
        let mut need = |action, item| {
            let change = Change { action, item };
            room = room && attempts.attempt(now, change, send);
        };
        for item in wanted.iter().filter(|item| !has(routes, item)) {
            let replaces = routes.ours().any(|have| is_at(item, have));
            need(
                if replaces {
                    Action::Replace
                } else {
                    Action::Add
                },
                *item,
            );
        }
        each_of_ours(routes, &mut |have| {
            // A route that is replaced goes by itself.
            let stays = |item: &Item| match &have {
                Item::Rule(_) => *item == have,
                Item::Route(path) => is_at(item, path),
            };
            if !wanted.iter().any(stays) {
                need(Action::Delete, have);
            }
        });
        attempts.finish(now);
    }

    /// Takes away everything that is ours, and what we have asked for and not seen yet; rules
    /// before the routes they lead to.
    pub(super) fn remove_all(&self, routes: &Routes, send: &mut dyn FnMut(Change)) {
        for rules in [true, false] {
            let mut remove = |item| {
                if matches!(item, Item::Rule(_)) == rules {
                    let action = Action::Delete;
                    send(Change { action, item });
                }
            };
            each_of_ours(routes, &mut remove);
            for change in self.attempts.unrefused() {
                if change.action != Action::Delete && !has(routes, &change.item) {
                    remove(change.item);
                }
            }
        }
    }

    /// The kernel refused. Returns `None` if the command was not one of ours.
    pub(super) fn failed(&mut self, command: CommandId, errno: i32) -> Option<Refused<'_>> {
        self.attempts.refused(command, errno)
    }

    /// Lets refused changes try again at once, because something changed.
    pub(super) fn retry_now(&mut self) {
        self.attempts.retry_now();
    }
}

/// Returns whether the kernel has it.
fn has(routes: &Routes, item: &Item) -> bool {
    match item {
        Item::Rule(rule) => routes.our_rules().any(|have| have == rule),
        Item::Route(path) => routes.ours().any(|have| have == path),
    }
}

/// Returns whether it is a route that the kernel takes for this one.
fn is_at(item: &Item, path: &Path) -> bool {
    matches!(item, Item::Route(route) if route.has_place(path))
}

/// What the kernel has of ours: rules first, the last one foremost.
fn each_of_ours(routes: &Routes, each: &mut dyn FnMut(Item)) {
    routes
        .our_rules()
        .rev()
        .for_each(|rule| each(Item::Rule(*rule)));
    routes.ours().for_each(|path| each(Item::Route(*path)));
}

/// Returns a rule of ours: a look into the table, for all but our questions.
pub(super) fn lookup(family: Family, priority: u32, table: u32) -> Rule {
    Rule {
        family,
        priority,
        table,
        source: None,
        action: TO_TABLE,
        protocol: PROTOCOL,
        suppress: None,
        unmarked: true,
    }
}

/// Returns a default route of ours, by the interface that the address leaves by.
#[inline(never)] // 200 bytes less
pub(super) fn default_route(address: &LocalAddress, gateway: Gateway, table: u32) -> Path {
    let family = Family::of(address.address);
    Path {
        family,
        table,
        destination: None,
        destination_len: 0,
        source: None,
        preferred_source: None,
        metric: metric(family),
        oif: address.index,
        gateway: match gateway {
            Gateway::Router(router) => Some(router),
            Gateway::OnLink => None,
        },
        ours: true,
    }
}

/// Returns the metric that the kernel gives routes without one.
fn metric(family: Family) -> u32 {
    match family {
        Family::Ipv4 => 0,
        Family::Ipv6 => 1024,
    }
}
