//! `QLinearWhere`: `z = condition ? x : y` of quantized tensors, broadcast; each operand is requantized to the
//! scale of the output by a table.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearWhere>

use super::table::{Affine, Table};
use crate::operator::prelude::*;
use crate::ops::broadcast;
use crate::ops::quantization::rounding::{integers, small_tensor};

/// `QLinearWhere` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct QLinearWhere;

impl Operator for QLinearWhere {
    const SIGNATURE: Signature = Signature::microsoft("QLinearWhere");

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let [condition, x, y] = [cx.tensor(0)?, cx.tensor(1)?, cx.tensor(4)?];
        let shape = match (&condition.shape, &x.shape, &y.shape) {
            (Some(c), Some(x), Some(y)) => Some(broadcast::infer(&[c, x, y])?),
            _ => None,
        };
        Ok(vec![TensorFact::with_shape(x.dtype, shape).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (condition, x, y) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(4)?);
        let dtype = x.dtype();
        let to = Affine::at(cx, 7)?;
        let tables = [
            Table::new(dtype, Affine::at(cx, 2)?, to, |v| v)?,
            Table::new(dtype, Affine::at(cx, 5)?, to, |v| v)?,
        ];
        let shape = broadcast::shape(&[condition.shape(), x.shape(), y.shape()])?;
        let mut codes = Vec::with_capacity(cx.check_size(&shape, dtype)?);
        let strides = [condition, x, y].map(|t| broadcast::strides(t.shape(), &shape));
        let (xs, ys) = (integers(x)?, integers(y)?);
        let condition = condition.data::<bool>()?;
        broadcast::for_each(
            &shape,
            strides.each_ref().map(Vec::as_slice),
            |[c, i, j]| {
                codes.push(if condition[c] {
                    tables[0].get(xs[i])
                } else {
                    tables[1].get(ys[j])
                });
            },
        );
        Ok(vec![small_tensor(dtype, &shape, codes.into_iter())?.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}
