// SPDX-License-Identifier: BSD-3-Clause
//! The entry point of a program that does without std's runtime, with the feature `router`.

/// Defines the entry point of a program with these plugins, a `&'static [Entry]`, for a crate that
/// is `#![no_main]`, and its allocator, [`Heap`](crate::sys::memory::Heap).
/// [`run`](crate::run) does the same for an ordinary `main`.
#[macro_export]
macro_rules! main {
    ($plugins:expr) => {
        #[global_allocator]
        static HEAP: $crate::internal::sys::memory::Heap =
            $crate::internal::sys::memory::Heap::new();

        // SAFETY: this is the `main` of the C library, and the only one: the crate is no_main.
        #[unsafe(no_mangle)]
        extern "C" fn main(
            count: ::core::ffi::c_int,
            arguments: *const *const ::core::ffi::c_char,
        ) -> ::core::ffi::c_int {
            // SAFETY: these are the arguments of `main`.
            let arguments = unsafe { $crate::internal::sys::process::begin(count, arguments) };
            $crate::internal::app::answer($crate::program!($plugins), arguments).into()
        }
    };
}
