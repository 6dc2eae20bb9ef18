//! `Equal`: `c = (a == b)`, broadcast; floats since opset 11, strings since opset 19.
//! <https://onnx.ai/onnx/operators/onnx__Equal.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::binary::{self, Broadcasting};
use crate::ops::{broadcast, partial};

/// The attributes of `Equal`.
#[derive(Clone, Debug, PartialEq)]
pub struct Equal {
    /// How the second operand meets the first.
    pub broadcasting: Broadcasting,
}

impl Operator for Equal {
    const SIGNATURE: Signature = Signature::onnx("Equal", &[1, 7, 11, 13, 19]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            broadcasting: Broadcasting::parse(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        binary::infer_truth(cx, &self.broadcasting, partial::equal)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let operands = self.broadcasting.operands(cx)?;
        match operands[0].dtype() {
            DType::String => strings(cx, &operands),
            dtype => dispatch!(dtype, T in elements =>
                binary::map(cx, &operands, |a: T, b: T| a == b)),
        }
    }
}

fn strings(cx: &EvalContext<'_>, [a, b]: &[Tensor; 2]) -> Result<Vec<Value>, EvalError> {
    let (x, y) = (a.strings()?, b.strings()?);
    let shape = broadcast::shape(&[a.shape(), b.shape()])?;
    let mut equal = Vec::with_capacity(cx.check_size(&shape, DType::Bool)?);
    let strides = [a, b].map(|t| broadcast::strides(t.shape(), &shape));
    broadcast::for_each(&shape, [&strides[0], &strides[1]], |[i, j]| {
        equal.push(x[i] == y[j]);
    });
    Ok(vec![Tensor::from_vec(&shape, equal)?.into()])
}
