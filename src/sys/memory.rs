// SPDX-License-Identifier: BSD-3-Clause
//! The program's memory, in few pages.
//!
//! Most of what the daemon allocates are tables for the worst case of which it uses only the
//! beginning. C libraries' allocators write to both ends of each, and keep every size of small
//! things on pages of their own. This one writes to nothing it gives away and puts small things
//! side by side, which halves the memory that the daemon needs.

use core::alloc::{GlobalAlloc, Layout};
use core::mem::size_of;
use core::ptr::null_mut;
use std::sync::{Mutex, PoisonError};

/// Bytes asked of the kernel at a time, enough for the usual tables. They take no memory before
/// they are written to.
const CHUNK: usize = 1 << 20;
const PAGE: usize = 4096;
/// What has so many bytes gets pages of its own.
const LARGE: usize = 1024;
/// What has fewer gets a multiple of this.
const UNIT: usize = 16;

/// The allocator, for a program's `#[global_allocator]`: [`crate::main`] makes it that.
pub struct Heap(Mutex<Free>);

/// The first of the free blocks, which are in the order of their addresses and do not touch.
struct Free(*mut Block);

/// The beginning of a free block.
struct Block {
    next: *mut Block,
    /// In bytes, this included.
    length: usize,
}

const _: () = assert!(size_of::<Block>() <= UNIT);

// SAFETY: the blocks are reached through the list only, and belong to nobody else.
unsafe impl Send for Free {}

impl Heap {
    #[expect(clippy::new_without_default, reason = "a static needs a constant")]
    pub const fn new() -> Self {
        Self(Mutex::new(Free(null_mut())))
    }

    fn with<T>(&self, run: impl FnOnce(&mut Free) -> T) -> T {
        run(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// SAFETY: memory is given out once until it is given back, as long and as aligned as asked for.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let length = length(layout);
        if layout.align() > PAGE {
            return null_mut();
        }
        self.with(|free| {
            let mut start = free.take(length);
            if start.is_null() && free.grow(length) {
                start = free.take(length);
            }
            start
        })
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller gives back what `take` has given out for this layout.
        self.with(|free| unsafe { free.give(start, length(layout)) });
    }
}

/// How many bytes are set aside.
fn length(layout: Layout) -> usize {
    let small = layout.size() < LARGE && layout.align() <= UNIT;
    round_up(layout.size(), if small { UNIT } else { PAGE })
}

/// `unit` is a power of two. (`next_multiple_of` divides if it is not known.)
fn round_up(length: usize, unit: usize) -> usize {
    (length + unit - 1) & !(unit - 1)
}

impl Free {
    /// Takes whole pages from the end of the first block that has them, and less from the
    /// beginning: small things gather at the lowest addresses. Null if there is no such block.
    fn take(&mut self, length: usize) -> *mut u8 {
        let pages = length % PAGE == 0;
        let mut link = &raw mut self.0;
        // SAFETY: `link` is our own or in a free block, and free blocks are ours to read and write.
        // What is taken lies within one, and so does what is left of it before and behind.
        unsafe {
            while !(*link).is_null() {
                let start = (*link).cast::<u8>();
                let Block { next, length: room } = (*link).read();
                let before = room.checked_sub(length).and_then(|most| {
                    let odd = (start.addr() + most) % PAGE;
                    if pages {
                        most.checked_sub(odd)
                    } else {
                        Some(0)
                    }
                });
                if let Some(before) = before {
                    *link = next;
                    put(link, start.add(before + length), room - length - before);
                    put(link, start, before);
                    return start.add(before);
                }
                link = &raw mut (**link).next;
            }
        }
        null_mut()
    }

