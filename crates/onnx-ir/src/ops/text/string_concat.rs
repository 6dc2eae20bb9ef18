//! `StringConcat`: joins strings element by element, broadcast.
//! <https://onnx.ai/onnx/operators/onnx__StringConcat.html>

use crate::operator::prelude::*;
use crate::ops::broadcast;

/// `StringConcat` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct StringConcat;

impl Operator for StringConcat {
    const SIGNATURE: Signature = Signature::onnx("StringConcat", &[20]);

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (a, b) = (cx.tensor(0)?, cx.tensor(1)?);
        let shape = match (&a.shape, &b.shape) {
            (Some(a), Some(b)) => Some(broadcast::infer(&[a, b])?),
            _ => None,
        };
        Ok(vec![
            TensorFact::with_shape(Some(DType::String), shape).into(),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (a, b) = (cx.tensor(0)?, cx.tensor(1)?);
        let shape = broadcast::shape(&[a.shape(), b.shape()])?;
        let mut joined = Vec::with_capacity(cx.check_size(&shape, DType::String)?);
        let (x, y) = (a.strings()?, b.strings()?);
        let (sx, sy) = (
            broadcast::strides(a.shape(), &shape),
            broadcast::strides(b.shape(), &shape),
        );
        broadcast::for_each(&shape, [&sx, &sy], |[i, j]| {
            joined.push(format!("{}{}", x[i], y[j]))
        });
        Ok(vec![Tensor::from_strings(&shape, joined)?.into()])
    }
}
