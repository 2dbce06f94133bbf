//! Cells in columns, for people.

/// Aligns the lines that have cells, which are separated by tabs; widths are those of a block, which
/// ends with an empty line. `colour` marks states.
pub(super) fn align(text: &str, colour: bool) -> String {
    let mut aligned = String::new();
    for block in text.split_inclusive("\n\n") {
        let mut widths: Vec<usize> = Vec::new();
        for line in block.lines().filter(|line| line.contains('\t')) {
            for (at, cell) in line.split('\t').enumerate() {
                let width = cell.chars().count();
                match widths.get_mut(at) {
                    Some(widest) => *widest = width.max(*widest),
                    None => widths.push(width),
                }
            }
        }
        for line in block.lines() {
            let mut cells = line.split('\t').zip(&widths).peekable();
            if !line.contains('\t') {
                aligned.push_str(line);
                cells = "".split('\t').zip(&[]).peekable();
            }
            while let Some((cell, width)) = cells.next() {
                let code = colour.then(|| colour_of(cell)).flatten();
                aligned.push_str(code.unwrap_or(""));
                aligned.push_str(cell);
                aligned.push_str(if code.is_some() { "\x1b[0m" } else { "" });
                if cells.peek().is_some() {
                    let gap = width + 2 - cell.chars().count().min(*width);
                    aligned.extend(core::iter::repeat_n(' ', gap));
                }
            }
            aligned.push('\n');
        }
    }
    aligned
}

/// Returns how a terminal is told the colour of a state.
fn colour_of(cell: &str) -> Option<&'static str> {
    Some(match cell {
        "active" => "\x1b[32m",
        "backup" | "standby" => "\x1b[36m",
        "waiting" | "joining" => "\x1b[33m",
        "failed" | "dead" | "fallback" => "\x1b[31m",
        _ => return None,
    })
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
