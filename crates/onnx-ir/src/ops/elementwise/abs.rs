//! `Abs`: `y = |x|`; the least integer wraps to itself.
//! <https://onnx.ai/onnx/operators/onnx__Abs.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::unary;

/// `Abs` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Abs;

impl Operator for Abs {
    const SIGNATURE: Signature = Signature::onnx("Abs", &[1, 6, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give_slope(cx.input(0).sign());
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        attrs.ignore("consumed_inputs");
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let y = match x.dtype() {
            dtype if dtype.is_unsigned_integer() => Ok(x.clone()),
            dtype if dtype.is_signed_integer() => {
                dispatch!(dtype, T in signed => unary::map(x, |v: T| v.wrapping_abs()))
            }
            _ => unary::map_float(x, f64::abs),
        };
        Ok(vec![y?.into()])
    }
}
