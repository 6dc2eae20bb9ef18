//! `CumSum`: the running sum along an axis.
//! <https://onnx.ai/onnx/operators/onnx__CumSum.html>

use super::running::{Running, Total};
use crate::operator::prelude::*;

/// The attributes of `CumSum`.
#[derive(Clone, Debug, PartialEq)]
pub struct CumSum(pub Running);

impl Operator for CumSum {
    const SIGNATURE: Signature = Signature::onnx("CumSum", &[11, 14]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        cx.give(0, op.0.back(cx, cx.dy()));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Running::parse(attrs).map(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        self.0.infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        self.0.eval(cx, Total::Sum)
    }
}
