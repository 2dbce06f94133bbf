// SPDX-License-Identifier: BSD-3-Clause
//! Cells in columns, for people.

/// Aligns the lines that have cells, which are separated by tabs; widths are those of a block, which
/// ends with an empty line. `colour` marks states.
pub(super) fn align(text: &str, colour: bool) -> String {
    let mut aligned = String::new();
    let mut widths: Vec<usize> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.clone().next() {
        if line.is_empty() || aligned.is_empty() {
            widths.clear();
            let block = lines.clone().skip(1).take_while(|line| !line.is_empty());
            for line in lines.clone().take(1).chain(block) {
                let last = line.bytes().filter(|byte| *byte == b'\t').count();
                for (at, cell) in line.split('\t').take(last).enumerate() {
                    if at == widths.len() {
                        widths.push(0);
                    }
                    if let Some(widest) = widths.get_mut(at) {
                        *widest = cell.len().max(*widest);
                    }
                }
            }
        }
        lines.next();
        let mut end = 0;
        for (at, cell) in line.split('\t').enumerate() {
            if at > 0 {
                let width = widths.get(at - 1).map_or(0, |width| width + 2);
                while end < width {
                    aligned.push(' ');
                    end += 1;
                }
            }
            let code = if colour { colour_of(cell) } else { "" };
            for part in [code, cell, if code.is_empty() { "" } else { "\x1b[0m" }] {
                aligned.push_str(part);
            }
            end = cell.len();
        }
        aligned.push('\n');
    }
    aligned
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
