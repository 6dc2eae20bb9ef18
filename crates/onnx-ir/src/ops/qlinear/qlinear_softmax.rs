//! `QLinearSoftmax`: softmax between two quantized tensors by a table of exponentials.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearSoftmax>
//!
//! As ONNX Runtime computes it: with `m` the greatest code of a row,
//! `t(d) = exp((shift - d) * s_x)` for `d = m - x`, and
//! `y = round_ties_even(t(m - x) * floor(1 / s_y) / sum t) + z_y`, the sum in order and all of it in binary32. `shift`
//! is as large as keeps the sum of a row from overflowing, with e^5 to spare.

use super::table::Affine;
use crate::operator::prelude::*;
use crate::ops::axis;
use crate::ops::elementwise::unary;
use crate::ops::quantization::rounding::{integers, small_range, small_tensor};

/// The attributes of `QLinearSoftmax`.
#[derive(Clone, Debug, PartialEq)]
pub struct QLinearSoftmax {
    /// The axis; before opset 13 all axes from it on are one row.
    pub axis: i64,
    /// The opset of the `Softmax` that this stands for.
    pub opset: i64,
}

impl Operator for QLinearSoftmax {
    const SIGNATURE: Signature = Signature::microsoft("QLinearSoftmax");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let opset = attrs.int("opset")?;
        Ok(Self {
            axis: attrs.int_or("axis", if opset < 13 { 1 } else { -1 })?,
            opset,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let (from, to) = (Affine::at(cx, 1)?, Affine::at(cx, 3)?);
        let along = axis::eval(self.axis, x.rank())?;
        if x.is_empty() {
            return Ok(vec![x.clone().into()]);
        }
        let (outer, mut size, mut inner) = axis::split(x.shape(), along);
        if self.opset < 13 {
            (size, inner) = (size * inner, 1);
        }
        let codes = integers(x)?;
        let (_, most) = small_range(x.dtype())?;
        let table = exponentials(from.scale, size);
        let steps = (1.0 / to.scale).floor();
        let mut y = vec![0i32; codes.len()];
        let rows = (0..outer).flat_map(|o| (0..inner).map(move |i| o * size * inner + i));
        for start in rows {
            let at = |d: usize| start + d * inner;
            let greatest = (0..size).map(|d| codes[at(d)]).max().unwrap_or(0);
            let exponential = |d: usize| table[(greatest - codes[at(d)]) as usize & 0xFF];
            let sum = (0..size).fold(0f32, |sum, d| sum + exponential(d));
            for d in 0..size {
                let share = (exponential(d) * steps / sum).round_ties_even() as i32;
                y[at(d)] = share.saturating_add(to.zero_point).min(most);
            }
        }
        Ok(vec![
            small_tensor(x.dtype(), x.shape(), y.into_iter())?.into(),
        ])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}

/// The exponentials of the codes that lie 0, 1, 2 … steps below the greatest of a row of `size`.
fn exponentials(scale: f32, size: usize) -> Vec<f32> {
    const RESERVE: f64 = 5.0;
    let scale = f64::from(scale);
    let room = f64::from(f32::MAX / size.max(1) as f32).ln() - RESERVE;
    let shift = room.max(0.0) / scale;
    (0..256)
        .map(|below| ((shift - f64::from(below)) * scale).exp() as f32)
        .collect()
}
