//! Adam and AdamW.

use super::split::{over_threads, over_threads_once, pieces};
use super::state::{Slots, kept_in_slots};
use super::{
    Optimizer, OptimizerError, Plan, StepControl, StepSettings, Update, check_decay, check_positive,
};
use serde::{Deserialize, Serialize};

/// How weights are kept small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeightDecay {
    /// `g + λw` takes the place of the gradient: Adam.
    Penalty,
    /// `w ← (1 − lr·λ) w` before the step: AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101).
    #[default]
    Decoupled,
}

/// Settings of [`Adam`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct AdamConfig {
    /// `β₁`, of the mean of gradients.
    pub beta1: f64,
    /// `β₂`, of the mean of their squares.
    pub beta2: f64,
    /// `ε`, added to the root of the mean square.
    pub epsilon: f64,
    /// `λ`.
    #[serde(alias = "weight_decay")]
    pub weight_decay: f64,
    /// How `λ` acts.
    pub decay: WeightDecay,
    /// Whether the largest mean square so far is divided by (AMSGrad: Reddi et al. 2018, arXiv:1904.09237).
    pub amsgrad: bool,
    /// How the gradients of tensors are rescaled.
    pub control: StepControl,
    /// Threads for large parameters.
    pub threads: usize,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            decay: WeightDecay::Decoupled,
            amsgrad: false,
            control: StepControl::None,
            threads: 1,
        }
    }
}

impl AdamConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`].
    pub fn validate(&self) -> Result<(), OptimizerError> {
        check_decay("beta1", self.beta1)?;
        check_decay("beta2", self.beta2)?;
        check_positive("epsilon", self.epsilon)?;
        check_positive("the weight decay", self.weight_decay)?;
        self.control.validate()
    }
}

/// `m ← β₁m + (1−β₁)g`, `v ← β₂v + (1−β₂)g²`, `w ← w − lr · m̂ / (√v̂ + ε)` with `m̂ = m / (1−β₁ᵗ)`, `v̂ = v / (1−β₂ᵗ)`
/// (Kingma and Ba 2015, arXiv:1412.6980), as `torch.optim.Adam` and `torch.optim.AdamW`.
#[derive(Clone, Debug)]
pub struct Adam {
    config: AdamConfig,
    plan: Plan,
    slots: Slots<3>,
    settings: StepSettings,
}

impl Adam {
    /// An optimizer of some parameters, with means of zero.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`].
    pub fn new(plan: Plan, config: AdamConfig) -> Result<Self, OptimizerError> {
        config.validate()?;
        let names = ["mean", "mean-square", "largest-mean-square"];
        Ok(Self {
            slots: Slots::new("adam", names, &plan, [true, true, config.amsgrad]),
            settings: StepSettings::new(0.0),
            config,
            plan,
        })
    }
}

/// The coefficients of one step in the precision of the weights.
#[derive(Clone, Copy)]
pub(super) struct Coefficients {
    pub(super) scale: f32,
    /// `λ` as a penalty.
    pub(super) penalty: f32,
    /// `1 − lr·λ`.
    pub(super) shrink: f32,
    pub(super) beta1: f32,
    pub(super) fresh1: f32,
    pub(super) beta2: f32,
    pub(super) fresh2: f32,
    /// `√(1−β₂ᵗ)`.
    pub(super) correction: f32,
    pub(super) epsilon: f32,
    /// `−lr / (1−β₁ᵗ)`.
    pub(super) rate: f32,
}

impl Coefficients {
    /// `m` and `v` take in a gradient.
    #[inline(always)]
    pub(super) fn average(&self, d: f32, m: &mut f32, v: &mut f32) {
        // As PyTorch's `lerp`, which goes from the nearer end.
        *m = if self.fresh1 < 0.5 {
            *m + self.fresh1 * (d - *m)
        } else {
            d - (d - *m) * self.beta1
        };
        *v = *v * self.beta2 + self.fresh2 * d * d;
    }

    /// `√v̂ + ε`.
    #[inline(always)]
    pub(super) fn denominator(&self, v: f32) -> f32 {
        v.sqrt() / self.correction + self.epsilon
    }
}

impl Optimizer for Adam {
    kept_in_slots!();

