//! Element types: every type that an ONNX tensor can hold.

use std::fmt;

/// The element type of a [`Tensor`](crate::Tensor).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16: the upper half of a binary32.
    BF16,
    /// float8, 4 exponent and 3 mantissa bits, finite, with NaN.
    F8E4M3FN,
    /// float8 E4M3, finite, NaN, no negative zero.
    F8E4M3FNUZ,
    /// float8, 5 exponent and 2 mantissa bits, IEEE-like with infinities.
    F8E5M2,
    /// float8 E5M2, finite, NaN, no negative zero.
    F8E5M2FNUZ,
    /// float8 that is only an exponent: the power-of-two scales of MX formats.
    F8E8M0,
    /// float4, 2 exponent and 1 mantissa bit; two elements per byte.
    F4E2M1,
    /// Signed 8-bit integer.
    I8,
    /// Signed 16-bit integer.
    I16,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer.
    I64,
    /// Unsigned 8-bit integer.
    U8,
    /// Unsigned 16-bit integer.
    U16,
    /// Unsigned 32-bit integer.
    U32,
    /// Unsigned 64-bit integer.
    U64,
    /// Signed 4-bit integer; two elements per byte, the first in the low half.
    I4,
    /// Unsigned 4-bit integer; two elements per byte, the first in the low half.
    U4,
    /// Signed 2-bit integer; four elements per byte, the first in the lowest bits.
    I2,
    /// Unsigned 2-bit integer; four elements per byte, the first in the lowest bits.
    U2,
    /// Boolean, one byte each, 0 or 1.
    Bool,
    /// UTF-8 string.
    String,
    /// Complex number of two binary32.
    C64,
    /// Complex number of two binary64.
    C128,
}

impl DType {
    /// Bits that one element takes in storage; `None` for strings.
    pub const fn bits(self) -> Option<usize> {
        Some(match self {
            DType::C128 => 128,
            DType::F64 | DType::I64 | DType::U64 | DType::C64 => 64,
            DType::F32 | DType::I32 | DType::U32 => 32,
            DType::F16 | DType::BF16 | DType::I16 | DType::U16 => 16,
            DType::F8E4M3FN
            | DType::F8E4M3FNUZ
            | DType::F8E5M2
            | DType::F8E5M2FNUZ
            | DType::F8E8M0
            | DType::I8
            | DType::U8
            | DType::Bool => 8,
            DType::F4E2M1 | DType::I4 | DType::U4 => 4,
            DType::I2 | DType::U2 => 2,
            DType::String => return None,
        })
    }

    /// Bytes that `elements` of this type take in storage, the last byte padded for packed types;
    /// `None` for strings and where the product overflows.
    pub fn byte_len(self, elements: usize) -> Option<usize> {
        let bits = self.bits()?;
        if bits >= 8 {
            elements.checked_mul(bits / 8)
        } else {
            Some(elements.div_ceil(8 / bits))
        }
    }

    /// Whether several elements share one byte.
    pub const fn is_packed(self) -> bool {
        matches!(
            self,
            DType::F4E2M1 | DType::I4 | DType::U4 | DType::I2 | DType::U2
        )
    }

    /// Whether this is a real floating-point type, whatever its width.
    pub const fn is_float(self) -> bool {
        matches!(
            self,
            DType::F32
                | DType::F64
                | DType::F16
                | DType::BF16
                | DType::F8E4M3FN
                | DType::F8E4M3FNUZ
                | DType::F8E5M2
                | DType::F8E5M2FNUZ
                | DType::F8E8M0
                | DType::F4E2M1
        )
    }

    /// Whether this is an integer type, signed or unsigned, whatever its width.
    pub const fn is_integer(self) -> bool {
        self.is_signed_integer() || self.is_unsigned_integer()
    }

    /// Whether this is a signed integer type.
    pub const fn is_signed_integer(self) -> bool {
        matches!(
            self,
            DType::I8 | DType::I16 | DType::I32 | DType::I64 | DType::I4 | DType::I2
        )
    }

    /// Whether this is an unsigned integer type.
    pub const fn is_unsigned_integer(self) -> bool {
        matches!(
            self,
            DType::U8 | DType::U16 | DType::U32 | DType::U64 | DType::U4 | DType::U2
        )
    }

    /// The smallest and the largest value of an integer type of at most 32 bits, `None` for others.
    pub const fn integer_range(self) -> Option<(i64, i64)> {
        let Some(bits @ ..=32) = self.bits() else {
            return None;
        };
        if self.is_signed_integer() {
            Some((-(1 << (bits - 1)), (1 << (bits - 1)) - 1))
        } else if self.is_unsigned_integer() {
            Some((0, (1 << bits) - 1))
        } else {
            None
        }
    }

    /// The short name, as in `f32` or `i8`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F8E4M3FN => "f8e4m3fn",
            DType::F8E4M3FNUZ => "f8e4m3fnuz",
            DType::F8E5M2 => "f8e5m2",
            DType::F8E5M2FNUZ => "f8e5m2fnuz",
            DType::F8E8M0 => "f8e8m0",
            DType::F4E2M1 => "f4e2m1",
            DType::I8 => "i8",
            DType::I16 => "i16",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::U8 => "u8",
            DType::U16 => "u16",
            DType::U32 => "u32",
            DType::U64 => "u64",
            DType::I4 => "i4",
            DType::U4 => "u4",
            DType::I2 => "i2",
            DType::U2 => "u2",
            DType::Bool => "bool",
            DType::String => "string",
            DType::C64 => "c64",
            DType::C128 => "c128",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
