//! `Mod`: the remainder of `a / b`, broadcast: `a - floor(a / b) * b` with the sign of `b`, or with `fmod`
//! `a - trunc(a / b) * b` with the sign of `a`. Floats without `fmod` came with opset 28.
//! <https://onnx.ai/onnx/operators/onnx__Mod.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::binary::{self, Broadcasting};
use crate::ops::number::Number;

/// The attributes of `Mod`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mod {
    /// How the quotient is rounded.
    pub rounding: QuotientRounding,
}

/// How the quotient of a remainder is rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum QuotientRounding {
    /// Down: the remainder has the sign of the divisor.
    #[default]
    Floor,
    /// Towards zero: the remainder has the sign of the dividend.
    Truncate,
}

impl Operator for Mod {
    const SIGNATURE: Signature = Signature::onnx("Mod", &[10, 13, 28]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let (a, b, dy) = (cx.input(0), cx.input(1), cx.dy());
        cx.give_broadcast(0, dy);
        let quotient = ((a - cx.output(0)) / b).unary("Round");
        cx.give_broadcast(1, -(dy * quotient));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            rounding: match attrs.flag_or("fmod", false)? {
                true => QuotientRounding::Truncate,
                false => QuotientRounding::Floor,
            },
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        binary::infer(cx, &Broadcasting::default())
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let operands = Broadcasting::default().operands(cx)?;
        let dtype = operands[0].dtype();
        if !dtype.is_integer() {
            let remainder = match self.rounding {
                QuotientRounding::Floor => floor_remainder,
                QuotientRounding::Truncate => |a: f64, b: f64| a % b,
            };
            return dispatch!(dtype, T in floats => binary::map(cx, &operands, |a: T, b: T| {
                T::from_f64(remainder(a.to_f64(), b.to_f64()))
            }));
        }
        dispatch!(dtype, T in integers => binary::try_map(cx, &operands, |a: T, b: T| {
            let Some(quotient) = a.divided_by(b) else {
                let found = format!("{a:?} mod 0");
                return Err(EvalError::rule("an integer cannot be divided by zero", found));
            };
            let rest = a.minus(quotient.times(b));
            let other_sign = rest != T::ZERO && rest.is_negative() != b.is_negative();
            Ok(match self.rounding {
                QuotientRounding::Floor if other_sign => rest.plus(b),
                _ => rest,
            })
        }))
    }
}

/// `a - floor(a / b) * b`; zero has the sign of `b`.
fn floor_remainder(a: f64, b: f64) -> f64 {
    let rest = a % b;
    if rest == 0.0 {
        0f64.copysign(b)
    } else if (rest < 0.0) != (b < 0.0) {
        rest + b
    } else {
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::floor_remainder;

    #[test]
    fn floats_follow_the_sign_of_the_divisor() {
        assert_eq!(floor_remainder(-7.0, 3.0), 2.0);
        assert_eq!(floor_remainder(7.0, -3.0), -2.0);
        assert_eq!(floor_remainder(1.0, f64::NEG_INFINITY), f64::NEG_INFINITY);
        assert!(floor_remainder(6.0, -3.0).is_sign_negative());
        assert!(floor_remainder(1.0, 0.0).is_nan());
        assert!(floor_remainder(f64::INFINITY, 2.0).is_nan());
    }
}
