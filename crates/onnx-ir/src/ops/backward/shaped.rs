//! What operators share whose result has the shape that an input says.

use crate::operator::prelude::*;

/// The fact of a result with the type of input `like` and the shape that the i64 vector `shape` says.
pub(super) fn infer(
    cx: &InferContext<'_>,
    like: usize,
    shape: usize,
) -> Result<TensorFact, InferError> {
    let dtype = cx.tensor(like)?.dtype;
    cx.tensor(shape)?;
    let dims = cx.elements(shape);
    if let Some(bad) = dims
        .iter()
        .flatten()
        .find(|d| d.as_known().is_some_and(|n| n < 0))
    {
        return Err(InferError::rule(RULE, bad));
    }
    Ok(TensorFact::with_shape(dtype, dims))
}

/// The sizes that input `index` says; a result of that shape and type keeps to the limits.
pub(super) fn sizes(
    cx: &EvalContext<'_>,
    index: usize,
    dtype: DType,
) -> Result<Vec<usize>, EvalError> {
    let sizes = cx.ints(index)?.ok_or(EvalError::MissingInput { index })?;
    let sizes: Option<Vec<usize>> = sizes.iter().map(|&n| usize::try_from(n).ok()).collect();
    let sizes = sizes.ok_or_else(|| EvalError::rule(RULE, "a negative size"))?;
    cx.check_size(&sizes, dtype)?;
    Ok(sizes)
}

const RULE: &str = "sizes must not be negative";

/// Two tensors have the same shape.
pub(super) fn same(a: &Tensor, b: &Tensor) -> Result<(), EvalError> {
    if a.shape() == b.shape() {
        return Ok(());
    }
    Err(EvalError::rule(
        "an adjoint must have the shape of its value",
        format_args!("{:?} and {:?}", a.shape(), b.shape()),
    ))
}

/// The adjoint, input 0, must be of this shape.
pub(super) fn expect(adjoint: &Tensor, shape: &[usize]) -> Result<(), EvalError> {
    if adjoint.shape() == shape {
        return Ok(());
    }
    Err(EvalError::rule(
        "an adjoint must have the shape of its value",
        format_args!("{:?} and {shape:?}", adjoint.shape()),
    ))
}

/// The fact of input `index` without its value: an adjoint is like its value.
pub(super) fn like(cx: &InferContext<'_>, index: usize) -> Result<Fact, InferError> {
    let fact = cx.tensor(index)?;
    Ok(TensorFact::with_shape(fact.dtype, fact.shape).into())
}

/// The fact of an adjoint: of the type of the adjoint that is input 0, and of the shape of input `index`, which may hold integers.
pub(super) fn adjoint_of(cx: &InferContext<'_>, index: usize) -> Result<Fact, InferError> {
    let (dy, value) = (cx.tensor(0)?, cx.tensor(index)?);
    Ok(TensorFact::with_shape(dy.dtype, value.shape).into())
}

/// [`like`] for each output that the node has.
pub(super) fn like_each(cx: &InferContext<'_>, indices: &[usize]) -> Result<Vec<Fact>, InferError> {
    let indices = indices.iter().take(cx.output_count().max(1));
    indices.map(|&index| like(cx, index)).collect()
}
