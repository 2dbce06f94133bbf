// SPDX-License-Identifier: BSD-3-Clause
//! A table whose size is decided once, and mark-and-sweep of what is not there any more.

use core::ops::{Deref, DerefMut};

/// A vector that reserves its memory when made and never again.
pub struct Table<T> {
    items: Vec<T>,
    refusals: Refusals,
}

/// What did not fit: the same for tables of all types.
#[derive(Default)]
struct Refusals {
    count: u32,
    /// Something did not fit, and [`Table::has_room_again`] has not reported room since.
    short: bool,
}

impl Refusals {
    #[inline(never)]
    fn add(&mut self) {
        self.count = self.count.saturating_add(1);
        self.short = true;
    }
}

impl<T> Table<T> {
    pub fn new(capacity: usize) -> Self {
        Self {
            items: Vec::with_capacity(capacity),
            refusals: Refusals::default(),
        }
    }

    pub fn is_full(&self) -> bool {
        self.items.len() == self.items.capacity()
    }

    /// Returns how often something did not fit.
    pub fn refused(&self) -> u32 {
        self.refusals.count
    }

    /// Returns whether something is missing that did not fit.
    pub fn is_short(&self) -> bool {
        self.refusals.short
    }

    /// Returns whether there is room again for what did not fit: once, because the caller then
    /// reads it from the kernel.
    pub fn has_room_again(&mut self) -> bool {
        let room = self.refusals.short && !self.is_full();
        self.refusals.short &= !room;
        room
    }

    /// Adds at the end, or counts a refusal and returns false.
    pub fn push(&mut self, item: T) -> bool {
        // Not by `insert`, which moves what comes behind.
        let room = !self.is_full();
        if room {
            self.items.push(item);
        } else {
            self.refusals.add();
        }
        room
    }

    /// Adds before `at` (clipped to the length), or counts a refusal and returns false.
    pub fn insert(&mut self, at: usize, item: T) -> bool {
        if self.is_full() {
            self.refusals.add();
            return false;
        }
        self.items.insert(at.min(self.items.len()), item);
        true
    }

    /// Removes the item at `at`, if there is one.
    pub fn remove(&mut self, at: usize) {
        if at < self.items.len() {
            self.items.remove(at);
        }
    }

    /// Removes and returns the item at `at`, if there is one.
    pub fn take(&mut self, at: usize) -> Option<T> {
        (at < self.items.len()).then(|| self.items.remove(at))
    }

    /// Removes the items for which `keep` returns false.
    pub fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        // A third of the code of `Vec::retain_mut`, which minds a `keep` that panics.
        let mut kept = 0;
        for at in 0..self.items.len() {
            if self.items.get_mut(at).is_some_and(&mut keep) {
                if kept < at {
                    self.items.swap(kept, at);
                }
                kept += 1;
            }
        }
        self.items.truncate(kept);
    }

    pub fn clear(&mut self) {
        self.items.clear();
    }
}

/// An item that is kept as long as each pass over everything, mostly a dump of the kernel, finds
/// it again.
pub trait Mark {
    /// Returns the item's mark: the pass under way, or else the last one, has found it.
    fn mark(&mut self) -> &mut bool;
}

impl<T: Mark> Table<T> {
    /// A pass begins: unmarks the items for which `concerned` returns true.
    pub fn unmark(&mut self, mut concerned: impl FnMut(&T) -> bool) {
        for item in self.items.iter_mut() {
            if concerned(item) {
                *item.mark() = false;
            }
        }
    }

    /// The pass is complete: hands each item that is still unmarked to `remove`, and removes it
    /// if that returns true.
    pub fn sweep_unmarked(&mut self, mut remove: impl FnMut(&mut T) -> bool) {
        self.retain(|item| *item.mark() || !remove(item));
    }
}

impl<T> Deref for Table<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.items
    }
}

impl<T> DerefMut for Table<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(items: &[u8]) -> Table<u8> {
        let mut table = Table::new(4);
        for item in items {
            assert!(table.push(*item));
        }
        table
    }

    #[test]
    fn items_are_inserted_in_place_and_removed_by_place() {
        let mut table = table(&[1, 3]);
        assert!(table.insert(1, 2));
        assert!(table.insert(99, 4), "clipped to the end");
        assert_eq!(*table, [1, 2, 3, 4]);
        assert_eq!(table.take(1), Some(2));
        assert_eq!(table.take(3), None);
        table.remove(3);
        assert_eq!(*table, [1, 3, 4]);
        table.remove(1);
        assert_eq!(*table, [1, 4]);
        table.clear();
        assert_eq!(*table, []);
    }

    #[test]
    fn a_full_table_counts_what_it_refuses_and_stays_as_it_is() {
        let mut table = table(&[1, 2, 3]);
        assert!(!table.is_full() && !table.is_short());
        table.push(4);
        assert!(
            table.is_full() && !table.is_short(),
            "everything has fitted"
        );
        assert!(!table.push(5) && !table.insert(0, 6));
        assert_eq!(*table, [1, 2, 3, 4]);
        assert_eq!(table.refused(), 2);
        assert!(table.is_short());
        assert_eq!(table.items.capacity(), 4, "it never grows");
    }

    #[test]
    fn room_for_what_did_not_fit_is_reported_once() {
        let mut table = table(&[1, 2, 3, 4]);
        table.remove(0);
        assert!(!table.has_room_again(), "nothing was refused");
        table.push(5);
        table.push(6);
        assert!(!table.has_room_again(), "still full");
        table.remove(0);
        assert!(table.is_short());
        assert!(table.has_room_again() && !table.has_room_again());
        assert!(!table.is_short());
        assert_eq!(table.refused(), 1, "the count goes on");
    }

    #[test]
    fn what_is_retained_keeps_its_order() {
        let mut table = table(&[1, 2, 3, 4]);
        table.retain(|item| {
            *item *= 10;
            *item != 10 && *item != 30
        });
        assert_eq!(*table, [20, 40]);
        table.retain(|_| true);
        assert_eq!(*table, [20, 40]);
    }

    #[derive(PartialEq, Debug)]
    struct Item(u8, bool);

    impl Mark for Item {
        fn mark(&mut self) -> &mut bool {
            &mut self.1
        }
    }

    #[test]
    fn a_sweep_removes_what_the_dump_has_not_shown() {
        let mut table = Table::new(4);
        for number in 1..=4 {
            table.push(Item(number, true));
        }
        table.unmark(|item| item.0 != 4);
        assert_eq!(table.iter().filter(|item| item.1).count(), 1);
        *table[1].mark() = true;
        let mut unmarked = Vec::new();
        table.sweep_unmarked(|item| {
            unmarked.push(item.0);
            item.0 == 1
        });
        assert_eq!(unmarked, [1, 3], "each is handed over");
        assert_eq!(*table, [Item(2, true), Item(3, false), Item(4, true)]);
    }
}
