//! `ArgMin`: the position of the smallest element along `axis`.
//! <https://onnx.ai/onnx/operators/onnx__ArgMin.html>
//!
//! Opset 12 added `select_last_index`.

use super::extreme::ArgExtreme;
use crate::operator::prelude::*;
use std::cmp::Ordering;

/// The attributes of `ArgMin`.
#[derive(Clone, Debug, PartialEq)]
pub struct ArgMin(pub ArgExtreme);

impl Operator for ArgMin {
    const SIGNATURE: Signature = Signature::onnx("ArgMin", &[1, 11, 12, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        ArgExtreme::parse(attrs).map(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        self.0.infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        self.0.eval(cx, Ordering::Less)
    }
}
