//! `Squeeze`: takes axes of size 1 out, all of them where none are named.
//! <https://onnx.ai/onnx/operators/onnx__Squeeze.html>
//!
//! Opset 13 made the axes an input; opset 11 allowed negative ones.

use crate::operator::prelude::*;
use crate::ops::{axis, partial};

/// The attributes of `Squeeze`.
#[derive(Clone, Debug, PartialEq)]
pub struct Squeeze {
    /// The axes, where they are an attribute (before opset 13).
    pub axes: Option<Vec<i64>>,
}

const RULE: &str = "only axes of size 1 can be squeezed";

impl Operator for Squeeze {
    const SIGNATURE: Signature = Signature::onnx("Squeeze", &[1, 11, 13, 21, 23, 24, 25]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give(0, cx.dy().reshape_like(cx.input(0)));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let axes = if attrs.version() < 13 {
            attrs.ints_opt("axes")?
        } else {
            None
        };
        Ok(Self { axes })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let from_input = cx.fact(1).is_some();
        let axes = if from_input {
            cx.const_ints(1)
        } else {
            self.axes.clone()
        };
        let shape = match (&x.shape, axes) {
            (Some(dims), Some(axes)) => Some(squeezed(dims, &axes)?),
            (Some(dims), None) if !from_input => without_ones(dims),
            // Axes that are not known, but how many they are.
            (Some(dims), None) => cx
                .elements(1)
                .and_then(|axes| dims.len().checked_sub(axes.len()))
                .map(|rank| vec![Dim::Unknown; rank]),
            (None, _) => None,
        };
        let output = TensorFact::with_shape(x.dtype, shape);
        Ok(vec![partial::same_elements(output, &x).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let mut dims: Vec<Option<usize>> = x.shape().iter().copied().map(Some).collect();
        match cx.ints(1)?.or_else(|| self.axes.clone()) {
            None => dims.retain(|&d| d != Some(1)),
            Some(axes) => {
                for axis in axes {
                    let at = axis::eval(axis, x.rank())?;
                    if x.shape()[at] != 1 {
                        return Err(EvalError::rule(
                            RULE,
                            format_args!("axis {axis} of {:?}", x.shape()),
                        ));
                    }
                    dims[at] = None;
                }
            }
        }
        let shape: Vec<usize> = dims.into_iter().flatten().collect();
        Ok(vec![x.reshape(&shape)?.into()])
    }

    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: Some(&[0]) }
    }
}

fn squeezed(dims: &[Dim], axes: &[i64]) -> Result<Vec<Dim>, InferError> {
    let mut dims: Vec<Option<&Dim>> = dims.iter().map(Some).collect();
    let rank = dims.len();
    for &axis in axes {
        let at = axis::infer(axis, rank)?;
        if let Some(d) = dims[at].and_then(Dim::as_known).filter(|&d| d != 1) {
            return Err(InferError::rule(RULE, format_args!("axis {axis} is {d}")));
        }
        dims[at] = None;
    }
    Ok(dims.into_iter().flatten().cloned().collect())
}

/// The dimensions that are not 1; `None` where one is not known, for then the rank is not.
fn without_ones(dims: &[Dim]) -> Option<Vec<Dim>> {
    let known: Option<Vec<i64>> = dims.iter().map(Dim::as_known).collect();
    Some(
        known?
            .into_iter()
            .filter(|&d| d != 1)
            .map(Dim::Known)
            .collect(),
    )
}
