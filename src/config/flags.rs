// SPDX-License-Identifier: BSD-3-Clause
//! The words of the configuration, the same in the file and on the command line.

use core::fmt::{self, Display};

use ::log::LevelFilter;

use crate::config::{OnExit, Temporary, Use};
use crate::logging::Destination;
use crate::netlink::mptcp::{Endpoint, EndpointFlags};

/// Which addresses to use (`notify-flags`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NotifyFlags(pub u8);

impl NotifyFlags {
    /// Addresses that were there before the daemon.
    pub const EXISTING: Self = Self(1);
    /// No addresses of link scope, nor of 169.254.0.0/16.
    pub const SKIP_LINK_LOCAL: Self = Self(1 << 1);
    /// No addresses of host scope.
    pub const SKIP_LOOPBACK: Self = Self(1 << 2);
    /// Only while the interface has a default route for the address.
    pub const CHECK_ROUTE: Self = Self(1 << 3);
    /// All of them.
    pub const ALL: Self = Self(0xf);

    /// Returns whether all of `other` are among them.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Values and the words for them.
pub(crate) struct Words<T: 'static> {
    words: &'static [&'static str],
    values: &'static [T],
}

pub(crate) const ADDR_FLAGS: Words<u32> = Words {
    words: &["subflow", "signal", "backup", "fullmesh", "laminar"],
    values: &[
        EndpointFlags::SUBFLOW.0,
        EndpointFlags::SIGNAL.0,
        EndpointFlags::BACKUP.0,
        EndpointFlags::FULLMESH.0,
        EndpointFlags::LAMINAR.0,
    ],
};

pub(crate) const NOTIFY_FLAGS: Words<u32> = Words {
    words: &[
        "existing",
        "skip_link_local",
        "skip_loopback",
        "check_route",
    ],
    values: &[
        NotifyFlags::EXISTING.0 as u32,
        NotifyFlags::SKIP_LINK_LOCAL.0 as u32,
        NotifyFlags::SKIP_LOOPBACK.0 as u32,
        NotifyFlags::CHECK_ROUTE.0 as u32,
    ],
};

pub(crate) const IPV4: u32 = 1;
pub(crate) const IPV6: u32 = 2;
pub(crate) const FAMILIES: Words<u32> = Words {
    words: &["ipv4", "ipv6"],
    values: &[IPV4, IPV6],
};

/// A value that is one of several words.
pub(crate) trait Word {
    fn words(&self) -> &'static [&'static str];
    /// Returns which of the words it is.
    fn get(&self) -> usize;
    fn set(&mut self, at: usize);
}

/// A type whose values have words.
trait Choice: Copy + PartialEq + 'static {
    const WORDS: Words<Self>;
}

impl Choice for bool {
    const WORDS: Words<Self> = Words {
        words: &["yes", "no"],
        values: &[true, false],
    };
}

impl Choice for Destination {
    const WORDS: Words<Self> = Words {
        words: &["stderr", "syslog", "journal", "null"],
        values: &[Self::Stderr, Self::Syslog, Self::Journal, Self::Null],
    };
}

impl Choice for LevelFilter {
    const WORDS: Words<Self> = Words {
        words: &["error", "warn", "info", "debug"],
        values: &[Self::Error, Self::Warn, Self::Info, Self::Debug],
    };
}

impl Choice for Use {
    const WORDS: Words<Self> = Words {
        words: &["yes", "no", "standby"],
        values: &[Self::Yes, Self::No, Self::Standby],
    };
}

impl Choice for OnExit {
    const WORDS: Words<Self> = Words {
        words: &["auto", "keep", "remove"],
        values: &[Self::Auto, Self::Keep, Self::Remove],
    };
}

impl Choice for Temporary {
    const WORDS: Words<Self> = Words {
        words: &["fallback", "yes", "no"],
        values: &[Self::Fallback, Self::Yes, Self::No],
    };
}

impl<T: Choice> Word for T {
    fn words(&self) -> &'static [&'static str] {
        T::WORDS.words
    }

    fn get(&self) -> usize {
        let mut values = T::WORDS.values.iter();
        values.position(|each| each == self).unwrap_or(usize::MAX)
    }

    fn set(&mut self, at: usize) {
        *self = *T::WORDS.values.get(at).unwrap_or(self);
    }
}

