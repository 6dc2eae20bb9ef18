//! Step control: steps in proportion to what a layer's weights are.
//!
//! Where the inputs of a layer are `s` times larger, weights that compute the same are `s` times smaller and their gradients `s` times
//! larger: plain SGD would need a learning rate `s²` times smaller for this layer alone. With raw 0..255 pixels `s` is near 100; the
//! first steps throw the first layer far off, and training collapses. A step whose length is measured by the layer's own weights does not
//! know `s`: `Δw / ‖w‖` is the same for `(w, s)` and `(w/s, 1)`.

use super::{OptimizerError, check_setting, norms::norm};
use serde::{Deserialize, Serialize};

/// How the gradient of one tensor is rescaled before the optimizer's rule sees it.
///
/// Tensors of one axis (biases, the scales of normalisations) are left alone: their gradients do not grow with the layer's inputs,
/// and they may be zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum StepControl {
    /// The gradient as it is.
    #[default]
    None,
    /// `g ← g · min(1, limit · ‖w‖ / ‖g‖)`: adaptive gradient clipping (Brock et al. 2021, arXiv:2102.06171, eq. 3, over whole
    /// tensors). A layer whose gradient is in proportion is not touched, to the bit; the step shrinks with the learning rate also
    /// where it is clipped.
    Clip {
        /// The largest ratio `‖g‖ / ‖w‖`.
        limit: f64,
    },
    /// `g ← trust · ‖w‖ / (‖g‖ + λ‖w‖) · (g + λw)`: the layer-wise rate of LARS (You et al. 2017, arXiv:1708.03888, eq. 6), with
    /// weight decay `λ`. Each step then changes a layer by the share `learning rate · trust`.
    Normalize {
        /// The trust coefficient.
        trust: f64,
    },
}

/// What a control makes of one gradient: `scale · g + decay · w`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Controlled {
    pub(super) scale: f64,
    /// Multiplies the weight decay.
    pub(super) decay: f64,
}

/// `‖w‖` counts as no less than this for each element (root of the mean square), so that weights of zero can leave zero.
const SMALLEST_WEIGHT: f64 = 1e-3;

impl StepControl {
    pub(super) fn validate(&self) -> Result<(), OptimizerError> {
        let (setting, found) = match *self {
            Self::None => return Ok(()),
            Self::Clip { limit } => ("the limit of a clipped step", limit),
            Self::Normalize { trust } => ("the trust of a normalized step", trust),
        };
        let is_right = found.is_finite() && found > 0.0;
        check_setting(setting, found, is_right, "it must be a positive number")
    }

    pub(super) fn apply(&self, value: &[f32], gradient: &[f32], weight_decay: f64) -> Controlled {
        let unchanged = Controlled {
            scale: 1.0,
            decay: 1.0,
        };
        let length = || norm(value);
        match *self {
            Self::None => unchanged,
            Self::Clip { limit } => {
                let floor = SMALLEST_WEIGHT * (value.len() as f64).sqrt();
                let (most, found) = (limit * length().max(floor), norm(gradient));
                Controlled {
                    scale: if found > most { most / found } else { 1.0 },
                    ..unchanged
                }
            }
            Self::Normalize { trust } => {
                let (length, found) = (length(), norm(gradient));
                let whole = found + weight_decay * length;
                if length == 0.0 || whole == 0.0 {
                    return unchanged;
                }
                let rate = trust * length / whole;
                Controlled {
                    scale: rate,
                    decay: rate,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gradient_in_proportion_is_not_touched() {
        let clip = StepControl::Clip { limit: 0.5 };
        assert_eq!(clip.apply(&[3.0, 4.0], &[1.5, 2.0], 0.0).scale, 1.0);
        assert_eq!(clip.apply(&[3.0, 4.0], &[15.0, 20.0], 0.0).scale, 0.1);
    }

    #[test]
    fn a_normalized_step_is_the_trusted_share_of_the_weights() {
        let control = StepControl::Normalize { trust: 0.01 };
        let found = control.apply(&[3.0, 4.0], &[0.0, 2.0], 0.1);
        assert!((found.scale - 0.01 * 5.0 / 2.5).abs() < 1e-15);
        assert_eq!(found.scale, found.decay);
        let zero = control.apply(&[0.0, 0.0], &[0.0, 2.0], 0.1);
        assert_eq!((zero.scale, zero.decay), (1.0, 1.0));
    }

    #[test]
    fn relative_steps_do_not_know_the_scale_of_the_inputs() {
        // w/s and s·g stand for inputs s times larger.
        let (w, g) = ([0.3f32, -0.2, 0.5, 0.1], [4.0f32, 1.0, -2.0, 0.5]);
        let s = 128.0f32;
        let (scaled_w, scaled_g) = (w.map(|x| x / s), g.map(|x| x * s));
        for control in [
            StepControl::Clip { limit: 0.01 },
            StepControl::Normalize { trust: 0.01 },
        ] {
            let share = |w: &[f32], g: &[f32]| control.apply(w, g, 0.0).scale * norm(g) / norm(w);
            let (one, other) = (share(&w, &g), share(&scaled_w, &scaled_g));
            assert!((one / other - 1.0).abs() < 1e-9, "{one} {other}");
        }
    }

    #[test]
    fn weights_of_zero_can_leave_zero() {
        let clip = StepControl::Clip { limit: 0.1 };
        let scale = clip.apply(&[0.0; 4], &[1.0; 4], 0.0).scale;
        assert!((scale - 0.1 * 2e-3 / 2.0).abs() < 1e-15);
    }
}
