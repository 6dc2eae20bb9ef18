//! `Log`: `y = ln(x)`.
//! <https://onnx.ai/onnx/operators/onnx__Log.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// `Log` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Log;

impl Operator for Log {
    const SIGNATURE: Signature = Signature::onnx("Log", &[1, 6, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give(0, cx.dy() / cx.input(0));
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
        unary::float(cx, f64::ln)
    }
}
