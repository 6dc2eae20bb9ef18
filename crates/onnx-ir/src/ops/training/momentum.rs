//! `Momentum`: one step along the accumulated gradient `v`. With `g' = norm_coefficient * x + g`:
//! `v' = alpha * v + beta * g'` (beta is 1 for `t = 0`), `x' = x - r * v'`, or after Nesterov
//! `x' = x - r * (g' + alpha * v')`.
//! <https://onnx.ai/onnx/operators/onnx_aionnxpreviewtraining_Momentum.html>; Sutskever et al., ICML 2013.

use super::step;
use crate::operator::prelude::*;

/// The attributes of `Momentum`.
#[derive(Clone, Debug, PartialEq)]
pub struct Momentum {
    /// The weight of the old accumulated gradient.
    pub alpha: f32,
    /// The weight of the gradient.
    pub beta: f32,
    /// The weight of the tensor in its gradient.
    pub norm_coefficient: f32,
    /// The direction of the step.
    pub mode: MomentumMode,
}

impl Operator for Momentum {
    const SIGNATURE: Signature = Signature {
        domain: step::DOMAIN,
        name: "Momentum",
        versions: &[1],
    };

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let found = attrs.string("mode")?;
        let mode = match found.as_str() {
            "standard" => MomentumMode::Standard,
            "nesterov" => MomentumMode::Nesterov,
            _ => {
                return Err(AttrError::Invalid {
                    name: "mode",
                    found,
                    rule: "it must be `standard` or `nesterov`",
                });
            }
        };
        Ok(Self {
            alpha: attrs.f32("alpha")?,
            beta: attrs.f32("beta")?,
            norm_coefficient: attrs.f32("norm_coefficient")?,
            mode,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        step::infer(cx, 3)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (alpha, beta) = (f64::from(self.alpha), f64::from(self.beta));
        let norm = f64::from(self.norm_coefficient);
        step::eval(cx, |rate, count, [x, g, v]| {
            let g = norm * x + g;
            let v = alpha * v + if count > 0 { beta } else { 1.0 } * g;
            let direction = match self.mode {
                MomentumMode::Standard => v,
                MomentumMode::Nesterov => g + alpha * v,
            };
            [x - rate * direction, v, 0.0]
        })
    }
}

/// The direction of a step with momentum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MomentumMode {
    /// The accumulated gradient.
    Standard,
    /// The gradient at the place that the accumulated one leads to.
    Nesterov,
}
