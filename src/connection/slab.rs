// SPDX-License-Identifier: BSD-3-Clause
//! A slab of slots for many short lists.

/// The number of no slot.
pub(super) const NONE: u32 = u32::MAX;

/// Slots that are named by number, each holding a `T` and the number of the one that follows it.
///
/// Slots used before are used again first, so that memory beyond the most ever needed is never
/// touched.
pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
    capacity: usize,
    /// The first of those that were used and are not.
    free: u32,
    used: usize,
    refused: u32,
}

pub(super) struct Slot<T> {
    item: Option<T>,
    next: u32,
}

impl<T> Slab<T> {
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.min(NONE as usize);
        Self {
            slots: Vec::with_capacity(capacity),
            capacity,
            free: NONE,
            used: 0,
            refused: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// Returns how often something did not fit.
    pub(super) fn refused(&self) -> u32 {
        self.refused
    }

    /// Returns a number above those of all slots in use.
    pub(super) fn end(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(NONE)
    }

    /// Takes a slot and puts it before the slot `next`. `None`, and counted, if all are taken.
    pub(super) fn put(&mut self, item: T, next: u32) -> Option<u32> {
        let new = Slot {
            item: Some(item),
            next,
        };
        let at = if let Some(slot) = self.slots.get_mut(self.free as usize) {
            let at = self.free;
            self.free = core::mem::replace(slot, new).next;
            at
        } else if self.slots.len() < self.capacity {
            let at = self.end();
            self.slots.push(new);
            at
        } else {
            self.refused = self.refused.saturating_add(1);
            return None;
        };
        self.used += 1;
        Some(at)
    }

    /// Frees a slot. Returns whether there was something in it.
    pub(super) fn free(&mut self, at: u32) -> bool {
        let slot = self.slots.get_mut(at as usize);
        let Some(slot) = slot.filter(|slot| slot.item.is_some()) else {
            return false;
        };
        slot.item = None;
        slot.next = core::mem::replace(&mut self.free, at);
        self.used -= 1;
        true
    }

    pub(super) fn get(&self, at: u32) -> Option<&T> {
        self.slots.get(at as usize)?.item.as_ref()
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.slots.get_mut(at as usize)?.item.as_mut()
    }

    fn next(&self, at: u32) -> u32 {
        self.slots.get(at as usize).map_or(NONE, |slot| slot.next)
    }

    /// Returns the list that begins with the slot `head`.
    pub(super) fn list(&self, head: u32) -> impl Iterator<Item = &T> {
        let mut at = head;
        core::iter::from_fn(move || {
            let item = self.get(at)?;
            at = self.next(at);
            Some(item)
        })
    }

    /// Changes each of a list.
    pub(super) fn change(&mut self, head: u32, change: impl Fn(&mut T)) {
        let mut at = head;
        while let Some(item) = self.get_mut(at) {
            change(item);
            at = self.next(at);
        }
    }

    /// Finds the first of a list that is `wanted`.
    pub(super) fn find(&self, head: u32, wanted: impl Fn(&T) -> bool) -> Option<u32> {
        let mut at = head;
        while !wanted(self.get(at)?) {
            at = self.next(at);
        }
        Some(at)
    }

    /// Adds to the end of a list.
    pub(super) fn append(&mut self, head: &mut u32, item: T) -> Option<u32> {
        let new = self.put(item, NONE)?;
        let mut last = NONE;
        let mut at = *head;
        while at != NONE {
            last = at;
            at = self.next(at);
        }
        match self.slots.get_mut(last as usize) {
            Some(slot) => slot.next = new,
            None => *head = new,
        }
        Some(new)
    }

    /// Takes a slot out of its list, and frees it. Returns whether it was there.
    pub(super) fn remove(&mut self, head: &mut u32, gone: u32) -> bool {
        let next = self.next(gone);
        if *head == gone {
            *head = next;
        } else {
            let mut at = *head;
            while self.next(at) != gone {
                if at == NONE {
                    return false;
                }
                at = self.next(at);
            }
            if let Some(slot) = self.slots.get_mut(at as usize) {
                slot.next = next;
            }
        }
        self.free(gone)
    }

    /// Frees a whole list.
    pub(super) fn clear(&mut self, head: &mut u32) {
        let mut at = core::mem::replace(head, NONE);
        while at != NONE {
            let next = self.next(at);
            self.free(at);
            at = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_share_slots_that_are_used_again() {
        let mut slab = Slab::new(3);
        let (mut a, mut b) = (NONE, NONE);
        for item in [1, 2] {
            slab.append(&mut a, item).unwrap();
        }
        let three = slab.append(&mut b, 3).unwrap();
        assert_eq!(slab.append(&mut b, 4), None);
        assert_eq!((slab.len(), slab.refused()), (3, 1));
        let one = slab.find(a, |item| *item == 1).unwrap();
        assert!(slab.remove(&mut a, one));
        assert!(!slab.remove(&mut a, three));
        assert_eq!(slab.append(&mut b, 5), Some(one));
        assert!(slab.list(a).eq(&[2]) && slab.list(b).eq(&[3, 5]));
        slab.clear(&mut b);
        assert_eq!((slab.len(), slab.end(), b), (1, 3, NONE));
    }
}
