//! A table whose size is decided once.

use core::ops::{Deref, DerefMut};

/// A vector that reserves its memory when made and never again.
pub struct Table<T> {
    items: Vec<T>,
    refused: u32,
    /// Something did not fit, and nobody has been told of room since.
    short: bool,
}

impl<T> Table<T> {
    pub fn new(capacity: usize) -> Self {
        Self {
            items: Vec::with_capacity(capacity),
            refused: 0,
            short: false,
        }
    }

    pub fn is_full(&self) -> bool {
        self.items.len() == self.items.capacity()
    }

    /// How often something did not fit.
    pub fn refused(&self) -> u32 {
        self.refused
    }

    /// Whether something is missing that did not fit.
    pub fn is_short(&self) -> bool {
        self.short
    }

    /// Whether there is room again for what did not fit: once, for whoever then fetches it.
    pub fn has_room_again(&mut self) -> bool {
        let room = self.short && !self.is_full();
        self.short &= !room;
        room
    }

    /// Adds at the end, or counts a refusal and answers false.
    pub fn push(&mut self, item: T) -> bool {
        let at = self.items.len();
        self.insert(at, item)
    }

    /// Adds before `at` (clipped to the length), or counts a refusal and answers false.
    pub fn insert(&mut self, at: usize, item: T) -> bool {
        if self.is_full() {
            self.refused = self.refused.saturating_add(1);
            self.short = true;
            return false;
        }
        self.items.insert(at.min(self.items.len()), item);
        true
    }

    /// Takes out the item at `at`, if there is one.
    pub fn remove(&mut self, at: usize) -> Option<T> {
        (at < self.items.len()).then(|| self.items.remove(at))
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        // A third of the code of `Vec::retain_mut`, which minds a `keep` that panics.
        let mut kept = 0;
        for at in 0..self.items.len() {
            if self.items.get_mut(at).is_some_and(&mut keep) {
                if kept != at {
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
