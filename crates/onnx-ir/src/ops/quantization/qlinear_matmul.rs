//! `QLinearMatMul`: `y = requantize((A - a_zero) · (B - b_zero), a_scale * b_scale / y_scale)`.
//! <https://onnx.ai/onnx/operators/onnx__QLinearMatMul.html>
//!
//! Scales are one for all, one per row of A and of Y, one per column of B, or broadcast. 21: scales of 16 bits.

use super::integer_matmul::{Product, infer_shape, product};
use super::rounding::{Quantizer, integers, small_tensor};
use super::spread::operand_strides;
use crate::operator::prelude::*;
use crate::ops::broadcast;

/// `QLinearMatMul` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct QLinearMatMul;

impl Operator for QLinearMatMul {
    const SIGNATURE: Signature = Signature::onnx("QLinearMatMul", &[10, 21]);

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let shape = infer_shape(&cx.tensor(0)?, &cx.tensor(3)?)?;
        let dtype = cx.tensor(7)?.dtype;
        Ok(vec![TensorFact::with_shape(dtype, shape).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (a, b) = (cx.tensor(0)?, cx.tensor(3)?);
        let exact = product(cx, (a, Some(cx.tensor(2)?)), (b, Some(cx.tensor(5)?)))?;
        let y_zero = cx.tensor(7)?;
        let quantizers = integers(y_zero)?
            .into_iter()
            .map(|z| Quantizer::new(y_zero.dtype(), z))
            .collect::<Result<Vec<_>, _>>()?;

        let rows = |t: &Tensor| operand_strides(&exact.shape, t.shape(), exact.row_axis);
        let columns = |t: &Tensor| operand_strides(&exact.shape, t.shape(), exact.column_axis);
        let (a_scale, b_scale, y_scale) = (cx.tensor(1)?, cx.tensor(4)?, cx.tensor(6)?);
        let strides = [
            rows(a_scale)?,
            columns(b_scale)?,
            rows(y_scale)?,
            rows(y_zero)?,
        ];
        let [a_scale, b_scale, y_scale] = [
            a_scale.to_f32_vec()?,
            b_scale.to_f32_vec()?,
            y_scale.to_f32_vec()?,
        ];

        let Product { shape, data, .. } = &exact;
        let mut values = Vec::with_capacity(data.len());
        let mut accumulators = data.iter();
        broadcast::for_each(
            shape,
            strides.each_ref().map(Vec::as_slice),
            |[i, j, s, z]| {
                if let Some(&acc) = accumulators.next() {
                    let multiplier = a_scale[i] * b_scale[j] / y_scale[s];
                    values.push(quantizers[z].requantize(acc, multiplier));
                }
            },
        );
        Ok(vec![
            small_tensor(y_zero.dtype(), shape, values.into_iter())?.into(),
        ])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}
