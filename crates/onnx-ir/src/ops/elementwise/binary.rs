//! What operators of two broadcast inputs and one output share.

use crate::operator::prelude::*;
use crate::ops::{axis, broadcast, partial};

/// How the second operand meets the first.
///
/// Since opset 7 both broadcast to each other as in NumPy. Before, only the second one did, when the
/// attribute `broadcast` was 1: its shape met the first one's from axis `axis` on, or from the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Broadcasting {
    /// The axis of the first operand that the second one's first axis meets; only before opset 7.
    pub axis: Option<i64>,
}

impl Broadcasting {
    /// Reads the attributes of the versions before opset 7; there are none since.
    ///
    /// # Errors
    /// [`AttrError::WrongKind`].
    pub fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        if attrs.version() >= 7 {
            return Ok(Self::default());
        }
        attrs.ignore("consumed_inputs");
        // Without it the shapes must be equal, and equal shapes broadcast to themselves.
        attrs.ignore("broadcast");
        Ok(Self {
            axis: attrs.int_opt("axis")?,
        })
    }

    /// The first two inputs, the second one reshaped so that both broadcast as in NumPy.
    ///
    /// # Errors
    /// [`EvalError::MissingInput`], [`EvalError::WrongInput`], [`EvalError::Rule`].
    pub fn operands(&self, cx: &EvalContext<'_>) -> Result<[Tensor; 2], EvalError> {
        let (a, b) = (cx.tensor(0)?, cx.tensor(1)?);
        let b = match self.trailing(a.rank(), b.rank()) {
            Ok(0) => b.clone(),
            Ok(ones) => b.reshape(&[b.shape(), &vec![1; ones]].concat())?,
            Err(found) => return Err(EvalError::rule(AXIS_RULE, found)),
        };
        Ok([a.clone(), b])
    }

    /// The shape of the result, where both shapes are known.
    fn infer(&self, a: &TensorFact, b: &TensorFact) -> Result<Option<Vec<Dim>>, InferError> {
        let (Some(a), Some(b)) = (&a.shape, &b.shape) else {
            return Ok(None);
        };
        let ones = self
            .trailing(a.len(), b.len())
            .map_err(|found| InferError::rule(AXIS_RULE, found))?;
        let b = [b.as_slice(), &vec![Dim::Known(1); ones]].concat();
        Ok(Some(broadcast::infer(&[a, &b])?))
    }

    /// The axes of length 1 to append to the second operand's shape.
    fn trailing(&self, a_rank: usize, b_rank: usize) -> Result<usize, String> {
        let Some(axis) = self.axis else { return Ok(0) };
        axis::resolve(axis, a_rank)
            .and_then(|axis| (a_rank - axis).checked_sub(b_rank))
            .ok_or_else(|| format!("axis {axis}, ranks {a_rank} and {b_rank}"))
    }
}

const AXIS_RULE: &str = "the second operand must fit into the first from `axis` on";

/// The output has the broadcast shape and the type of the inputs.
///
/// # Errors
/// [`InferError::Rule`] where the shapes do not broadcast.
pub fn infer(cx: &InferContext<'_>, broadcasting: &Broadcasting) -> Result<Vec<Fact>, InferError> {
    let (a, b) = (cx.tensor(0)?, cx.tensor(1)?);
    let shape = broadcasting.infer(&a, &b)?;
    Ok(vec![
        TensorFact::with_shape(a.dtype.or(b.dtype), shape).into(),
    ])
}

/// As [`infer`], with the elements of small integer tensors as `f` of the inputs' elements.
///
/// # Errors
/// As [`infer`].
pub fn infer_elements(
    cx: &InferContext<'_>,
    broadcasting: &Broadcasting,
    f: impl Fn(&Dim, &Dim) -> Dim,
) -> Result<Vec<Fact>, InferError> {
    let (a, b) = (cx.tensor(0)?, cx.tensor(1)?);
    let output = TensorFact::with_shape(a.dtype.or(b.dtype), broadcasting.infer(&a, &b)?);
    Ok(vec![
        partial::elementwise(output, [&a, &b], |[a, b]| f(a, b)).into(),
    ])
}

/// As [`infer_elements`], for an output of truth values: 0 and 1.
///
/// # Errors
/// As [`infer`].
pub fn infer_truth(
    cx: &InferContext<'_>,
    broadcasting: &Broadcasting,
    f: impl Fn(&Dim, &Dim) -> Dim,
) -> Result<Vec<Fact>, InferError> {
    let (a, b) = (cx.tensor(0)?, cx.tensor(1)?);
    let output = TensorFact::with_shape(Some(DType::Bool), broadcasting.infer(&a, &b)?);
    Ok(vec![
        partial::elementwise(output, [&a, &b], |[a, b]| f(a, b)).into(),
    ])
}

/// `f` of both operands, element by element, broadcast.
///
/// # Errors
/// Those of [`broadcast::binary`].
pub fn map<A: Element, B: Element, R: Element>(
    cx: &EvalContext<'_>,
    [a, b]: &[Tensor; 2],
    f: impl Fn(A, B) -> R,
) -> Result<Vec<Value>, EvalError> {
    Ok(vec![
        broadcast::binary(cx, a, b, |x, y| Ok(f(x, y)))?.into(),
    ])
}

/// As [`map`], for what may refuse a pair of elements.
///
/// # Errors
/// Those of [`broadcast::binary`] and of `f`.
pub fn try_map<A: Element, B: Element, R: Element>(
    cx: &EvalContext<'_>,
    [a, b]: &[Tensor; 2],
    f: impl Fn(A, B) -> Result<R, EvalError>,
) -> Result<Vec<Value>, EvalError> {
    Ok(vec![broadcast::binary(cx, a, b, f)?.into()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_opset_7_the_second_operand_meets_the_first_at_its_axis() {
        let at = |axis| Broadcasting { axis };
        assert_eq!(at(Some(1)).trailing(4, 2), Ok(1));
        assert_eq!(at(Some(-2)).trailing(4, 1), Ok(1));
        assert_eq!(at(None).trailing(4, 2), Ok(0));
        assert!(at(Some(3)).trailing(4, 2).is_err());
        assert!(at(Some(9)).trailing(4, 2).is_err());
    }
}
