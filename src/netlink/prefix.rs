// SPDX-License-Identifier: BSD-3-Clause
//! Prefixes of addresses.

use core::net::IpAddr;

/// Returns whether the prefix holds the address.
pub fn contains(network: &IpAddr, len: u8, address: &IpAddr) -> bool {
    // Addresses of two families are never equal.
    prefix(network, len) == prefix(address, len)
}

/// Returns the address with every bit after the first `len` cleared.
pub fn prefix(address: &IpAddr, len: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mut octets = address.octets();
            cut(&mut octets, len);
            octets.into()
        }
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            cut(&mut octets, len);
            octets.into()
        }
    }
}

fn cut(octets: &mut [u8], mut len: u8) {
    for octet in octets {
        let keep = len.min(8);
        *octet &= (0xff00u16 >> keep) as u8;
        len -= keep;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_hold_their_addresses() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(contains(&ip("192.0.2.0"), 24, &ip("192.0.2.255")));
        assert!(!contains(&ip("192.0.2.0"), 24, &ip("192.0.3.0")));
        assert!(contains(&ip("0.0.0.0"), 0, &ip("203.0.113.1")));
        assert!(contains(&ip("2001:db8::"), 128, &ip("2001:db8::")));
        assert!(!contains(&ip("2001:db8::"), 128, &ip("2001:db8::1")));
        assert!(contains(&ip("::"), 0, &ip("2001:db8::1")));
        assert!(!contains(&ip("0.0.0.0"), 0, &ip("2001:db8::1")));
        assert_eq!(prefix(&ip("192.0.2.77"), 24), ip("192.0.2.0"));
        assert_eq!(prefix(&ip("192.0.2.77"), 0), ip("0.0.0.0"));
        assert_eq!(prefix(&ip("2001:db8::77"), 64), ip("2001:db8::"));
    }
}
