//! Tables of text: columns as wide as their widest cell, numbers to the right.

use std::io::{self, Write};

/// Where the text of a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; a long cell is shortened in its middle.
    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let cells = cells.into_iter().map(|cell| shortened(cell.into()));
        self.rows.push(cells.collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(crate) fn print(&self, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        let width = |text: &str| text.chars().count();
        let mut widths: Vec<usize> = self.columns.iter().map(|(name, _)| width(name)).collect();
        for row in &self.rows {
            for (known, cell) in widths.iter_mut().zip(row) {
                *known = (*known).max(width(cell));
            }
        }
        let header: Vec<String> = self.columns.iter().map(|(n, _)| (*n).to_owned()).collect();
        for row in std::iter::once(&header).chain(&self.rows) {
            let cells = row.iter().zip(&self.columns).zip(&widths);
            let cells: Vec<String> = cells
                .map(|((cell, (_, align)), &width)| match align {
                    Align::Left => format!("{cell:<width$}"),
                    Align::Right => format!("{cell:>width$}"),
                })
                .collect();
            writeln!(out, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }

    /// The table as Markdown.
    pub(crate) fn markdown(&self) -> String {
        let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
        let mut text = line(self.columns.iter().map(|(name, _)| *name).collect());
        let rule = |align: Align| match align {
            Align::Left => "---",
            Align::Right => "--:",
        };
        text += &line(self.columns.iter().map(|(_, a)| rule(*a)).collect());
        for row in &self.rows {
            text += &line(row.iter().map(String::as_str).collect());
        }
        text
    }
}

/// Characters of the widest cell.
const WIDEST: usize = 48;

/// Exporters name nodes with hundreds of characters; both ends tell them apart.
fn shortened(text: String) -> String {
    let count = text.chars().count();
    if count <= WIDEST {
        return text;
    }
    let half = (WIDEST - 1) / 2;
    let start: String = text.chars().take(WIDEST - 1 - half).collect();
    let end: String = text.chars().skip(count - half).collect();
    format!("{start}…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&[("op", Align::Left), ("n", Align::Right)]);
        table.row(["Conv", "9"]);
        table.row(["Relu", "10"]);
        let mut text = Vec::new();
        table.print(&mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "op     n\nConv   9\nRelu  10\n"
        );
        assert_eq!(
            table.markdown(),
            "| op | n |\n| --- | --: |\n| Conv | 9 |\n| Relu | 10 |\n"
        );
    }

    #[test]
    fn a_long_name_keeps_both_ends() {
        let short = shortened(format!("start{}end", "x".repeat(300)));
        assert_eq!(short.chars().count(), WIDEST);
        assert!(short.starts_with("startx") && short.ends_with("xend"));
        assert_eq!(shortened("conv".to_owned()), "conv");
    }
}
