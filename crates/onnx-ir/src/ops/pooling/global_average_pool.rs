//! `GlobalAveragePool`: the mean of each plane.
//! <https://onnx.ai/onnx/operators/onnx__GlobalAveragePool.html>. Opset 22 adds bfloat16.

use super::global;
use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;

/// `GlobalAveragePool` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalAveragePool;

impl Operator for GlobalAveragePool {
    const SIGNATURE: Signature = Signature::onnx("GlobalAveragePool", &[1, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let x = cx.input(0);
        let count = cx.count(x, &global::spatial(x)?);
        cx.give(0, cx.dy().over(count).expand_like(x));
        Ok(())
    });

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        global::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        dispatch!(cx.tensor(0)?.dtype(), T in floats => global::pool::<T>(cx, |plane| {
            let (sum, count) = plane.fold((0.0, 0.0), |(sum, count), v| (sum + v, count + 1.0));
            sum / count
        }))
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: None }
    }
}
