// SPDX-License-Identifier: BSD-3-Clause
//! A set of address ids (RFC 8684, 3.4.1).

/// One bit for each of the 256 ids.
#[derive(Default, Debug)]
pub(crate) struct IdSet([u32; 8]);

impl IdSet {
    pub(crate) fn contains(&self, id: u8) -> bool {
        let word = self.0.get(usize::from(id / 32));
        word.is_some_and(|word| word & bit(id) != 0)
    }

    /// Adds or removes an id. Returns whether it was there.
    pub(crate) fn set(&mut self, id: u8, present: bool) -> bool {
        let Some(word) = self.0.get_mut(usize::from(id / 32)) else {
            return false;
        };
        let was = *word & bit(id) != 0;
        if present {
            *word |= bit(id);
        } else {
            *word &= !bit(id);
        }
        was
    }

    /// Returns all ids, in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u8> {
        let words = (0..=u8::MAX).step_by(32).zip(&self.0);
        let some = words.filter(|(_, word)| **word != 0);
        some.flat_map(|(first, word)| {
            let bits = (0..32u8).filter(move |bit| word >> bit & 1 == 1);
            bits.map(move |bit| first + bit)
        })
    }
}

fn bit(id: u8) -> u32 {
    1 << (id % 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_every_word_are_kept_and_listed_in_order() {
        let mut set = IdSet::default();
        for id in [255, 0, 64, 63, 128] {
            assert!(!set.set(id, true));
            assert!(set.set(id, true), "it was there");
        }
        assert!(set.iter().eq([0, 63, 64, 128, 255]));
        assert!(set.set(64, false) && !set.set(64, false));
        assert!(set.contains(63) && !set.contains(64) && !set.contains(65));
        assert!(set.iter().eq([0, 63, 128, 255]));
    }
}
