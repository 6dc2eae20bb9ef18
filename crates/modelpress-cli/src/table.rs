//! Tables of text: columns as wide as their widest cell, numbers to the right.

use modelpress::quant::graph::shortened;
use std::collections::HashSet;
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

    pub(crate) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Prints the table; long cells are shortened in their middle as far as those of a column stay apart.
    pub(crate) fn print(&self, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        let rows = self.shortened();
        let width = |text: &str| text.chars().count();
        let mut widths: Vec<usize> = self.columns.iter().map(|(name, _)| width(name)).collect();
        for row in &rows {
            for (known, cell) in widths.iter_mut().zip(row) {
                *known = (*known).max(width(cell));
            }
        }
        let header: Vec<String> = self.columns.iter().map(|(n, _)| (*n).to_owned()).collect();
        for row in std::iter::once(&header).chain(&rows) {
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

    /// The rows with the cells of each column no longer than they need be to tell them apart.
    fn shortened(&self) -> Vec<Vec<String>> {
        let mut rows = self.rows.clone();
        for column in 0..self.columns.len() {
            let cells = || self.rows.iter().filter_map(|row| row.get(column));
            let distinct: HashSet<&String> = cells().collect();
            let longest = cells().map(|cell| cell.chars().count()).max().unwrap_or(0);
            let widths = std::iter::successors(Some(WIDEST), |width| Some(width + WIDEST / 2));
            let mut widths = widths.take_while(|&width| width < longest);
            let tells_apart = |&width: &usize| {
                let short: HashSet<String> = distinct.iter().map(|c| shortened(c, width)).collect();
                short.len() == distinct.len()
            };
            let width = widths.find(tells_apart).unwrap_or(longest);
            for cell in rows.iter_mut().filter_map(|row| row.get_mut(column)) {
                *cell = shortened(cell, width);
            }
        }
        rows
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

/// Characters of a cell beyond which it is shortened.
const WIDEST: usize = 48;

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
    fn long_names_that_differ_in_the_middle_stay_apart() {
        let name = |layer: &str| format!("/{}/layer.{layer}/{}", "a".repeat(30), "b".repeat(30));
        let mut table = Table::new(&[("node", Align::Left)]);
        table.row([name("0")]);
        table.row([name("1")]);
        let rows = table.shortened();
        assert_ne!(rows[0], rows[1]);
        assert!(rows[0][0].contains("layer.0"), "{rows:?}");
    }
}
