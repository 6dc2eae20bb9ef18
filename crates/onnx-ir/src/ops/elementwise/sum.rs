//! `Sum`: the sum of all inputs, broadcast.
//! <https://onnx.ai/onnx/operators/onnx__Sum.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::variadic;
use crate::ops::number::Number;

/// `Sum` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Sum;

impl Operator for Sum {
    const SIGNATURE: Signature = Signature::onnx("Sum", &[1, 6, 8, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        for i in 0..cx.node().inputs().len() {
            cx.give_broadcast(i, cx.dy());
        }
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        attrs.ignore("consumed_inputs");
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        variadic::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dtype = cx.tensor(0)?.dtype();
        let sum = dispatch!(dtype, T in floats =>
            variadic::fold(cx, variadic::inputs(cx)?, T::plus))?;
        Ok(vec![sum.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: None }
    }
}
