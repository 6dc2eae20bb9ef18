//! `Relu`: `y = max(x, 0)`; integers too since opset 14.
//! <https://onnx.ai/onnx/operators/onnx__Relu.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::unary;
use crate::ops::number::Number;
use crate::rewrite::NewNode;

/// `Relu` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Relu;

impl Operator for Relu {
    const SIGNATURE: Signature = Signature::onnx("Relu", &[1, 6, 13, 14]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give(
            0,
            cx.dy().apply(NewNode::private("ReluGrad"), &[cx.output(0)]),
        );
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        attrs.ignore("consumed_inputs");
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let y = dispatch!(x.dtype(), T in numbers => unary::map(x, |v: T| v.larger(T::ZERO)))?;
        Ok(vec![y.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FusableActivation
    }
}
