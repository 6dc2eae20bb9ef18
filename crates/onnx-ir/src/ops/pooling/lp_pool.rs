//! `LpPool`: the p-norm of each window, `(sum |x|^p)^(1/p)`; padding counts as zeros.
//! <https://onnx.ai/onnx/operators/onnx__LpPool.html>. Opset 2 makes `p` an integer, 18 adds
//! `ceil_mode` and `dilations`, 22 bfloat16.

use super::{global_lp_pool, sliding};
use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::dispatch::dispatch;
use crate::ops::window::Window;

/// The attributes of `LpPool`.
#[derive(Clone, Debug, PartialEq)]
pub struct LpPool {
    /// Kernel, strides, dilations, padding and rounding.
    pub window: Window,
    /// The norm's exponent.
    pub p: f64,
}

impl Operator for LpPool {
    const SIGNATURE: Signature = Signature::onnx("LpPool", &[1, 2, 11, 18, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let node = cx.private_like("LpPoolGrad").with("p", op.p as f32);
        cx.give(0, cx.dy().apply(node, &[cx.input(0), cx.output(0)]));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            window: Window::parse_pooling(attrs)?,
            p: global_lp_pool::parse_p(attrs)?,
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
}

impl LpPool {
    fn run<T: Accumulate<Wide = f64>>(&self, cx: &EvalContext<'_>) -> Result<Tensor, EvalError> {
        sliding::pool(cx, &self.window, |x: &[T], taps| {
            let mut sum = 0.0;
            taps.for_each(|i| sum += x[i].widen().abs().powf(self.p));
            T::narrow(sum.powf(1.0 / self.p))
        })
    }
}
