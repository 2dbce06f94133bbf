// SPDX-License-Identifier: BSD-3-Clause
//! Wire bytes as tests write them down, the same for either byte order of the host.

/// Numbers of 2, 4 and 8 hexadecimal digits are u8, u16 and u32 in host byte order; octets after
/// `=` are taken as they are.
pub(crate) fn bytes(notation: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in notation.split_whitespace() {
        if let Some(octets) = word.strip_prefix('=') {
            let octet = |at: usize| u8::from_str_radix(&octets[at..at + 2], 16).unwrap();
            bytes.extend((0..octets.len()).step_by(2).map(octet));
            continue;
        }
        let number = u32::from_str_radix(word, 16).unwrap();
        match word.len() {
            2 => bytes.push(number as u8),
            4 => bytes.extend((number as u16).to_ne_bytes()),
            8 => bytes.extend(number.to_ne_bytes()),
            _ => panic!("{word}: neither u8, u16 nor u32"),
        }
    }
    bytes
}
