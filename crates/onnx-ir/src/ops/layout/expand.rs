//! `Expand`: the input broadcast with a shape, in both directions.
//! <https://onnx.ai/onnx/operators/onnx__Expand.html>

use crate::operator::prelude::*;
use crate::ops::{broadcast, partial, select};

/// `Expand` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Expand;

impl Operator for Expand {
    const SIGNATURE: Signature = Signature::onnx("Expand", &[8, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give_broadcast(0, cx.dy());
        Ok(())
    });

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        cx.tensor(1)?;
        let shape = match (&x.shape, cx.elements(1)) {
            (Some(dims), Some(target)) => Some(broadcast::infer(&[dims, &target])?),
            _ => None,
        };
        let output = TensorFact::with_shape(x.dtype, shape);
        Ok(vec![
            partial::elementwise(output, [&x], |[x]| x.clone()).into(),
        ])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let target = cx.ints(1)?.ok_or(EvalError::MissingInput { index: 1 })?;
        let sizes: Option<Vec<usize>> = target.iter().map(|&d| usize::try_from(d).ok()).collect();
        let sizes = sizes.ok_or_else(|| {
            EvalError::rule("a shape must not be negative", format_args!("{target:?}"))
        })?;
        let shape = broadcast::shape(&[x.shape(), &sizes])?;
        cx.check_size(&shape, x.dtype())?;
        let strides = broadcast::strides(x.shape(), &shape);
        let strides: Vec<isize> = strides.into_iter().map(|s| s as isize).collect();
        Ok(vec![select::strided(x, &shape, 0, &strides)?.into()])
    }

    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: Some(&[0]) }
    }
}
