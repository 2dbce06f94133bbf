//! rtnetlink: links, addresses, routes and rules.
//!
//! Source: `include/uapi/linux/rtnetlink.h`, `if_link.h`, `if_addr.h`, `fib_rules.h`.

use core::net::IpAddr;

/// Longest interface name: `IFNAMSIZ` less the terminating zero.
pub const NAME_LENGTH: usize = 15;
/// An interface name, fixed in size. Bytes that are not UTF-8 are replaced by `?`.
pub type Name = heapless::String<NAME_LENGTH>;

/// Address family of a dump or a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    Ipv4,
    Ipv6,
}

/// A network interface (`struct ifinfomsg` and its attributes), family AF_UNSPEC only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    pub index: u32,
    /// `IFF_*` (linux/if.h).
    pub flags: u32,
    /// Empty where the kernel sent no IFLA_IFNAME.
    pub name: Name,
    /// IFLA_MASTER: the bridge, bond or VRF this interface belongs to; 0 is none.
    pub master: u32,
    /// The routing table of the VRF this interface is enslaved to
    /// (IFLA_LINKINFO, IFLA_INFO_SLAVE_KIND "vrf", IFLA_VRF_PORT_TABLE); 0 is none.
    pub vrf_table: u32,
}

/// An address of an interface (`struct ifaddrmsg` and its attributes).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    pub index: u32,
    /// IFA_LOCAL where there is one, else IFA_ADDRESS: always our own address.
    pub local: IpAddr,
    /// IFA_ADDRESS where it differs from `local`: the peer of a point-to-point link.
    pub peer: Option<IpAddr>,
    pub prefix_len: u8,
    /// `IFA_F_*` from IFA_FLAGS where sent, else from the header.
    pub flags: u32,
    /// `RT_SCOPE_*`.
    pub scope: u8,
}

/// A next hop of a route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hop {
    /// 0 is none.
    pub oif: u32,
    /// RTA_GATEWAY, or RTA_VIA (an IPv6 gateway of an IPv4 route).
    pub gateway: Option<IpAddr>,
    /// `RTNH_F_*`.
    pub flags: u32,
}

/// A unicast, local or other route (`struct rtmsg` and its attributes).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    pub family: Family,
    pub table: u32,
    pub destination: Option<IpAddr>,
    pub destination_len: u8,
    pub source_len: u8,
    pub preferred_source: Option<IpAddr>,
    /// RTA_PRIORITY.
    pub metric: u32,
    /// `RTPROT_*`: who made it.
    pub protocol: u8,
    /// `RTN_*`.
    pub kind: u8,
    pub scope: u8,
    /// The single next hop, or those of RTA_MULTIPATH; more than fit are left out.
    pub hops: heapless::Vec<Hop, MAX_HOPS>,
}

/// Next hops kept of one multipath route.
pub const MAX_HOPS: usize = 8;

/// A routing-policy rule (`struct fib_rule_hdr` and its attributes).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    pub family: Family,
    pub priority: u32,
    pub table: u32,
    /// FRA_SRC and its prefix length; `None` selects every source.
    pub source: Option<(IpAddr, u8)>,
    /// `FR_ACT_*`; 1 is "look up the table".
    pub action: u8,
    /// FRA_PROTOCOL: who made it; 0 where not sent.
    pub protocol: u8,
    /// The rule asks for more than a source: destination, incoming or outgoing interface, mark,
    /// TOS, ports, user, IP protocol, tunnel or inversion. It does not select plain local traffic.
    pub selective: bool,
    /// FRA_L3MDEV: the table is that of the VRF.
    pub l3mdev: bool,
}
