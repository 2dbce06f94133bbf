// SPDX-License-Identifier: BSD-3-Clause
//! A state file is used or not, and what is used can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mptcpd::internal::state::{HALF, Identity, decode, encode};

const IDENTITY: Identity = Identity {
    boot_id: [0; 16],
    namespace: 0,
};

fuzz_target!(|bytes: &[u8]| {
    check(bytes);
    // The checksum, which is hard to guess.
    let mut sealed = bytes.to_vec();
    if let Some(body) = sealed.get(12..) {
        let sum = mptcpd::internal::state::checksum(body);
        sealed[..8].copy_from_slice(b"mptcpd\0\x01");
        sealed[8..12].copy_from_slice(&sum.to_ne_bytes());
        check(&sealed);
    }
});

fn check(bytes: &[u8]) {
    let mut endpoints = Vec::new();
    let Ok(state) = decode(bytes, &IDENTITY, &mut |endpoint| endpoints.push(endpoint)) else {
        return;
    };
    assert!(endpoints.len() <= 255);
    let mut half = Box::new([0; HALF]);
    let length = encode(&mut half, &IDENTITY, &state, &mut endpoints.iter().copied());
    let mut again = Vec::new();
    let read = decode(&half[..length], &IDENTITY, &mut |endpoint| {
        again.push(endpoint)
    });
    assert_eq!(read, Ok(state));
    assert_eq!(again, endpoints);
}
