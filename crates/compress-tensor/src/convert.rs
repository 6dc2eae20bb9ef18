//! Casts between element types, by the rules of the ONNX `Cast` operator
//! (<https://onnx.ai/onnx/operators/onnx__Cast.html>).
//!
//! What ONNX leaves open is settled as NumPy and ONNX Runtime do on x86-64:
//!
//! * float to integer cuts off the fraction. A result beyond the range is what the conversion
//!   instruction to `i32` (to `i64` for 64-bit types) gives, cut to the low bits: its smallest value
//!   for NaN and beyond its own range; `u32` and `u64` take numbers that the signed type of their
//!   width does not hold by subtracting 2^31 or 2^63 first;
//! * integer to integer keeps the low bits;
//! * everything but zero is true, NaN included;
//! * integers reach `f16` and `bf16` by way of `f32`; `f64` reaches every narrower float rounded
//!   once;
//! * a number becomes the shortest decimal string that reads back as the same number (of `f32` for
//!   the narrower floats), `INF`, `-INF` or `NaN`;
//! * a string is read without regard to surrounding white space and to the case of `inf` and
//!   `nan`; for an integer type, an integer is read exactly and another number as `f64` first.

mod narrow;
mod text;
mod widen;

use crate::{
    DType, E8M0Rounding, F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F8E8M0, Overflow, Tensor,
    TensorError, f4e2m1_from_f64,
};
use half::{bf16, f16};
use narrow::Narrow;
use text::Texts;
use widen::{Wide, widen_chunks};

/// The attributes of ONNX `Cast` that say how float8 types are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CastOptions {
    /// What becomes of numbers beyond the range of a float8 type (`saturate`).
    pub overflow: Overflow,
    /// How the power-of-two type [`DType::F8E8M0`] is reached (`round_mode`).
    pub e8m0_rounding: E8M0Rounding,
}

impl Tensor {
    /// Casts every element to `to`, by the rules of ONNX `Cast`; shares the data if it is of that
    /// type already.
    ///
    /// # Errors
    /// [`TensorError::NoCast`] from and to complex types; [`TensorError::NotANumber`] for a string
    /// that does not read as a number.
    ///
    /// # Examples
    /// ```
    /// use compress_tensor::{CastOptions, DType, Tensor};
    /// let x = Tensor::vector(vec![1.9f32, -1.9, 300.0]);
    /// let y = x.cast(DType::I8, CastOptions::default())?;
    /// assert_eq!(y.as_slice::<i8>()?, [1, -1, 44]);
    /// # Ok::<(), compress_tensor::TensorError>(())
    /// ```
    pub fn cast(&self, to: DType, options: CastOptions) -> Result<Self, TensorError> {
        let from = self.dtype();
        if from == to {
            return Ok(self.clone());
        }
        if [from, to].iter().any(|d| is_complex(*d)) {
            return Err(TensorError::NoCast { from, to });
        }
        match (from, to) {
            (DType::String, _) => {
                let strings = self.strings()?;
                let texts = Texts {
                    strings,
                    to,
                    options,
                };
                build(self, to, &texts)
            }
            (_, DType::String) => text::format(self),
            _ => build(
                self,
                to,
                &Numbers {
                    tensor: self,
                    options,
                },
            ),
        }
    }

    /// The elements of a tensor of any floating-point type as `f32`, exactly or, from `f64`, rounded.
    ///
    /// # Errors
    /// [`TensorError::WrongKind`] if the type is no floating-point type.
    pub fn to_f32_vec(&self) -> Result<Vec<f32>, TensorError> {
        self.require_kind(self.dtype().is_float(), "a floating-point type")?;
        Ok(narrow(self, CastOptions::default()))
    }

    /// The elements of a tensor of any numeric type or of booleans as `f64`.
    ///
    /// # Errors
    /// [`TensorError::WrongKind`] for strings and complex numbers.
    pub fn to_f64_vec(&self) -> Result<Vec<f64>, TensorError> {
        let numeric = self.dtype() != DType::String && !is_complex(self.dtype());
        self.require_kind(numeric, "a real numeric type")?;
        Ok(narrow(self, CastOptions::default()))
    }

