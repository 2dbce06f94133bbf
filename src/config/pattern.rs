// SPDX-License-Identifier: BSD-3-Clause
//! Shell patterns on interface names.

/// `*` is any text, `?` any character, `[a-z]` one of a class, `[!a-z]` one outside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern(String);

impl Pattern {
    /// Fails, with the cause, on text that can match no name.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() {
            Err("empty pattern")
        } else if text.contains(|c: char| c == ',' || c.is_whitespace() || c.is_control()) {
            Err("invalid pattern: it contains a blank or a comma")
        } else if !classes_close(text) {
            Err("invalid pattern: [ without closing ]")
        } else {
            Ok(Self(text.to_string()))
        }
    }

    /// Returns the pattern that every name matches.
    pub(crate) fn any() -> Self {
        Self("*".to_string())
    }

    /// Returns the pattern as it was written.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether this pattern surely matches every name that `other` matches.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self == other || self.0 == "*" || other.is_name() && self.matches(&other.0)
    }

    /// Returns whether only one name matches.
    pub(crate) fn is_name(&self) -> bool {
        !self.0.contains(['*', '?', '['])
    }

    /// Whether the whole of `name` matches. Takes at most the product of the two lengths in steps.
    pub fn matches(&self, name: &str) -> bool {
        let (mut pattern, mut name) = (self.0.as_str(), name);
        // Where to go on when the text after the last `*` does not fit: one character further.
        // Earlier stars need no second try, since any later one reaches as far.
        let mut retry = None;
        loop {
            if let Some(rest) = pattern.strip_prefix('*') {
                pattern = rest;
                retry = Some((rest, name));
                continue;
            }
            let mut left = name.chars();
            let next = left.next();
            if pattern.is_empty() && next.is_none() {
                return true;
            }
            if let Some(rest) = next.and_then(|c| one(pattern, c)) {
                (pattern, name) = (rest, left.as_str());
                continue;
            }
            let Some((after_star, from)) = retry else {
                return false;
            };
            let mut left = from.chars();
            if left.next().is_none() {
                return false;
            }
            (pattern, name) = (after_star, left.as_str());
            retry = Some((pattern, name));
        }
    }
}

/// The rest of `pattern` if its first element, which is not `*`, stands for `c`.
fn one(pattern: &str, c: char) -> Option<&str> {
    let mut rest = pattern.chars();
    match rest.next()? {
        '?' => Some(rest.as_str()),
        '[' => {
            let (negated, items, rest) = class(rest.as_str())?;
            (contains(items, c) != negated).then_some(rest)
        }
        literal => (literal == c).then_some(rest.as_str()),
    }
}

/// Takes apart what follows a `[`: whether negated, the items, and what follows the `]`.
/// A `]` that comes first is an item.
fn class(text: &str) -> Option<(bool, &str, &str)> {
    let (negated, text) = match text.strip_prefix(['!', '^']) {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (end, _) = text.match_indices(']').find(|(at, _)| *at > 0)?;
    let (items, rest) = text.split_at_checked(end)?;
    Some((negated, items, rest.strip_prefix(']')?))
}

fn contains(items: &str, c: char) -> bool {
    let mut rest = items.chars();
    while let Some(first) = rest.next() {
        let mut ahead = rest.clone();
        let last = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(last)) => {
                rest = ahead;
                last
            }
            _ => first,
        };
        if (first..=last).contains(&c) {
            return true;
        }
    }
    false
}

fn classes_close(mut pattern: &str) -> bool {
    while let Some((_, after)) = pattern.split_once('[') {
        match class(after) {
            Some((_, _, rest)) => pattern = rest,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_the_shell() {
        for (pattern, yes, no) in [
            ("eth0", "eth0", "eth00"),
            ("eth0", "eth0", "eth"),
            ("eth?", "eth1", "eth"),
            ("eth*", "eth", "et"),
            ("*", "", "-"),
            ("*.10", "eth0.10", "eth0.100"),
            ("w*n*", "wlan", "wlad"),
            ("*a*b*", "xaaxb", "xbxa"),
            ("eth[0-24]", "eth4", "eth3"),
            ("eth[!0-24]", "eth3", "eth4"),
            ("eth[^0]", "eth1", "eth0"),
            ("eth[]x]", "eth]", "ethy"),
            ("eth[0-]", "eth-", "eth1"),
            ("eth[a-]]", "etha]", "etha"),
            ("[a-z]*[0-9]", "wlan0", "wlan"),
            ("wan-é?", "wan-éü", "wan-é"),
        ] {
            let compiled = Pattern::new(pattern).unwrap();
            assert!(compiled.matches(yes), "{pattern} {yes}");
            // "-" stands for a pattern without a counter-example.
            assert!(no == "-" || !compiled.matches(no), "{pattern} {no}");
        }
    }

    #[test]
    fn a_pattern_covers_only_what_it_surely_matches() {
        for (first, second, covers) in [
            ("*", "eth?", true),
            ("*", "eth[ab]", true),
            ("eth*", "eth0", true),
            ("eth[0-9]", "eth[0-9]", true),
            ("eth[0-9]", "eth3", true),
            ("eth?", "eth3", true),
            ("eth0", "eth*", false),
            ("eth?", "eth*", false),
            ("*a*", "eth[ab]", false),
            ("eth[*]", "eth*", false),
            ("eth0", "eth1", false),
        ] {
            let [one, other] = [first, second].map(|text| Pattern::new(text).unwrap());
            assert_eq!(one.covers(&other), covers, "{first} {second}");
        }
    }

    #[test]
    fn text_that_is_no_pattern_is_refused() {
        for text in ["", "eth[0", "eth[]", "[!]", "a b", "a,b", "a\tb", "[a]["] {
            assert!(Pattern::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn many_stars_cost_little() {
        let pattern = Pattern::new(&"*a".repeat(20_000)).unwrap();
        assert!(!pattern.matches("aaaaaaaaaaaaaab"));
        let pattern = Pattern::new(&format!("{}b", "*a".repeat(500))).unwrap();
        assert!(!pattern.matches(&"a".repeat(20_000)));
    }
}
