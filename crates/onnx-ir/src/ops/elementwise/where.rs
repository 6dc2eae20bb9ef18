//! `Where`: `x` where the condition holds, else `y`, all three broadcast; of any element type.
//! <https://onnx.ai/onnx/operators/onnx__Where.html>

use crate::operator::prelude::*;
use crate::ops::{broadcast, partial, select};

/// `Where` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Where;

impl Operator for Where {
    const SIGNATURE: Signature = Signature::onnx("Where", &[9, 16]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let (condition, dy) = (cx.input(0), cx.dy());
        cx.give_broadcast(1, condition.choose(dy, 0.0));
        cx.give_broadcast(2, condition.choose(0.0, dy));
        Ok(())
    });

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (condition, x, y) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        let dtype = x.dtype.or(y.dtype);
        let (Some(c), Some(a), Some(b)) = (&condition.shape, &x.shape, &y.shape) else {
            return Ok(vec![TensorFact::of_dtype(dtype).into()]);
        };
        let shape = broadcast::infer(&[c, a, b])?;
        let output = TensorFact::with_shape(dtype, Some(shape));
        let picked = partial::elementwise(output, [&condition, &x, &y], |[c, x, y]| {
            match c.as_known() {
                Some(0) => y.clone(),
                Some(_) => x.clone(),
                None if x.is_same(y) => x.clone(),
                None => Dim::Unknown,
            }
        });
        Ok(vec![picked.into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (condition, x, y) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        let shape = broadcast::shape(&[condition.shape(), x.shape(), y.shape()])?;
        let mut sources = Vec::with_capacity(cx.check_size(&shape, x.dtype())?);
        let strides = [condition, x, y].map(|t| broadcast::strides(t.shape(), &shape));
        let holds = condition.data::<bool>()?;
        broadcast::for_each(
            &shape,
            [&strides[0], &strides[1], &strides[2]],
            |[c, i, j]| sources.push(if holds[c] { (x, i, 1) } else { (y, j, 1) }),
        );
        Ok(vec![
            select::assemble(x.dtype(), &shape, sources.into_iter())?.into(),
        ])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale {
            inputs: Some(&[1, 2]),
        }
    }
}
