//! `Gelu`: `y = x * Phi(x)` with the normal distribution `Phi(x) = (1 + erf(x / sqrt(2))) / 2`, or its
//! approximation `(1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2`.
//! <https://onnx.ai/onnx/operators/onnx__Gelu.html>; Hendrycks and Gimpel, arXiv:1606.08415.

use crate::operator::prelude::*;
use crate::ops::elementwise::{erf::erf, unary};
use crate::rewrite::NewNode;

/// The attributes of `Gelu`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gelu {
    /// The form of the normal distribution.
    pub approximate: GeluForm,
}

/// How `Gelu` computes the normal distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GeluForm {
    /// By the error function.
    #[default]
    Exact,
    /// By the hyperbolic tangent.
    Tanh,
}

impl GeluForm {
    /// `x * Phi(x)`.
    pub fn apply(self, x: f64) -> f64 {
        use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};
        let twice_phi = match self {
            GeluForm::Exact => 1.0 + erf(x * FRAC_1_SQRT_2),
            GeluForm::Tanh => {
                let inner = FRAC_2_SQRT_PI * FRAC_1_SQRT_2 * (x + 0.044715 * x.powi(3));
                1.0 + inner.tanh()
            }
        };
        0.5 * x * twice_phi
    }
}

impl Operator for Gelu {
    const SIGNATURE: Signature = Signature::onnx("Gelu", &[20]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        let form = match op.approximate {
            GeluForm::Exact => "none",
            GeluForm::Tanh => "tanh",
        };
        let node = NewNode::private("GeluGrad").with("approximate", form);
        cx.give(0, cx.dy().apply(node, &[cx.input(0)]));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let found = attrs.string_or("approximate", "none".to_owned())?;
        let approximate = match found.as_str() {
            "none" => GeluForm::Exact,
            "tanh" => GeluForm::Tanh,
            _ => {
                return Err(AttrError::Invalid {
                    name: "approximate",
                    found,
                    rule: "it must be `none` or `tanh`",
                });
            }
        };
        Ok(Self { approximate })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        unary::float(cx, |x| self.approximate.apply(x))
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: None }
    }
}
