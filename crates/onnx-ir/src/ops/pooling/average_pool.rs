//! `AveragePool`: the mean of each window. Padding counts as zeros with `count_include_pad`, else not
//! at all; windows that reach beyond the padding (`ceil_mode`) count only what lies within it.
//! <https://onnx.ai/onnx/operators/onnx__AveragePool.html>. Opset 7 adds `count_include_pad`, 10
//! `ceil_mode`, 19 `dilations`, 22 bfloat16.

use super::sliding;
use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::dispatch::dispatch;
use crate::ops::window::Window;

/// The attributes of `AveragePool`.
#[derive(Clone, Debug, PartialEq)]
pub struct AveragePool {
    /// Kernel, strides, dilations, padding and rounding.
    pub window: Window,
    /// Whether padding counts.
    pub count_include_pad: bool,
}

impl Operator for AveragePool {
    const SIGNATURE: Signature = Signature::onnx("AveragePool", &[1, 7, 10, 11, 19, 22]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            window: Window::parse_pooling(attrs)?,
            count_include_pad: attrs.flag_or("count_include_pad", false)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![sliding::infer(&self.window, cx)?.into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dtype = cx.tensor(0)?.dtype();
        Ok(vec![
            dispatch!(dtype, T in floats => self.run::<T>(cx))?.into(),
        ])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: None }
    }
}

impl AveragePool {
    fn run<T: Accumulate<Wide = f64>>(&self, cx: &EvalContext<'_>) -> Result<Tensor, EvalError> {
        sliding::pool(cx, &self.window, |x: &[T], taps| {
            let (mut sum, mut count) = (0.0, 0usize);
            taps.for_each(|i| {
                sum += x[i].widen();
                count += 1;
            });
            if self.count_include_pad {
                count = taps.padded;
            }
            T::narrow(sum / count.max(1) as f64)
        })
    }
}
