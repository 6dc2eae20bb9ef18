//! Mean and variance, and the parameters that are broadcast over the normalised elements.

use crate::operator::EvalError;
use crate::ops::{broadcast, lanes::floats};
use compress_tensor::Tensor;

/// Mean and variance of some elements.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moments {
    /// The mean.
    pub mean: f64,
    /// The mean of the squared distances from the mean (the population's variance, not the sample's).
    pub variance: f64,
}

impl Moments {
    /// The moments of these elements; zeros for none.
    pub fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let (count, sum) = values
            .clone()
            .fold((0.0, 0.0), |(n, s), v| (n + 1.0, s + v));
        if count == 0.0 {
            return Self::default();
        }
        let mean = sum / count;
        let squares: f64 = values.map(|v| (v - mean).powi(2)).sum();
        Self {
            mean,
            variance: squares / count,
        }
    }

    /// `1 / sqrt(variance + epsilon)`.
    pub fn inverse_deviation(&self, epsilon: f32) -> f64 {
        (self.variance + f64::from(epsilon)).sqrt().recip()
    }
}

/// A parameter vector of `len` elements as f64.
///
/// # Errors
/// [`EvalError::WrongInput`] for another shape.
pub fn parameter(index: usize, x: &Tensor, len: usize) -> Result<Vec<f64>, EvalError> {
    if x.len() != len || x.rank() > 1 {
        return Err(EvalError::WrongInput {
            index,
            expected: "a vector with one element per channel or group",
            found: format!("shape {:?} for {len}", x.shape()),
        });
    }
    floats(x)
}

/// A parameter at every element of `shape`, to which it must broadcast, as f64.
///
/// # Errors
/// [`EvalError::Rule`] where it does not broadcast.
pub fn broadcast_parameter(x: &Tensor, shape: &[usize]) -> Result<Vec<f64>, EvalError> {
    if broadcast::shape(&[x.shape(), shape])? != shape {
        return Err(EvalError::rule(
            "scale and bias must broadcast to the input",
            format_args!("{:?} to {shape:?}", x.shape()),
        ));
    }
    let values = floats(x)?;
    let mut out = Vec::new();
    let strides = broadcast::strides(x.shape(), shape);
    broadcast::for_each(shape, [&strides], |[i]| out.push(values[i]));
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variance_is_the_populations() {
        let m = Moments::of([1.0, 2.0, 3.0, 4.0].into_iter());
        assert_eq!((m.mean, m.variance), (2.5, 1.25));
        assert_eq!(m.inverse_deviation(1.0), 1.0 / 1.5);
        assert_eq!(Moments::of(std::iter::empty()), Moments::default());
    }
}
