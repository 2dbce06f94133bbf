// SPDX-License-Identifier: BSD-3-Clause
//! Numbers that only look random.

use std::time::Duration;

/// xorshift64*: the same seed gives the same plan everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Milliseconds; each doubling is as likely as the other.
    pub fn span(&mut self, shortest: u64, doublings: u64) -> Duration {
        let least = shortest << self.below(doublings);
        Duration::from_millis(least + self.below(least))
    }
}
