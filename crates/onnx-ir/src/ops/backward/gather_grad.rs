//! `GatherGrad`: the adjoint of `Gather`: `dx[.., indices[i..], ..] += dy[.., i.., ..]` along `axis`.
//!
//! Inputs: `dy`, `indices`, `shape` (i64, of `x`). Output: `dx`. Attribute: `axis` (default 0).

use super::scatter_add::SECOND_ORDER;
use super::shaped;
use crate::operator::prelude::*;
use crate::ops::axis;
use crate::ops::index::position;
use crate::ops::lanes::{floats, rounded};

/// The attributes of `GatherGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct GatherGrad {
    /// The axis that the indices walk; negative counts from the end.
    pub axis: i64,
}

impl Operator for GatherGrad {
    const SIGNATURE: Signature = Signature::private("GatherGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axis: attrs.int_or("axis", 0)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        cx.tensor(1)?;
        let fact = shaped::infer(cx, 0, 2)?;
        if let Some(rank) = fact.rank() {
            axis::infer(self.axis, rank)?;
        }
        Ok(vec![fact.into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (dy, indices) = (cx.tensor(0)?, cx.tensor(1)?);
        let shape = shaped::sizes(cx, 2, dy.dtype())?;
        let axis = axis::eval(self.axis, shape.len())?;
        shaped::expect(
            dy,
            &[&shape[..axis], indices.shape(), &shape[axis + 1..]].concat(),
        )?;
        let mut dx = vec![0.0; element_count(&shape).unwrap_or(0)];
        let (outer, size, inner) = axis::split(&shape, axis);
        let places = cx.ints(1)?.ok_or(EvalError::MissingInput { index: 1 })?;
        let adjoints = floats(dy)?;
        if !adjoints.is_empty() {
            let mut rows = adjoints.chunks_exact(inner);
            for o in 0..outer {
                for &place in &places {
                    let first = (o * size + position::resolve(place, size)?) * inner;
                    let row = rows.next().unwrap_or_default();
                    let sums = dx[first..first + inner].iter_mut();
                    sums.zip(row).for_each(|(sum, v)| *sum += v);
                }
            }
        }
        Ok(vec![rounded(dy.dtype(), &shape, dx)?.into()])
    }
}
