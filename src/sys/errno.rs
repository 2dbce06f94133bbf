// SPDX-License-Identifier: BSD-3-Clause
//! errno in words.

use core::ffi::CStr;
use core::fmt;

/// An errno(3), which shows as the C library's text for it, as `%m` does. Unlike
/// [`std::io::Error`] it allocates nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errno(pub i32);

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; 64];
        // SAFETY: the pointer and the length describe `text`, which outlives the call.
        let result = unsafe { libc::strerror_r(self.0, text.as_mut_ptr().cast(), text.len()) };
        let words = CStr::from_bytes_until_nul(&text).ok();
        match words.and_then(|words| words.to_str().ok()) {
            Some(words) if result == 0 && !words.is_empty() => f.write_str(words),
            _ => write!(f, "errno {}", self.0),
        }
    }
}
