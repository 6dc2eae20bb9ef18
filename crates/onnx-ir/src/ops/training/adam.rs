//! `Adam`: one step by the averages `v` of the gradient and `h` of its square, both with a correction for their
//! start at 0. With `g' = norm_coefficient * x + g`:
//! `v' = alpha * v + (1 - alpha) * g'`, `h' = beta * h + (1 - beta) * g'^2`,
//! `x' = (1 - norm_coefficient_post) * (x - r' * v' / (sqrt(h') + epsilon))`, where
//! `r' = r * sqrt(1 - beta^t) / (1 - alpha^t)` for `t > 0`, else `r`.
//! <https://onnx.ai/onnx/operators/onnx_aionnxpreviewtraining_Adam.html>; Kingma and Ba, arXiv:1412.6980.

use super::step;
use crate::operator::prelude::*;

/// The attributes of `Adam`.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    /// The weight of the old average of the gradient.
    pub alpha: f32,
    /// The weight of the old average of its square.
    pub beta: f32,
    /// Added to the divisor.
    pub epsilon: f32,
    /// The weight of the tensor in its gradient.
    pub norm_coefficient: f32,
    /// What the tensor shrinks by after the step.
    pub norm_coefficient_post: f32,
}

impl Operator for Adam {
    const SIGNATURE: Signature = Signature {
        domain: step::DOMAIN,
        name: "Adam",
        versions: &[1],
    };

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            alpha: attrs.f32_or("alpha", 0.9)?,
            beta: attrs.f32_or("beta", 0.999)?,
            epsilon: attrs.f32_or("epsilon", 1e-6)?,
            norm_coefficient: attrs.f32_or("norm_coefficient", 0.0)?,
            norm_coefficient_post: attrs.f32_or("norm_coefficient_post", 0.0)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        step::infer(cx, 4)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (alpha, beta) = (f64::from(self.alpha), f64::from(self.beta));
        let epsilon = f64::from(self.epsilon);
        let (norm, norm_post) = (
            f64::from(self.norm_coefficient),
            f64::from(self.norm_coefficient_post),
        );
        step::eval(cx, |rate, count, [x, g, v, h]| {
            let g = norm * x + g;
            let v = alpha * v + (1.0 - alpha) * g;
            let h = beta * h + (1.0 - beta) * g * g;
            let rate = match count {
                1.. => {
                    let t = count as f64;
                    rate * (1.0 - beta.powf(t)).sqrt() / (1.0 - alpha.powf(t))
                }
                _ => rate,
            };
            let x = (1.0 - norm_post) * (x - rate * v / (h.sqrt() + epsilon));
            [x, v, h, 0.0]
        })
    }
}
