//! Source routing: traffic from an uplink's address leaves by that uplink.
//!
//! For each usable address of an interface with `source-routing`, a rule selects a table by
//! source, and the table holds the interface's default route and the address' own prefix. All
//! of it carries our protocol number, by which a later run of the daemon knows it again.

use crate::capacity;
use crate::config::SourceRouting;
use crate::netlink::route::{Family, PROTOCOL, Rule};
use crate::network::route::{Path, family_of, prefix};
use crate::network::{Interface, Network};
use crate::policy::{Gateway, gateway};
use crate::table::Table;

/// A change of the kernel's routing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    AddRule(Rule),
    DeleteRule(Rule),
    /// Takes the place of one to the same destination.
    SetRoute(Path),
    DeleteRoute(Path),
}

pub struct SourceRouter {
    rules: Table<Rule>,
    paths: Table<Path>,
    /// Which interface has which table, counted from the first.
    tables: Table<(u32, u32)>,
}

/// `FR_ACT_TO_TBL`.
const TO_TABLE: u8 = 1;

impl Default for SourceRouter {
    fn default() -> Self {
        Self {
            rules: Table::new(capacity::OWN_RULES),
            paths: Table::new(2 * capacity::OWN_RULES),
            tables: Table::new(capacity::OWN_RULES),
        }
    }
}

impl SourceRouter {
    /// Compares what should be with what is and gives the changes to `send`, which answers false
    /// when it takes no more for now. Routes come before the rules that lead to them.
    pub fn reconcile(
        &mut self,
        network: &Network,
        config: &SourceRouting,
        send: &mut dyn FnMut(Change) -> bool,
    ) {
        self.want(network, config);
        let routes = network.routes();
        let missing = self
            .paths
            .iter()
            .filter(|path| !routes.ours().any(|have| have == *path));
        let changes = missing.map(|path| Change::SetRoute(*path));
        let missing = self
            .rules
            .iter()
            .filter(|rule| !routes.our_rules().any(|have| have == *rule));
        let changes = changes.chain(missing.map(|rule| Change::AddRule(*rule)));
        let surplus = routes.our_rules().filter(|have| !self.rules.contains(have));
        let changes = changes.chain(surplus.map(|rule| Change::DeleteRule(*rule)));
        // What has been replaced is gone.
        let surplus = routes
            .ours()
            .filter(|have| !self.paths.iter().any(|p| have.has_place(p)));
        let mut changes = changes.chain(surplus.map(|path| Change::DeleteRoute(*path)));
        changes.all(send);
    }

    /// Takes away everything that is ours.
    pub fn remove_all(network: &Network, send: &mut dyn FnMut(Change) -> bool) {
        let rules = network
            .routes()
            .our_rules()
            .map(|rule| Change::DeleteRule(*rule));
        let paths = network
            .routes()
            .ours()
            .map(|path| Change::DeleteRoute(*path));
        rules.chain(paths).all(send);
    }

    fn want(&mut self, network: &Network, config: &SourceRouting) {
        self.rules.clear();
        self.paths.clear();
        let count = table_count(config);
        self.tables
            .retain(|(index, offset)| *offset < count && network.interface(*index).is_some());
        for address in network.usable() {
            let Some(interface) = network.interface(address.index) else {
                continue;
            };
            if !interface.policy.source_routing {
                continue;
            }
            let family = family_of(address.address);
            let Some(gateway) = gateway(interface, network, family) else {
                continue;
            };
            let Some(offset) = self.table_of(interface, network, config) else {
                continue;
            };
            let (address, len) = (address.address, address.prefix_len);
            let width = if address.is_ipv4() { 32 } else { 128 };
            let table = config.first_table + offset;
            self.want_rule(Rule {
                family,
                priority: config.first_priority + offset,
                table,
                source: Some((address, width)),
                action: TO_TABLE,
                protocol: PROTOCOL,
                selective: false,
                l3mdev: false,
            });
            let path = Path {
                family,
                table,
                destination: None,
                destination_len: 0,
                preferred_source: None,
                metric: metric(family),
                oif: interface.index,
                gateway: None,
                ours: true,
            };
            let router = match gateway {
                Gateway::Router(router) => Some(router),
                Gateway::OnLink => None,
            };
            self.want_path(Path {
                gateway: router,
                ..path
            });
            if len > 0 && len < width {
                let destination = Some(prefix(address, len));
                self.want_path(Path {
                    destination,
                    destination_len: len,
                    ..path
                });
            }
        }
    }

    fn want_rule(&mut self, rule: Rule) {
        if !self.rules.contains(&rule) {
            self.rules.push(rule);
        }
    }

    fn want_path(&mut self, path: Path) {
        if !self.paths.iter().any(|known| known.has_place(&path)) {
            self.paths.push(path);
        }
    }

    /// The interface's table, counted from the first: the one of its index where that is free,
    /// so that it is the same one after a restart.
    fn table_of(
        &mut self,
        interface: &Interface,
        network: &Network,
        config: &SourceRouting,
    ) -> Option<u32> {
        let index = interface.index;
        if let Some((_, offset)) = self.tables.iter().find(|(known, _)| *known == index) {
            return Some(*offset);
        }
        let count = table_count(config);
        let is_free = |offset: &u32| {
            !self.tables.iter().any(|(_, taken)| taken == offset)
                && !network.routes().is_taken(config.first_table + offset)
        };
        let offset = (0..count)
            .map(|step| (index % count + step) % count)
            .find(is_free)?;
        self.tables.push((index, offset)).then_some(offset)
    }
}

/// How many tables there are with a priority for each.
fn table_count(config: &SourceRouting) -> u32 {
    let tables = config.last_table.saturating_sub(config.first_table);
    let priorities = config.last_priority.saturating_sub(config.first_priority);
    tables.min(priorities).saturating_add(1)
}

/// The kernel gives IPv6 routes without a metric this one.
fn metric(family: Family) -> u32 {
    match family {
        Family::Ipv4 => 0,
        Family::Ipv6 => 1024,
    }
}
