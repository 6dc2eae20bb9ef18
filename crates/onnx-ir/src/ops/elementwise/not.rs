//! `Not`: `y = !x`.
//! <https://onnx.ai/onnx/operators/onnx__Not.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// `Not` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Not;

impl Operator for Not {
    const SIGNATURE: Signature = Signature::onnx("Not", &[1]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let y = unary::map(cx.tensor(0)?, |v: bool| !v)?;
        Ok(vec![y.into()])
    }
}
