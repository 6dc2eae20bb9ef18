//! `ReduceLogSumExp`: the logarithm of the sum of exponentials along axes, relative to the
//! greatest so far so that nothing overflows: `m + log(sum exp(x - m))`.
//! <https://onnx.ai/onnx/operators/onnx__ReduceLogSumExp.html>. Opset 18 makes the axes an input. Opset 28 drops
//! integers.

use super::{ReduceAxes, fold};
use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::dispatch::dispatch;

/// The attributes of `ReduceLogSumExp`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReduceLogSumExp {
    /// The axes that are reduced.
    pub axes: ReduceAxes,
}

impl Operator for ReduceLogSumExp {
    const SIGNATURE: Signature = Signature::onnx("ReduceLogSumExp", &[1, 11, 13, 18, 28]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let y = op.axes.kept(cx, cx.output(0));
        cx.give(0, op.axes.kept(cx, cx.dy()) * (cx.input(0) - y).exp());
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axes: ReduceAxes::parse(attrs, 18)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![self.axes.infer(cx)?.into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dtype = cx.tensor(0)?.dtype();
        let y = dispatch!(dtype, T in numbers => {
            fold::fold(cx, &self.axes, Exponentials::default(),
                |sum, v: T| sum.plus(T::to_real(v.widen())),
                |sum, _| T::narrow(T::from_real(sum.log())))
        })?;
        Ok(vec![y.into()])
    }
}

/// A sum of exponentials, divided by that of the greatest exponent.
#[derive(Clone, Copy)]
struct Exponentials {
    greatest: f64,
    sum: f64,
}

impl Default for Exponentials {
    fn default() -> Self {
        Self {
            greatest: f64::NEG_INFINITY,
            sum: 0.0,
        }
    }
}

impl Exponentials {
    fn plus(self, x: f64) -> Self {
        if x == f64::NEG_INFINITY {
            return self;
        }
        if x > self.greatest {
            return Self {
                greatest: x,
                sum: self.sum * (self.greatest - x).exp() + 1.0,
            };
        }
        // Two equal infinities differ by nothing.
        let ratio = if x == self.greatest {
            1.0
        } else {
            (x - self.greatest).exp()
        };
        Self {
            greatest: self.greatest,
            sum: self.sum + ratio,
        }
    }

    fn log(self) -> f64 {
        if self.greatest == f64::NEG_INFINITY && !self.sum.is_nan() {
            return f64::NEG_INFINITY;
        }
        self.greatest + self.sum.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_sum_exp(values: &[f64]) -> f64 {
        let sum = values
            .iter()
            .fold(Exponentials::default(), |s, &v| s.plus(v));
        sum.log()
    }

    #[test]
    fn large_exponents_do_not_overflow() {
        assert_eq!(log_sum_exp(&[1000.0, 1000.0]), 1000.0 + 2f64.ln());
        assert_eq!(log_sum_exp(&[-1e300, 3.0]), 3.0);
    }

    #[test]
    fn infinities_and_nan_come_through() {
        assert_eq!(log_sum_exp(&[]), f64::NEG_INFINITY);
        assert_eq!(log_sum_exp(&[f64::NEG_INFINITY]), f64::NEG_INFINITY);
        assert_eq!(
            log_sum_exp(&[f64::INFINITY, f64::INFINITY, 1.0]),
            f64::INFINITY
        );
        assert!(log_sum_exp(&[1.0, f64::NAN]).is_nan());
    }
}
