//! `GlobalMaxPool`: the greatest element of each plane.
//! <https://onnx.ai/onnx/operators/onnx__GlobalMaxPool.html>. Opset 22 adds bfloat16.

use super::global;
use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::rewrite::NewNode;

/// `GlobalMaxPool` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct GlobalMaxPool;

impl Operator for GlobalMaxPool {
    const SIGNATURE: Signature = Signature::onnx("GlobalMaxPool", &[1, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let node = NewNode::private("GlobalMaxPoolGrad");
        cx.give(0, cx.dy().apply(node, &[cx.input(0)]));
        Ok(())
    });

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        global::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        dispatch!(cx.tensor(0)?.dtype(), T in floats => {
            global::pool::<T>(cx, |plane| plane.fold(f64::NEG_INFINITY, f64::max))
        })
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: None }
    }
}
