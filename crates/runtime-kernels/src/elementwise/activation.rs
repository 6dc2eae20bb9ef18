//! Activations: one value in, one value out, fused into matrix products and convolutions.

use super::math::{erf, exp, ln, sigmoid, tanh};
use crate::isa::{Simd, simd_dispatch};
use crate::threads::{Place, TileMut};

/// A function applied to each element of a result.
///
/// Formulas as in the ONNX operator of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
#[non_exhaustive]
pub enum Activation {
    /// `x`.
    #[default]
    None,
    /// `max(0, x)`.
    Relu,
    /// `min(max(x, min), max)`.
    Clip {
        /// Lower bound.
        min: f32,
        /// Upper bound.
        max: f32,
    },
    /// `x` where `x >= 0`, else `alpha x`.
    LeakyRelu {
        /// Slope for negative values.
        alpha: f32,
    },
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// `tanh(x)`.
    Tanh,
    /// `x/2 (1 + erf(x / sqrt(2)))`.
    Gelu,
    /// `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.
    GeluTanh,
    /// `x / (1 + e^-(beta x))`; `beta = 1` is SiLU.
    Swish {
        /// Steepness.
        beta: f32,
    },
    /// `x max(0, min(1, x/6 + 1/2))`.
    HardSwish,
    /// `max(0, min(1, alpha x + beta))`.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Offset.
        beta: f32,
    },
    /// `x` where `x >= 0`, else `alpha (e^x - 1)`.
    Elu {
        /// Limit for negative values.
        alpha: f32,
    },
    /// `gamma (x or alpha (e^x - 1))`.
    Selu {
        /// Limit for negative values.
        alpha: f32,
        /// Outer scale.
        gamma: f32,
    },
    /// `ln(1 + e^x)`.
    Softplus,
    /// `x / (1 + |x|)`.
    Softsign,
    /// `x tanh(ln(1 + e^x))`.
    Mish,
}

impl Activation {
    /// The bounds of an activation that only cuts off; `None` for the others.
    ///
    /// With these bounds `min(high, max(low, x))` is what [`Activation::apply`] gives, NaN
    /// included.
    #[inline(always)]
    pub(crate) fn clamp(self) -> Option<(f32, f32)> {
        match self {
            Self::None => Some((f32::NEG_INFINITY, f32::INFINITY)),
            Self::Relu => Some((0.0, f32::INFINITY)),
            Self::Clip { min, max } => Some((min, max)),
            _ => None,
        }
    }

    /// Applies the function to one vector.
    #[inline(always)]
    pub(crate) fn apply<S: Simd>(self, s: S, x: S::F) -> S::F {
        let zero = s.splat(0.0);
        let one = s.splat(1.0);
        match self {
            Self::None => x,
            Self::Relu => s.max(zero, x),
            Self::Clip { min, max } => s.min(s.splat(max), s.max(s.splat(min), x)),
            Self::LeakyRelu { alpha } => s.select(s.lt(x, zero), s.mul(x, s.splat(alpha)), x),
            Self::Sigmoid => sigmoid(s, x),
            Self::Tanh => tanh(s, x),
            Self::Gelu => {
                let half = s.mul(x, s.splat(0.5));
                let e = erf(s, s.mul(x, s.splat(std::f32::consts::FRAC_1_SQRT_2)));
                s.fma(half, e, half)
            }
            Self::GeluTanh => {
                let half = s.mul(x, s.splat(0.5));
                let cube = s.mul(s.mul(x, x), x);
                let inner = s.fma(cube, s.splat(0.044_715), x);
                // sqrt(2 / pi)
                s.fma(half, tanh(s, s.mul(inner, s.splat(0.797_884_6))), half)
            }
            Self::Swish { beta } => s.mul(x, sigmoid(s, s.mul(x, s.splat(beta)))),
            Self::HardSwish => {
                let gate = s.fma(x, s.splat(1.0 / 6.0), s.splat(0.5));
                s.mul(x, s.min(one, s.max(zero, gate)))
            }
            Self::HardSigmoid { alpha, beta } => {
                s.min(one, s.max(zero, s.fma(x, s.splat(alpha), s.splat(beta))))
            }
            Self::Elu { alpha } => elu(s, x, alpha),
            Self::Selu { alpha, gamma } => s.mul(s.splat(gamma), elu(s, x, alpha)),
            Self::Softplus => softplus(s, x),
            Self::Softsign => s.div(x, s.add(one, s.abs(x))),
            Self::Mish => s.mul(x, tanh(s, softplus(s, x))),
        }
    }
}

simd_dispatch! {
    /// Applies an activation to a tile in place.
    pub(crate) fn activate_tile(s: S, activation: Activation, at: Place, out: &mut TileMut<'_, f32>) {
        for row in 0..at.rows {
            for y in out.row(at.row + row, at.col, at.cols).chunks_mut(S::LANES) {
                let x = s.load_partial(y, 1.0);
                s.store_partial(activation.apply(s, x), y);
            }
        }
    }
}

#[inline(always)]
fn elu<S: Simd>(s: S, x: S::F, alpha: f32) -> S::F {
    let zero = s.splat(0.0);
    let negative = s.mul(s.splat(alpha), s.sub(exp(s, s.min(zero, x)), s.splat(1.0)));
    s.select(s.lt(x, zero), negative, x)
}

/// `max(x, 0) + ln(1 + e^-|x|)`, which does not overflow.
#[inline(always)]
fn softplus<S: Simd>(s: S, x: S::F) -> S::F {
    let zero = s.splat(0.0);
    let e = exp(s, s.sub(zero, s.abs(x)));
    s.add(s.max(zero, x), ln(s, s.add(s.splat(1.0), e)))
}
