//! The greatest and the least element.

use super::{ReduceAxes, fold};
use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::number::Number;

/// The greatest element along axes; NaN where one is.
pub(super) fn greatest(cx: &EvalContext<'_>, axes: &ReduceAxes) -> Result<Vec<Value>, EvalError> {
    let y = match cx.tensor(0)?.dtype() {
        DType::Bool => fold::fold(cx, axes, false, |any, v: bool| any | v, |any, _| any),
        dtype => dispatch!(dtype, T in numbers => {
            fold::fold(cx, axes, T::LOWEST, |best, v: T| best.larger(v), |best, _| best)
        }),
    };
    Ok(vec![y?.into()])
}

/// The least element along axes; NaN where one is.
pub(super) fn least(cx: &EvalContext<'_>, axes: &ReduceAxes) -> Result<Vec<Value>, EvalError> {
    let y = match cx.tensor(0)?.dtype() {
        DType::Bool => fold::fold(cx, axes, true, |all, v: bool| all & v, |all, _| all),
        dtype => dispatch!(dtype, T in numbers => {
            fold::fold(cx, axes, T::HIGHEST, |best, v: T| best.smaller(v), |best, _| best)
        }),
    };
    Ok(vec![y?.into()])
}
