//! Stochastic gradient descent with momentum.

use super::split::{over_threads, over_threads_once, pieces};
use super::state::{Slots, kept_in_slots};
use super::{
    Optimizer, OptimizerError, Plan, StepControl, StepSettings, Update, check_decay,
    check_positive, check_setting,
};
use serde::{Deserialize, Serialize};

/// Settings of [`Sgd`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct SgdConfig {
    /// `μ`, of `[0, 1)`. With 0 no momentum is kept, and [`StepSettings::momentum`] cannot bring one in.
    pub momentum: f64,
    /// `τ`: how much less than the whole gradient enters the momentum.
    pub dampening: f64,
    /// Whether the step looks ahead along the momentum (Sutskever et al. 2013).
    pub nesterov: bool,
    /// `λ`: the penalty `λ/2 · ‖w‖²`, whose gradient is added.
    #[serde(alias = "weight_decay")]
    pub weight_decay: f64,
    /// How the gradients of tensors are rescaled.
    pub control: StepControl,
    /// Threads for large parameters.
    pub threads: usize,
}

impl Default for SgdConfig {
    fn default() -> Self {
        Self {
            momentum: 0.0,
            dampening: 0.0,
            nesterov: false,
            weight_decay: 0.0,
            control: StepControl::None,
            threads: 1,
        }
    }
}

impl SgdConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`].
    pub fn validate(&self) -> Result<(), OptimizerError> {
        check_decay("the momentum", self.momentum)?;
        check_positive("the weight decay", self.weight_decay)?;
        let damps = (0.0..=1.0).contains(&self.dampening);
        check_setting(
            "the dampening",
            self.dampening,
            damps,
            "it must lie in [0, 1]",
        )?;
        let may_look_ahead = !self.nesterov || (self.momentum > 0.0 && self.dampening == 0.0);
        check_setting(
            "the momentum",
            self.momentum,
            may_look_ahead,
            "Nesterov's step needs one above 0, and no dampening",
        )?;
        self.control.validate()
    }
}

/// `d = g + λw`, `b ← μb + (1−τ)d` (`b = d` in the first step), `w ← w − lr · b`; Nesterov: `w ← w − lr · (d + μb)`.
///
/// As `torch.optim.SGD`: the momentum holds gradients, not steps, so that a change of the learning rate acts at once.
#[derive(Clone, Debug)]
pub struct Sgd {
    config: SgdConfig,
    plan: Plan,
    slots: Slots<1>,
    settings: StepSettings,
}

impl Sgd {
    /// An optimizer of some parameters, with momentum zero.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`].
    pub fn new(plan: Plan, config: SgdConfig) -> Result<Self, OptimizerError> {
        config.validate()?;
        Ok(Self {
            slots: Slots::new("sgd", ["momentum"], &plan, [config.momentum > 0.0]),
            settings: StepSettings::new(0.0),
            config,
            plan,
        })
    }
}

impl Sgd {
    /// A momentum needs the memory that an optimizer made without one has not got.
    fn check_momentum(&self, settings: &StepSettings) -> Result<(), OptimizerError> {
        let asked = settings.momentum.unwrap_or(0.0);
        check_setting(
            "the momentum of a step",
            asked,
            asked == 0.0 || self.config.momentum > 0.0,
            "the optimizer was made without one: give `SgdConfig::momentum` a value above 0, which the schedule's then replaces",
        )
    }
}

/// The coefficients of one step in the precision of the weights.
#[derive(Clone, Copy)]
struct Coefficients {
    scale: f32,
    decay: f32,
    momentum: f32,
    fresh: f32,
    rate: f32,
    is_first: bool,
    looks_ahead: bool,
}

impl Optimizer for Sgd {
    kept_in_slots!(Self::check_momentum);

    fn update(
        &mut self,
        index: usize,
        value: &mut [f32],
        gradient: &[f32],
    ) -> Result<(), OptimizerError> {
        let c = self.coefficients(index, value, gradient)?;
        let (_, [momentum]) = self.slots.advance(index);
        let threads = self.config.threads;
        if momentum.is_empty() {
            over_threads(threads, gradient, [value], |g, [w]| plain(c, g, w));
        } else {
            over_threads(threads, gradient, [value, momentum], |g, [w, b]| {
                with_momentum(c, g, w, b);
            });
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
        if self.config.momentum > 0.0 {
            let pieces = pieces(updates, coefficients, slots);
            over_threads_once(threads, pieces, |c, g, [w, b]| with_momentum(c, g, w, b));
        } else {
            let pieces = pieces(updates, coefficients, slots);
            over_threads_once(threads, pieces, |c, g, [w]| plain(c, g, w));
        }
        Ok(())
    }
}

impl Sgd {
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
        let controlled = found
            .control
            .apply(value, gradient, found.weight_decay, found.axes);
        Ok(Coefficients {
            scale: controlled.scale as f32,
            decay: (controlled.decay * found.weight_decay) as f32,
            momentum: self.settings.momentum.unwrap_or(config.momentum) as f32,
            fresh: (1.0 - config.dampening) as f32,
            rate: -found.learning_rate as f32,
            is_first: self.slots.next(index) == 1,
            looks_ahead: config.nesterov,
        })
    }
}

fn plain(c: Coefficients, gradient: &[f32], value: &mut [f32]) {
    for (w, &g) in value.iter_mut().zip(gradient) {
        let d = c.scale * g + c.decay * *w;
        *w += c.rate * d;
    }
}

fn with_momentum(c: Coefficients, gradient: &[f32], value: &mut [f32], momentum: &mut [f32]) {
    // The first step takes the gradient whole, whatever the dampening.
    let (kept, fresh) = if c.is_first {
        (0.0, 1.0)
    } else {
        (c.momentum, c.fresh)
    };
    let (ahead, along) = if c.looks_ahead {
        (1.0, c.momentum)
    } else {
        (0.0, 1.0)
    };
    for ((w, b), &g) in value.iter_mut().zip(momentum).zip(gradient) {
        let d = c.scale * g + c.decay * *w;
        *b = kept * *b + fresh * d;
        *w += c.rate * (ahead * d + along * *b);
    }
}

#[cfg(test)]
mod tests {
    use super::super::ParameterInfo;
    use super::*;

    #[test]
    fn a_scheduled_momentum_takes_the_place_of_one_that_is_kept() {
        let made = |momentum| {
            let plan = Plan::new(vec![ParameterInfo::new("w", &[1])], &[]).unwrap();
            let config = SgdConfig {
                momentum,
                ..SgdConfig::default()
            };
            Sgd::new(plan, config).unwrap()
        };
        let scheduled = |momentum| StepSettings {
            learning_rate: 1.0,
            momentum: Some(momentum),
        };
        let error = made(0.0).begin_step(scheduled(0.85)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the momentum of a step is 0.85, the optimizer was made without one: give `SgdConfig::momentum` a value above 0, which the schedule's then replaces"
        );
        assert!(made(0.0).begin_step(scheduled(0.0)).is_ok());
        // b = 1, then 0.5 * 1 + 1.
        let mut sgd = made(0.9);
        let mut w = [0.0f32];
        for _ in 0..2 {
            sgd.begin_step(scheduled(0.5)).unwrap();
            sgd.update(0, &mut w, &[1.0]).unwrap();
        }
        assert_eq!(w, [-2.5]);
    }
}
