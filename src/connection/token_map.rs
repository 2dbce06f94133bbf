// SPDX-License-Identifier: BSD-3-Clause
//! A hash table of fixed size, from tokens.

use super::slab::{NONE, Slab};
use crate::netlink::mptcp::Token;

/// Values found by token: open addressing with linear probing, at most half full.
pub(super) struct TokenMap<T> {
    /// Numbers of slots; [`NONE`] is empty. The length is a power of two, or 0.
    index: Vec<u32>,
    slots: Slab<(Token, T)>,
}

impl<T> TokenMap<T> {
    pub(super) fn new(capacity: usize) -> Self {
        let places = if capacity == 0 {
            0
        } else {
            capacity.saturating_mul(2).next_power_of_two()
        };
        Self {
            index: vec![NONE; places],
            slots: Slab::new(capacity),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn refused(&self) -> u32 {
        self.slots.refused()
    }

    pub(super) fn get(&self, token: Token) -> Option<&T> {
        self.at(self.slot(token)?)
    }

    /// Returns the slot of a token.
    pub(super) fn slot(&self, token: Token) -> Option<u32> {
        self.index.get(self.place(token)?).copied()
    }

    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut T> {
        let at = *self.index.get(self.place(token)?)?;
        self.slots.get_mut(at).map(|(_, value)| value)
    }

    /// Returns the value of a slot; [`Self::end`] is beyond the last one.
    pub(super) fn at(&self, slot: u32) -> Option<&T> {
        self.slots.get(slot).map(|(_, value)| value)
    }

    pub(super) fn at_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.slots.get_mut(slot).map(|(_, value)| value)
    }

    pub(super) fn end(&self) -> u32 {
        self.slots.end()
    }

    /// Adds a token that is not there. Returns false, and counts, if there is no room.
    pub(super) fn insert(&mut self, token: Token, value: T) -> bool {
        let Some(at) = self.slots.put((token, value), NONE) else {
            return false;
        };
        let mut place = self.home(token);
        while self.index.get(place).is_some_and(|at| *at != NONE) {
            place = self.after(place);
        }
        self.set(place, at);
        true
    }

    pub(super) fn remove(&mut self, token: Token) {
        let Some(mut gap) = self.place(token) else {
            return;
        };
        if let Some(at) = self.index.get(gap) {
            self.slots.free(*at);
        }
        // A token displaced past the gap moves up: a search ends at the first gap.
        let mut place = self.after(gap);
        while let Some(at) = self.index.get(place).copied().filter(|at| *at != NONE) {
            let home = self
                .slots
                .get(at)
                .map_or(place, |(token, _)| self.home(*token));
            if self.distance(home, place) >= self.distance(gap, place) {
                self.set(gap, at);
                gap = place;
            }
            place = self.after(place);
        }
        self.set(gap, NONE);
    }

    /// Returns where the token stands in the index.
    fn place(&self, token: Token) -> Option<usize> {
        let mut place = self.home(token);
        loop {
            let (known, _) = self.slots.get(*self.index.get(place)?)?;
            if *known == token {
                return Some(place);
            }
            place = self.after(place);
        }
    }

    /// Tokens are as good as random (RFC 8684, 3.2): they are their own hash.
    fn home(&self, token: Token) -> usize {
        token.get() as usize & self.mask()
    }

    fn after(&self, place: usize) -> usize {
        place.wrapping_add(1) & self.mask()
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & self.mask()
    }

    fn mask(&self) -> usize {
        self.index.len().wrapping_sub(1)
    }

    fn set(&mut self, place: usize, at: u32) {
        if let Some(entry) = self.index.get_mut(place) {
            *entry = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// Few places, so that tokens get into each other's way.
        #[test]
        fn is_a_map(steps in prop::collection::vec((any::<bool>(), 0u32..24), 0..300)) {
            let mut table = TokenMap::new(6);
            let mut model = BTreeMap::new();
            let mut refused = 0;
            for (at, (insert, token)) in steps.into_iter().enumerate() {
                let token = Token::new(token);
                if !insert {
                    prop_assert_eq!(table.get(token).copied(), model.remove(&token));
                    table.remove(token);
                } else if !model.contains_key(&token) {
                    let room = model.len() < 6;
                    prop_assert_eq!(table.insert(token, at), room);
                    if room {
                        model.insert(token, at);
                    } else {
                        refused += 1;
                    }
                }
                for token in (0..24).map(Token::new) {
                    prop_assert_eq!(table.get(token), model.get(&token));
                }
                prop_assert_eq!((table.len(), table.refused()), (model.len(), refused));
                prop_assert!(table.end() <= 6);
            }
        }
    }

    #[test]
    fn an_empty_table_holds_nothing() {
        let mut table = TokenMap::new(0);
        assert!(!table.insert(Token::new(1), ()));
        table.remove(Token::new(1));
        assert_eq!(table.len(), 0);
        assert_eq!(table.get(Token::new(1)), None);
    }
}
