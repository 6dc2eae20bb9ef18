//! `QLinearConcat`: concatenates quantized tensors; each is requantized to the scale of the output by a table.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearConcat>
//!
//! Inputs: `Y_scale, Y_zero_point`, then `X, X_scale, X_zero_point` for each tensor.

use super::table::{self, Affine};
use crate::operator::prelude::*;
use crate::ops::axis;
use crate::ops::quantization::rounding::{integers, small_tensor};

/// The attributes of `QLinearConcat`.
#[derive(Clone, Debug, PartialEq)]
pub struct QLinearConcat {
    /// The axis along which the tensors are put together.
    pub axis: i64,
}

const FIRST: usize = 2;
const PER_TENSOR: usize = 3;

impl Operator for QLinearConcat {
    const SIGNATURE: Signature = Signature::microsoft("QLinearConcat");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axis: attrs.int("axis")?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let dtype = cx.tensor(1)?.dtype;
        let mut shape: Option<Vec<Dim>> = None;
        for index in (FIRST..cx.input_count()).step_by(PER_TENSOR) {
            let Some(next) = cx.tensor(index)?.shape else {
                return Ok(vec![TensorFact::of_dtype(dtype).into()]);
            };
            let along = axis::infer(self.axis, next.len())?;
            shape = Some(match shape {
                None => next,
                Some(sum) if sum.len() != next.len() => {
                    return Err(InferError::rule("ranks must be equal", next.len()));
                }
                Some(sum) => {
                    let pairs = sum.iter().zip(&next).enumerate();
                    pairs
                        .map(|(i, (a, b))| {
                            if i == along {
                                a.clone() + b.clone()
                            } else {
                                a.refine(b)
                            }
                        })
                        .collect()
                }
            });
        }
        Ok(vec![TensorFact::with_shape(dtype, shape).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let to = Affine::at(cx, 0)?;
        let dtype = cx.tensor(1)?.dtype();
        let mut parts = Vec::new();
        for index in (FIRST..cx.input_count()).step_by(PER_TENSOR) {
            let (x, from) = (cx.tensor(index)?, Affine::at(cx, index + 1)?);
            parts.push(if from == to {
                x.clone()
            } else {
                table::map(x, from, to, |v| v)?
            });
        }
        Ok(vec![self.concat(cx, dtype, &parts)?.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}

impl QLinearConcat {
    fn concat(
        &self,
        cx: &EvalContext<'_>,
        dtype: DType,
        parts: &[Tensor],
    ) -> Result<Tensor, EvalError> {
        let first = parts
            .first()
            .ok_or(EvalError::MissingInput { index: FIRST })?;
        let along = axis::eval(self.axis, first.rank())?;
        let fits = |p: &Tensor| {
            p.rank() == first.rank()
                && (0..p.rank()).all(|i| i == along || p.shape()[i] == first.shape()[i])
        };
        if let Some(odd) = parts.iter().find(|p| !fits(p)) {
            return Err(EvalError::rule(
                "shapes must be equal but for the axis",
                format_args!("{:?} and {:?}", first.shape(), odd.shape()),
            ));
        }
        let mut shape = first.shape().to_vec();
        shape[along] = parts
            .iter()
            .fold(0usize, |n, p| n.saturating_add(p.shape()[along]));
        let count = cx.check_size(&shape, dtype)?;
        let mut codes = Vec::with_capacity(count);
        if count == 0 {
            return small_tensor(dtype, &shape, codes.into_iter());
        }
        let outer: usize = shape[..along].iter().product();
        let data = parts.iter().map(integers).collect::<Result<Vec<_>, _>>()?;
        for row in 0..outer {
            for part in &data {
                let length = part.len() / outer;
                codes.extend_from_slice(&part[row * length..(row + 1) * length]);
            }
        }
        small_tensor(dtype, &shape, codes.into_iter())
    }
}
