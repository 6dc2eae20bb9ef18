//! The one rounding rule of ONNX Runtime's quantized operators, and 8-bit integer tensors in and out.
//!
//! `q = clamp(round_ties_even(clamp(v, q_min - z, q_max - z)) + z)`: the clamp in float comes before the
//! conversion, so nothing overflows, and NaN becomes `q_min`. All in binary32, each operation rounded.

use crate::operator::prelude::*;

/// The range and zero point of a quantized output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantizer {
    min: i32,
    max: i32,
    zero_point: i32,
}

impl Quantizer {
    /// For u8.
    pub fn of_u8(zero_point: u8) -> Self {
        Self {
            min: 0,
            max: 255,
            zero_point: zero_point.into(),
        }
    }

    /// For an integer type of at most 16 bits.
    ///
    /// # Errors
    /// [`EvalError::DType`] for another type.
    pub fn new(dtype: DType, zero_point: i32) -> Result<Self, EvalError> {
        let (min, max) = small_range(dtype)?;
        Ok(Self {
            min,
            max,
            zero_point,
        })
    }

    /// The integer next to `scaled`, ties to even, plus the zero point, within the range.
    pub fn quantize(&self, scaled: f32) -> i32 {
        let (low, high) = (self.min - self.zero_point, self.max - self.zero_point);
        // `f32::max` gives the other operand for NaN: the lower bound.
        let bounded = scaled.max(low as f32).min(high as f32);
        bounded.round_ties_even() as i32 + self.zero_point
    }

    /// An exact accumulator scaled to the output: `quantize(acc as f32 * multiplier)`.
    pub fn requantize(&self, accumulator: i32, multiplier: f32) -> i32 {
        self.quantize(accumulator as f32 * multiplier)
    }
}

/// The smallest and largest value of an integer type of at most 16 bits.
///
/// # Errors
/// [`EvalError::DType`] for another type.
pub fn small_range(dtype: DType) -> Result<(i32, i32), EvalError> {
    match dtype.integer_range() {
        Some((min, max)) if max <= i64::from(u16::MAX) => Ok((min as i32, max as i32)),
        _ => Err(EvalError::DType { dtype }),
    }
}

/// A tensor of an integer type of at most 16 bits from values that lie within its range.
///
/// # Errors
/// [`EvalError::DType`] for another type; [`EvalError::Tensor`] for a value that does not fit.
pub fn small_tensor(
    dtype: DType,
    shape: &[usize],
    values: impl Iterator<Item = i32>,
) -> Result<Tensor, EvalError> {
    Ok(match dtype {
        DType::I8 => Tensor::from_vec(shape, values.map(|v| v as i8).collect())?,
        DType::U8 => Tensor::from_vec(shape, values.map(|v| v as u8).collect())?,
        DType::I16 => Tensor::from_vec(shape, values.map(|v| v as i16).collect())?,
        DType::U16 => Tensor::from_vec(shape, values.map(|v| v as u16).collect())?,
        DType::I4 | DType::U4 | DType::I2 | DType::U2 => {
            let values: Vec<i8> = values.map(|v| v as i8).collect();
            Tensor::pack_ints(dtype, shape, &values)?
        }
        dtype => return Err(EvalError::DType { dtype }),
    })
}

/// The elements of a tensor of an integer type of at most 32 bits.
///
/// # Errors
/// [`EvalError::DType`] for another type.
pub fn integers(x: &Tensor) -> Result<Vec<i32>, EvalError> {
    Ok(match x.dtype() {
        DType::I8 => x.data::<i8>()?.iter().map(|&v| v.into()).collect(),
        DType::U8 => x.data::<u8>()?.iter().map(|&v| v.into()).collect(),
        DType::I16 => x.data::<i16>()?.iter().map(|&v| v.into()).collect(),
        DType::U16 => x.data::<u16>()?.iter().map(|&v| v.into()).collect(),
        DType::I32 => x.data::<i32>()?.into_owned(),
        DType::I4 | DType::U4 | DType::I2 | DType::U2 => {
            x.unpack_ints()?.into_iter().map(i32::from).collect()
        }
        dtype => return Err(EvalError::DType { dtype }),
    })
}

/// The single element of a scale: a scalar or a vector of one.
///
/// # Errors
/// [`EvalError::WrongInput`] where it has more elements or is no float.
pub fn scalar_scale(cx: &EvalContext<'_>, index: usize) -> Result<f32, EvalError> {
    let scale = cx.tensor(index)?;
    match scale.to_f32_vec()?.as_slice() {
        &[s] => Ok(s),
        _ => Err(not_single(index, scale)),
    }
}

/// The single element of a zero point, 0 where it is left out.
///
/// # Errors
/// [`EvalError::WrongInput`] where it has more elements; [`EvalError::DType`] where it is no integer.
pub fn scalar_zero_point(cx: &EvalContext<'_>, index: usize) -> Result<i32, EvalError> {
    let Some(zero_point) = cx.optional_tensor(index)? else {
        return Ok(0);
    };
    match integers(zero_point)?.as_slice() {
        &[z] => Ok(z),
        _ => Err(not_single(index, zero_point)),
    }
}

fn not_single(index: usize, found: &Tensor) -> EvalError {
    EvalError::WrongInput {
        index,
        expected: "a single number",
        found: format!("{found:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_even_before_the_zero_point_is_added() {
        let q = Quantizer::new(DType::U8, 3).unwrap();
        let y = [0.5, 1.5, 2.5, -0.5, 1e30, -1e30, f32::NAN].map(|v| q.quantize(v));
        assert_eq!(y, [3, 5, 5, 3, 255, 0, 0]);
    }

    #[test]
    fn accumulators_are_scaled_in_binary32() {
        // 2^24 + 1 is no binary32 number: it rounds to 2^24 before it is scaled.
        let q = Quantizer::new(DType::I8, 0).unwrap();
        assert_eq!(q.requantize((1 << 24) + 1, 0.5f32.powi(18)), 64);
        assert_eq!(q.requantize(i32::MIN, 1.0), -128);
    }
}
