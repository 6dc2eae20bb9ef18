//! `Sign`: `y` is 1 above 0, -1 below 0, else 0 (NaN stays NaN).
//! <https://onnx.ai/onnx/operators/onnx__Sign.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::unary;

/// `Sign` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Sign;

impl Operator for Sign {
    const SIGNATURE: Signature = Signature::onnx("Sign", &[9, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let y = match x.dtype() {
            dtype if dtype.is_unsigned_integer() => {
                dispatch!(dtype, T in unsigned => unary::map(x, |v: T| v.min(1)))
            }
            dtype if dtype.is_signed_integer() => {
                dispatch!(dtype, T in signed => unary::map(x, |v: T| v.signum()))
            }
            _ => unary::map_float(x, |v| if v == 0.0 { 0.0 } else { v.signum() }),
        };
        Ok(vec![y?.into()])
    }
}
