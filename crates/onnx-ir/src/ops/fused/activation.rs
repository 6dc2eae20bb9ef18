//! The activations that ONNX Runtime fuses into the operator before them.

use crate::operator::prelude::*;
use crate::ops::elementwise::unary;

/// An activation, by its ONNX definition.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum FusedActivation {
    /// None.
    #[default]
    Identity,
    /// `max(0, x)`.
    Relu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `tanh(x)`.
    Tanh,
    /// `ln(1 + exp(x))`.
    Softplus,
    /// `x / (1 + |x|)`.
    Softsign,
    /// `x` where `x >= 0`, else `alpha * x`.
    LeakyRelu {
        /// Slope for negative inputs.
        alpha: f64,
    },
    /// `x` where `x >= 0`, else `alpha * (exp(x) - 1)`.
    Elu {
        /// Limit for negative inputs, negated.
        alpha: f64,
    },
    /// `x` where `x > alpha`, else 0.
    ThresholdedRelu {
        /// The threshold.
        alpha: f64,
    },
    /// `max(0, min(1, alpha * x + beta))`.
    HardSigmoid {
        /// Slope.
        alpha: f64,
        /// Offset.
        beta: f64,
    },
    /// `max(min, min(max, x))`.
    Clip {
        /// Lower bound.
        min: f64,
        /// Upper bound.
        max: f64,
    },
}

impl FusedActivation {
    /// The activation called `name` with its parameters in ONNX's order; those left out have ONNX's defaults.
    ///
    /// # Errors
    /// [`AttrError::Invalid`] for another name.
    pub fn new(name: &str, parameters: &[Option<f32>]) -> Result<Self, AttrError> {
        let parameter = |i: usize, default: f64| {
            parameters
                .get(i)
                .copied()
                .flatten()
                .map_or(default, f64::from)
        };
        Ok(match name {
            "" | "Identity" => Self::Identity,
            "Relu" => Self::Relu,
            "Sigmoid" => Self::Sigmoid,
            "Tanh" => Self::Tanh,
            "Softplus" => Self::Softplus,
            "Softsign" => Self::Softsign,
            "LeakyRelu" => Self::LeakyRelu {
                alpha: parameter(0, 0.01),
            },
            "Elu" => Self::Elu {
                alpha: parameter(0, 1.0),
            },
            "ThresholdedRelu" => Self::ThresholdedRelu {
                alpha: parameter(0, 1.0),
            },
            "HardSigmoid" => Self::HardSigmoid {
                alpha: parameter(0, 0.2),
                beta: parameter(1, 0.5),
            },
            "Clip" => Self::Clip {
                min: parameter(0, f64::NEG_INFINITY),
                max: parameter(1, f64::INFINITY),
            },
            other => {
                return Err(AttrError::Invalid {
                    name: "activation",
                    found: other.to_owned(),
                    rule: "it must be an activation that ONNX Runtime fuses",
                });
            }
        })
    }

    /// The activation of one number.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::Identity => x,
            // Not `max`, which would drop NaN.
            Self::Relu => {
                if x < 0.0 {
                    0.0
                } else {
                    x
                }
            }
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Tanh => x.tanh(),
            Self::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
            Self::Softsign => x / (1.0 + x.abs()),
            Self::LeakyRelu { alpha } => {
                if x < 0.0 {
                    alpha * x
                } else {
                    x
                }
            }
            Self::Elu { alpha } => {
                if x < 0.0 {
                    alpha * x.exp_m1()
                } else {
                    x
                }
            }
            Self::ThresholdedRelu { alpha } => {
                if x > alpha {
                    x
                } else {
                    0.0
                }
            }
            Self::HardSigmoid { alpha, beta } => (alpha * x + beta).clamp(0.0, 1.0),
            Self::Clip { min, max } => x.max(min).min(max),
        }
    }

    /// The activation of every element.
    ///
    /// # Errors
    /// [`EvalError::DType`] for what is no float.
    pub fn apply_to(self, x: Tensor) -> Result<Tensor, EvalError> {
        match self {
            Self::Identity => Ok(x),
            other => unary::map_float(&x, |v| other.apply(v)),
        }
    }
}
