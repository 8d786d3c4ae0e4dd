// SPDX-License-Identifier: GPL-2.0
//! What is printed: tables, text that is folded, colours on a terminal.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

use crate::failure::{words, Problem, Result};

/// When colours are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What was said before the subcommand.
static OF_ALL: OnceLock<Color> = OnceLock::new();

impl Color {
    /// For all that is printed, where the subcommand is not told otherwise.
    pub fn of_all(self) {
        // Nobody says it twice.
        let _ = OF_ALL.set(self);
    }

    /// This, or what is to be for all.
    fn or(self, of_all: Option<Color>) -> Color {
        match self {
            Color::Auto => of_all.unwrap_or_default(),
            color => color,
        }
    }
}

/// A colour, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Names and headings.
    Bold,
    /// What matters less.
    Dim,
    /// What is wrong.
    Red,
    /// What is well.
    Green,
    /// What asks for a look.
    Yellow,
}

/// Whether the standard output gets colours.
#[derive(Clone, Copy, Debug)]
pub struct Painter {
    on: bool,
}

impl Painter {
    /// As the user wants it and the output is.
    pub fn new(color: Color) -> Self {
        let on = match color.or(OF_ALL.get().copied()) {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                io::stdout().is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                    && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        };
        Self { on }
    }

    /// Whether it paints.
    pub fn is_on(self) -> bool {
        self.on
    }

    /// The text in a colour.
    pub fn paint(self, ink: Ink, text: &str) -> String {
        if !self.on || text.is_empty() {
            return text.to_string();
        }
        let code = match ink {
            Ink::Bold => 1,
            Ink::Dim => 2,
            Ink::Red => 31,
            Ink::Green => 32,
            Ink::Yellow => 33,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Columns as wide as what stands in them, two spaces apart.
pub struct Table {
    rows: Vec<Vec<String>>,
    /// The columns whose text stands at their right end.
    right: &'static [usize],
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str], right: &'static [usize]) -> Self {
        Self {
            rows: vec![headings.iter().map(ToString::to_string).collect()],
            right,
        }
    }

    /// One more row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// All of it, the headings painted.
    pub fn render(&self, painter: Painter) -> String {
        let mut widths: Vec<usize> = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut out = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let gap = if column == 0 { "" } else { "  " };
                let _ = if self.right.contains(&column) {
                    write!(line, "{gap}{cell:>width$}")
                } else {
                    write!(line, "{gap}{cell:<width$}")
                };
            }
            let line = line.trim_end();
            out += &if number == 0 {
                painter.paint(Ink::Bold, line)
            } else {
                line.to_string()
            };
            out.push('\n');
        }
        out
    }
}

/// Folds a text at its spaces, each line behind `indent`. A word that is longer stands alone.
pub fn fold(text: &str, indent: &str, width: usize) -> String {
    let mut out = String::new();
    for paragraph in text.lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            let longer = indent.len() + line.chars().count() + 1 + word.chars().count();
            if !line.is_empty() && longer > width {
                let _ = writeln!(out, "{indent}{line}");
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line += word;
        }
        let _ = writeln!(out, "{}", format!("{indent}{line}").trim_end());
    }
    out
}

/// How wide lines are, for [`fold`]: as the terminal is. In a file, or a pipe to `grep`, a sentence stays on its line.
pub fn width() -> usize {
    size().map_or(usize::MAX, Size::width)
}

/// How large a terminal is, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// In a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
    /// Whether the terminal says so. A serial line says 0 until somebody tells it (`stty rows 24 cols 80`).
    pub is_told: bool,
}

impl Size {
    /// What a terminal says, with the size of old for what it does not.
    fn of(columns: u16, rows: u16) -> Self {
        let or = |told, usual| if told == 0 { usual } else { told };
        Self {
            columns: or(columns, 80),
            rows: or(rows, 24),
            is_told: columns != 0 && rows != 0,
        }
    }

    /// For [`fold`].
    fn width(self) -> usize {
        self.columns.max(40).into()
    }
}

/// That of the terminal at the standard output; `None` for what is no terminal.
pub fn size() -> Option<Size> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(Size::of(size.ws_col, size.ws_row))
}

/// Prints. A reader that has gone away (`| head`) is no error.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    done(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Prints a value as JSON, and ends the line.
pub fn print_json(value: &serde_json::Value) -> Result<()> {
    print(&format!("{value:#}\n"))
}

/// What came of writing to the standard output.
pub fn done(outcome: io::Result<()>) -> Result<()> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Problem::failed(format!(
            "cannot write the output: {}",
            words(&error)
        ))),
        _ => Ok(()),
    }
}

/// Success, or the message on the standard error and its exit code.
pub fn exit(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => crate::fail(&problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_aligns() {
        let mut table = Table::new(&["NAME", "N"], &[1]);
        table.row(vec!["a".into(), "1".into()]);
        table.row(vec!["longer".into(), "100".into()]);
        let plain = Painter::new(Color::Never);
        assert_eq!(
            table.render(plain),
            "NAME      N\na         1\nlonger  100\n"
        );
    }

    #[test]
    fn fold_at_spaces() {
        assert_eq!(fold("one two three", "  ", 9), "  one two\n  three\n");
        assert_eq!(fold("unbreakable", "", 4), "unbreakable\n");
        assert_eq!(fold("", "  ", 9), "");
        let long = "word ".repeat(1000);
        assert_eq!(fold(&long, "  ", usize::MAX).lines().count(), 1);
    }

    #[test]
    fn color_of_all_gives_way() {
        use Color::{Always, Auto, Never};
        for (own, of_all, color) in [
            (Auto, None, Auto),
            (Auto, Some(Always), Always),
            (Never, Some(Always), Never),
        ] {
            assert_eq!(own.or(of_all), color);
        }
    }

    #[test]
    fn size_of_a_terminal_that_does_not_know_it() {
        let size = |columns, rows, is_told| Size {
            columns,
            rows,
            is_told,
        };
        assert_eq!(Size::of(0, 0), size(80, 24, false));
        assert_eq!(Size::of(132, 0), size(132, 24, false));
        assert_eq!(Size::of(132, 50), size(132, 50, true));
        let widths = [0, 20, 132].map(|columns| Size::of(columns, 24).width());
        assert_eq!(widths, [80, 40, 132]);
    }

    #[test]
    fn paint_only_when_on() {
        assert_eq!(Painter::new(Color::Never).paint(Ink::Red, "x"), "x");
        assert_eq!(
            Painter::new(Color::Always).paint(Ink::Red, "x"),
            "\x1b[31mx\x1b[0m"
        );
    }
}
