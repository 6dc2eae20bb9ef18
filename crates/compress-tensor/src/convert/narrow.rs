//! The second half of a cast: from a wide number to any type.

use super::CastOptions;
use crate::{F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ, F8E8M0};
use half::{bf16, f16};

/// A type that every wide number can be cast to.
pub(super) trait Narrow: Sized {
    fn from_f64(x: f64, options: CastOptions) -> Self;
    fn from_f32(x: f32, options: CastOptions) -> Self {
        Self::from_f64(x.into(), options)
    }
    fn from_i64(x: i64, options: CastOptions) -> Self;
    fn from_u64(x: u64, options: CastOptions) -> Self;
    /// The number that `text` is, or `None` if it is none.
    fn from_text(text: &str, options: CastOptions) -> Option<Self> {
        Some(Self::from_f64(text.parse().ok()?, options))
    }
}

macro_rules! integer {
    ($($t:ty, via $truncate:ident);* $(;)?) => {$(
        impl Narrow for $t {
            fn from_f64(x: f64, _: CastOptions) -> Self {
                $truncate(x) as $t
            }
            fn from_i64(x: i64, _: CastOptions) -> Self {
                x as $t
            }
            fn from_u64(x: u64, _: CastOptions) -> Self {
                x as $t
            }
            /// An integer exactly, as beyond 2^53 binary64 could not.
            fn from_text(text: &str, options: CastOptions) -> Option<Self> {
                match text.parse::<i128>() {
                    Ok(integer) => Some(integer as $t),
                    Err(_) => Some(Self::from_f64(text.parse().ok()?, options)),
                }
            }
        }
    )*};
}

integer! {
    i8, via truncate_to_i32;
    u8, via truncate_to_i32;
    i16, via truncate_to_i32;
    u16, via truncate_to_i32;
    i32, via truncate_to_i32;
    u32, via truncate_to_u32;
    i64, via truncate_to_i64;
    u64, via truncate_to_u64;
}

/// As the x86-64 instruction `cvttsd2si` with a 32-bit result: `i32::MIN` beyond the range.
fn truncate_to_i32(x: f64) -> i32 {
    if x > -TWO_POW_31 - 1.0 && x < TWO_POW_31 {
        x as i32
    } else {
        i32::MIN
    }
}

/// As the x86-64 instruction `cvttsd2si` with a 64-bit result: `i64::MIN` beyond the range.
fn truncate_to_i64(x: f64) -> i64 {
    if (-TWO_POW_63..TWO_POW_63).contains(&x) {
        x as i64
    } else {
        i64::MIN
    }
}

/// As compilers make it of the 32-bit instruction, which is signed.
fn truncate_to_u32(x: f64) -> u32 {
    if x >= TWO_POW_31 {
        truncate_to_i32(x - TWO_POW_31) as u32 ^ (1 << 31)
    } else {
        truncate_to_i32(x) as u32
    }
}

/// As compilers make it of the 64-bit instruction, which is signed.
fn truncate_to_u64(x: f64) -> u64 {
    if x >= TWO_POW_63 {
        truncate_to_i64(x - TWO_POW_63) as u64 ^ (1 << 63)
    } else {
        truncate_to_i64(x) as u64
    }
}

const TWO_POW_31: f64 = 2_147_483_648.0;
const TWO_POW_63: f64 = 9_223_372_036_854_775_808.0;

impl Narrow for bool {
    fn from_f64(x: f64, _: CastOptions) -> Self {
        x != 0.0
    }
    fn from_i64(x: i64, _: CastOptions) -> Self {
        x != 0
    }
    fn from_u64(x: u64, _: CastOptions) -> Self {
        x != 0
    }
}

impl Narrow for f64 {
    fn from_f64(x: f64, _: CastOptions) -> Self {
        x
    }
    fn from_i64(x: i64, _: CastOptions) -> Self {
        x as f64
    }
    fn from_u64(x: u64, _: CastOptions) -> Self {
        x as f64
    }
}

impl Narrow for f32 {
    fn from_f64(x: f64, _: CastOptions) -> Self {
        x as f32
    }
    fn from_f32(x: f32, _: CastOptions) -> Self {
        x
    }
    fn from_i64(x: i64, _: CastOptions) -> Self {
        x as f32
    }
    fn from_u64(x: u64, _: CastOptions) -> Self {
        x as f32
    }
    /// Rounded once, which by way of binary64 it would not be.
    fn from_text(text: &str, _: CastOptions) -> Option<Self> {
        text.parse().ok()
    }
}

macro_rules! half_float {
    ($($t:ty),*) => {$(
        impl Narrow for $t {
            fn from_f64(x: f64, _: CastOptions) -> Self {
                <$t>::from_f32(round_to_odd(x))
            }
            fn from_f32(x: f32, _: CastOptions) -> Self {
                <$t>::from_f32(x)
            }
            fn from_i64(x: i64, _: CastOptions) -> Self {
                <$t>::from_f32(x as f32)
            }
            fn from_u64(x: u64, _: CastOptions) -> Self {
                <$t>::from_f32(x as f32)
            }
        }
    )*};
}

half_float!(f16, bf16);

/// `x` as `f32`, where an inexact result is one of the two neighbours of `x` with an odd last bit.
///
/// Rounding that to fewer bits gives what rounding `x` itself would give, because no tie is made
/// or lost (Boldo and Melquiond 2008, "Emulation of FMA and correctly rounded sums", sec. 3).
fn round_to_odd(x: f64) -> f32 {
    let nearest = x as f32;
    if f64::from(nearest) == x || nearest.is_nan() || nearest.is_infinite() {
        return nearest;
    }
    let toward_zero = if f64::from(nearest).abs() > x.abs() {
        nearest.to_bits() - 1
    } else {
        nearest.to_bits()
    };
    f32::from_bits(toward_zero | 1)
}

macro_rules! float8 {
    ($($t:ty),*) => {$(
        impl Narrow for $t {
            fn from_f64(x: f64, options: CastOptions) -> Self {
                <$t>::from_f64(x, options.overflow)
            }
            fn from_i64(x: i64, options: CastOptions) -> Self {
                <$t>::from_f64(x as f64, options.overflow)
            }
            fn from_u64(x: u64, options: CastOptions) -> Self {
                <$t>::from_f64(x as f64, options.overflow)
            }
        }
    )*};
}

float8!(F8E4M3FN, F8E4M3FNUZ, F8E5M2, F8E5M2FNUZ);

impl Narrow for F8E8M0 {
    fn from_f64(x: f64, options: CastOptions) -> Self {
        F8E8M0::from_f64(x, options.e8m0_rounding, options.overflow)
    }
    fn from_i64(x: i64, options: CastOptions) -> Self {
        F8E8M0::from_f64(x as f64, options.e8m0_rounding, options.overflow)
    }
    fn from_u64(x: u64, options: CastOptions) -> Self {
        F8E8M0::from_f64(x as f64, options.e8m0_rounding, options.overflow)
    }
}
