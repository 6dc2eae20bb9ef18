//! The activation functions that recurrent layers name in `activations`.

use crate::operator::AttrError;

/// An activation function with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// `max(0, x)`.
    Relu,
    /// `tanh(x)`.
    Tanh,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `alpha * x + beta`.
    Affine {
        /// The factor.
        alpha: f64,
        /// The summand.
        beta: f64,
    },
    /// `x` where `x >= 0`, else `alpha * x`.
    LeakyRelu {
        /// Slope for negative inputs.
        alpha: f64,
    },
    /// `x` where `x >= alpha`, else 0.
    ThresholdedRelu {
        /// The threshold.
        alpha: f64,
    },
    /// `alpha * tanh(beta * x)`.
    ScaledTanh {
        /// Scales the result.
        alpha: f64,
        /// Scales the input.
        beta: f64,
    },
    /// `min(max(alpha * x + beta, 0), 1)`.
    HardSigmoid {
        /// The slope.
        alpha: f64,
        /// The value at 0.
        beta: f64,
    },
    /// `x` where `x >= 0`, else `alpha * (e^x - 1)`.
    Elu {
        /// Scales the negative branch.
        alpha: f64,
    },
    /// `x / (1 + |x|)`.
    Softsign,
    /// `log(1 + e^x)`.
    Softplus,
}

impl Activation {
    /// The functions of these names. Parameters are taken in order by the functions that have them;
    /// what is left out is the default of the ONNX operator of that name.
    ///
    /// # Errors
    /// [`AttrError::Invalid`] for an unknown name.
    pub fn parse_all(
        names: &[String],
        alphas: &[f32],
        betas: &[f32],
    ) -> Result<Vec<Self>, AttrError> {
        let (mut alphas, mut betas) = (alphas.iter(), betas.iter());
        let mut alpha = |default: f64| alphas.next().map_or(default, |&a| a.into());
        let mut beta = |default: f64| betas.next().map_or(default, |&b| b.into());
        let parse = |name: &String| {
            Ok(match name.to_ascii_lowercase().as_str() {
                "relu" => Self::Relu,
                "tanh" => Self::Tanh,
                "sigmoid" => Self::Sigmoid,
                "affine" => Self::Affine {
                    alpha: alpha(1.0),
                    beta: beta(0.0),
                },
                "leakyrelu" => Self::LeakyRelu { alpha: alpha(0.01) },
                "thresholdedrelu" => Self::ThresholdedRelu { alpha: alpha(1.0) },
                "scaledtanh" => Self::ScaledTanh {
                    alpha: alpha(1.0),
                    beta: beta(1.0),
                },
                "hardsigmoid" => Self::HardSigmoid {
                    alpha: alpha(0.2),
                    beta: beta(0.5),
                },
                "elu" => Self::Elu { alpha: alpha(1.0) },
                "softsign" => Self::Softsign,
                "softplus" => Self::Softplus,
                _ => {
                    return Err(AttrError::Invalid {
                        name: "activations",
                        found: name.clone(),
                        rule: "it must be an activation that recurrent operators know",
                    });
                }
            })
        };
        names.iter().map(parse).collect()
    }

    /// The derivative; at a kink that of the side that [`Activation::apply`] takes.
    pub fn slope(self, x: f64) -> f64 {
        let step = |inside: bool| if inside { 1.0 } else { 0.0 };
        match self {
            Self::Relu => step(x > 0.0),
            Self::Tanh => 1.0 - x.tanh().powi(2),
            Self::Sigmoid => {
                let y = Self::Sigmoid.apply(x);
                y * (1.0 - y)
            }
            Self::Affine { alpha, .. } => alpha,
            Self::LeakyRelu { alpha } => {
                if x >= 0.0 {
                    1.0
                } else {
                    alpha
                }
            }
            Self::ThresholdedRelu { alpha } => step(x >= alpha),
            Self::ScaledTanh { alpha, beta } => alpha * beta * (1.0 - (beta * x).tanh().powi(2)),
            Self::HardSigmoid { alpha, beta } => {
                alpha * step((0.0..1.0).contains(&(alpha * x + beta)))
            }
            Self::Elu { alpha } if x < 0.0 => alpha * x.exp(),
            Self::Elu { .. } => 1.0,
            Self::Softsign => (1.0 + x.abs()).powi(-2),
            Self::Softplus => Self::Sigmoid.apply(x),
        }
    }

    /// The function's value.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::Relu => x.max(0.0),
            Self::Tanh => x.tanh(),
            Self::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Self::Affine { alpha, beta } => alpha * x + beta,
            Self::LeakyRelu { alpha } => x * if x >= 0.0 { 1.0 } else { alpha },
            Self::ThresholdedRelu { alpha } => x * if x >= alpha { 1.0 } else { 0.0 },
            Self::ScaledTanh { alpha, beta } => alpha * (beta * x).tanh(),
            Self::HardSigmoid { alpha, beta } => (alpha * x + beta).clamp(0.0, 1.0),
            Self::Elu { alpha } if x < 0.0 => alpha * x.exp_m1(),
            Self::Elu { .. } => x,
            Self::Softsign => x / (1.0 + x.abs()),
            Self::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_go_to_the_functions_that_have_them() {
        let names = ["Tanh", "LeakyRelu", "HardSigmoid", "Elu"].map(str::to_owned);
        let parsed = Activation::parse_all(&names, &[0.5, 0.25], &[0.75]).unwrap();
        assert_eq!(
            parsed,
            [
                Activation::Tanh,
                Activation::LeakyRelu { alpha: 0.5 },
                Activation::HardSigmoid {
                    alpha: 0.25,
                    beta: 0.75
                },
                Activation::Elu { alpha: 1.0 },
            ]
        );
    }

    #[test]
    fn softplus_does_not_overflow() {
        assert_eq!(Activation::Softplus.apply(1000.0), 1000.0);
        assert_eq!(Activation::Softplus.apply(-1000.0), 0.0);
        assert_eq!(Activation::Softplus.apply(0.0), 2f64.ln());
    }
}
