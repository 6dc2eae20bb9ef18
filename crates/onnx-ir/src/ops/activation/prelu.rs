//! `PRelu`: `y = x` where `x >= 0`, else `slope * x`; the slope is broadcast to `x`.
//!
//! Before opset 7 a slope of one axis belonged to axis 1 of `x`, the channels.
//! <https://onnx.ai/onnx/operators/onnx__PRelu.html>; He et al., arXiv:1502.01852.

use crate::operator::prelude::*;
use crate::ops::broadcast;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::unary;
use crate::ops::number::Number;

/// `PRelu` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct PRelu;

impl Operator for PRelu {
    const SIGNATURE: Signature = Signature::onnx("PRelu", &[1, 6, 7, 9, 16]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let (x, slope, dy) = (cx.input(0), cx.input(1), cx.dy());
        let above = x.greater(0.0);
        cx.give(0, above.choose(dy, dy * slope));
        cx.give_broadcast(1, above.choose(0.0, dy * x));
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
        let (x, slope) = (cx.tensor(0)?, cx.tensor(1)?);
        let slope = match slope.shape() {
            &[channels] if cx.version() < 7 && channels > 1 && x.rank() > 1 => {
                let mut per_channel = vec![1; x.rank() - 1];
                per_channel[0] = channels;
                slope.reshape(&per_channel)?
            }
            _ => slope.clone(),
        };
        if broadcast::shape(&[x.shape(), slope.shape()])? != x.shape() {
            let found = format!("{:?} to {:?}", slope.shape(), x.shape());
            return Err(EvalError::rule(
                "the slope must broadcast to the input",
                found,
            ));
        }
        let y = dispatch!(x.dtype(), T in numbers =>
        broadcast::binary(cx, x, &slope, |x: T, slope: T| {
            Ok(if Number::is_negative(x) { slope.times(x) } else { x })
        }))?;
        Ok(vec![y.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: Some(&[0]) }
    }
}
