//! `Adagrad`: one step with a rate that shrinks with the sum `h` of the squared gradients. With
//! `g' = norm_coefficient * x + g`: `h' = h + g'^2`,
//! `x' = x - r / (1 + t * decay_factor) * g' / (sqrt(h') + epsilon)`.
//! <https://onnx.ai/onnx/operators/onnx_aionnxpreviewtraining_Adagrad.html>; Duchi et al., JMLR 12, 2011.

use super::step;
use crate::operator::prelude::*;

/// The attributes of `Adagrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct Adagrad {
    /// How fast the learning rate falls with the update count.
    pub decay_factor: f32,
    /// Added to the divisor.
    pub epsilon: f32,
    /// The weight of the tensor in its gradient.
    pub norm_coefficient: f32,
}

impl Operator for Adagrad {
    const SIGNATURE: Signature = Signature {
        domain: step::DOMAIN,
        name: "Adagrad",
        versions: &[1],
    };

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            decay_factor: attrs.f32_or("decay_factor", 0.0)?,
            epsilon: attrs.f32_or("epsilon", 1e-6)?,
            norm_coefficient: attrs.f32_or("norm_coefficient", 0.0)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        step::infer(cx, 3)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let decay = f64::from(self.decay_factor);
        let epsilon = f64::from(self.epsilon);
        let norm = f64::from(self.norm_coefficient);
        step::eval(cx, |rate, count, [x, g, h]| {
            let g = norm * x + g;
            let h = h + g * g;
            let rate = rate / (1.0 + count as f64 * decay);
            [x - rate * g / (h.sqrt() + epsilon), h, 0.0]
        })
    }
}
