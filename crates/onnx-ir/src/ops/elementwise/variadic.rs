//! What operators of any number of broadcast inputs share.

use crate::operator::prelude::*;
use crate::ops::broadcast;
use crate::ops::number::Number;

/// The output has the type of the inputs and the shape that they all broadcast to.
///
/// # Errors
/// [`InferError::MissingInput`] without inputs, [`InferError::Rule`] where shapes do not broadcast.
pub fn infer(cx: &InferContext<'_>) -> Result<Vec<Fact>, InferError> {
    let first = cx.tensor(0)?;
    let (mut dtype, mut shape) = (first.dtype, first.shape);
    for i in 1..cx.input_count() {
        let x = cx.tensor(i)?;
        dtype = dtype.or(x.dtype);
        shape = match (shape, x.shape) {
            (Some(a), Some(b)) => Some(broadcast::infer(&[&a, &b])?),
            _ => None,
        };
    }
    Ok(vec![TensorFact::with_shape(dtype, shape).into()])
}

/// All inputs; they share their data with the originals.
///
/// # Errors
/// [`EvalError::MissingInput`], also without any; [`EvalError::WrongInput`].
pub fn inputs(cx: &EvalContext<'_>) -> Result<Vec<Tensor>, EvalError> {
    (0..cx.input_count().max(1))
        .map(|i| cx.tensor(i).cloned())
        .collect()
}

/// The tensors folded by `f` from the first to the last, broadcast. There must be one at least.
///
/// # Errors
/// Those of [`broadcast::binary`]; [`EvalError::MissingInput`] without tensors.
pub fn fold<T: Number>(
    cx: &EvalContext<'_>,
    tensors: Vec<Tensor>,
    f: impl Fn(T, T) -> T,
) -> Result<Tensor, EvalError> {
    let mut tensors = tensors.into_iter();
    let first = tensors.next().ok_or(EvalError::MissingInput { index: 0 })?;
    tensors.try_fold(first, |folded, x| {
        broadcast::binary(cx, &folded, &x, |a, b| Ok(f(a, b)))
    })
}

/// Gives the adjoint to the inputs that are equal to the output, in equal parts where several are.
pub fn give_to_extremes(cx: &GradientContext<'_>) {
    let y = cx.output(0);
    let count = cx.node().inputs().len();
    let hits: Vec<Var<'_>> = (0..count)
        .map(|i| cx.input(i).equals(y).cast_like(y))
        .collect();
    let Some(total) = hits.iter().copied().reduce(|a, b| a + b) else {
        return;
    };
    let share = cx.dy() / total;
    for (i, hit) in hits.into_iter().enumerate() {
        cx.give_broadcast(i, share * hit);
    }
}
