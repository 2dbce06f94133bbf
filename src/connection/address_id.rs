// SPDX-License-Identifier: BSD-3-Clause
//! Address ids of RFC 8684 for the addresses of this host.

use core::net::IpAddr;

use crate::capacity;
use crate::netlink::mptcp::AddressId;
use crate::table::Table;

/// One id for each address, the same for every connection. An address keeps it after it has gone:
/// the kernel takes an address that it knows in a connection by no other id, and forgets it only when
/// it is withdrawn or its subflow is destroyed, not when that ends by itself.
///
/// Once all ids have been given, those of addresses that are gone are given to others, so that a
/// peer has long forgotten what they meant. 0 is never given: it is the initial subflow's own
/// (RFC 8684, 3.2).
pub struct AddressIds {
    owners: Table<(AddressId, IpAddr)>,
    last: AddressId,
}

const _: () = assert!(size_of::<(u8, IpAddr)>() <= 18);

impl Default for AddressIds {
    fn default() -> Self {
        Self {
            owners: Table::new(capacity::ADDRESS_IDS),
            last: AddressId::NONE,
        }
    }
}

impl AddressIds {
    /// Returns the id of an address, which gets one if it has none; where all are taken, that of an
    /// address that is not `there`. `None` if there is none such.
    pub fn id(&mut self, address: IpAddr, there: &dyn Fn(IpAddr) -> bool) -> Option<AddressId> {
        if let Some(id) = self.find(address) {
            return Some(id);
        }
        if self.owners.is_full() {
            self.owners.retain(|(_, owner)| there(*owner));
        }
        let mut id = self.last.next();
        for _ in 1..=u8::MAX {
            if self.learn(address, id) {
                self.last = id;
                return Some(id);
            }
            id = id.next();
        }
        None
    }

    /// Returns the address that has the id.
    pub fn address(&self, id: AddressId) -> Option<IpAddr> {
        self.owners.iter().find(|o| o.0 == id).map(|o| o.1)
    }

    /// Takes over an id that an earlier run gave. Returns whether the address has it now.
    pub fn learn(&mut self, address: IpAddr, id: AddressId) -> bool {
        if id == AddressId::INITIAL || self.find(address).is_some_and(|known| known != id) {
            return false;
        }
        match self.address(id) {
            Some(owner) => owner == address,
            None => self.owners.push((id, address)),
        }
    }

    /// Returns whether an address has this id here; `None` if neither is known.
    pub fn agrees(&self, address: IpAddr, id: AddressId) -> Option<bool> {
        let mut about = self.owners.iter().filter(|o| o.0 == id || o.1 == address);
        about.next().map(|owner| *owner == (id, address))
    }

    fn find(&self, address: IpAddr) -> Option<AddressId> {
        self.owners.iter().find(|o| o.1 == address).map(|o| o.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    fn address(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + n).into()
    }

    const ALL: &dyn Fn(IpAddr) -> bool = &|_| true;

    #[test]
    fn one_id_for_each_address_even_after_it_has_gone() {
        let mut ids = AddressIds::default();
        for n in 1..=255 {
            assert_eq!(
                ids.id(address(n), &|_| false),
                u8::try_from(n).ok().map(AddressId)
            );
        }
        assert_eq!(ids.id(address(7), &|_| false), Some(AddressId(7)));
        assert_eq!(ids.id(address(256), ALL), None);
        let there = |a| a != address(9) && a != address(3);
        assert_eq!(ids.id(address(256), &there), Some(AddressId(3)));
        assert_eq!(ids.address(AddressId(9)), None);
        assert_eq!(ids.id(address(3), &there), Some(AddressId(9)));
        assert_eq!(ids.agrees(address(3), AddressId(9)), Some(true));
        assert_eq!(ids.agrees(address(3), AddressId(3)), Some(false));
        assert_eq!(ids.agrees(address(1000), AddressId(3)), Some(false));
    }

    #[test]
    fn an_id_is_not_given_again_at_once() {
        let mut ids = AddressIds::default();
        for n in 1..=600 {
            assert_eq!(
                ids.id(address(n), &|_| false),
                u8::try_from((n - 1) % 255 + 1).ok().map(AddressId)
            );
        }
    }

    #[test]
    fn ids_of_an_earlier_run_are_kept() {
        let mut ids = AddressIds::default();
        assert!(ids.learn(address(1), AddressId(2)) && ids.learn(address(1), AddressId(2)));
        assert!(!ids.learn(address(1), AddressId(3)) && !ids.learn(address(5), AddressId(2)));
        assert!(!ids.learn(address(5), AddressId(0)));
        assert_eq!(ids.id(address(1), ALL), Some(AddressId(2)));
        assert_eq!(ids.agrees(address(5), AddressId(7)), None);
        assert_eq!(
            (ids.id(address(3), ALL), ids.id(address(4), ALL)),
            (Some(AddressId(1)), Some(AddressId(3)))
        );
    }
}
