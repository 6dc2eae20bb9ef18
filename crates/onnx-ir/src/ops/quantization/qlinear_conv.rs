//! `QLinearConv`: `y = requantize(conv(x - x_zero, w - w_zero) + b, x_scale * w_scale / y_scale)`; one scale
//! and zero point of the weight for all or one per output channel.
//! <https://onnx.ai/onnx/operators/onnx__QLinearConv.html>
//!
//! ONNX Runtime's `com.microsoft` form of the operator adds `channels_last`.

use super::integer_matmul::centred;
use super::rounding::{Quantizer, scalar_scale, scalar_zero_point, small_tensor};
use super::spread::operand_strides;
use crate::operator::prelude::*;
use crate::ops::convolution::Conv;
use crate::ops::permute::{channels_first, channels_last};

/// The attributes of `QLinearConv`: those of `Conv`.
#[derive(Clone, Debug, PartialEq)]
pub struct QLinearConv {
    /// The geometry.
    pub conv: Conv,
}

impl Operator for QLinearConv {
    const SIGNATURE: Signature = Signature::onnx("QLinearConv", &[10]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            conv: Conv::parse(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let shape = self.conv.output_dims(&cx.tensor(0)?, &cx.tensor(3)?)?;
        Ok(vec![
            TensorFact::with_shape(cx.tensor(7)?.dtype, shape).into(),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        Ok(vec![self.requantized(cx, cx.tensor(0)?)?.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}

impl QLinearConv {
    /// The result for `x` in place of input 0.
    fn requantized(&self, cx: &EvalContext<'_>, x: &Tensor) -> Result<Tensor, EvalError> {
        let (w, w_scale, y_zero) = (cx.tensor(3)?, cx.tensor(4)?, cx.tensor(7)?);
        let x = Tensor::from_vec(x.shape(), centred(x, Some(cx.tensor(2)?), None)?)?;
        let centred_w = Tensor::from_vec(w.shape(), centred(w, Some(cx.tensor(5)?), Some(0))?)?;
        let exact = self
            .conv
            .convolve(cx, &x, &centred_w, cx.optional_tensor(8)?)?;

        let (x_scale, y_scale) = (scalar_scale(cx, 1)?, scalar_scale(cx, 6)?);
        let step = operand_strides(w.shape(), w_scale.shape(), Some(0))?;
        let step = step.first().copied().unwrap_or(0);
        let multipliers: Vec<f32> = w_scale
            .to_f32_vec()?
            .into_iter()
            .map(|s| x_scale * s / y_scale)
            .collect();
        let quantizer = Quantizer::new(y_zero.dtype(), scalar_zero_point(cx, 7)?)?;
        let channels = exact.shape().get(1).copied().unwrap_or(1);
        let plane = exact.len().checked_div(
            exact
                .shape()
                .iter()
                .take(2)
                .fold(1, |n, &d| n.saturating_mul(d)),
        );
        let plane = plane.unwrap_or(0).max(1);
        let accumulators = exact.data::<i32>()?;
        let y = accumulators.iter().enumerate().map(|(i, &acc)| {
            let channel = i / plane % channels;
            quantizer.requantize(acc, multipliers[channel * step])
        });
        small_tensor(y_zero.dtype(), exact.shape(), y)
    }
}

/// The attributes of `com.microsoft.QLinearConv`.
#[derive(Clone, Debug, PartialEq)]
pub struct MicrosoftQLinearConv {
    /// As ONNX has it; the weight's layout is the same in both forms.
    pub conv: QLinearConv,
    /// Whether the channels of input and output are the last axis, not the second.
    pub channels_last: bool,
}

impl Operator for MicrosoftQLinearConv {
    const SIGNATURE: Signature = Signature::microsoft("QLinearConv");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            conv: QLinearConv::parse(attrs)?,
            channels_last: attrs.flag_or("channels_last", false)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let mut x = cx.tensor(0)?;
        if let Some(shape) = x
            .shape
            .as_mut()
            .filter(|s| self.channels_last && s.len() >= 2)
        {
            shape[1..].rotate_right(1);
        }
        let mut shape = self.conv.conv.output_dims(&x, &cx.tensor(3)?)?;
        if let Some(shape) = shape.as_mut().filter(|_| self.channels_last) {
            shape[1..].rotate_left(1);
        }
        Ok(vec![
            TensorFact::with_shape(cx.tensor(7)?.dtype, shape).into(),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let y = if self.channels_last {
            channels_last(&self.conv.requantized(cx, &channels_first(x)?)?)?
        } else {
            self.conv.requantized(cx, x)?
        };
        Ok(vec![y.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}
