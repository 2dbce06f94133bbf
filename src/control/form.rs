// SPDX-License-Identifier: BSD-3-Clause
//! Fields, written for people or as JSON by the same calls.
//!
//! For people a row is cells with tabs between them, which the reader aligns, and a sentence is
//! fields with their labels. In JSON (RFC 8259) each is a member of an object. Nothing here
//! allocates; what does not fit the writer is the writer's business.

use core::fmt::{self, Display, Write};

/// The value of a field, with the two ways to show it.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// `null`, for people `-`.
    Nothing,
    /// A text, with what could break the line or act on a terminal replaced or escaped.
    Text(&'a dyn Display),
    /// A reason: for JSON with `_` in place of what is neither letter nor digit.
    Code(&'static str),
    Number(u64),
    /// A number that may be negative.
    Signed(i8),
    /// A number of octets, for people with a unit of 1000.
    Bytes(u64),
    /// Microseconds, shown as milliseconds.
    Milliseconds(u32),
    /// A time span in milliseconds: seconds, or `3d4h`.
    Span(u64),
    /// A time span in milliseconds of which parts of a second matter.
    Seconds(u64),
    /// A time so many milliseconds ago: seconds since 1970, or `3d4h ago`.
    Ago(u64, u64),
    Flag(bool),
    /// A list with commas: an array of texts.
    List(&'a dyn Display),
}

/// Where fields are written, and how.
pub struct Form<'a> {
    out: &'a mut dyn Write,
    pub json: bool,
    /// Something stands before, on the line or in the object.
    follows: bool,
    separator: &'static str,
}

impl<'a> Form<'a> {
    /// Returns a form for fields with a separator between them, or what follows in JSON.
    pub fn new(out: &'a mut dyn Write, json: bool, separator: &'static str) -> Self {
        Self {
            out,
            json,
            follows: false,
            separator,
        }
    }

    /// Begins a row of cells, or an object of an array; `follows` says that others came before.
    pub fn row(&mut self, follows: bool) {
        if self.json {
            self.text(if follows { ",{" } else { "{" });
        }
        self.follows = false;
        self.separator = "\t";
    }

    /// Begins a sentence.
    pub fn sentence(&mut self) {
        self.follows = self.json && self.follows;
        self.separator = ", ";
    }

    /// Notes that something was written before.
    pub fn follows(&mut self) {
        self.follows = true;
    }

    /// Ends a row or a sentence; and in JSON, an object or an array.
    pub fn end(&mut self, bracket: &str) {
        self.text(if self.json { bracket } else { "\n" });
        self.follows = true;
    }

    /// Begins a member that is an object or an array, in JSON.
    pub fn open(&mut self, name: &str, bracket: &str) {
        if self.json {
            self.name(name);
            self.text(bracket);
            self.follows = false;
        }
    }

    /// Ends it, in JSON.
    pub fn close(&mut self, bracket: &str) {
        if self.json {
            self.end(bracket);
        }
    }

    /// Writes a text as it is, for people alone.
    pub fn words(&mut self, text: &str) {
        if !self.json {
            self.text(text);
        }
    }

    /// Writes a text behind what is there, for people alone.
    pub fn append(&mut self, text: &dyn Display) {
        if !self.json {
            self.quoted(text, false);
        }
    }

    /// Writes a field in JSON alone.
    pub fn json(&mut self, name: &str, value: Value<'_>) {
        if self.json {
            self.field("", name, value);
        }
    }

    /// Writes a cell for people alone.
    pub fn shown(&mut self, value: Value<'_>) {
        if !self.json {
            self.field("", "", value);
        }
    }

    /// Writes a cell of a row.
    pub fn cell(&mut self, name: &str, value: Value<'_>) {
        self.field("", name, value);
    }

    /// Writes a field that people see behind `label`.
    pub fn field(&mut self, label: &str, name: &str, value: Value<'_>) {
        if self.json {
            self.name(name);
        } else {
            if self.follows {
                self.text(self.separator);
            }
            self.text(label);
            self.follows = true;
        }
        self.value(value);
    }

    fn name(&mut self, name: &str) {
        let comma = if self.follows { "," } else { "" };
        for part in [comma, "\"", name, "\":"] {
            self.text(part);
        }
        self.follows = true;
    }

    fn value(&mut self, value: Value<'_>) {
        let json = self.json;
        match value {
            Value::Nothing => self.text(if json { "null" } else { "-" }),
            Value::Text(text) => self.quoted(text, false),
            Value::Code(text) => self.quoted(&text, json),
            Value::List(text) => self.list(text),
            Value::Number(number) => self.print(&number),
            Value::Signed(number) => self.print(&number),
            Value::Flag(flag) => self.text(match (json, flag) {
                (true, true) => "true",
                (true, false) => "false",
                (false, true) => "yes",
                (false, false) => "no",
            }),
            Value::Milliseconds(us) => self.thousandths(us.into(), " ms"),
            Value::Seconds(span) => self.thousandths(span, " s"),
            Value::Span(span) if json => self.thousandths(span, ""),
            Value::Span(span) => self.span(span),
            Value::Bytes(number) if json => self.print(&number),
            Value::Bytes(number) => self.bytes(number),
            Value::Ago(_, at) if json => self.print(&at),
            Value::Ago(span, _) => {
                self.span(span);
                self.text(" ago");
            }
        }
    }

    fn list(&mut self, text: &dyn Display) {
        let json = self.json;
        if json {
            self.text("[");
        }
        // Empty for both: nothing between the brackets, and a cell that is not empty.
        let mut list = List {
            form: self,
            empty: true,
        };
        let _ = write!(list, "{text}");
        let empty = list.empty;
        self.text(match (json, empty) {
            (true, true) => "]",
            (true, false) => "\"]",
            (false, true) => "-",
            (false, false) => "",
        });
    }

    /// Writes a number of thousandths, for people with a unit.
    fn thousandths(&mut self, number: u64, unit: &str) {
        let (whole, rest) = (number / 1000, number % 1000);
        let _ = write!(self.out, "{whole}.{rest:03}");
        self.words(unit);
    }

    fn quoted(&mut self, text: &dyn Display, code: bool) {
        let quote = if self.json { "\"" } else { "" };
        self.text(quote);
        let mut clean = Clean { form: self, code };
        let _ = write!(clean, "{text}");
        self.text(quote);
    }

    /// Writes a time span of so many milliseconds in the two units that matter.
    fn span(&mut self, span: u64) {
        const UNITS: [(u32, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
        let seconds = u32::try_from(span / 1000).unwrap_or(u32::MAX);
        let (mut rest, mut left) = (seconds, 2);
        for (unit, letter) in UNITS {
            let begun = left < 2 || rest >= unit || unit == 1 && seconds == 0;
            if begun && left > 0 {
                left -= 1;
                if rest >= unit || seconds == 0 {
                    self.print(&(rest / unit));
                    self.text(letter);
                }
            }
            rest %= unit;
        }
    }

    fn bytes(&mut self, number: u64) {
        let (mut tenths, mut unit) = (number, "");
        for larger in ["k", "M", "G", "T"] {
            let limit = if unit.is_empty() { 1000 } else { 10_000 };
            if tenths < limit {
                break;
            }
            // Of the first unit, whole ones.
            tenths /= if unit.is_empty() { 100 } else { 1000 };
            unit = larger;
        }
        if unit.is_empty() {
            return self.print(&number);
        }
        let _ = write!(self.out, "{}.{}{unit}", tenths / 10, tenths % 10);
    }

    #[inline(never)]
    fn text(&mut self, text: &str) {
        let _ = self.out.write_str(text);
    }

    fn print(&mut self, number: &dyn Display) {
        let _ = write!(self.out, "{number}");
    }
}

/// Keeps a text within its quotes, its cell and its line.
struct Clean<'f, 'a> {
    form: &'f mut Form<'a>,
    code: bool,
}

impl Write for Clean<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                _ if self.code && !c.is_ascii_alphanumeric() => self.form.out.write_char('_')?,
                '"' | '\\' if self.form.json => {
                    self.form.out.write_char('\\')?;
                    self.form.out.write_char(c)?;
                }
                _ if c.is_control() => self.form.out.write_char('?')?,
                _ => self.form.out.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Puts quotes around what stands between commas.
struct List<'f, 'a> {
    form: &'f mut Form<'a>,
    empty: bool,
}

impl Write for List<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let json = self.form.json;
            if core::mem::replace(&mut self.empty, false) && json {
                self.form.text("\"");
            }
            match c {
                ',' if json => self.form.text("\",\""),
                _ => self.form.out.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: Value<'_>) -> [String; 2] {
        [false, true].map(|json| {
            let mut text = String::new();
            Form::new(&mut text, json, ", ").field("label ", "name", value);
            let start = if json { "\"name\":" } else { "label " };
            text.strip_prefix(start).expect("the start").to_owned()
        })
    }

    fn seconds(seconds: u64) -> u64 {
        seconds * 1000
    }

    #[test]
    fn every_value_has_its_two_forms() {
        for (value, expected) in [
            (Value::Nothing, ["-", "null"]),
            (
                Value::Text(&"a\"b\\c\n\u{1b}"),
                ["a\"b\\c??", "\"a\\\"b\\\\c??\""],
            ),
            (Value::Code("no carrier"), ["no carrier", "\"no_carrier\""]),
            (Value::Code("hold-down"), ["hold-down", "\"hold_down\""]),
            (Value::Number(7), ["7", "7"]),
            (Value::Flag(true), ["yes", "true"]),
            (
                Value::List(&"subflow,backup"),
                ["subflow,backup", "[\"subflow\",\"backup\"]"],
            ),
            (Value::List(&""), ["-", "[]"]),
            (Value::Ago(seconds(61), 5), ["1m1s ago", "5"]),
        ] {
            assert_eq!(shown(value), expected);
        }
    }

    #[test]
    fn time_is_shown_in_the_units_that_matter() {
        for (value, expected) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (61, "1m1s"),
            (3600, "1h"),
            (3661, "1h1m"),
            (86_400 * 3 + 3600 * 4 + 5, "3d4h"),
        ] {
            assert_eq!(shown(Value::Span(seconds(value)))[0], expected);
        }
        assert_eq!(shown(Value::Span(1050))[1], "1.050");
    }

    #[test]
    fn bytes_are_shown_in_thousands() {
        for (value, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.0k"),
            (12_399_999, "12.3M"),
            (u64::MAX, "18446744.0T"),
        ] {
            assert_eq!(shown(Value::Bytes(value)), [expected, &value.to_string()]);
        }
    }

    #[test]
    fn rows_and_nested_objects() {
        for (json, expected) in [
            (false, "a 1, b 2\nx\t3\n"),
            (
                true,
                "\"a\":1,\"in\":{\"b\":2},\"list\":[{\"c\":\"x\",\"d\":3},{\"c\":\"y\"}],\"e\":4",
            ),
        ] {
            let mut text = String::new();
            let mut form = Form::new(&mut text, json, ", ");
            form.field("a ", "a", Value::Number(1));
            form.open("in", "{");
            form.field("b ", "b", Value::Number(2));
            form.close("}");
            form.words("\n");
            form.open("list", "[");
            form.row(false);
            form.cell("c", Value::Text(&"x"));
            form.cell("d", Value::Number(3));
            form.end("}");
            if json {
                form.row(true);
                form.cell("c", Value::Text(&"y"));
                form.end("}");
            }
            form.close("]");
            form.json("e", Value::Number(4));
            assert_eq!(text, expected);
        }
    }
}
