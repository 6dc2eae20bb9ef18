//! 8-bit and 4-bit floating point: the four ONNX float8 kinds, E8M0 and E2M1.
//!
//! A code of a format with exponent bias `b` and `m` mantissa bits stands for
//! `(-1)^s * 2^(max(e, 1) - b - m) * (f + [e > 0] * 2^m)`, `e` and `f` its exponent and mantissa
//! fields. Encoding rounds to nearest, ties to even, straight from binary64, so no value is rounded
//! twice.
//!
//! * <https://onnx.ai/onnx/technical/float8.html>, <https://onnx.ai/onnx/technical/float4.html>
//! * Micikevicius et al. 2022, arXiv:2209.05433 (E4M3FN, E5M2)
//! * Noune et al. 2022, arXiv:2206.02915 (the FNUZ kinds)
//! * OCP Microscaling Formats v1.0 (E8M0, E2M1)

use std::cmp::Ordering;

/// What becomes of a number whose rounded value is beyond the largest finite one (`saturate` of
/// the ONNX operators).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Overflow {
    /// The largest finite value of its sign, for infinities too.
    #[default]
    Saturate,
    /// Infinity where the format has one, else NaN.
    NonFinite,
}

/// How [`F8E8M0`] rounds a number between two powers of two (`round_mode` of ONNX `Cast`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum E8M0Rounding {
    /// To the larger power.
    #[default]
    Up,
    /// To the smaller power.
    Down,
    /// To the nearer power, a tie to the larger one.
    Nearest,
}

/// Defines one float8 newtype over its [`Format`].
macro_rules! float8 {
    ($(#[$doc:meta])* $name:ident, $format:expr) => {
        $(#[$doc])*
        ///
        /// Comparison is that of the numbers, so NaN is unequal to itself.
        #[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
        #[repr(transparent)]
        pub struct $name(
            /// The bits.
            pub u8,
        );

        impl $name {
            /// The nearest value, ties to even.
            pub fn from_f64(x: f64, overflow: Overflow) -> Self {
                Self($format.encode(x, overflow))
            }

            /// The number, exactly.
            pub fn to_f32(self) -> f32 {
                $format.decode(self.0)
            }
        }

        compare_as_numbers!($name);
    };
}

macro_rules! compare_as_numbers {
    ($name:ident) => {
        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.to_f32() == other.to_f32()
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                self.to_f32().partial_cmp(&other.to_f32())
            }
        }
    };
}

float8!(
    /// float8 with 4 exponent and 3 mantissa bits: NaN, no infinity, up to 448.
    F8E4M3FN,
    E4M3FN
);
float8!(
    /// float8 with 4 exponent and 3 mantissa bits: one NaN, no infinity, no negative zero, up to 240.
    F8E4M3FNUZ,
    E4M3FNUZ
);
float8!(
    /// float8 with 5 exponent and 2 mantissa bits: NaN and infinities, up to 57344.
    F8E5M2,
    E5M2
);
float8!(
    /// float8 with 5 exponent and 2 mantissa bits: one NaN, no infinity, no negative zero, up to 57344.
    F8E5M2FNUZ,
    E5M2FNUZ
);

/// float8 that is only an exponent: `2^(code - 127)`, NaN at code 255; no sign, no zero.
///
/// Comparison is that of the numbers, so NaN is unequal to itself.
#[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub struct F8E8M0(
    /// The bits.
    pub u8,
);

compare_as_numbers!(F8E8M0);

impl F8E8M0 {
    const MAX: i32 = 254;
    const NAN: u8 = 255;

    /// The power of two next to `x` by `rounding`.
    ///
    /// With [`Overflow::Saturate`] a number beyond the range becomes its end, and so do zero and
    /// negative numbers (the smallest power) and infinity (the largest); with
    /// [`Overflow::NonFinite`] all of these become NaN.
    pub fn from_f64(x: f64, rounding: E8M0Rounding, overflow: Overflow) -> Self {
        if x.is_nan() {
            return Self(Self::NAN);
        }
        let end = |code: i32| match overflow {
            Overflow::Saturate => Self(code as u8),
            Overflow::NonFinite => Self(Self::NAN),
        };
        if x <= 0.0 {
            return end(0);
        }
        if x == f64::INFINITY {
            return end(Self::MAX);
        }
        let (exponent, fraction) = split_exponent(x);
        let round_up = match rounding {
            E8M0Rounding::Up => fraction > 1.0,
            E8M0Rounding::Down => false,
            E8M0Rounding::Nearest => fraction >= 1.5,
        };
        match exponent + i32::from(round_up) + 127 {
            ..0 => end(0),
            code if code > Self::MAX => end(Self::MAX),
            code => Self(code as u8),
        }
    }

    /// The number, exactly.
    pub fn to_f32(self) -> f32 {
        match self.0 {
            Self::NAN => f32::NAN,
            code => power_of_two(i32::from(code) - 127) as f32,
        }
    }
}

/// The 4-bit E2M1 code nearest to `x`, ties to even, saturating at ±6.
///
/// The format has no NaN: it becomes -0, as in the ONNX reference.
pub fn f4e2m1_from_f64(x: f64) -> u8 {
    E2M1.encode(x, Overflow::Saturate)
}

