//! Rows as comma-separated values.

use super::{Row, STEP};
use std::fmt::Write;

/// The first line.
pub(super) fn header(columns: &[String]) -> String {
    let mut text = STEP.to_owned();
    for column in columns {
        text.push(',');
        text.push_str(&quoted(column));
    }
    text.push('\n');
    text
}

fn quoted(name: &str) -> String {
    if name.contains([',', '"']) {
        format!("\"{}\"", name.replace('"', "\"\""))
    } else {
        name.to_owned()
    }
}

pub(super) fn line(row: &Row) -> String {
    let mut text = row.step.to_string();
    for value in &row.values {
        text.push(',');
        if let Some(value) = value {
            // A string takes everything that is written to it.
            let _ = write!(text, "{value:?}");
        }
    }
    text.push('\n');
    text
}

/// A row of numbers alone, so that no field can hold a comma.
pub(super) fn parse(line: &str, columns: usize) -> Option<Row> {
    let mut fields = line.split(',');
    let step = fields.next()?.parse().ok()?;
    let mut values = Vec::with_capacity(columns);
    for field in fields {
        values.push(if field.is_empty() {
            None
        } else {
            Some(field.parse().ok()?)
        });
    }
    (values.len() == columns).then_some(Row { step, values })
}
