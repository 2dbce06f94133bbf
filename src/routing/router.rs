// SPDX-License-Identifier: BSD-3-Clause
//! Wants what source routing and steering need, and keeps the kernel to it.

use super::Refused;
use super::owned::Owned;
use super::source::SourceRouter;
#[cfg(feature = "health")]
use super::steering::Steering;
use crate::config::Config;
#[cfg(feature = "health")]
use crate::config::SourceRouting;
#[cfg(feature = "health")]
use crate::netlink::IfIndex;
use crate::network::Network;
use crate::network::route::Change;
use crate::request::CommandId;
use crate::time::Instant;

/// Keeps the kernel's routes and rules that are ours.
#[derive(Default)]
pub struct Router {
    owned: Owned,
    source: SourceRouter,
    #[cfg(feature = "health")]
    steering: Steering,
}

impl Router {
    /// Returns how many addresses go without, because the ranges or our tables are too small.
    pub fn unrouted(&self) -> u32 {
        self.source.unrouted
    }

    /// Returns by which uplinks new connections are sent, other than the main table has it, by
    /// family: IPv4, IPv6.
    #[cfg(feature = "health")]
    pub fn steered(&self) -> [IfIndex; 2] {
        self.steering.by
    }

    /// Returns whether nothing is under way.
    pub fn is_at_rest(&self) -> bool {
        self.owned.is_at_rest()
    }

    /// Returns when a change may be tried again.
    pub fn deadline(&self) -> Instant {
        self.owned.deadline()
    }

    /// Compares what should be with what is and gives the changes to `send`, which returns their
    /// number, or `None` when it takes no more for now: call again.
    pub fn reconcile(
        &mut self,
        now: Instant,
        network: &Network,
        config: &Config,
        send: &mut dyn FnMut(Change) -> Option<CommandId>,
    ) {
        self.owned.clear();
        let ranges = config.source_routing;
        #[cfg(feature = "health")]
        let ranges = self.steer(network, config, ranges);
        self.source.want(network, &ranges, &mut self.owned);
        self.owned.reconcile(now, network.routes(), send);
    }

    /// Wants what steering needs, with the last table that nobody else uses. Returns what is left for
    /// source routing.
    #[cfg(feature = "health")]
    fn steer(
        &mut self,
        network: &Network,
        config: &Config,
        ranges: SourceRouting,
    ) -> SourceRouting {
        let mut tables = (ranges.first_table..=ranges.last_table).rev();
        let is_free = |table: &u32| !network.routes().is_taken(*table);
        let table = tables.find(is_free).filter(|_| config.steers());
        self.steering.want(network, table, &mut self.owned);
        let last_table = table.map_or(ranges.last_table, |table| table - 1);
        SourceRouting {
            last_table,
            ..ranges
        }
    }

    /// Takes away everything that is ours, and what we have asked for and not seen yet; rules
    /// before the routes they lead to.
    pub fn remove_all(&self, network: &Network, send: &mut dyn FnMut(Change)) {
        self.owned.remove_all(network.routes(), send);
    }

