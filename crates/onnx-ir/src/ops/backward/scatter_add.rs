//! `ScatterAdd`: the adjoint of moving elements. `y[positions[i]] += updates[i]` over the flattened `y`, which starts at 0;
//! positions below 0 are passed over.
//!
//! Inputs: `updates`, `positions` (i64, as many as updates), `shape` (i64). Output: `y` of that shape.

use super::shaped;
use crate::operator::prelude::*;
use crate::ops::lanes::{floats, rounded};

/// `ScatterAdd` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct ScatterAdd;

impl Operator for ScatterAdd {
    const SIGNATURE: Signature = Signature::private("ScatterAdd");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        cx.tensor(1)?;
        Ok(vec![shaped::infer(cx, 0, 2)?.into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let updates = cx.tensor(0)?;
        let positions = cx.data::<i64>(1)?;
        let shape = shaped::sizes(cx, 2, updates.dtype())?;
        if positions.len() != updates.len() {
            return Err(EvalError::rule(
                "there must be one position for each update",
                format_args!("{} for {}", positions.len(), updates.len()),
            ));
        }
        let mut sums = vec![0.0; element_count(&shape).unwrap_or(0)];
        for (update, &at) in floats(updates)?.into_iter().zip(positions.iter()) {
            let Ok(at) = usize::try_from(at) else {
                continue;
            };
            let sum = sums.get_mut(at).ok_or_else(|| {
                EvalError::rule(
                    "a position must lie within the result",
                    format_args!("{at} of {shape:?}"),
                )
            })?;
            *sum += update;
        }
        Ok(vec![rounded(updates.dtype(), &shape, sums)?.into()])
    }
}

/// Why operators that are gradients have none themselves.
pub(super) const SECOND_ORDER: &str =
    "it is itself a gradient, and second derivatives are not defined";
