//! From the range of the data to scale and zero point.

use super::{QuantParams, QuantParamsError, is_quantized};
use crate::{DType, Overflow};

/// Which steps of the quantized type a range is laid on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RangeRule {
    /// The range, widened to hold zero, on all steps: `s = (max - min) / (q_max - q_min)`,
    /// `z = round_ties_even(q_min - min / s)`.
    Asymmetric,
    /// The range `±max(|min|, |max|)`, the same number of steps on either side of the middle:
    /// `z = 0` for signed types and the middle of unsigned ones, `s = max|x| / (q_max - z)`.
    Symmetric,
}

impl QuantParams {
    /// The per-tensor parameters that hold the range `[min, max]`, with zero exactly representable.
    ///
    /// For float8 and float4, which are symmetric anyway, `s = max|x| / (largest finite value)`.
    /// A range so narrow that its scale would not be a normal `f32`, such as `[0, 0]`, gets `s = 1`
    /// and the zero point of a symmetric range (of `q_min` for an asymmetric one).
    ///
    /// Krishnamoorthi 2018, arXiv:1806.08342, sec. 2.1 and 2.2.
    ///
    /// # Errors
    /// [`QuantParamsError::BadRange`] if an end is not finite or `min > max`;
    /// [`QuantParamsError::NotQuantized`] if `dtype` is none that values are quantized to.
    ///
    /// # Examples
    /// ```
    /// use compress_tensor::{DType, QuantParams, RangeRule};
    /// let p = QuantParams::from_min_max(-1.0, 1.55, DType::U8, RangeRule::Asymmetric)?;
    /// assert_eq!((p.scale[0], p.zero_point[0]), (0.01, 100));
    /// # Ok::<(), compress_tensor::QuantParamsError>(())
    /// ```
    pub fn from_min_max(
        min: f32,
        max: f32,
        dtype: DType,
        rule: RangeRule,
    ) -> Result<Self, QuantParamsError> {
        if !is_quantized(dtype) {
            return Err(QuantParamsError::NotQuantized { dtype });
        }
        if !(min.is_finite() && max.is_finite() && min <= max) {
            return Err(QuantParamsError::BadRange { min, max });
        }
        // In f64, so that neither the width nor the zero point suffers from rounding or overflow.
        let (min, max) = (f64::from(min).min(0.0), f64::from(max).max(0.0));
        let Some((low, high)) = dtype.integer_range() else {
            let (scale, _) = normal_or_one((-min).max(max) / largest_finite(dtype));
            return Ok(Self::per_tensor(scale, 0, dtype));
        };
        let (scale, zero_point) = match rule {
            RangeRule::Symmetric => {
                let middle = if low < 0 { 0 } else { (high + 1) / 2 };
                let (scale, _) = normal_or_one((-min).max(max) / (high - middle) as f64);
                (scale, middle)
            }
            RangeRule::Asymmetric => {
                let exact = (max - min) / (high - low) as f64;
                match normal_or_one(exact) {
                    (one, true) => (one, low),
                    (scale, false) => {
                        let zero_point = (low as f64 - min / exact).round_ties_even() as i64;
                        (scale, zero_point.clamp(low, high))
                    }
                }
            }
        };
        Ok(Self::per_tensor(scale, zero_point as i32, dtype))
    }
}

/// The scale as `f32`, and whether it was replaced by 1 for being too small.
fn normal_or_one(scale: f64) -> (f32, bool) {
    if scale < f64::from(f32::MIN_POSITIVE) {
        (1.0, true)
    } else {
        (scale as f32, false)
    }
}

fn largest_finite(dtype: DType) -> f64 {
    let saturated = f64::INFINITY;
    let value = match dtype {
        DType::F8E4M3FN => crate::F8E4M3FN::from_f64(saturated, Overflow::Saturate).to_f32(),
        DType::F8E4M3FNUZ => crate::F8E4M3FNUZ::from_f64(saturated, Overflow::Saturate).to_f32(),
        DType::F8E5M2 => crate::F8E5M2::from_f64(saturated, Overflow::Saturate).to_f32(),
        DType::F8E5M2FNUZ => crate::F8E5M2FNUZ::from_f64(saturated, Overflow::Saturate).to_f32(),
        _ => crate::f4e2m1_to_f32(crate::f4e2m1_from_f64(saturated)),
    };
    value.into()
}
