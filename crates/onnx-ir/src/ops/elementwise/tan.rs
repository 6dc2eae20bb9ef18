//! `Tan`: `y = tan(x)`, x in radians.
//! <https://onnx.ai/onnx/operators/onnx__Tan.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// `Tan` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Tan;

impl Operator for Tan {
    const SIGNATURE: Signature = Signature::onnx("Tan", &[7, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let y = cx.output(0);
        cx.give_slope(y * y + 1.0);
        Ok(())
    });

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        unary::float(cx, f64::tan)
    }
}
