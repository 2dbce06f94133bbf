// SPDX-License-Identifier: BSD-3-Clause
//! Lists of prefixes, which say of addresses whether they are meant.

use core::fmt::Write;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::flags::{append, each, whole};
use crate::netlink::prefix::contains;
use crate::netlink::route::Family;

/// Prefixes of addresses; those with a `!` exclude what they hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Prefixes(Vec<Prefix>);

/// `ADDRESS/LENGTH`, or the address alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Prefix {
    excludes: bool,
    address: IpAddr,
    len: u8,
}

impl Prefixes {
    /// Returns a list that holds every address.
    pub(crate) fn all() -> Self {
        let all = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        Self(Vec::from(all.map(|address| Prefix {
            excludes: false,
            address,
            len: 0,
        })))
    }

    /// Reads a comma-separated list.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let mut read = Vec::new();
        each(text, &mut |item| {
            read.push(prefix(item).ok_or_else(|| format!("invalid prefix \"{item}\""))?);
            Ok(())
        })?;
        Ok(Self(read))
    }

    /// Writes the list.
    pub(crate) fn show(&self, text: &mut String) {
        for prefix in &self.0 {
            append(text, if prefix.excludes { "!" } else { "" });
            let _ = write!(text, "{}/{}", prefix.address, u32::from(prefix.len));
        }
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether the address is meant: the longest prefix that holds it decides and, where
    /// none does, whether there are only such as exclude.
    pub fn hold(&self, address: IpAddr) -> bool {
        let holding = |p: &&Prefix| contains(&p.address, p.len, &address);
        let longest = self
            .0
            .iter()
            .filter(holding)
            .max_by_key(|p| (p.len, p.excludes));
        let only_excludes = || self.0.iter().all(|prefix| prefix.excludes);
        longest.map_or_else(only_excludes, |prefix| !prefix.excludes)
    }
}

fn prefix(text: &str) -> Option<Prefix> {
    let bare = text.strip_prefix('!').map(str::trim_ascii_start);
    let (address, len) = match bare.unwrap_or(text).split_once('/') {
        Some((address, len)) => (address, Some(len)),
        None => (bare.unwrap_or(text), None),
    };
    let address: IpAddr = address.parse().ok()?;
    let width = Family::of(address).width();
    let len = match len {
        Some(len) => u8::try_from(whole(len)?).ok()?,
        None => width,
    };
    (len <= width).then_some(Prefix {
        excludes: bare.is_some(),
        address,
        len,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(list: &Prefixes) -> String {
        let mut text = String::new();
        list.show(&mut text);
        text
    }

    #[test]
    fn the_longest_prefix_decides() {
        for (list, held, not_held) in [
            ("", &["192.0.2.1", "2001:db8::1"][..], &[][..]),
            (
                "192.0.2.0/24",
                &["192.0.2.9"],
                &["192.0.3.9", "2001:db8::1"],
            ),
            ("192.0.2.9", &["192.0.2.9"], &["192.0.2.8"]),
            (
                "!192.0.2.0/24",
                &["192.0.3.9", "2001:db8::1"],
                &["192.0.2.9"],
            ),
            (
                "10.0.0.0/8, ! 10.1.0.0/16, 10.1.2.77/24",
                &["10.2.0.1", "10.1.2.3"],
                &["10.1.3.1", "11.0.0.1"],
            ),
            ("!10.0.0.0/8, 10.0.0.0/8", &[], &["10.0.0.1"]),
            (
                "2001:db8::/32, !fd00::/8",
                &["2001:db8::1"],
                &["fd00::1", "192.0.2.1"],
            ),
            ("0.0.0.0/0, ::/0", &["192.0.2.1", "2001:db8::1"], &[]),
        ] {
            let list = Prefixes::new(list).unwrap();
            let [held, not_held] =
                [held, not_held].map(|all| all.iter().map(|ip| ip.parse().unwrap()));
            held.for_each(|ip| assert!(list.hold(ip), "{list:?}: {ip}"));
            not_held.for_each(|ip: IpAddr| assert!(!list.hold(ip), "{list:?}: {ip}"));
            assert_eq!(Prefixes::new(&shown(&list)).unwrap(), list);
        }
        assert_eq!(shown(&Prefixes::all()), "0.0.0.0/0,::/0");
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for text in [
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "wan",
            "!",
            "!!10.0.0.1",
            "10.0.0.0/8/8",
        ] {
            assert!(Prefixes::new(text).is_err(), "{text}");
        }
    }
}
