//! `ConcatFromSequence`: joins the tensors of a sequence along an axis, a new one if asked for.
//! <https://onnx.ai/onnx/operators/onnx__ConcatFromSequence.html>

use super::access::{element, sequence};
use crate::operator::prelude::*;
use crate::ops::axis;
use crate::ops::layout::{concat_shape, join};

/// The attributes of `ConcatFromSequence`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConcatFromSequence {
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// Whether the axis is a new one, as of NumPy's `stack`.
    pub new_axis: bool,
}

impl Operator for ConcatFromSequence {
    const SIGNATURE: Signature = Signature::onnx("ConcatFromSequence", &[11]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axis: attrs.int("axis")?,
            new_axis: attrs.flag_or("new_axis", false)?,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let element = element(cx, 0)?;
        let Some(x) = element.as_tensor() else {
            return Ok(vec![TensorFact::default().into()]);
        };
        let shape = match x.shape.clone() {
            None => None,
            Some(mut dims) => {
                if self.new_axis {
                    let at = axis::infer(self.axis, dims.len() + 1)?;
                    dims.insert(at, Dim::Unknown);
                } else {
                    let at = axis::infer(self.axis, dims.len())?;
                    dims[at] = Dim::Unknown;
                }
                Some(dims)
            }
        };
        Ok(vec![TensorFact::with_shape(x.dtype, shape).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let mut parts: Vec<Tensor> = sequence(cx, 0)?
            .iter()
            .map(|value| match value {
                Value::Tensor(tensor) => Ok(tensor.clone()),
                other => Err(EvalError::WrongInput {
                    index: 0,
                    expected: "a sequence of tensors",
                    found: other.kind().to_owned(),
                }),
            })
            .collect::<Result<_, _>>()?;
        if self.new_axis {
            for part in &mut parts {
                let mut shape = part.shape().to_vec();
                shape.insert(axis::eval(self.axis, shape.len() + 1)?, 1);
                *part = part.reshape(&shape)?;
            }
        }
        let parts: Vec<&Tensor> = parts.iter().collect();
        let Some(first) = parts.first() else {
            return Err(EvalError::rule("an empty sequence has nothing to join", 0));
        };
        let shape = concat_shape(&parts, self.axis)?;
        cx.check_size(&shape, first.dtype())?;
        Ok(vec![
            join(&parts, &shape, axis::eval(self.axis, shape.len())?)?.into(),
        ])
    }
}
