//! `Acos`: `y = acos(x)`, in radians.
//! <https://onnx.ai/onnx/operators/onnx__Acos.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// `Acos` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Acos;

impl Operator for Acos {
    const SIGNATURE: Signature = Signature::onnx("Acos", &[7, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let x = cx.input(0);
        cx.give(0, -(cx.dy() / (1.0 - x * x).sqrt()));
        Ok(())
    });

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        unary::float(cx, f64::acos)
    }
}
