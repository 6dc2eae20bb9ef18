//! Elementwise arithmetic, comparison, logic and casts.

mod abs;
mod acos;
mod acosh;
mod add;
mod and;
mod asin;
mod asinh;
mod atan;
mod atanh;
pub mod binary;
mod bit_cast;
mod bit_shift;
mod bitwise_and;
mod bitwise_not;
mod bitwise_or;
mod bitwise_xor;
mod cast;
mod cast_like;
mod ceil;
mod clip;
mod cos;
mod cosh;
mod div;
mod equal;
pub(crate) mod erf;
mod exp;
mod floor;
mod greater;
mod greater_or_equal;
mod is_inf;
mod is_nan;
mod less;
mod less_or_equal;
mod log;
mod max;
mod mean;
mod min;
mod modulo;
mod mul;
mod neg;
mod not;
mod or;
mod pow;
mod reciprocal;
mod round;
mod sign;
mod sin;
mod sinh;
mod sqrt;
mod sub;
mod sum;
mod tan;
pub mod unary;
pub mod variadic;
mod r#where;
mod xor;

pub use abs::Abs;
pub use acos::Acos;
pub use acosh::Acosh;
pub use add::Add;
pub use and::And;
pub use asin::Asin;
pub use asinh::Asinh;
pub use atan::Atan;
pub use atanh::Atanh;
pub use bit_cast::BitCast;
pub use bit_shift::{BitShift, ShiftDirection};
pub use bitwise_and::BitwiseAnd;
pub use bitwise_not::BitwiseNot;
pub use bitwise_or::BitwiseOr;
pub use bitwise_xor::BitwiseXor;
pub use cast::Cast;
pub use cast_like::CastLike;
pub use ceil::Ceil;
pub use clip::Clip;
pub use cos::Cos;
pub use cosh::Cosh;
pub use div::Div;
pub use equal::Equal;
pub use erf::Erf;
pub use exp::Exp;
pub use floor::Floor;
pub use greater::Greater;
pub use greater_or_equal::GreaterOrEqual;
pub use is_inf::IsInf;
pub use is_nan::IsNaN;
pub use less::Less;
pub use less_or_equal::LessOrEqual;
pub use log::Log;
pub use max::Max;
pub use mean::Mean;
pub use min::Min;
pub use modulo::{Mod, QuotientRounding};
pub use mul::Mul;
pub use neg::Neg;
pub use not::Not;
pub use or::Or;
pub use pow::Pow;
pub use reciprocal::Reciprocal;
pub use round::Round;
pub use sign::Sign;
pub use sin::Sin;
pub use sinh::Sinh;
pub use sqrt::Sqrt;
pub use sub::Sub;
pub use sum::Sum;
pub use tan::Tan;
pub use r#where::Where;
pub use xor::Xor;

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<Abs>(),
    OpEntry::of::<Acos>(),
    OpEntry::of::<Acosh>(),
    OpEntry::of::<Add>(),
    OpEntry::of::<And>(),
    OpEntry::of::<Asin>(),
    OpEntry::of::<Asinh>(),
    OpEntry::of::<Atan>(),
    OpEntry::of::<Atanh>(),
    OpEntry::of::<BitCast>(),
    OpEntry::of::<BitShift>(),
    OpEntry::of::<BitwiseAnd>(),
    OpEntry::of::<BitwiseNot>(),
    OpEntry::of::<BitwiseOr>(),
    OpEntry::of::<BitwiseXor>(),
    OpEntry::of::<Cast>(),
    OpEntry::of::<CastLike>(),
    OpEntry::of::<Ceil>(),
    OpEntry::of::<Clip>(),
    OpEntry::of::<Cos>(),
    OpEntry::of::<Cosh>(),
    OpEntry::of::<Div>(),
    OpEntry::of::<Equal>(),
    OpEntry::of::<Erf>(),
    OpEntry::of::<Exp>(),
    OpEntry::of::<Floor>(),
    OpEntry::of::<Greater>(),
    OpEntry::of::<GreaterOrEqual>(),
    OpEntry::of::<IsInf>(),
    OpEntry::of::<IsNaN>(),
    OpEntry::of::<Less>(),
    OpEntry::of::<LessOrEqual>(),
    OpEntry::of::<Log>(),
    OpEntry::of::<Max>(),
    OpEntry::of::<Mean>(),
    OpEntry::of::<Min>(),
    OpEntry::of::<Mod>(),
    OpEntry::of::<Mul>(),
    OpEntry::of::<Neg>(),
    OpEntry::of::<Not>(),
    OpEntry::of::<Or>(),
    OpEntry::of::<Pow>(),
    OpEntry::of::<Reciprocal>(),
    OpEntry::of::<Round>(),
    OpEntry::of::<Sign>(),
    OpEntry::of::<Sin>(),
    OpEntry::of::<Sinh>(),
    OpEntry::of::<Sqrt>(),
    OpEntry::of::<Sub>(),
    OpEntry::of::<Sum>(),
    OpEntry::of::<Tan>(),
    OpEntry::of::<Where>(),
    OpEntry::of::<Xor>(),
];
