//! Folding a tensor along axes, and the products and sums of shapes that are known in part.

use super::ReduceAxes;
use crate::operator::prelude::*;
use crate::ops::broadcast;

/// Folds the elements along the reduced axes, from `init` with `step`, and makes each result an
/// element with `finish`, which also gets the number of elements that were folded.
pub(super) fn fold<T: Element, A: Clone, R: Element>(
    cx: &EvalContext<'_>,
    attrs: &ReduceAxes,
    init: A,
    step: impl Fn(A, T) -> A,
    finish: impl Fn(A, usize) -> R,
) -> Result<Tensor, EvalError> {
    let x = cx.tensor(0)?;
    let plan = FoldPlan::of(cx, attrs, x, R::DTYPE)?;
    let mut folded = vec![init; plan.count];
    let data = x.data::<T>()?;
    let mut elements = data.iter();
    broadcast::for_each(x.shape(), [&plan.places], |[at]| {
        if let Some(&v) = elements.next() {
            folded[at] = step(folded[at].clone(), v);
        }
    });
    let y = folded.into_iter().map(|a| finish(a, plan.each)).collect();
    Ok(Tensor::from_vec(&plan.shape, y)?)
}

/// What folding knows before it looks at an element.
struct FoldPlan {
    /// The shape of the result, and its elements.
    shape: Vec<usize>,
    count: usize,
    /// Strides of the place in the result at each index; along a reduced axis it does not move.
    places: Vec<usize>,
    /// Elements that become one.
    each: usize,
}

impl FoldPlan {
    fn of(
        cx: &EvalContext<'_>,
        attrs: &ReduceAxes,
        x: &Tensor,
        result: DType,
    ) -> Result<Self, EvalError> {
        let reduced = attrs.reduced(cx)?;
        let sizes = || x.shape().iter().zip(&reduced);
        let kept: Vec<usize> = sizes()
            .map(|(&d, &reduced)| if reduced { 1 } else { d })
            .collect();
        let count = cx.check_size(&kept, result)?;
        Ok(Self {
            count,
            places: broadcast::strides(&kept, x.shape()),
            each: x.len().checked_div(count).unwrap_or(0),
            shape: if attrs.keep_dims {
                kept
            } else {
                let left = sizes().filter(|(_, reduced)| !**reduced);
                left.map(|(&d, _)| d).collect()
            },
        })
    }
}

/// The fact of a reduction of a small integer vector whose elements are known in part: all of them
/// become one by `combine`.
pub(super) fn infer(
    cx: &InferContext<'_>,
    attrs: &ReduceAxes,
    combine: impl Fn(Dim, Dim) -> Dim,
) -> Result<Vec<Fact>, InferError> {
    let fact = attrs.infer(cx)?;
    let x = cx.tensor(0)?;
    let elements = match (x.dtype, x.rank()) {
        (Some(DType::I64 | DType::I32), Some(1)) => x.elements(),
        _ => None,
    };
    // The result has one element only if the vector's axis was reduced, or is 1 itself.
    let whole = fact.sizes().is_some_and(|s| element_count(&s) == Some(1));
    let combined = elements.and_then(|e| e.into_iter().reduce(combine));
    Ok(vec![
        match (fact.dtype, &fact.shape, combined) {
            (Some(dtype), Some(shape), Some(value)) if whole && !value.is_unknown() => {
                TensorFact::ints(dtype, shape.clone(), vec![value])
            }
            _ => fact,
        }
        .into(),
    ])
}
