//! Types whose elements share bytes: 4-bit and 2-bit integers and float4.
//!
//! Element `i` of a `w`-bit type stands in byte `i / (8 / w)`, from bit `w * (i % (8 / w))` on: the
//! first element in the lowest bits, and unused bits at the end are zero, as in ONNX's `raw_data`
//! (<https://onnx.ai/onnx/technical/int4.html>).

use crate::float8::{f4e2m1_from_f64, f4e2m1_to_f32};
use crate::{DType, Tensor, TensorError};
use bytes::Bytes;
use std::ops::Range;

impl Tensor {
    /// Packs integers into a tensor of `dtype`: `i4`, `u4`, `i2` or `u2`.
    ///
    /// # Errors
    /// [`TensorError::WrongKind`] if `dtype` is another type; [`TensorError::OutOfRange`] for the
    /// first value that does not fit; [`TensorError::WrongLength`] if there are not as many values
    /// as `shape` says.
    ///
    /// # Examples
    /// ```
    /// use compress_tensor::{DType, Tensor};
    /// let packed = Tensor::pack_ints(DType::I4, &[3], &[1, -8, 7])?;
    /// assert_eq!(packed.bytes(), [0x81, 0x07]);
    /// assert_eq!(packed.unpack_ints()?, [1, -8, 7]);
    /// # Ok::<(), compress_tensor::TensorError>(())
    /// ```
    pub fn pack_ints(dtype: DType, shape: &[usize], values: &[i8]) -> Result<Self, TensorError> {
        let (low, high) = packed_integer_range(dtype)?;
        if let Some(index) = values
            .iter()
            .position(|v| !(low..=high).contains(&i64::from(*v)))
        {
            return Err(TensorError::OutOfRange {
                value: values[index].into(),
                index,
                dtype,
            });
        }
        Self::pack_codes(dtype, shape, values.iter().map(|&v| v as u8))
    }

    /// The integers of an `i4`, `u4`, `i2` or `u2` tensor, one per element.
    ///
    /// # Errors
    /// [`TensorError::WrongKind`] if the tensor holds another type.
    pub fn unpack_ints(&self) -> Result<Vec<i8>, TensorError> {
        packed_integer_range(self.dtype())?;
        Ok(self
            .codes(0..self.len())
            .map(|code| sign_extend(self.dtype(), code))
            .collect())
    }

    /// Packs numbers into an `f4e2m1` tensor: to nearest, ties to even, saturating at ±6.
    ///
    /// # Errors
    /// [`TensorError::WrongLength`] if there are not as many values as `shape` says.
    pub fn pack_f4(shape: &[usize], values: &[f32]) -> Result<Self, TensorError> {
        let codes = values.iter().map(|&v| f4e2m1_from_f64(v.into()));
        Self::pack_codes(DType::F4E2M1, shape, codes)
    }

    /// The numbers of an `f4e2m1` tensor.
    ///
    /// # Errors
    /// [`TensorError::WrongDType`] if the tensor holds another type.
    pub fn unpack_f4(&self) -> Result<Vec<f32>, TensorError> {
        if self.dtype() != DType::F4E2M1 {
            return Err(TensorError::WrongDType {
                expected: DType::F4E2M1,
                found: self.dtype(),
            });
        }
        Ok(self.codes(0..self.len()).map(f4e2m1_to_f32).collect())
    }

    /// Packs the low bits of each code; `dtype` is a packed type.
    pub(crate) fn pack_codes(
        dtype: DType,
        shape: &[usize],
        codes: impl ExactSizeIterator<Item = u8>,
    ) -> Result<Self, TensorError> {
        let found = codes.len();
        let bytes = pack(width(dtype), codes);
        match crate::element_count(shape) {
            Some(expected) if expected != found => Err(TensorError::WrongLength {
                shape: shape.to_vec(),
                dtype,
                expected,
                found,
                unit: "elements",
            }),
            _ => Self::from_bytes(dtype, shape, Bytes::from(bytes)),
        }
    }

