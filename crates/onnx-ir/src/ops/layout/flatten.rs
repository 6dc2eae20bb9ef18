//! `Flatten`: a matrix of which the rows run over the axes before `axis`, the columns over the rest.
//! <https://onnx.ai/onnx/operators/onnx__Flatten.html>
//!
//! Opset 11 allowed negative axes.

use crate::operator::prelude::*;
use crate::ops::partial;

/// The attributes of `Flatten`.
#[derive(Clone, Debug, PartialEq)]
pub struct Flatten {
    /// First axis of the columns, in `-rank..=rank`.
    pub axis: i64,
}

impl Flatten {
    fn split(&self, rank: usize) -> Option<usize> {
        let axis = if self.axis < 0 {
            self.axis.checked_add(i64::try_from(rank).ok()?)?
        } else {
            self.axis
        };
        usize::try_from(axis).ok().filter(|&a| a <= rank)
    }
}

const RULE: &str = "axis must lie within the rank";

impl Operator for Flatten {
    const SIGNATURE: Signature = Signature::onnx("Flatten", &[1, 9, 11, 13, 21, 23, 24, 25]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give(0, cx.dy().reshape_like(cx.input(0)));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axis: attrs.int_or("axis", 1)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let dims = match &x.shape {
            None => vec![Dim::Unknown; 2],
            Some(dims) => {
                let at = self
                    .split(dims.len())
                    .ok_or_else(|| InferError::rule(RULE, self.axis))?;
                let product = |dims: &[Dim]| dims.iter().cloned().fold(Dim::Known(1), |a, d| a * d);
                vec![product(&dims[..at]), product(&dims[at..])]
            }
        };
        let output = TensorFact::with_shape(x.dtype, Some(dims));
        Ok(vec![partial::same_elements(output, &x).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let at = self
            .split(x.rank())
            .ok_or_else(|| EvalError::rule(RULE, self.axis))?;
        let count = |dims: &[usize]| element_count(dims).unwrap_or(usize::MAX);
        let shape = [count(&x.shape()[..at]), count(&x.shape()[at..])];
        Ok(vec![x.reshape(&shape)?.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: Some(&[0]) }
    }
}
