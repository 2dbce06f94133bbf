// SPDX-License-Identifier: BSD-3-Clause
//! Message and attribute types, and flags, of rtnetlink.
//!
//! Source: `include/uapi/linux/rtnetlink.h`, `if_link.h`, `if_addr.h`, `fib_rules.h`.

pub(in crate::netlink) const RTM_NEWLINK: u16 = 16;
pub(in crate::netlink) const RTM_DELLINK: u16 = 17;
pub(in crate::netlink) const RTM_GETLINK: u16 = 18;
pub(in crate::netlink) const RTM_NEWADDR: u16 = 20;
pub(in crate::netlink) const RTM_DELADDR: u16 = 21;
pub(in crate::netlink) const RTM_GETADDR: u16 = 22;
pub(in crate::netlink) const RTM_NEWROUTE: u16 = 24;
pub(in crate::netlink) const RTM_DELROUTE: u16 = 25;
pub(in crate::netlink) const RTM_GETROUTE: u16 = 26;
pub(in crate::netlink) const RTM_NEWRULE: u16 = 32;
pub(in crate::netlink) const RTM_DELRULE: u16 = 33;
pub(in crate::netlink) const RTM_GETRULE: u16 = 34;
pub(in crate::netlink) const RTM_NEWNEXTHOP: u16 = 104;
pub(in crate::netlink) const RTM_DELNEXTHOP: u16 = 105;

#[cfg(feature = "health")]
pub(super) const RTM_NEWSTATS: u16 = 92;
#[cfg(feature = "health")]
pub(super) const RTM_GETSTATS: u16 = 94;
/// `struct rtnl_link_stats64`.
#[cfg(feature = "health")]
pub(super) const IFLA_STATS_LINK_64: u16 = 1;

pub(super) const IFLA_IFNAME: u16 = 3;
pub(super) const IFLA_LINKINFO: u16 = 18;
pub(super) const IFLA_EXT_MASK: u16 = 29;
pub(super) const IFLA_INFO_KIND: u16 = 1;
pub(super) const IFLA_INFO_SLAVE_KIND: u16 = 4;
pub(super) const IFLA_INFO_SLAVE_DATA: u16 = 5;
pub(super) const IFLA_VRF_PORT_TABLE: u16 = 1;
/// `RTEXT_FILTER_SKIP_STATS`: no counters, which are most of a link message.
pub(super) const SKIP_STATS: u32 = 1 << 3;

pub(super) const IFA_ADDRESS: u16 = 1;
pub(super) const IFA_LOCAL: u16 = 2;
pub(super) const IFA_FLAGS: u16 = 8;

pub(super) const RTA_DST: u16 = 1;
pub(super) const RTA_SRC: u16 = 2;
pub(super) const RTA_OIF: u16 = 4;
pub(super) const RTA_GATEWAY: u16 = 5;
pub(super) const RTA_PRIORITY: u16 = 6;
pub(super) const RTA_PREFSRC: u16 = 7;
pub(super) const RTA_MULTIPATH: u16 = 9;
pub(super) const RTA_TABLE: u16 = 15;
pub(super) const RTA_MARK: u16 = 16;
pub(super) const RTA_VIA: u16 = 18;
pub(super) const RTA_UID: u16 = 25;
pub(super) const RTA_IP_PROTO: u16 = 27;
/// linux/in.h.
pub(super) const IPPROTO_TCP: u8 = 6;
/// How far an address or a route is valid.
pub const RT_SCOPE_UNIVERSE: u8 = 0;
pub const RT_SCOPE_LINK: u8 = 253;
pub const RT_SCOPE_HOST: u8 = 254;
/// A copy of a route, made for one destination.
pub(in crate::netlink) const RTM_F_CLONED: u32 = 0x200;
/// Show the table that the route is in.
pub(super) const RTM_F_LOOKUP_TABLE: u32 = 0x1000;
/// Show the entry of the table.
pub(super) const RTM_F_FIB_MATCH: u32 = 0x2000;
/// The gateway is on the link although no address of ours says so.
pub const RTNH_F_ONLINK: u32 = 4;

pub(super) const FRA_SRC: u16 = 2;
pub(super) const FRA_PRIORITY: u16 = 6;
pub(super) const FRA_SUPPRESS_PREFIXLEN: u16 = 14;
pub(super) const FRA_TABLE: u16 = 15;
pub(super) const FRA_FWMASK: u16 = 16;
pub(super) const FRA_PROTOCOL: u16 = 21;
