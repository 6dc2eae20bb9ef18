//! `Neg`: `y = -x`; the least integer wraps to itself.
//! <https://onnx.ai/onnx/operators/onnx__Neg.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::unary;
use crate::ops::partial;

/// `Neg` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Neg;

impl Operator for Neg {
    const SIGNATURE: Signature = Signature::onnx("Neg", &[1, 6, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give(0, -cx.dy());
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        attrs.ignore("consumed_inputs");
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let output = TensorFact::with_shape(x.dtype, x.shape.clone());
        let negated = partial::elementwise(output, [&x], |[e]| Dim::Known(0) - e.clone());
        Ok(vec![negated.into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let y = if x.dtype().is_integer() {
            dispatch!(x.dtype(), T in signed => unary::map(x, |v: T| v.wrapping_neg()))
        } else {
            unary::map_float(x, |v| -v)
        };
        Ok(vec![y?.into()])
    }
}