/// The number of a 4-bit E2M1 code; the upper four bits are ignored.
pub fn f4e2m1_to_f32(code: u8) -> f32 {
    E2M1.decode(code & 0xF)
}

/// A small floating-point format with a sign bit on top.
struct Format {
    mantissa_bits: u32,
    bias: i32,
    sign_bit: u8,
    /// The code of the largest finite value.
    max: u8,
    special: Special,
}

/// What a format has beside its finite numbers.
enum Special {
    /// NaN at all ones.
    NanOnly,
    /// NaN in place of negative zero.
    NanForNegativeZero,
    /// Infinity after the largest finite code, NaN after it; NaN is written as all ones.
    InfinityAndNan,
    /// Nothing.
    Finite,
}

const E4M3FN: Format = Format {
    mantissa_bits: 3,
    bias: 7,
    sign_bit: 0x80,
    max: 0x7E,
    special: Special::NanOnly,
};
const E4M3FNUZ: Format = Format {
    mantissa_bits: 3,
    bias: 8,
    sign_bit: 0x80,
    max: 0x7F,
    special: Special::NanForNegativeZero,
};
const E5M2: Format = Format {
    mantissa_bits: 2,
    bias: 15,
    sign_bit: 0x80,
    max: 0x7B,
    special: Special::InfinityAndNan,
};
const E5M2FNUZ: Format = Format {
    mantissa_bits: 2,
    bias: 16,
    sign_bit: 0x80,
    max: 0x7F,
    special: Special::NanForNegativeZero,
};
const E2M1: Format = Format {
    mantissa_bits: 1,
    bias: 1,
    sign_bit: 0x8,
    max: 0x7,
    special: Special::Finite,
};

impl Format {
    fn encode(&self, x: f64, overflow: Overflow) -> u8 {
        let sign = if x.is_sign_negative() {
            self.sign_bit
        } else {
            0
        };
        if x.is_nan() {
            return self.nan(sign);
        }
        let Some(magnitude) = self.encode_magnitude(x.abs()) else {
            return match overflow {
                Overflow::Saturate => sign | self.max,
                Overflow::NonFinite => self.overflowed(sign),
            };
        };
        if magnitude == 0 && matches!(self.special, Special::NanForNegativeZero) {
            return 0;
        }
        sign | magnitude
    }

    /// The code of `a >= 0`, or `None` where it rounds to more than the largest finite value.
    ///
    /// With `n = round(a / 2^(e - m))` mantissa steps, the code is `(e - e_min) * 2^m + n`: for
    /// subnormal numbers (`e = e_min`, `n < 2^m`), normal ones and a mantissa that rounds up to
    /// the next power of two alike.
    fn encode_magnitude(&self, a: f64) -> Option<u8> {
        let smallest = 1 - self.bias;
        let exponent = if a == 0.0 {
            smallest
        } else {
            split_exponent(a).0.max(smallest)
        };
        if exponent > self.bias + 1 {
            return None;
        }
        let step = power_of_two(exponent - self.mantissa_bits as i32);
        let steps = (a / step).round_ties_even() as i32;
        let code = ((exponent - smallest) << self.mantissa_bits) + steps;
        (code <= i32::from(self.max)).then_some(code as u8)
    }

    fn decode(&self, code: u8) -> f32 {
        let negative = code & self.sign_bit != 0;
        let magnitude = code & (self.sign_bit - 1);
        let is_nan = match self.special {
            Special::NanOnly => magnitude > self.max,
            Special::NanForNegativeZero => negative && magnitude == 0,
            Special::InfinityAndNan => magnitude > self.max + 1,
            Special::Finite => false,
        };
        let value = if is_nan {
            f32::NAN
        } else if magnitude > self.max {
            f32::INFINITY
        } else {
            let exponent = i32::from(magnitude >> self.mantissa_bits);
            let fraction = i32::from(magnitude) & ((1 << self.mantissa_bits) - 1);
            let implicit = i32::from(exponent > 0) << self.mantissa_bits;
            let scale = exponent.max(1) - self.bias - self.mantissa_bits as i32;
            (f64::from(fraction + implicit) * power_of_two(scale)) as f32
        };
        if negative { -value } else { value }
    }

    fn nan(&self, sign: u8) -> u8 {
        match self.special {
            Special::NanOnly | Special::InfinityAndNan => sign | 0x7F,
            Special::NanForNegativeZero | Special::Finite => self.sign_bit,
        }
    }

    fn overflowed(&self, sign: u8) -> u8 {
        match self.special {
            Special::NanOnly => sign | 0x7F,
            Special::NanForNegativeZero => self.sign_bit,
            Special::InfinityAndNan => sign | (self.max + 1),
            Special::Finite => sign | self.max,
        }
    }
}

/// `(e, f)` with `x = f * 2^e` and `1 <= f < 2`, for finite `x > 0`; binary64 subnormals count as
/// the smallest normal exponent, far below every format here.
fn split_exponent(x: f64) -> (i32, f64) {
    let biased = (x.to_bits() >> 52) as i32 & 0x7FF;
    let fraction = (x.to_bits() & ((1 << 52) - 1)) | (1023 << 52);
    (biased - 1023, f64::from_bits(fraction))
}

/// `2^exponent` for an exponent of a normal binary64.
fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

#[cfg(test)]
mod tests;
