//! `QGemm`: `Y = alpha * (op(A) · op(B) + C)` of 8-bit matrices, the bias C in units of the accumulator.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QGemm>
//!
//! With an output scale `Y = requantize(acc + C, alpha * a_scale * b_scale / y_scale)`; without one
//! `Y = (acc + C) * (alpha * a_scale * b_scale)` in binary32.

use super::integer_matmul::{Product, infer_shape, product};
use super::matmul_integer_to_float::scaled;
use super::rounding::{Quantizer, scalar_scale, scalar_zero_point, small_tensor};
use super::spread::operand_strides;
use crate::operator::prelude::*;
use crate::ops::broadcast;
use crate::ops::permute::permute;

/// The attributes of `QGemm`.
#[derive(Clone, Debug, PartialEq)]
pub struct QGemm {
    /// Factor of the result.
    pub alpha: f32,
    /// Whether A is transposed.
    pub trans_a: bool,
    /// Whether B is transposed.
    pub trans_b: bool,
}

impl Operator for QGemm {
    const SIGNATURE: Signature = Signature::microsoft("QGemm");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            alpha: attrs.f32_or("alpha", 1.0)?,
            trans_a: attrs.flag_or("transA", false)?,
            trans_b: attrs.flag_or("transB", false)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (mut a, mut b) = (cx.tensor(0)?, cx.tensor(3)?);
        for (fact, transposed) in [(&mut a, self.trans_a), (&mut b, self.trans_b)] {
            match &mut fact.shape {
                Some(shape) if shape.len() != 2 => {
                    return Err(InferError::rule("the rank must be 2", shape.len()));
                }
                Some(shape) if transposed => shape.reverse(),
                _ => {}
            }
        }
        let dtype = match cx.optional_tensor(8)? {
            Some(y_zero) => y_zero.dtype,
            None => Some(DType::F32),
        };
        let shape = infer_shape(&a, &b)?;
        Ok(vec![TensorFact::with_shape(dtype, shape).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let a = matrix(cx.tensor(0)?, self.trans_a)?;
        let b = matrix(cx.tensor(3)?, self.trans_b)?;
        let a_zero = cx.optional_tensor(2)?;
        let mut exact = product(cx, (&a, a_zero), (&b, cx.optional_tensor(5)?))?;
        if let Some(bias) = cx.optional_tensor(6)? {
            add_bias(&mut exact, bias)?;
        }
        let (a_scale, b_scale) = (cx.tensor(1)?, cx.tensor(4)?);
        let Some(y_zero) = cx.optional_tensor(8)? else {
            let y = scaled(&exact, a_scale, b_scale, self.alpha, None)?;
            return Ok(vec![Tensor::from_vec(&exact.shape, y)?.into()]);
        };
        let (a_scale, y_scale) = (scalar_scale(cx, 1)?, scalar_scale(cx, 7)?);
        let steps = operand_strides(&exact.shape, b_scale.shape(), exact.column_axis)?;
        let multipliers: Vec<f32> = b_scale
            .to_f32_vec()?
            .into_iter()
            .map(|s| self.alpha * a_scale * s / y_scale)
            .collect();
        let quantizer = Quantizer::new(y_zero.dtype(), scalar_zero_point(cx, 8)?)?;
        let mut y = Vec::with_capacity(exact.data.len());
        let mut accumulators = exact.data.iter();
        broadcast::for_each(&exact.shape, [&steps], |[j]| {
            if let Some(&acc) = accumulators.next() {
                y.push(quantizer.requantize(acc, multipliers[j]));
            }
        });
        Ok(vec![
            small_tensor(y_zero.dtype(), &exact.shape, y.into_iter())?.into(),
        ])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}

fn matrix(x: &Tensor, transposed: bool) -> Result<Tensor, EvalError> {
    if x.rank() != 2 {
        return Err(EvalError::rule("the rank must be 2", x.rank()));
    }
    if transposed {
        permute(x, &[1, 0])
    } else {
        Ok(x.clone())
    }
}

fn add_bias(exact: &mut Product, bias: &Tensor) -> Result<(), EvalError> {
    let strides = operand_strides(&exact.shape, bias.shape(), exact.column_axis)?;
    let bias = bias.data::<i32>()?;
    let mut sums = exact.data.iter_mut();
    broadcast::for_each(&exact.shape, [&strides], |[j]| {
        if let Some(sum) = sums.next() {
            *sum = sum.wrapping_add(bias[j]);
        }
    });
    Ok(())
}
