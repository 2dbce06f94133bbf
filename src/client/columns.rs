// SPDX-License-Identifier: BSD-3-Clause
//! Cells in columns, for people.

/// No row has more cells; those behind are as wide as they are.
const CELLS: usize = 16;

/// Aligns the lines that have cells, which are separated by tabs; widths are those of a block, which
/// ends with an empty line. `colour` marks states.
pub(super) fn align(text: &str, colour: bool) -> String {
    let mut aligned = String::new();
    let (mut widths, mut begins) = ([0; CELLS], true);
    let (mut start, mut column) = (0, 0);
    for (at, byte) in text.bytes().enumerate() {
        if begins {
            widths = widest(text.get(at..).unwrap_or_default());
            begins = false;
        }
        if byte != b'\t' && byte != b'\n' {
            continue;
        }
        let cell = text.get(start..at).unwrap_or_default();
        start = at + 1;
        let code = if colour { colour_of(cell) } else { "" };
        for part in [code, cell, if code.is_empty() { "" } else { "\x1b[0m" }] {
            aligned.push_str(part);
        }
        if byte == b'\t' {
            let width = widths.get(column).map_or(0, |width| *width);
            column += 1;
            for _ in cell.len()..width + 2 {
                aligned.push(' ');
            }
        } else {
            aligned.push('\n');
            begins = column == 0 && cell.is_empty();
            column = 0;
        }
    }
    aligned
}

/// Returns how wide the cells of the first block are, but for the last one of each line: nothing
/// stands behind it.
fn widest(text: &str) -> [usize; CELLS] {
    let mut widths = [0; CELLS];
    let (mut column, mut length) = (0, 0);
    for byte in text.bytes() {
        match byte {
            b'\t' => {
                if let Some(width) = widths.get_mut(column) {
                    *width = length.max(*width);
                }
                (column, length) = (column + 1, 0);
            }
            b'\n' if column == 0 && length == 0 => break,
            b'\n' => (column, length) = (0, 0),
            _ => length += 1,
        }
    }
    widths
}

/// Returns how a terminal is told the colour of a state.
fn colour_of(cell: &str) -> &'static str {
    match cell {
        "active" => "\x1b[32m",
        "backup" | "standby" => "\x1b[36m",
        "waiting" | "joining" => "\x1b[33m",
        "failed" | "dead" | "fallback" => "\x1b[31m",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let text = "a line\nA\tB\tC\nwide\tx\tthe last one\n\nD\tE\nf\tg\n";
        let aligned = "a line\nA     B  C\nwide  x  the last one\n\nD  E\nf  g\n";
        assert_eq!(align(text, false), aligned);
        assert_eq!(align("", false), "");
    }

    #[test]
    fn states_have_colours_on_a_terminal() {
        assert_eq!(
            align("wan\tactive\tx\n", true),
            "wan  \x1b[32mactive\x1b[0m  x\n"
        );
        assert_eq!(align("a sentence, active\n", true), "a sentence, active\n");
    }
}