impl Words<u32> {
    /// Hands over the words of the bits.
    pub(crate) fn each(&self, bits: u32, word: &mut dyn FnMut(&'static str)) {
        for (each, bit) in self.words.iter().zip(self.values) {
            if bits & bit != 0 {
                word(each);
            }
        }
    }
}

/// The bits of a list of words; an empty list has none.
pub(crate) fn bits(text: &str, words: &Words<u32>) -> Result<u32, String> {
    let mut bits = 0;
    each(text, &mut |item| {
        let at = position(item, words.words)?;
        bits |= words.values.get(at).unwrap_or(&0);
        Ok(())
    })?;
    Ok(bits)
}

/// The flags of `addr-flags`.
pub(crate) fn endpoint_flags(text: &str) -> Result<EndpointFlags, String> {
    let flags = EndpointFlags(bits(text, &ADDR_FLAGS)?);
    let both = EndpointFlags(EndpointFlags::SIGNAL.0 | EndpointFlags::FULLMESH.0);
    if flags.contains(both) {
        return Err("signal and fullmesh are mutually exclusive".to_string());
    }
    Ok(flags)
}

/// The flags of `notify-flags`.
pub(crate) fn notify_flags(text: &str) -> Result<NotifyFlags, String> {
    bits(text, &NOTIFY_FLAGS).map(|bits| NotifyFlags(bits as u8))
}

/// Hands over the items of a comma-separated list without the blanks around them. One comma may end
/// the list.
pub(crate) fn each(
    text: &str,
    take: &mut dyn FnMut(&str) -> Result<(), String>,
) -> Result<(), String> {
    let mut rest = text.trim_ascii();
    while !rest.is_empty() {
        let (item, behind) = rest.split_once(',').unwrap_or((rest, ""));
        let item = item.trim_ascii_end();
        if item.is_empty() {
            return Err("empty item in the list".to_string());
        }
        take(item)?;
        rest = behind.trim_ascii_start();
    }
    Ok(())
}

/// Writes an item behind a list.
pub(crate) fn append(list: &mut String, item: &str) {
    if !list.is_empty() {
        list.push(',');
    }
    list.push_str(item);
}

/// Reads a number of digits alone.
pub(crate) fn whole(text: &str) -> Option<u32> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

/// Where `word` is among those `known`, or a complaint that lists them.
pub(crate) fn position(word: &str, known: &[&str]) -> Result<usize, String> {
    if let Some(at) = known.iter().position(|each| *each == word) {
        return Ok(at);
    }
    let (last, others) = known.split_last().unwrap_or((&"nothing", &[]));
    let or = if others.is_empty() { "" } else { " or " };
    let others = others.join(", ");
    Err(format!(
        "unknown value \"{word}\" (expected {others}{or}{last})"
    ))
}

/// Shows the flags of an endpoint as `addr-flags` has them.
pub struct AddressFlags(pub EndpointFlags);

impl Display for AddressFlags {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (mut comma, mut result) = ("", Ok(()));
        ADDR_FLAGS.each(self.0.0, &mut |word| {
            result = result
                .and_then(|()| f.write_str(comma))
                .and_then(|()| f.write_str(word));
            comma = ",";
        });
        result
    }
}

impl Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self {
            address, id, flags, ..
        } = self;
        let flags = AddressFlags(*flags);
        write!(f, "endpoint {address} id {id} flags {flags}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_and_one_last_comma_do_not_matter() {
        let both = EndpointFlags(EndpointFlags::SUBFLOW.0 | EndpointFlags::BACKUP.0);
        for text in [
            "subflow,backup",
            " subflow ,\tbackup ",
            "backup,subflow,",
            "subflow,backup,backup",
        ] {
            assert_eq!(endpoint_flags(text), Ok(both), "{text}");
        }
    }

    #[test]
    fn an_empty_list_has_no_flags() {
        assert_eq!(endpoint_flags(""), Ok(EndpointFlags(0)));
        assert_eq!(notify_flags("  "), Ok(NotifyFlags(0)));
    }

    #[test]
    fn empty_items_are_refused() {
        for text in [",", ",,", ",subflow", "subflow,,backup", "subflow,,"] {
            assert_eq!(
                endpoint_flags(text),
                Err("empty item in the list".into()),
                "{text}"
            );
        }
    }

    #[test]
    fn unknown_words_are_named_with_the_known_ones() {
        for text in ["implicit", "subflow,implicit", "implicit , subflow"] {
            assert_eq!(
                endpoint_flags(text),
                Err("unknown value \"implicit\" (expected subflow, signal, backup, fullmesh or laminar)".into())
            );
        }
        assert!(endpoint_flags("Subflow").is_err());
        assert!(notify_flags("subflow").is_err());
    }

    #[test]
    fn signal_with_fullmesh_is_refused() {
        assert!(endpoint_flags("signal,fullmesh").is_err());
        assert!(endpoint_flags("fullmesh,subflow,signal").is_err());
        assert!(endpoint_flags("fullmesh,subflow,backup,laminar").is_ok());
    }

    #[test]
    fn every_flag_has_its_own_bit() {
        let all = NOTIFY_FLAGS.words.join(",");
        assert_eq!(notify_flags(&all), Ok(NotifyFlags::ALL));
        assert_eq!(endpoint_flags("laminar"), Ok(EndpointFlags::LAMINAR));
        let mut shown = String::new();
        NOTIFY_FLAGS.each(0b1111, &mut |word| append(&mut shown, word));
        assert_eq!(shown, all);
        assert_eq!(AddressFlags(EndpointFlags(3)).to_string(), "subflow,signal");
        assert_eq!(AddressFlags(EndpointFlags(0)).to_string(), "");
    }
}