    /// The kernel refused. Returns `None` if the command was not one of ours.
    pub fn failed(&mut self, command: CommandId, errno: i32) -> Option<Refused<'_>> {
        self.owned.failed(command, errno)
    }

    /// Lets refused changes try again at once, because something changed.
    pub fn retry_now(&mut self) {
        self.owned.retry_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::netlink::IfIndex;
    use crate::netlink::route::{Address, Family, Hop, Link, Name, Notification, PROTOCOL, Route};
    use crate::network::route::{Action, Item, TABLE_MAIN};
    use crate::network::{IFF_RUNNING, IFF_UP, Part};

    const NOW: Instant = Instant(1000);

    /// An uplink at 192.0.2.1/24 with a gateway.
    fn uplink() -> (Network, Config) {
        let mut config = Config::new::<crate::plugin::Entry>(&[]);
        config.default.policy.source_routing = true;
        let mut network = Network::new();
        let link = Link {
            index: IfIndex(7),
            flags: IFF_UP | IFF_RUNNING,
            name: Name::try_from("wan").unwrap(),
            vrf_table: 0,
            tunnel: false,
        };
        let address = Address {
            index: IfIndex(7),
            local: [192, 0, 2, 1].into(),
            peer: None,
            prefix_len: 24,
            flags: 0,
            scope: 0,
        };
        network.apply(&Notification::Link(link), &config);
        network.apply(&Notification::Address(address), &config);
        show(&mut network, &config, &[route(TABLE_MAIN, 4, 254)]);
        let way = route(TABLE_MAIN, 4, 254);
        while let Some(question) = network.next_question(&config) {
            network.on_answer(&question, Some(Some(&way)), &config);
        }
        crate::policy::evaluate(&mut network, NOW, &config);
        (network, config)
    }

    fn route(table: u32, protocol: u8, gateway: u8) -> Route {
        let mut hops = heapless::Vec::new();
        let hop = Hop {
            oif: IfIndex(7),
            gateway: Some([192, 0, 2, gateway].into()),
            flags: 0,
        };
        hops.push(hop).unwrap();
        Route {
            family: Family::Ipv4,
            table,
            destination: None,
            destination_len: 0,
            source: None,
            source_len: 0,
            preferred_source: None,
            metric: 0,
            protocol,
            kind: 1,
            scope: 0,
            hops,
        }
    }

    /// A dump of the routes that shows these.
    fn show(network: &mut Network, config: &Config, routes: &[Route]) {
        network.begin(Part::Routes(Family::Ipv4));
        for route in routes {
            network.apply(&Notification::Route(route.clone()), config);
        }
        network.finish(Part::Routes(Family::Ipv4));
    }

    /// Returns what the router asks for, numbered from 1.
    fn ask(router: &mut Router, now: Instant, network: &Network, config: &Config) -> Vec<Change> {
        let mut asked = Vec::new();
        router.reconcile(now, network, config, &mut |change| {
            asked.push(change);
            u32::try_from(asked.len()).ok().map(CommandId)
        });
        asked
    }

    #[test]
    fn routes_come_before_the_rules_that_lead_to_them() {
        let (network, config) = uplink();
        let changes = ask(&mut Router::default(), NOW, &network, &config);
        let text: Vec<_> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            [
                "route default via 192.0.2.254 table 5207",
                "route 192.0.2.0/24 table 5207",
                "rule 5221: from 192.0.2.1 lookup 5207 suppress_prefixlength 0",
                "rule 5222: from 192.0.2.1 lookup 254 suppress_prefixlength 0",
                "rule 5223: from 192.0.2.1 lookup 5207",
            ]
        );
        assert!(changes.iter().all(|change| change.action == Action::Add));
    }

    #[test]
    fn what_was_asked_for_and_not_seen_is_taken_away() {
        let (network, config) = uplink();
        let mut router = Router::default();
        let added = ask(&mut router, NOW, &network, &config);
        router.failed(CommandId(4), 1);
        let mut removed = Vec::new();
        router.remove_all(&network, &mut |change| removed.push(change));
        let of = |change: &Change| Change {
            action: Action::Delete,
            ..*change
        };
        let mut wanted: Vec<_> = added.iter().map(of).collect();
        // What was refused is not there; rules go first.
        wanted.remove(3);
        wanted.rotate_left(2);
        assert_eq!(removed, wanted);
    }

    #[test]
    fn what_is_refused_waits_and_holds_up_nothing_else() {
        let (mut network, config) = uplink();
        let mut router = Router::default();
        ask(&mut router, NOW, &network, &config);
        let refused = router.failed(CommandId(1), 17).expect("ours");
        assert!(refused.news && !refused.gone);
        assert!(
            router
                .failed(CommandId(1), 17)
                .is_some_and(|again| !again.news)
        );
        assert!(router.failed(CommandId(99), 17).is_none());
        // Neither that nor what is not seen yet is asked for again at once, ...
        assert_eq!(ask(&mut router, NOW, &network, &config), []);
        let retry_at = router.deadline();
        assert!(retry_at > NOW);
        // ... another gateway is, ...
        show(&mut network, &config, &[route(TABLE_MAIN, 4, 253)]);
        let asked = ask(&mut router, NOW, &network, &config);
        assert_eq!(asked.len(), 1);
        assert!(asked[0].to_string().contains("192.0.2.253"));
        // ... and all of it is, later: less and less often.
        let again = ask(&mut router, retry_at, &network, &config).len();
        assert_eq!(again, 5);
        assert_eq!(ask(&mut router, retry_at, &network, &config), []);
        let second = router.deadline();
        assert!(second.0 - retry_at.0 > retry_at.0 - NOW.0);
    }

    #[test]
    fn a_table_that_somebody_else_begins_to_use_is_given_up() {
        let (mut network, config) = uplink();
        let mut router = Router::default();
        let before = ask(&mut router, NOW, &network, &config);
        let main = route(TABLE_MAIN, 4, 254);
        let theirs = Route {
            metric: 9,
            ..route(5207, 4, 1)
        };
        let ours = Route {
            protocol: PROTOCOL,
            ..route(5207, 4, 254)
        };
        show(&mut network, &config, &[main, theirs, ours]);
        let after = ask(&mut router, NOW, &network, &config);
        assert_eq!(after.len(), before.len() + 1);
        assert!(after[0].to_string().ends_with("table 5208"));
        let last = after[after.len() - 1];
        assert_eq!(last.action, Action::Delete);
        assert!(matches!(last.item, Item::Route(path) if path.table == 5207 && path.ours));
    }
}
