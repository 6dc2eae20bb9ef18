//! `BitwiseNot`: every bit of an integer turned around.
//! <https://onnx.ai/onnx/operators/onnx__BitwiseNot.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::unary;

/// `BitwiseNot` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct BitwiseNot;

impl Operator for BitwiseNot {
    const SIGNATURE: Signature = Signature::onnx("BitwiseNot", &[18]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let y = dispatch!(x.dtype(), T in integers => unary::map(x, |v: T| !v))?;
        Ok(vec![y.into()])
    }
}
