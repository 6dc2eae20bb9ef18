//! `ArgMax`: the position of the largest element along `axis`.
//! <https://onnx.ai/onnx/operators/onnx__ArgMax.html>
//!
//! Opset 12 added `select_last_index`.

use super::extreme::ArgExtreme;
use crate::operator::prelude::*;
use std::cmp::Ordering;

/// The attributes of `ArgMax`.
#[derive(Clone, Debug, PartialEq)]
pub struct ArgMax(pub ArgExtreme);

impl Operator for ArgMax {
    const SIGNATURE: Signature = Signature::onnx("ArgMax", &[1, 11, 12, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        ArgExtreme::parse(attrs).map(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        self.0.infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        self.0.eval(cx, Ordering::Greater)
    }
}
