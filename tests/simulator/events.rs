// SPDX-License-Identifier: BSD-3-Clause
//! A socket that a kernel tells events.

use core::ops::{Deref, DerefMut};
use std::collections::VecDeque;

/// Events nobody has read yet.
pub struct Events<T> {
    queue: VecDeque<T>,
    /// The socket is full until somebody reads: what comes is lost.
    pub full: bool,
    /// Events were lost, and nobody has been told.
    pub lost: bool,
}

impl<T> Default for Events<T> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            full: false,
            lost: false,
        }
    }
}

impl<T> Events<T> {
    pub fn tell(&mut self, event: T) {
        if self.full {
            self.lost = true;
        } else {
            self.queue.push_back(event);
        }
    }

    pub fn forget(&mut self) {
        self.queue.clear();
        self.lost = false;
    }

    pub fn has_news(&self) -> bool {
        self.lost || !self.queue.is_empty()
    }

    /// Hands over events, but no more than `most`. Answers whether some were lost, once all that
    /// were kept have been read.
    pub fn read(&mut self, most: usize, each: &mut dyn FnMut(&T)) -> bool {
        let most = most.min(self.queue.len());
        self.queue.drain(..most).for_each(|event| each(&event));
        self.full = false;
        self.queue.is_empty() && core::mem::take(&mut self.lost)
    }
}

impl<T> Deref for Events<T> {
    type Target = VecDeque<T>;
    fn deref(&self) -> &VecDeque<T> {
        &self.queue
    }
}

impl<T> DerefMut for Events<T> {
    fn deref_mut(&mut self) -> &mut VecDeque<T> {
        &mut self.queue
    }
}
