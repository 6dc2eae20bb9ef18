//! Casts from and to strings.

use super::narrow::Narrow;
use super::{CastOptions, Elements};
use crate::{DType, Tensor, TensorError};
use std::fmt::{Debug, LowerExp};

/// Strings to be read as numbers.
pub(super) struct Texts<'a> {
    pub(super) strings: &'a [String],
    pub(super) to: DType,
    pub(super) options: CastOptions,
}

impl Elements for Texts<'_> {
    fn collect<T: Narrow>(&self) -> Result<Vec<T>, TensorError> {
        let read = |(index, string): (usize, &String)| {
            T::from_text(string.trim(), self.options).ok_or_else(|| TensorError::NotANumber {
                text: string.chars().take(40).collect(),
                index,
                to: self.to,
            })
        };
        self.strings.iter().enumerate().map(read).collect()
    }
}

/// Writes every number as a string.
pub(super) fn format(x: &Tensor) -> Result<Tensor, TensorError> {
    let strings = match x.dtype() {
        DType::F64 => x.data::<f64>()?.iter().map(|&v| format_float(v)).collect(),
        d if d.is_float() => x.to_f32_vec()?.into_iter().map(format_float).collect(),
        DType::U64 => x.data::<u64>()?.iter().map(u64::to_string).collect(),
        _ => x.to_i64_vec()?.iter().map(i64::to_string).collect(),
    };
    Tensor::from_strings(x.shape(), strings)
}

/// The shortest digits that read back as `x`; with an exponent below 1e-4 and from 1e16 on.
fn format_float<T: Copy + Into<f64> + Debug + LowerExp>(x: T) -> String {
    let value: f64 = x.into();
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "INF" } else { "-INF" }.to_owned();
    }
    if value == 0.0 || (1e-4..1e16).contains(&value.abs()) {
        return format!("{x:?}");
    }
    let scientific = format!("{x:e}");
    match scientific.split_once('e') {
        Some((digits, exponent)) => match exponent.strip_prefix('-') {
            Some(exponent) => format!("{digits}e-{exponent:0>2}"),
            None => format!("{digits}e+{exponent:0>2}"),
        },
        None => scientific,
    }
}
