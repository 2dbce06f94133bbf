// SPDX-License-Identifier: BSD-3-Clause
//! The number of a request, which every netlink family repeats in its answers.

/// The number of a request, by which its answers come back. Numbers wrap: their order is
/// [`Self::is_acked_by`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Seq(pub u32);

impl Seq {
    /// Returns whether this request is done when all are up to and including `last`: it is `last`
    /// or less than half of all numbers behind it.
    pub const fn is_acked_by(self, last: Self) -> bool {
        last.since(self) <= u32::MAX / 2
    }

    /// Returns how many numbers this one is after an `earlier` one.
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Returns the number after this one, which is never 0.
    pub const fn next(self) -> Self {
        match self.0.checked_add(1) {
            Some(number) => Self(number),
            None => Self(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wrap_and_leave_out_0() {
        let last = Seq(u32::MAX);
        assert_eq!((last.next(), Seq::default().next()), (Seq(1), Seq(1)));
        assert!(last.is_acked_by(last) && last.is_acked_by(Seq(1)));
        assert!(!Seq(1).is_acked_by(last));
    }
}