    /// Gets memory from the kernel. False if there is none.
    fn grow(&mut self, length: usize) -> bool {
        let length = round_up(length, CHUNK);
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: takes plain numbers, and maps where nothing is.
        let start = unsafe { libc::mmap(null_mut(), length, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return false;
        }
        // SAFETY: the kernel has just given us these pages.
        unsafe { self.give(start.cast(), length) };
        true
    }

    /// Frees memory, as one block with its free neighbours.
    ///
    /// # Safety
    ///
    /// The memory is ours and nobody uses it any more; it consists of whole units.
    unsafe fn give(&mut self, start: *mut u8, mut length: usize) {
        let mut link = &raw mut self.0;
        // SAFETY: as in `take`; and the caller promises that we may write to the memory.
        unsafe {
            let mut block = start.cast::<Block>();
            while !(*link).is_null() && *link < block {
                let before = *link;
                if before.cast::<u8>().add((*before).length) == start {
                    length += (*before).length;
                    block = before;
                    break;
                }
                link = &raw mut (*before).next;
            }
            let mut next = if *link == block { (*block).next } else { *link };
            if !next.is_null() && block.cast::<u8>().add(length) == next.cast() {
                length += (*next).length;
                next = (*next).next;
            }
            *link = next;
            put(link, block.cast(), length);
        }
    }
}

/// Makes memory, if it is any, a block of the list, the one at `link`.
///
/// # Safety
///
/// `link` is of the list, and the memory is free.
unsafe fn put(link: *mut *mut Block, start: *mut u8, length: usize) {
    if length > 0 {
        let block = start.cast::<Block>();
        // SAFETY: as the caller promises.
        unsafe {
            block.write(Block {
                next: *link,
                length,
            });
            *link = block;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte of what is in use has the mark of its owner; in the end all is one block again.
    #[test]
    fn nothing_overlaps_and_nothing_is_lost() {
        let heap = Heap::new();
        let mut used: Vec<(*mut u8, Layout, u8)> = vec![];
        let mut random = 1u64;
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        for round in 0..20_000u32 {
            if next(100) < 52 && used.len() < 200 {
                let (most, align) = ([40, 900, 20_000][next(3) as usize], 1 << next(8));
                let layout = Layout::from_size_align(1 + next(most) as usize, align).unwrap();
                let mark = round.to_le_bytes()[0];
                // SAFETY: the layout is not empty, and the memory as long as it says.
                let start = unsafe {
                    let start = heap.alloc(layout);
                    start.write_bytes(mark, layout.size());
                    start
                };
                assert_eq!(start.addr() % align, 0);
                used.push((start, layout, mark));
            } else if !used.is_empty() {
                let (start, layout, mark) = used.swap_remove(next(used.len() as u64) as usize);
                // SAFETY: it was allocated with this layout and written to its end.
                unsafe {
                    let bytes = core::slice::from_raw_parts(start, layout.size());
                    assert!(bytes.iter().all(|byte| *byte == mark), "round {round}");
                    heap.dealloc(start, layout);
                }
            }
        }
        for (start, layout, _) in used {
            // SAFETY: as above.
            unsafe { heap.dealloc(start, layout) };
        }
        let (mut blocks, mut total) = (0, 0);
        heap.with(|free| {
            let mut at = free.0;
            while !at.is_null() {
                // SAFETY: it is a free block of the list.
                let block = unsafe { at.read() };
                (blocks, total, at) = (blocks + 1, total + block.length, block.next);
            }
        });
        assert_eq!(total % CHUNK, 0);
        assert!(blocks <= total / CHUNK, "{blocks} blocks, {total} bytes");
    }

    /// Small things share pages; large ones do not, and are not written to.
    #[test]
    fn small_things_are_neighbours() {
        let heap = Heap::new();
        let [small, large] = [24, 60_000].map(|size| Layout::from_size_align(size, 8).unwrap());
        // SAFETY: the layouts are not empty.
        let [first, table, second] = unsafe { [small, large, small].map(|l| heap.alloc(l)) };
        assert_eq!(second.addr() - first.addr(), 32);
        assert_eq!(table.addr() % PAGE, 0);
        // SAFETY: fresh pages of the kernel's are zeroes, and they are ours.
        let bytes = unsafe { core::slice::from_raw_parts(table, large.size()) };
        assert!(bytes.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn what_there_is_no_memory_for_is_null() {
        let layout = Layout::from_size_align(isize::MAX as usize - 4096, 1).unwrap();
        // SAFETY: the layout is not empty.
        assert!(unsafe { Heap::new().alloc(layout) }.is_null());
    }
}
