//! `Pow`: `z = x^y`, broadcast; the result has the type of `x`.
//!
//! Integers with integer exponents wrap around; everything else goes by way of f64.
//! <https://onnx.ai/onnx/operators/onnx__Pow.html>

use crate::operator::prelude::*;
use crate::ops::broadcast;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::binary::{self, Broadcasting};
use crate::ops::number::Number;
use compress_tensor::CastOptions;

/// The attributes of `Pow`.
#[derive(Clone, Debug, PartialEq)]
pub struct Pow {
    /// How the second operand meets the first.
    pub broadcasting: Broadcasting,
}

impl Operator for Pow {
    const SIGNATURE: Signature = Signature::onnx("Pow", &[1, 7, 12, 13, 15]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(gradient);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            broadcasting: Broadcasting::parse(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let mut fact = binary::infer(cx, &self.broadcasting)?;
        if let Some(Fact::Tensor(power)) = fact.first_mut() {
            power.dtype = x.dtype;
        }
        Ok(fact)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let [x, y] = self.broadcasting.operands(cx)?;
        let exact = x.dtype().is_integer() && y.dtype().is_integer() && y.dtype() != DType::U64;
        let power = if exact {
            let exponent = y.cast(DType::I64, CastOptions::default())?;
            dispatch!(x.dtype(), T in integers => broadcast::binary(cx, &x, &exponent, |x: T, y: i64| {
                Ok(match u64::try_from(y) {
                    Ok(exponent) => wrapping_power(x, exponent),
                    Err(_) => T::from_f64(x.to_f64().powf(y as f64)),
                })
            }))
        } else {
            let exponent = y.cast(DType::F64, CastOptions::default())?;
            dispatch!(x.dtype(), T in numbers => broadcast::binary(cx, &x, &exponent, |x: T, y: f64| {
                Ok(T::from_f64(x.to_f64().powf(y)))
            }))
        };
        Ok(vec![power?.into()])
    }
}

/// `x^exponent` by squaring.
fn wrapping_power<T: Number>(x: T, mut exponent: u64) -> T {
    let (mut square, mut power) = (x, T::ONE);
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = power.times(square);
        }
        square = square.times(square);
        exponent >>= 1;
    }
    power
}

/// `dx = dz * y * x^(y - 1)`, 0 where `y` is 0, and `dy = dz * z * ln(x)`, 0 where `x` is 0 and `y` is not negative: the limits.
fn gradient(_: &Pow, cx: &GradientContext<'_>) -> Result<(), Unsupported> {
    let (x, dz) = (cx.input(0), cx.dy());
    let exponent = cx.input(1).cast_like(x);
    if cx.wants(0) {
        let dx = dz * exponent * x.pow(exponent - 1.0);
        let nowhere_flat = cx
            .constant(1)
            .and_then(|e| e.to_f64_vec().ok())
            .is_some_and(|exponents| !exponents.contains(&0.0));
        cx.give_broadcast(
            0,
            match nowhere_flat {
                true => dx,
                false => exponent.equals(0.0).choose(0.0, dx),
            },
        );
    }
    if cx.wants(1) {
        let stays_zero = x.equals(0.0).and(exponent.less(0.0).negated());
        let dy = dz * cx.output(0) * x.log();
        cx.give_broadcast(1, stays_zero.choose(0.0, dy));
    }
    Ok(())
}
