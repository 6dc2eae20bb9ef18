//! `Tile`: the tensor repeated along each axis.
//! <https://onnx.ai/onnx/operators/onnx__Tile.html>
//!
//! Before opset 6 it repeats along one axis, both given as scalar inputs.

use crate::operator::prelude::*;
use crate::ops::{axis, select};

/// `Tile` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Tile;

const RULE: &str = "there must be one repeat, not negative, for each axis";

impl Operator for Tile {
    const SIGNATURE: Signature = Signature::onnx("Tile", &[1, 6, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give_moved(&[Some(cx.input(1))]);
        Ok(())
    });

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        cx.tensor(1)?;
        let Some(mut shape) = x.shape else {
            return Ok(vec![TensorFact::of_dtype(x.dtype).into()]);
        };
        let unknown = vec![Dim::Unknown; shape.len()];
        let repeats = if cx.version() < 6 {
            let axis = cx.const_ints(2).and_then(|a| a.first().copied());
            match (axis, cx.elements(1).and_then(|t| t.into_iter().next())) {
                (Some(axis), Some(tiles)) => {
                    let mut repeats = vec![Dim::Known(1); shape.len()];
                    repeats[axis::infer(axis, shape.len())?] = tiles;
                    repeats
                }
                _ => unknown,
            }
        } else {
            cx.elements(1).unwrap_or(unknown)
        };
        if repeats.len() != shape.len() {
            let found = format_args!("{} for rank {}", repeats.len(), shape.len());
            return Err(InferError::rule(RULE, found));
        }
        for (d, r) in shape.iter_mut().zip(repeats) {
            *d = d.clone() * r;
        }
        Ok(vec![TensorFact::with_shape(x.dtype, Some(shape)).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let given = cx.ints(1)?.ok_or(EvalError::MissingInput { index: 1 })?;
        let wrong = || EvalError::rule(RULE, format_args!("{given:?} for {:?}", x.shape()));
        let repeats = if cx.version() < 6 {
            let axis = cx.ints(2)?.and_then(|a| a.first().copied());
            let mut repeats = vec![1; x.rank()];
            repeats[axis::eval(axis.ok_or_else(wrong)?, x.rank())?] =
                *given.first().ok_or_else(wrong)?;
            repeats
        } else {
            given.clone()
        };
        if repeats.len() != x.rank() {
            return Err(wrong());
        }
        let sizes = x.shape().iter().zip(&repeats);
        let shape: Option<Vec<usize>> = sizes
            .map(|(&d, &r)| usize::try_from(r).ok()?.checked_mul(d))
            .collect();
        let shape = shape.ok_or_else(wrong)?;
        if cx.check_size(&shape, x.dtype())? == 0 {
            // The other sizes may be too large for a table along their axes.
            return Ok(vec![select::zeros(x.dtype(), &shape)?.into()]);
        }
        let tables: Vec<Vec<Option<usize>>> = shape
            .iter()
            .zip(x.shape())
            .map(|(&n, &d)| (0..n).map(|i| Some(i % d)).collect())
            .collect();
        Ok(vec![select::mapped(x, &tables, x)?.into()])
    }

    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: Some(&[0]) }
    }
}
