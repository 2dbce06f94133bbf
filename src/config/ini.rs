// SPDX-License-Identifier: BSD-3-Clause
//! The lines of a configuration file.
//!
//! ```text
//! # comment          ; comment
//! [section]
//! key = value        blanks round the key and the value do not count
//! ```

/// What a line says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Item<'a> {
    Section(&'a str),
    Pair(&'a str, &'a str),
}

/// Why a section cannot be read.
pub(crate) const UNCLOSED: &str = "section header without closing ]";

/// The lines of a file.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    bytes.split(|&byte| byte == b'\n')
}

/// What a line says, if anything, or why it cannot be read.
pub(crate) fn read(line: &[u8]) -> Result<Option<Item<'_>>, &'static str> {
    let line = line.trim_ascii();
    // What a comment holds is nobody's business, be it text or not.
    if matches!(line.first(), None | Some(b'#' | b';')) {
        return Ok(None);
    }
    if line.iter().any(|&c| c.is_ascii_control() && c != b'\t') {
        return Err("control character");
    }
    let line = core::str::from_utf8(line).map_err(|_| "invalid UTF-8")?;
    if let Some(rest) = line.strip_prefix('[') {
        // The last bracket closes the section: patterns have brackets of their own.
        let name = rest.strip_suffix(']').ok_or(UNCLOSED)?;
        return Ok(Some(Item::Section(name.trim_ascii())));
    }
    match line.split_once('=') {
        None => Err("expected [section] or key = value"),
        Some(("", _)) => Err("missing key before ="),
        Some((key, value)) => Ok(Some(Item::Pair(key.trim_ascii(), value.trim_ascii()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<(usize, Result<Item<'_>, &'static str>)> {
        let read = lines(bytes).map(|line| super::read(line).transpose());
        let numbered = read.enumerate().map(|(i, item)| Some((i + 1, item?)));
        numbered.flatten().collect()
    }

    #[test]
    fn blanks_comments_and_line_ends_do_not_count() {
        let text = b"# a\xff\0\r\n ; b = c\n\n[ core ]\r\n\tkey\t=  a b # c \t\r\nx=";
        assert_eq!(
            all(text),
            [
                (4, Ok(Item::Section("core"))),
                (5, Ok(Item::Pair("key", "a b # c"))),
                (6, Ok(Item::Pair("x", ""))),
            ]
        );
        assert_eq!(all(b""), []);
        assert_eq!(all(b"\xef\xbb\xbf[core]"), [(1, Ok(Item::Section("core")))]);
    }

    #[test]
    fn a_value_may_hold_equal_signs_and_a_section_brackets() {
        assert_eq!(all(b"a = b = c"), [(1, Ok(Item::Pair("a", "b = c")))]);
        assert_eq!(
            all(b"[interface eth[0-9]]"),
            [(1, Ok(Item::Section("interface eth[0-9]")))]
        );
    }

    #[test]
    fn each_bad_line_is_reported_and_the_others_are_read() {
        let found = all(b"a=\0\n\xff\nb=1\n[core\n[core] x\n= 1\nword\na=1\rb=2");
        let bad: Vec<usize> = found
            .iter()
            .filter(|(_, i)| i.is_err())
            .map(|(n, _)| *n)
            .collect();
        assert_eq!(bad, [1, 2, 4, 5, 6, 7, 8]);
        assert_eq!(found.get(2), Some(&(3, Ok(Item::Pair("b", "1")))));
    }
}