    fn update(
        &mut self,
        index: usize,
        value: &mut [f32],
        gradient: &[f32],
    ) -> Result<(), OptimizerError> {
        let c = self.coefficients(index, value, gradient)?;
        let (_, [m, v, largest]) = self.slots.advance(index);
        let threads = self.config.threads;
        if largest.is_empty() {
            over_threads(threads, gradient, [value, m, v], |g, [w, m, v]| {
                step(c, g, w, m, v)
            });
        } else {
            over_threads(
                threads,
                gradient,
                [value, m, v, largest],
                |g, [w, m, v, largest]| {
                    amsgrad_step(c, g, w, m, v, largest);
                },
            );
        }
        Ok(())
    }

    fn update_all(&mut self, updates: Vec<Update<'_>>) -> Result<(), OptimizerError> {
        let coefficients = updates
            .iter()
            .map(|u| self.coefficients(u.index, u.value, u.gradient))
            .collect::<Result<Vec<_>, _>>()?;
        let indices = updates.iter().map(|u| u.index);
        let slots = self.slots.advance_each(&self.plan, indices)?;
        let threads = self.config.threads;
        if self.config.amsgrad {
            let pieces = pieces(updates, coefficients, slots);
            over_threads_once(threads, pieces, |c, g, [w, m, v, largest]| {
                amsgrad_step(c, g, w, m, v, largest);
            });
        } else {
            let pieces = pieces(updates, coefficients, slots);
            over_threads_once(threads, pieces, |c, g, [w, m, v]| step(c, g, w, m, v));
        }
        Ok(())
    }
}

impl Adam {
    /// What the next update of a parameter is made with.
    fn coefficients(
        &self,
        index: usize,
        value: &[f32],
        gradient: &[f32],
    ) -> Result<Coefficients, OptimizerError> {
        let config = &self.config;
        let found = self.plan.settings(
            index,
            [value.len(), gradient.len()],
            self.settings.learning_rate,
            config.weight_decay,
            config.control,
        )?;
        let (penalty, shrinking) = match config.decay {
            WeightDecay::Penalty => (found.weight_decay, 0.0),
            WeightDecay::Decoupled => (0.0, found.weight_decay),
        };
        let controlled = found.control.apply(value, gradient, penalty, found.axes);
        let count = self.slots.next(index);
        let (beta1, beta2) = (self.settings.momentum.unwrap_or(config.beta1), config.beta2);
        Ok(Coefficients {
            scale: controlled.scale as f32,
            penalty: (controlled.decay * penalty) as f32,
            shrink: (1.0 - found.learning_rate * shrinking) as f32,
            beta1: (1.0 - (1.0 - beta1)) as f32,
            fresh1: (1.0 - beta1) as f32,
            beta2: beta2 as f32,
            fresh2: (1.0 - beta2) as f32,
            correction: correction(beta2, count).sqrt() as f32,
            epsilon: config.epsilon as f32,
            rate: (-found.learning_rate / correction(beta1, count)) as f32,
        })
    }
}

/// `1 − βᵗ`.
pub(super) fn correction(beta: f64, count: u64) -> f64 {
    1.0 - beta.powf(count as f64)
}

fn step(
    c: Coefficients,
    gradient: &[f32],
    value: &mut [f32],
    mean: &mut [f32],
    square: &mut [f32],
) {
    for (((w, m), v), &g) in value.iter_mut().zip(mean).zip(square).zip(gradient) {
        let d = c.scale * g + c.penalty * *w;
        *w *= c.shrink;
        c.average(d, m, v);
        *w += c.rate * *m / c.denominator(*v);
    }
}

fn amsgrad_step(
    c: Coefficients,
    gradient: &[f32],
    value: &mut [f32],
    mean: &mut [f32],
    square: &mut [f32],
    largest: &mut [f32],
) {
    let states = value.iter_mut().zip(mean).zip(square).zip(largest);
    for ((((w, m), v), most), &g) in states.zip(gradient) {
        let d = c.scale * g + c.penalty * *w;
        *w *= c.shrink;
        c.average(d, m, v);
        *most = most.max(*v);
        *w += c.rate * *m / c.denominator(*most);
    }
}
