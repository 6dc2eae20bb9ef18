//! From the caller's element type to `f64` and back.

use ndarray::{Array, ArrayRef, Dimension};
use num_traits::Float;

/// The value as `f64`; exact for floats of up to 64 bits.
pub(crate) fn wide<F: Float>(x: F) -> f64 {
    x.to_f64().unwrap_or(f64::NAN)
}

/// The nearest value of the element type.
pub(crate) fn narrow<F: Float>(x: f64) -> F {
    F::from(x).unwrap_or_else(F::nan)
}

/// An array of this shape with these values in C order.
pub(crate) fn shaped_like<'a, F: Float, D: Dimension>(
    like: &ArrayRef<F, D>,
    values: impl IntoIterator<Item = &'a f64>,
) -> Array<F, D> {
    let mut array = Array::zeros(like.raw_dim());
    for (out, &value) in array.iter_mut().zip(values) {
        *out = narrow(value);
    }
    array
}
