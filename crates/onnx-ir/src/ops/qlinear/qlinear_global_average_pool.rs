//! `QLinearGlobalAveragePool`: the mean over all spatial positions of each channel, between two quantized
//! tensors: `y = requantize(sum(x - z_x), s_x / (s_y * positions))`, the sum an exact integer.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearGlobalAveragePool>

use super::table::Affine;
use crate::operator::prelude::*;
use crate::ops::quantization::rounding::{Quantizer, integers, small_tensor};

/// The attributes of `QLinearGlobalAveragePool`.
#[derive(Clone, Debug, PartialEq)]
pub struct QLinearGlobalAveragePool {
    /// Whether the channels are the last axis, not the second.
    pub channels_last: bool,
}

impl Operator for QLinearGlobalAveragePool {
    const SIGNATURE: Signature = Signature::microsoft("QLinearGlobalAveragePool");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            channels_last: attrs.flag_or("channels_last", false)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let shape = match x.shape {
            Some(shape) if shape.len() < 3 => {
                return Err(InferError::rule("the rank must be at least 3", shape.len()));
            }
            Some(mut shape) => {
                let spatial = self.spatial(shape.len());
                shape[spatial].fill(Dim::Known(1));
                Some(shape)
            }
            None => None,
        };
        Ok(vec![TensorFact::with_shape(x.dtype, shape).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        if x.rank() < 3 {
            return Err(EvalError::rule("the rank must be at least 3", x.rank()));
        }
        let (from, to) = (Affine::at(cx, 1)?, Affine::at(cx, 3)?);
        let spatial = self.spatial(x.rank());
        let mut shape = x.shape().to_vec();
        shape[spatial.clone()].fill(1);
        cx.check_size(&shape, x.dtype())?;
        if x.is_empty() {
            return Err(EvalError::rule(
                "there must be something to take the mean of",
                format_args!("{x:?}"),
            ));
        }
        let inner: usize = x.shape()[spatial.end..].iter().product();
        let outer: usize = x.shape()[..spatial.start].iter().product();
        let positions: usize = x.shape()[spatial].iter().product();
        let codes = integers(x)?;
        let quantizer = Quantizer::new(x.dtype(), to.zero_point)?;
        let multiplier = from.scale / (to.scale * positions as f32);
        let sums = (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i)));
        let y = sums.map(|(o, i)| {
            let sum = (0..positions).fold(0i32, |sum, p| {
                sum.wrapping_add(codes[(o * positions + p) * inner + i] - from.zero_point)
            });
            quantizer.requantize(sum, multiplier)
        });
        Ok(vec![small_tensor(x.dtype(), &shape, y)?.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}

impl QLinearGlobalAveragePool {
    fn spatial(&self, rank: usize) -> std::ops::Range<usize> {
        if self.channels_last {
            1..rank - 1
        } else {
            2..rank
        }
    }
}
