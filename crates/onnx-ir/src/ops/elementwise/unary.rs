//! What operators of one input and one output of the same shape share.

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::number::Number;
use compress_tensor::CastOptions;

/// The output has the type and shape of input 0.
///
/// # Errors
/// Those of [`InferContext::tensor`].
pub fn infer(cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
    let x = cx.tensor(0)?;
    Ok(vec![TensorFact::with_shape(x.dtype, x.shape).into()])
}

/// The output has the shape of input 0 and this type.
///
/// # Errors
/// Those of [`InferContext::tensor`].
pub fn infer_as(cx: &InferContext<'_>, dtype: Option<DType>) -> Result<Vec<Fact>, InferError> {
    Ok(vec![
        TensorFact::with_shape(dtype, cx.tensor(0)?.shape).into(),
    ])
}

/// `f` of every element of a float tensor, computed in f64 and rounded to the tensor's type.
///
/// # Errors
/// [`EvalError::DType`] for what is no float.
pub fn float(cx: &EvalContext<'_>, f: impl Fn(f64) -> f64) -> Result<Vec<Value>, EvalError> {
    Ok(vec![map_float(cx.tensor(0)?, f)?.into()])
}

/// As [`float`], on a given tensor.
///
/// # Errors
/// [`EvalError::DType`] for what is no float.
pub fn map_float(x: &Tensor, f: impl Fn(f64) -> f64) -> Result<Tensor, EvalError> {
    dispatch!(x.dtype(), T in floats => map(x, |v: T| T::from_f64(f(v.to_f64()))))
}

/// `f` of every element.
///
/// # Errors
/// [`EvalError::Tensor`] where the tensor holds another type.
pub fn map<T: Element, R: Element>(x: &Tensor, f: impl Fn(T) -> R) -> Result<Tensor, EvalError> {
    let results = x.data::<T>()?.iter().map(|&v| f(v)).collect();
    Ok(Tensor::from_vec(x.shape(), results)?)
}

/// A float8 tensor as f32, exactly; `None` for the other types.
///
/// # Errors
/// [`EvalError::Tensor`].
pub fn widened_float8(x: &Tensor) -> Result<Option<Tensor>, EvalError> {
    Ok(match x.dtype() {
        DType::F8E4M3FN | DType::F8E4M3FNUZ | DType::F8E5M2 | DType::F8E5M2FNUZ => {
            Some(x.cast(DType::F32, CastOptions::default())?)
        }
        _ => None,
    })
}

/// The first element of a numeric tensor as f64.
pub fn first_as_f64(x: &Tensor) -> Option<f64> {
    let first = dispatch!(x.dtype(), T in numbers => match x.data::<T>() {
        Ok(data) => Ok(data.first().map(|v| v.to_f64())),
        Err(error) => Err(error.into()),
    });
    first.ok().flatten()
}
