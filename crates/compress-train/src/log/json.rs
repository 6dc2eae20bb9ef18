//! Rows as JSON objects.

use super::{Row, STEP};
use serde_json::Value;
use std::fmt::Write;

/// `{"step":1,"loss":0.5}`; columns without a value are left out, numbers that JSON does not have are strings.
pub(super) fn line(columns: &[String], row: &Row) -> String {
    let mut text = format!("{{\"{STEP}\":{}", row.step);
    for (column, value) in columns.iter().zip(&row.values) {
        let Some(value) = value else {
            continue;
        };
        let quote = if value.is_finite() { "" } else { "\"" };
        // A string takes everything that is written to it.
        let _ = write!(
            text,
            ",{}:{quote}{value:?}{quote}",
            Value::from(column.as_str())
        );
    }
    text.push_str("}\n");
    text
}

pub(super) fn parse(line: &str, columns: &[String]) -> Option<Row> {
    let Value::Object(object) = serde_json::from_str(line).ok()? else {
        return None;
    };
    let known = |name: &String| name == STEP || columns.contains(name);
    if !object.keys().all(known) {
        return None;
    }
    let mut values = Vec::with_capacity(columns.len());
    for column in columns {
        values.push(match object.get(column) {
            None => None,
            Some(value) => Some(number(value)?),
        });
    }
    let step = object.get(STEP)?.as_u64()?;
    Some(Row { step, values })
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}
