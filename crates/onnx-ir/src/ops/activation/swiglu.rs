//! `SwiGLU`: `y = a / (1 + e^(-alpha * a)) * b`; the shapes must be equal.
//! <https://onnx.ai/onnx/operators/onnx__SwiGLU.html>; Shazeer, arXiv:2002.05202.

use crate::operator::prelude::*;
use crate::ops::activation::sigmoid::sigmoid;
use crate::ops::broadcast;
use crate::ops::dispatch::dispatch;
use crate::ops::number::Number;

/// The attributes of `SwiGLU`.
#[derive(Clone, Debug, PartialEq)]
pub struct SwiGlu {
    /// Factor of the gate in the sigmoid.
    pub alpha: f32,
}

const RULE: &str = "gate and value must have the same shape";

impl Operator for SwiGlu {
    const SIGNATURE: Signature = Signature::onnx("SwiGLU", &[28]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let (a, b, dy) = (cx.input(0), cx.input(1), cx.dy());
        let scaled = a * f64::from(op.alpha);
        let s = scaled.sigmoid();
        cx.give(0, dy * b * s * (1.0 + scaled * (1.0 - s)));
        cx.give(1, dy * a * s);
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            alpha: attrs.f32_or("alpha", 1.0)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (a, b) = (cx.tensor(0)?, cx.tensor(1)?);
        let shape = match (a.shape, b.shape) {
            (Some(x), Some(y)) => {
                if x.len() != y.len() || x.iter().zip(&y).any(|(x, y)| x.contradicts(y)) {
                    let found = format!("ranks {} and {}, {x:?} and {y:?}", x.len(), y.len());
                    return Err(InferError::rule(RULE, found));
                }
                Some(x.iter().zip(&y).map(|(x, y)| x.refine(y)).collect())
            }
            (x, y) => x.or(y),
        };
        Ok(vec![
            TensorFact::with_shape(a.dtype.or(b.dtype), shape).into(),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (a, b) = (cx.tensor(0)?, cx.tensor(1)?);
        if a.shape() != b.shape() {
            let found = format!("{:?} and {:?}", a.shape(), b.shape());
            return Err(EvalError::rule(RULE, found));
        }
        let alpha = f64::from(self.alpha);
        let y = dispatch!(a.dtype(), T in floats => broadcast::binary(cx, a, b, |a: T, b: T| {
            let (a, b) = (a.to_f64(), b.to_f64());
            Ok(T::from_f64(a * sigmoid(alpha * a) * b))
        }))?;
        Ok(vec![y.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: None }
    }
}
