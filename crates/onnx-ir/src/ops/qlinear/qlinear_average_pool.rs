//! `QLinearAveragePool`: the mean of each window between two quantized tensors.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearAveragePool>
//!
//! In binary32: the values of a window are added in C order and divided by their number;
//! `y = round_ties_even(mean / s_y + z_y)`. With `count_include_pad` the number is that of the whole kernel.

use super::table::Affine;
use crate::operator::prelude::*;
use crate::ops::permute::{channels_first, channels_last};
use crate::ops::pooling::sliding;
use crate::ops::quantization::rounding::{integers, small_range, small_tensor};
use crate::ops::window::Window;

/// The attributes of `QLinearAveragePool`.
#[derive(Clone, Debug, PartialEq)]
pub struct QLinearAveragePool {
    /// Kernel, strides, padding and rounding.
    pub window: Window,
    /// Whether padding counts.
    pub count_include_pad: bool,
    /// Whether the channels are the last axis, not the second.
    pub channels_last: bool,
}

impl Operator for QLinearAveragePool {
    const SIGNATURE: Signature = Signature::microsoft("QLinearAveragePool");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            window: Window::parse_pooling(attrs)?,
            count_include_pad: attrs.flag_or("count_include_pad", false)?,
            channels_last: attrs.flag_or("channels_last", false)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let mut x = cx.tensor(0)?;
        let move_channels = |shape: &mut Option<Vec<Dim>>, places: isize| {
            if let Some(shape) = shape
                .as_mut()
                .filter(|s| self.channels_last && s.len() >= 2)
            {
                let rest = &mut shape[1..];
                rest.rotate_right(places.rem_euclid(rest.len() as isize) as usize);
            }
        };
        move_channels(&mut x.shape, 1);
        let mut y = sliding::infer_from(&self.window, x)?;
        move_channels(&mut y.shape, -1);
        Ok(vec![y.into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let y = if self.channels_last {
            channels_last(&self.pool(cx, &channels_first(x)?)?)?
        } else {
            self.pool(cx, x)?
        };
        Ok(vec![y.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}

impl QLinearAveragePool {
    fn pool(&self, cx: &EvalContext<'_>, x: &Tensor) -> Result<Tensor, EvalError> {
        let (from, to) = (Affine::at(cx, 1)?, Affine::at(cx, 3)?);
        let (min, max) = small_range(x.dtype())?;
        let (shape, axes) = sliding::axes(&self.window, x)?;
        let count = cx.check_size(&shape, x.dtype())?;
        let kernel = axes.iter().fold(1usize, |n, a| n.saturating_mul(a.kernel));
        let codes = integers(x)?;
        let mut y = Vec::with_capacity(count);
        if count > 0 {
            sliding::for_each_window(shape[0] * shape[1], &axes, |plane, taps| {
                let (mut sum, mut count) = (0f32, 0usize);
                taps.for_each(|i| {
                    sum += from.value(codes[plane + i]);
                    count += 1;
                });
                if self.count_include_pad {
                    count = kernel;
                }
                let mean = sum / count as f32;
                let code = mean / to.scale + to.zero_point as f32;
                y.push((code.round_ties_even() as i32).clamp(min, max));
            });
        }
        small_tensor(x.dtype(), &shape, y.into_iter())
    }
}
