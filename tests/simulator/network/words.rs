// SPDX-License-Identifier: BSD-3-Clause
//! What a kernel tells or shows, in words that can be compared: the simulated one's and the real
//! one's, of which only what matters to the daemon is left.

use mptcpd::internal::netlink::route::Notification;
use mptcpd::internal::network::{IFF_LOOPBACK, IFF_RUNNING, IFF_UP};

/// `IFA_F_*`: dadfailed, deprecated, tentative. What says temporary for IPv6 says secondary for
/// IPv4, which is nothing to the daemon.
const ADDRESS_FLAGS: u32 = 0x68;

pub fn of(notification: &Notification) -> Option<String> {
    Some(match notification {
        Notification::Nexthop => return None,
        Notification::Link(link) if link.flags & IFF_LOOPBACK != 0 => return None,
        Notification::Link(link) => {
            let up = link.flags & (IFF_UP | IFF_RUNNING);
            format!("link {} {} flags {up:x}", link.index, link.name)
        }
        Notification::LinkGone { index } => format!("link {index} gone"),
        Notification::Address(a) | Notification::AddressGone(a) => {
            let link_local =
                matches!(a.local, core::net::IpAddr::V6(ip) if ip.is_unicast_link_local());
            if a.local.is_loopback() || link_local {
                return None;
            }
            let state = match notification {
                Notification::Address(_) => format!("flags {:x}", a.flags & ADDRESS_FLAGS),
                _ => "gone".to_owned(),
            };
            format!(
                "address {}/{} on {} {state}",
                a.local, a.prefix_len, a.index
            )
        }
        Notification::Route(r) | Notification::RouteGone(r) => {
            let hop = r.hops.first()?;
            if r.destination_len != 0 || r.kind != 1 {
                return None;
            }
            let state = match notification {
                Notification::Route(_) => "",
                _ => " gone",
            };
            let (family, table, metric) = (r.family, r.table, r.metric);
            let by = format!("{:?} on {}", hop.gateway, hop.oif);
            format!("route {family:?} table {table} metric {metric} by {by}{state}")
        }
        Notification::Rule(r) | Notification::RuleGone(r) => {
            let (source, len) = r.source?;
            let state = match notification {
                Notification::Rule(_) => "",
                _ => " gone",
            };
            format!(
                "rule {} from {source}/{len} table {}{state}",
                r.priority, r.table
            )
        }
    })
}
