//! What the window operators share: a sum of cosines over one period,
//! `w[n] = a0 - a1 * cos(2 pi n / N) + a2 * cos(4 pi n / N)`.

use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::dispatch::dispatch;

/// The attributes of the window operators.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowAttributes {
    /// The element type of the result.
    pub output: DType,
    /// The length of the period.
    pub period: Period,
}

/// The length of a window's period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// The window's size: copies side by side continue one another.
    Periodic,
    /// One less: the last value is the first.
    Symmetric,
}

impl WindowAttributes {
    /// Reads `output_datatype` and `periodic`.
    ///
    /// # Errors
    /// [`AttrError::WrongKind`], [`AttrError::Invalid`].
    pub fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            output: attrs.dtype_opt("output_datatype")?.unwrap_or(DType::F32),
            period: if attrs.flag_or("periodic", true)? {
                Period::Periodic
            } else {
                Period::Symmetric
            },
        })
    }

    /// A vector of as many elements as the input says.
    pub(super) fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        cx.tensor(0)?;
        let size = cx.elements(0).and_then(|e| e.first().cloned());
        let shape = vec![size.unwrap_or(Dim::Unknown)];
        Ok(vec![
            TensorFact::with_shape(Some(self.output), Some(shape)).into(),
        ])
    }

    /// The window with these coefficients; a single value is 1.
    pub(super) fn eval(
        &self,
        cx: &EvalContext<'_>,
        coefficients: [f64; 3],
    ) -> Result<Vec<Value>, EvalError> {
        let size = match cx.ints(0)?.as_deref() {
            Some([size]) => usize::try_from(*size).ok(),
            _ => None,
        };
        let size = size.ok_or_else(|| {
            EvalError::rule(
                "the size must be one number that is not negative",
                "another",
            )
        })?;
        cx.check_size(&[size], DType::F64)?;
        let period = match self.period {
            Period::Periodic => size,
            Period::Symmetric => size.saturating_sub(1),
        };
        let [a0, a1, a2] = coefficients;
        let value = |n: usize| {
            if period == 0 {
                return 1.0;
            }
            let angle = std::f64::consts::TAU * n as f64 / period as f64;
            a0 - a1 * angle.cos() + a2 * (2.0 * angle).cos()
        };
        let values: Vec<f64> = (0..size).map(value).collect();
        Ok(vec![to_dtype(self.output, &[size], &values)?.into()])
    }
}

/// Real values in a numeric type; integers drop the fraction.
pub(super) fn to_dtype(dtype: DType, shape: &[usize], values: &[f64]) -> Result<Tensor, EvalError> {
    fn convert<T: Accumulate>(shape: &[usize], values: &[f64]) -> Result<Tensor, EvalError> {
        let data: Vec<T> = values.iter().map(|&v| T::narrow(T::from_real(v))).collect();
        Ok(Tensor::from_vec(shape, data)?)
    }
    dispatch!(dtype, T in numbers => convert::<T>(shape, values))
}
