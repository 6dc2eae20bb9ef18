//! LAMB: Adam with layer-wise normalised steps.

use super::adam::{Coefficients, correction};
use super::norms::norm;
use super::split::over_threads;
use super::state::{Slots, kept_in_slots};
use super::{
    Optimizer, OptimizerError, Plan, StepControl, StepSettings, check_decay, check_positive,
};
use serde::{Deserialize, Serialize};

/// Settings of [`Lamb`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct LambConfig {
    /// `β₁`, of the mean of gradients.
    pub beta1: f64,
    /// `β₂`, of the mean of their squares.
    pub beta2: f64,
    /// `ε`, added to the root of the mean square.
    pub epsilon: f64,
    /// `λ`.
    #[serde(alias = "weight_decay")]
    pub weight_decay: f64,
    /// Threads for large parameters.
    pub threads: usize,
}

impl Default for LambConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-6,
            weight_decay: 0.01,
            threads: 1,
        }
    }
}

impl LambConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`].
    pub fn validate(&self) -> Result<(), OptimizerError> {
        check_decay("beta1", self.beta1)?;
        check_decay("beta2", self.beta2)?;
        check_positive("epsilon", self.epsilon)?;
        check_positive("the weight decay", self.weight_decay)
    }
}

/// `r = m̂ / (√v̂ + ε) + λw`, `w ← w − lr · ‖w‖ / ‖r‖ · r` for each tensor (You et al. 2020, arXiv:1904.00962, algorithm 2,
/// `φ(z) = z`).
///
/// Where `‖w‖` or `‖r‖` is zero, and for tensors of one axis, the ratio is 1. The step control of groups is not used: the rule is one.
#[derive(Clone, Debug)]
pub struct Lamb {
    config: LambConfig,
    plan: Plan,
    slots: Slots<2>,
    settings: StepSettings,
    /// `r` of the parameter at hand.
    direction: Vec<f32>,
}

impl Lamb {
    /// An optimizer of some parameters, with means of zero.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`].
    pub fn new(plan: Plan, config: LambConfig) -> Result<Self, OptimizerError> {
        config.validate()?;
        let longest = plan.parameters().iter().map(|p| p.count()).max();
        Ok(Self {
            slots: Slots::new("lamb", ["mean", "mean-square"], &plan, [true, true]),
            settings: StepSettings::new(0.0),
            direction: vec![0.0; longest.unwrap_or(0)],
            config,
            plan,
        })
    }
}

impl Optimizer for Lamb {
    kept_in_slots!();

    fn update(
        &mut self,
        index: usize,
        value: &mut [f32],
        gradient: &[f32],
    ) -> Result<(), OptimizerError> {
        let config = &self.config;
        let found = self.plan.settings(
            index,
            [value.len(), gradient.len()],
            self.settings.learning_rate,
            config.weight_decay,
            StepControl::None,
        )?;
        let is_layer = self.plan.parameters()[index].shape.len() > 1;
        let (count, [m, v]) = self.slots.advance(index);
        let beta1 = self.settings.momentum.unwrap_or(config.beta1);
        let c = Coefficients {
            scale: 1.0,
            penalty: found.weight_decay as f32,
            shrink: 1.0,
            beta1: (1.0 - (1.0 - beta1)) as f32,
            fresh1: (1.0 - beta1) as f32,
            beta2: config.beta2 as f32,
            fresh2: (1.0 - config.beta2) as f32,
            correction: correction(config.beta2, count).sqrt() as f32,
            epsilon: config.epsilon as f32,
            rate: (1.0 / correction(beta1, count)) as f32,
        };
        let direction = &mut self.direction[..value.len()];
        over_threads(
            config.threads,
            gradient,
            [value, m, v, direction],
            |g, [w, m, v, r]| {
                directions(c, g, w, m, v, r);
            },
        );
        let trust = if is_layer {
            trust(value, direction)
        } else {
            1.0
        };
        let rate = (-found.learning_rate * trust) as f32;
        over_threads(config.threads, direction, [value], |r, [w]| {
            for (w, &r) in w.iter_mut().zip(r) {
                *w += rate * r;
            }
        });
        Ok(())
    }
}

fn directions(
    c: Coefficients,
    gradient: &[f32],
    value: &[f32],
    mean: &mut [f32],
    square: &mut [f32],
    direction: &mut [f32],
) {
    let states = value.iter().zip(mean).zip(square).zip(direction);
    for ((((w, m), v), r), &g) in states.zip(gradient) {
        c.average(g, m, v);
        *r = c.rate * *m / c.denominator(*v) + c.penalty * w;
    }
}

fn trust(value: &[f32], direction: &[f32]) -> f64 {
    let (length, step) = (norm(value), norm(direction));
    if length > 0.0 && step > 0.0 {
        length / step
    } else {
        1.0
    }
}