    /// The codes of the elements in `range`, in the low bits of a byte each, for a packed type.
    pub(crate) fn codes(&self, range: Range<usize>) -> impl ExactSizeIterator<Item = u8> {
        let width = width(self.dtype());
        let per_byte = 8 / width;
        let mask = (1u16 << width).wrapping_sub(1) as u8;
        let bytes = self.bytes();
        range.map(move |i| (bytes[i / per_byte] >> (width * (i % per_byte))) & mask)
    }
}

/// The integer that a code of a packed integer type stands for.
pub(crate) fn sign_extend(dtype: DType, code: u8) -> i8 {
    let unused = 8 - width(dtype) as u32;
    if dtype.is_signed_integer() {
        ((code << unused) as i8) >> unused
    } else {
        code as i8
    }
}

fn packed_integer_range(dtype: DType) -> Result<(i64, i64), TensorError> {
    dtype
        .integer_range()
        .filter(|_| dtype.is_packed())
        .ok_or(TensorError::WrongKind {
            expected: "a packed integer type (i4, u4, i2, u2)",
            found: dtype,
        })
}

/// Bits per element, 8 for the types that are not packed.
fn width(dtype: DType) -> usize {
    dtype.bits().map_or(8, |bits| bits.min(8))
}

fn pack(width: usize, codes: impl ExactSizeIterator<Item = u8>) -> Vec<u8> {
    let per_byte = 8 / width;
    let mask = (1u16 << width).wrapping_sub(1) as u8;
    let mut bytes = vec![0u8; codes.len().div_ceil(per_byte)];
    for (i, code) in codes.enumerate() {
        bytes[i / per_byte] |= (code & mask) << (width * (i % per_byte));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_element_takes_the_lowest_bits() {
        let i4 = Tensor::pack_ints(DType::I4, &[5], &[1, -2, 3, -8, 7]).unwrap();
        assert_eq!(i4.bytes(), [0xE1, 0x83, 0x07]);
        let u2 = Tensor::pack_ints(DType::U2, &[5], &[0, 1, 2, 3, 1]).unwrap();
        assert_eq!(u2.bytes(), [0b1110_0100, 0b01]);
        let f4 = Tensor::pack_f4(&[3], &[0.5, -6.0, 1.0]).unwrap();
        assert_eq!(f4.bytes(), [0xF1, 0x02]);
        assert_eq!(f4.unpack_f4().unwrap(), [0.5, -6.0, 1.0]);
    }

    #[test]
    fn a_value_that_does_not_fit_is_named() {
        let error = Tensor::pack_ints(DType::U4, &[2], &[15, 16]).unwrap_err();
        let expected = TensorError::OutOfRange {
            value: 16,
            index: 1,
            dtype: DType::U4,
        };
        assert_eq!(error, expected);
    }

    #[test]
    fn a_wrong_count_or_type_is_refused() {
        let count = Tensor::pack_ints(DType::I4, &[2, 2], &[1, 2, 3]).unwrap_err();
        assert_eq!(
            count.to_string(),
            "shape [2, 2] of i4 takes 4 elements, found 3"
        );
        let dtype = Tensor::pack_ints(DType::I8, &[1], &[1]).unwrap_err();
        assert!(matches!(
            dtype,
            TensorError::WrongKind {
                found: DType::I8,
                ..
            }
        ));
        assert!(Tensor::vector(vec![1u8]).unpack_ints().is_err());
        assert!(Tensor::vector(vec![1u8]).unpack_f4().is_err());
    }

    proptest! {
        #[test]
        fn packing_and_unpacking_give_the_values_back(
            dtype in prop::sample::select(vec![DType::I4, DType::U4, DType::I2, DType::U2]),
            seeds in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let (low, high) = dtype.integer_range().unwrap();
            let span = high - low + 1;
            let values: Vec<i8> =
                seeds.iter().map(|&s| (low + i64::from(s) % span) as i8).collect();
            let packed = Tensor::pack_ints(dtype, &[values.len()], &values).unwrap();
            prop_assert_eq!(packed.byte_len(), dtype.byte_len(values.len()).unwrap());
            prop_assert_eq!(packed.unpack_ints().unwrap(), values);
        }
    }
}
