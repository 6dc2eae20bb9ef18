//! Step control: steps in proportion to what a layer's weights are.
//!
//! Where the inputs of a layer are `s` times larger, weights that compute the same are `s` times smaller and their gradients `s` times
//! larger: plain SGD would need a learning rate `s²` times smaller for this layer alone. With raw 0..255 pixels `s` is near 100; the
//! first steps throw the first layer far off, and training collapses. A step whose length is measured by the layer's own weights does not
//! know `s`: `Δw / ‖w‖` is the same for `(w, s)` and `(w/s, 1)`.

use super::{OptimizerError, check_decay, check_setting, norms::norm};
use serde::{Deserialize, Serialize};

/// How the gradient of one tensor is rescaled before the optimizer's rule sees it.
///
/// Tensors of one axis (biases, the scales of normalisations) may be zero, and their size says nothing of the layer: under
/// [`StepControl::Clip`] they count as no smaller than 1 for each element (root of the mean square), so that only gradients that would throw
/// a network away are shortened, as those of a loss that sums over all places of a feature map. [`StepControl::Normalize`] leaves them alone.
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

/// `‖w‖` counts as no less than this for each element (root of the mean square), so that weights of zero can leave zero. It lies far
/// below what a layer of raw pixels has (0.05 / 100), where it would make steps depend on the scale of the inputs after all, and a
/// layer of zeros that grows by 3 % a step is at 1e-2 after 230 steps.
const SMALLEST_WEIGHT: f64 = 1e-5;

/// The same of tensors of one axis, biases above all: their steps are bounded as if the root of their mean square were no smaller than 1.
const SMALLEST_VECTOR: f64 = 1.0;

impl StepControl {
    /// The clipping under which no gradient changes a layer by more than the share `share` of its weights in a step of
    /// [`super::Sgd`], at the largest learning rate of the run and with momentum included: `limit = share · (1 − momentum) / learning rate`.
    ///
    /// Weight decay `λ` comes on top: it takes away the share `learning rate · λ / (1 − momentum)`. For [`super::Adam`] this is no bound:
    /// its steps do not depend on the size of gradients, and clipping all of them alike changes nothing; [`super::Lamb`] has a bound of its own.
    ///
    /// At smaller learning rates the bound shrinks with them, so that a schedule still anneals.
    ///
    /// 3 % is a good share for weights that begin anew: with momentum 0.9 and a learning rate of 0.1 a network with folded BatchNorm learns
    /// on raw pixels, where plain SGD ends in NaN (at 0.01 too) and 10 % kills the network, and it does not hold up a network with BatchNorm
    /// that trains from scratch on normalised pixels, as 1 % does. A trained network forgets at it: weights that are kept take a tenth, at a
    /// tenth of the rate.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`] for a share or learning rate that is not positive, or a momentum outside of `[0, 1)`.
    ///
    /// # Examples
    /// ```
    /// use compress_train::optimizer::StepControl;
    /// let control = StepControl::within(0.02, 0.1, 0.9)?;
    /// assert!(matches!(control, StepControl::Clip { limit } if (limit - 0.02).abs() < 1e-12));
    /// # Ok::<(), compress_train::optimizer::OptimizerError>(())
    /// ```
    pub fn within(share: f64, learning_rate: f64, momentum: f64) -> Result<Self, OptimizerError> {
        check_decay("the momentum", momentum)?;
        for (setting, found) in [
            ("the share of a step", share),
            ("the learning rate", learning_rate),
        ] {
            let is_right = found.is_finite() && found > 0.0;
            check_setting(setting, found, is_right, "it must be a positive number")?;
        }
        let control = Self::Clip {
            limit: share * (1.0 - momentum) / learning_rate,
        };
        control.validate()?;
        Ok(control)
    }

    pub(super) fn validate(&self) -> Result<(), OptimizerError> {
        let (setting, found) = match *self {
            Self::None => return Ok(()),
            Self::Clip { limit } => ("the limit of a clipped step", limit),
            Self::Normalize { trust } => ("the trust of a normalized step", trust),
        };
        let is_right = found.is_finite() && found > 0.0;
        check_setting(setting, found, is_right, "it must be a positive number")
    }