    /// The elements of a tensor of any integer type or of booleans as `i64`.
    ///
    /// # Errors
    /// [`TensorError::WrongKind`] if the type is no integer type; [`TensorError::OutOfRange`] for
    /// the first `u64` beyond the range.
    pub fn to_i64_vec(&self) -> Result<Vec<i64>, TensorError> {
        let dtype = self.dtype();
        self.require_kind(
            dtype.is_integer() || dtype == DType::Bool,
            "an integer type",
        )?;
        if dtype == DType::U64 {
            let values = self.data::<u64>()?;
            if let Some(index) = values.iter().position(|&v| v > i64::MAX as u64) {
                return Err(TensorError::OutOfRange {
                    value: values[index].into(),
                    index,
                    dtype: DType::I64,
                });
            }
        }
        Ok(narrow(self, CastOptions::default()))
    }

    /// A tensor of the floating-point type `dtype` from `f32` values, rounded to nearest even.
    ///
    /// # Errors
    /// [`TensorError::WrongKind`] if `dtype` is no floating-point type;
    /// [`TensorError::WrongLength`] if there are not as many values as `shape` says.
    pub fn from_f32(dtype: DType, shape: &[usize], values: Vec<f32>) -> Result<Self, TensorError> {
        if !dtype.is_float() {
            return Err(TensorError::WrongKind {
                expected: "a floating-point type",
                found: dtype,
            });
        }
        Self::from_vec(shape, values)?.cast(dtype, CastOptions::default())
    }

    fn require_kind(&self, holds: bool, expected: &'static str) -> Result<(), TensorError> {
        if holds {
            Ok(())
        } else {
            Err(TensorError::WrongKind {
                expected,
                found: self.dtype(),
            })
        }
    }
}

const fn is_complex(dtype: DType) -> bool {
    matches!(dtype, DType::C64 | DType::C128)
}

/// Elements that can be had as any type.
trait Elements {
    fn collect<T: Narrow>(&self) -> Result<Vec<T>, TensorError>;
}

/// The elements of a tensor that is neither of strings nor complex.
struct Numbers<'a> {
    tensor: &'a Tensor,
    options: CastOptions,
}

impl Elements for Numbers<'_> {
    fn collect<T: Narrow>(&self) -> Result<Vec<T>, TensorError> {
        Ok(narrow(self.tensor, self.options))
    }
}

fn narrow<T: Narrow>(x: &Tensor, options: CastOptions) -> Vec<T> {
    let mut out = Vec::with_capacity(x.len());
    widen_chunks(x, |chunk| match chunk {
        Wide::F32(values) => out.extend(values.iter().map(|&v| T::from_f32(v, options))),
        Wide::F64(values) => out.extend(values.iter().map(|&v| T::from_f64(v, options))),
        Wide::I64(values) => out.extend(values.iter().map(|&v| T::from_i64(v, options))),
        Wide::U64(values) => out.extend(values.iter().map(|&v| T::from_u64(v, options))),
    });
    out
}

/// A tensor of type `to` and the shape of `x` from elements in C order.
fn build(x: &Tensor, to: DType, elements: &impl Elements) -> Result<Tensor, TensorError> {
    let shape = x.shape();
    macro_rules! dispatch {
        ($($d:ident => $t:ty),* $(,)?) => {
            match to {
                $(DType::$d => Tensor::from_vec::<$t>(shape, elements.collect()?),)*
                DType::I4 | DType::U4 | DType::I2 | DType::U2 => {
                    let low_bits: Vec<i8> = elements.collect()?;
                    Tensor::pack_codes(to, shape, low_bits.into_iter().map(|v| v as u8))
                }
                DType::F4E2M1 => {
                    let values: Vec<f64> = elements.collect()?;
                    Tensor::pack_codes(to, shape, values.into_iter().map(f4e2m1_from_f64))
                }
                DType::String | DType::C64 | DType::C128 => {
                    Err(TensorError::NoCast { from: x.dtype(), to })
                }
            }
        };
    }
    dispatch!(
        F32 => f32, F64 => f64, F16 => f16, BF16 => bf16,
        F8E4M3FN => F8E4M3FN, F8E4M3FNUZ => F8E4M3FNUZ, F8E5M2 => F8E5M2,
        F8E5M2FNUZ => F8E5M2FNUZ, F8E8M0 => F8E8M0,
        I8 => i8, I16 => i16, I32 => i32, I64 => i64,
        U8 => u8, U16 => u16, U32 => u32, U64 => u64, Bool => bool,
    )
}

#[cfg(test)]
mod tests;
