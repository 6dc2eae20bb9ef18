//! What the global pooling operators share: one value per plane.

use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;

const RULE: &str = "the input must have the axes batch, channel and spatial ones";

/// The fact of the result: every spatial axis is 1.
pub(super) fn infer(cx: &InferContext<'_>) -> Result<Vec<Fact>, InferError> {
    let x = cx.tensor(0)?;
    let shape = match x.shape.as_deref() {
        None => None,
        Some([n, c, spatial @ ..]) => {
            let mut shape = vec![n.clone(), c.clone()];
            shape.resize(2 + spatial.len(), 1i64.into());
            Some(shape)
        }
        Some(other) => return Err(InferError::rule(RULE, format_args!("rank {}", other.len()))),
    };
    Ok(vec![TensorFact::with_shape(x.dtype, shape).into()])
}

/// `pool` of every plane.
pub(super) fn pool<T: Accumulate<Wide = f64>>(
    cx: &EvalContext<'_>,
    pool: impl Fn(&mut dyn Iterator<Item = f64>) -> f64,
) -> Result<Vec<Value>, EvalError> {
    let x = cx.tensor(0)?;
    let [n, c, spatial @ ..] = x.shape() else {
        return Err(EvalError::rule(RULE, format_args!("{:?}", x.shape())));
    };
    let mut shape = vec![*n, *c];
    shape.resize(x.rank(), 1);
    let planes = cx.check_size(&shape, T::DTYPE)?;
    let plane = x.len().checked_div(planes).unwrap_or(0);
    if plane == 0 && planes > 0 {
        return Err(EvalError::rule(
            "there must be something to pool",
            format_args!("spatial sizes {spatial:?}"),
        ));
    }
    let x = x.data::<T>()?;
    let planes = (0..planes).map(|p| &x[p * plane..(p + 1) * plane]);
    let y = planes.map(|p| T::narrow(pool(&mut p.iter().map(|v| v.widen()))));
    Ok(vec![Tensor::from_vec(&shape, y.collect())?.into()])
}

/// The spatial axes.
pub(super) fn spatial(x: Var<'_>) -> Result<Vec<usize>, Unsupported> {
    let rank = x
        .rank()
        .ok_or(Unsupported("the rank of its input is not known"))?;
    Ok((2..rank).collect())
}