    /// `axes` are those of the tensor.
    pub(super) fn apply(
        &self,
        value: &[f32],
        gradient: &[f32],
        weight_decay: f64,
        axes: usize,
    ) -> Controlled {
        let unchanged = Controlled {
            scale: 1.0,
            decay: 1.0,
        };
        let length = || norm(value);
        match *self {
            Self::None => unchanged,
            Self::Normalize { .. } if axes < 2 => unchanged,
            Self::Clip { limit } => {
                let smallest = if axes < 2 {
                    SMALLEST_VECTOR
                } else {
                    SMALLEST_WEIGHT
                };
                let floor = smallest * (value.len() as f64).sqrt();
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
    use super::super::{Optimizer, ParameterInfo, Plan, Sgd, SgdConfig, StepSettings};
    use super::*;

    #[test]
    fn a_gradient_in_proportion_is_not_touched() {
        let clip = StepControl::Clip { limit: 0.5 };
        assert_eq!(clip.apply(&[3.0, 4.0], &[1.5, 2.0], 0.0, 2).scale, 1.0);
        assert_eq!(clip.apply(&[3.0, 4.0], &[15.0, 20.0], 0.0, 2).scale, 0.1);
    }

    #[test]
    fn a_normalized_step_is_the_trusted_share_of_the_weights() {
        let control = StepControl::Normalize { trust: 0.01 };
        let found = control.apply(&[3.0, 4.0], &[0.0, 2.0], 0.1, 2);
        assert!((found.scale - 0.01 * 5.0 / 2.5).abs() < 1e-15);
        assert_eq!(found.scale, found.decay);
        let zero = control.apply(&[0.0, 0.0], &[0.0, 2.0], 0.1, 2);
        assert_eq!((zero.scale, zero.decay), (1.0, 1.0));
    }

    #[test]
    fn relative_steps_do_not_know_the_scale_of_the_inputs() {
        // w/s and s·g stand for inputs s times larger.
        // 1024 brings weights of 0.05 as far down as raw pixels bring those of a wide layer, and further.
        let (w, g) = ([0.03f32, -0.02, 0.05, 0.01], [4.0f32, 1.0, -2.0, 0.5]);
        for s in [128.0f32, 1024.0] {
            let (scaled_w, scaled_g) = (w.map(|x| x / s), g.map(|x| x * s));
            for control in [
                StepControl::Clip { limit: 0.01 },
                StepControl::Normalize { trust: 0.01 },
            ] {
                let share =
                    |w: &[f32], g: &[f32]| control.apply(w, g, 0.0, 2).scale * norm(g) / norm(w);
                let (one, other) = (share(&w, &g), share(&scaled_w, &scaled_g));
                assert!((one / other - 1.0).abs() < 1e-9, "{one} {other}");
            }
        }
    }

    #[test]
    fn no_step_changes_a_layer_by_more_than_its_share() {
        let mut config = SgdConfig::default();
        (config.momentum, config.nesterov) = (0.9, true);
        config.control = StepControl::within(0.02, 0.1, 0.9).unwrap();
        let plan = Plan::new(vec![ParameterInfo::new("w", &[2, 2])], &[]).unwrap();
        let mut sgd = Sgd::new(plan, config).unwrap();
        let mut w = [0.3f32, -0.2, 0.5, 0.1];
        let mut largest = 0f64;
        for _ in 0..60 {
            let before = w;
            sgd.begin_step(StepSettings::new(0.1)).unwrap();
            sgd.update(0, &mut w, &[-4e4, 1e3, 2e4, -7e3]).unwrap();
            let step: Vec<f32> = w.iter().zip(&before).map(|(a, b)| a - b).collect();
            largest = largest.max(norm(&step) / norm(&w));
        }
        assert!((0.015..=0.02).contains(&largest), "{largest}");
        for (share, rate, momentum) in [(0.0, 0.1, 0.9), (0.02, 0.0, 0.9), (0.02, 0.1, 1.0)] {
            assert!(StepControl::within(share, rate, momentum).is_err());
        }
    }

    #[test]
    fn biases_move_no_further_than_the_share_of_one() {
        let clip = StepControl::within(0.03, 0.1, 0.9).unwrap();
        // An element of 0.03 in proportion, and one of 3000.
        assert_eq!(clip.apply(&[0.0; 4], &[0.02; 4], 0.0, 1).scale, 1.0);
        let scale = clip.apply(&[0.0; 4], &[3e3; 4], 0.0, 1).scale;
        assert!((scale - 1e-5).abs() < 1e-12, "{scale}");
        // Larger ones by the share of what they are.
        let scale = clip.apply(&[-10.0; 4], &[3e3; 4], 0.0, 1).scale;
        assert!((scale - 1e-4).abs() < 1e-11, "{scale}");
        let trust = StepControl::Normalize { trust: 0.01 };
        assert_eq!(trust.apply(&[1.0; 4], &[3e3; 4], 0.0, 1).scale, 1.0);
    }

    #[test]
    fn weights_of_zero_can_leave_zero() {
        let clip = StepControl::Clip { limit: 0.1 };
        let scale = clip.apply(&[0.0; 4], &[1.0; 4], 0.0, 2).scale;
        assert!((scale - 0.1 * 2e-5 / 2.0).abs() < 1e-18);
    }
}
