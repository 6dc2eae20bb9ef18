//! `MatMulIntegerToFloat`: `Y = acc * (a_scale * b_scale) + bias` with `acc = (A - a_zero) · (B - b_zero)`
//! exact in i32, the rest in binary32. Scales of B and the bias go along its columns.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulIntegerToFloat>

use super::integer_matmul::{Product, infer_shape, product};
use super::spread::operand_strides;
use crate::operator::prelude::*;
use crate::ops::broadcast;

/// `MatMulIntegerToFloat` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct MatMulIntegerToFloat;

impl Operator for MatMulIntegerToFloat {
    const SIGNATURE: Signature = Signature::microsoft("MatMulIntegerToFloat");

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let shape = infer_shape(&cx.tensor(0)?, &cx.tensor(1)?)?;
        Ok(vec![
            TensorFact::with_shape(cx.tensor(2)?.dtype, shape).into(),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let exact = product(
            cx,
            (cx.tensor(0)?, cx.optional_tensor(4)?),
            (cx.tensor(1)?, cx.optional_tensor(5)?),
        )?;
        let (a_scale, b_scale) = (cx.tensor(2)?, cx.tensor(3)?);
        let y = scaled(&exact, a_scale, b_scale, 1.0, cx.optional_tensor(6)?)?;
        Ok(vec![
            Tensor::from_f32(a_scale.dtype(), &exact.shape, y)?.into(),
        ])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}

/// `acc * (alpha * a_scale * b_scale) + bias` in binary32; a vector of scales of A goes along the rows, one of
/// B and the bias along the columns.
///
/// # Errors
/// [`EvalError::Rule`] where a scale or the bias does not fit; [`EvalError::Tensor`] where one is no float.
pub fn scaled(
    exact: &Product,
    a_scale: &Tensor,
    b_scale: &Tensor,
    alpha: f32,
    bias: Option<&Tensor>,
) -> Result<Vec<f32>, EvalError> {
    let columns = |t: &Tensor| operand_strides(&exact.shape, t.shape(), exact.column_axis);
    let strides = [
        operand_strides(&exact.shape, a_scale.shape(), exact.row_axis)?,
        columns(b_scale)?,
        match bias {
            Some(bias) => columns(bias)?,
            None => vec![0; exact.shape.len()],
        },
    ];
    let (a_scale, b_scale) = (a_scale.to_f32_vec()?, b_scale.to_f32_vec()?);
    let bias = match bias {
        Some(bias) => bias.to_f32_vec()?,
        None => vec![0.0],
    };
    let mut y = Vec::with_capacity(exact.data.len());
    let mut accumulators = exact.data.iter();
    broadcast::for_each(
        &exact.shape,
        strides.each_ref().map(Vec::as_slice),
        |[i, j, b]| {
            if let Some(&acc) = accumulators.next() {
                y.push(acc as f32 * (alpha * a_scale[i] * b_scale[j]) + bias[b]);
            }
        },
    );
    Ok(y)
}
