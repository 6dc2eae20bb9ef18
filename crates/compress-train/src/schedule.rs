//! Learning-rate schedules: pure functions of the step, so that a run can be resumed anywhere.
//!
//! A step is whatever the caller counts, updates or epochs. Except for the warm-up each is PyTorch's scheduler of the same name in closed
//! form.

use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// How the learning rate follows from the step. `base` is the learning rate that the schedule is given.
///
/// # Examples
/// ```
/// use compress_train::schedule::Schedule;
/// let cosine = Schedule::Cosine { steps: 100, minimum: 0.0 };
/// assert_eq!(cosine.learning_rate(0.1, 0), 0.1);
/// assert!((cosine.learning_rate(0.1, 50) - 0.05).abs() < 1e-15);
/// let warm = cosine.after_warm_up(10, 0.1);
/// assert!((warm.learning_rate(0.1, 0) - 0.01).abs() < 1e-15);
/// assert_eq!(warm.learning_rate(0.1, 10), 0.1);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// `base`.
    #[default]
    Constant,
    /// `base · factor^⌊t / every⌋`.
    Step {
        /// Steps of one learning rate.
        every: u64,
        /// What it is then multiplied by.
        factor: f64,
    },
    /// `base · factor^(number of milestones ≤ t)`.
    MultiStep {
        /// Steps at which the learning rate changes.
        milestones: Vec<u64>,
        /// What it is then multiplied by.
        factor: f64,
    },
    /// `base · factor^t`.
    Exponential {
        /// What it is multiplied by in each step.
        factor: f64,
    },
    /// `minimum + (base − minimum) · (1 + cos(π t/T)) / 2`, `minimum` from `T` on.
    Cosine {
        /// `T`.
        steps: u64,
        /// The last learning rate.
        #[serde(default)]
        minimum: f64,
    },
    /// The cosine again and again, each run `factor` times as long as that before (SGDR: Loshchilov and Hutter 2017,
    /// arXiv:1608.03983).
    CosineRestarts {
        /// The length of the first run.
        first: u64,
        /// How many times as long as its predecessor each run is; 1 or more.
        factor: u64,
        /// The last learning rate of each run.
        #[serde(default)]
        minimum: f64,
    },
    /// Up to `base` and down again (Smith and Topin 2018, arXiv:1708.07120).
    OneCycle(OneCycle),
    /// `base · (1 − t/T)^power`, 0 from `T` on.
    Polynomial {
        /// `T`.
        steps: u64,
        /// The exponent.
        power: f64,
    },
    /// `base · (start + (1 − start) · t/N)` for `N` steps, then another schedule, whose steps count from there.
    WarmUp {
        /// `N`.
        steps: u64,
        /// The share of `base` that the first step takes.
        start: f64,
        /// What follows.
        then: Box<Schedule>,
    },
    /// Another schedule as if some steps of it were done.
    Entered {
        /// These steps.
        at: u64,
        /// The schedule.
        of: Box<Schedule>,
    },
}

/// The shape of a one-cycle schedule: from `base / divisor` up to `base`, then down to `base / divisor / last_divisor`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OneCycle {
    /// All steps, 2 or more.
    pub steps: u64,
    /// The share of the steps in which the learning rate rises.
    pub rising: f64,
    /// `base` over the first learning rate.
    pub divisor: f64,
    /// The first learning rate over the last.
    pub last_divisor: f64,
    /// How one learning rate leads to the next.
    pub annealing: Annealing,
    /// Whether the way down first leads to the first learning rate, in as many steps as the way up.
    pub three_phases: bool,
    /// The lowest and the highest momentum, which moves against the learning rate; `None` leaves it alone.
    pub momentum: Option<[f64; 2]>,
}

impl Default for OneCycle {
    fn default() -> Self {
        Self {
            steps: 0,
            rising: 0.3,
            divisor: 25.0,
            last_divisor: 1e4,
            annealing: Annealing::Cosine,
            three_phases: false,
            momentum: None,
        }
    }
}

/// How one value leads to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Annealing {
    /// Half a wave of the cosine.
    #[default]
    Cosine,
    /// A straight line.
    Linear,
}

/// A schedule that cannot be followed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("schedule {schedule}: {setting} is {found}, {rule}")]
pub struct ScheduleError {
    /// The schedule.
    pub schedule: &'static str,
    /// The setting.
    pub setting: &'static str,
    /// Its value.
    pub found: f64,
    /// The rule, as in `it must be 1 or more`.
    pub rule: &'static str,
}

impl Schedule {
    /// This schedule after `steps` steps in which the learning rate rises from the share `start` of its base.
    pub fn after_warm_up(self, steps: u64, start: f64) -> Self {
        Self::WarmUp {
            steps,
            start,
            then: Box::new(self),
        }
    }

    /// The learning rate of step `step`, from 0.
    pub fn learning_rate(&self, base: f64, step: u64) -> f64 {
        match self {
            Self::Constant => base,
            Self::Step { every, factor } => base * power(*factor, step / (*every).max(1)),
            Self::MultiStep { milestones, factor } => {
                let passed = milestones.iter().filter(|&&m| m <= step).count();
                base * power(*factor, passed as u64)
            }
            Self::Exponential { factor } => base * power(*factor, step),
            Self::Cosine { steps, minimum } => cosine(base, *minimum, share(step, *steps)),
            Self::CosineRestarts {
                first,
                factor,
                minimum,
            } => {
                let (at, length) = run_of(step, (*first).max(1), (*factor).max(1));
                cosine(base, *minimum, at as f64 / length as f64)
            }
            Self::OneCycle(cycle) => cycle.learning_rate(base, step),
            Self::Polynomial { steps, power } => base * (1.0 - share(step, *steps)).powf(*power),
            Self::WarmUp { steps, start, .. } if step < *steps => {
                base * (start + (1.0 - start) * share(step, *steps))
            }
            Self::WarmUp { steps, then, .. } => then.learning_rate(base, step - steps),
            Self::Entered { at, of } => of.learning_rate(base, step.saturating_add(*at)),
        }
    }

    /// The momentum of step `step`, where the schedule moves it.
    pub fn momentum(&self, step: u64) -> Option<f64> {
        match self {
            Self::OneCycle(cycle) => cycle.momentum_at(step),
            // The momentum waits for its own schedule where that begins.
            Self::WarmUp { steps, then, .. } => then.momentum(step.saturating_sub(*steps)),
            Self::Entered { at, of } => of.momentum(step.saturating_add(*at)),
            _ => None,
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`ScheduleError`] with the first setting that breaks its rule.
    pub fn validate(&self) -> Result<(), ScheduleError> {
        match self {
            Self::Constant => Ok(()),
            Self::Step { every, factor } => {
                at_least_one("step", "every", *every)?;
                positive("step", "factor", *factor)
            }
            Self::MultiStep { factor, .. } => positive("multi-step", "factor", *factor),
            Self::Exponential { factor } => positive("exponential", "factor", *factor),
            Self::Cosine { steps, minimum } => {
                at_least_one("cosine", "steps", *steps)?;
                positive("cosine", "minimum", *minimum)
            }
            Self::CosineRestarts {
                first,
                factor,
                minimum,
            } => {
                at_least_one("cosine-restarts", "first", *first)?;
                at_least_one("cosine-restarts", "factor", *factor)?;
                positive("cosine-restarts", "minimum", *minimum)
            }
            Self::OneCycle(cycle) => cycle.validate(),
            Self::Polynomial { steps, power } => {
                at_least_one("polynomial", "steps", *steps)?;
                positive("polynomial", "power", *power)
            }
            Self::WarmUp { start, then, .. } => {
                positive("warm-up", "start", *start)?;
                then.validate()
            }
            Self::Entered { of, .. } => of.validate(),
        }
    }
}

impl OneCycle {
    /// The steps at which each phase ends, in order.
    fn ends(&self) -> Vec<f64> {
        let last = self.steps as f64 - 1.0;
        let risen = self.rising * self.steps as f64 - 1.0;
        if self.three_phases {
            vec![risen, 2.0 * self.rising * self.steps as f64 - 2.0, last]
        } else {
            vec![risen, last]
        }
    }

    /// The value at a step on the way through `values`, one more than there are phases.
    fn along(&self, values: &[f64], step: u64) -> f64 {
        let step = step as f64;
        let mut start = 0.0;
        for (end, pair) in self.ends().into_iter().zip(values.windows(2)) {
            if step <= end {
                let share = if end > start {
                    (step - start) / (end - start)
                } else {
                    1.0
                };
                return self.annealing.between(pair[0], pair[1], share);
            }
            start = end;
        }
        values.last().copied().unwrap_or(0.0)
    }

    fn learning_rate(&self, base: f64, step: u64) -> f64 {
        let first = base / self.divisor;
        let last = first / self.last_divisor;
        if self.three_phases {
            self.along(&[first, base, first, last], step)
        } else {
            self.along(&[first, base, last], step)
        }
    }

    fn momentum_at(&self, step: u64) -> Option<f64> {
        let [low, high] = self.momentum?;
        Some(if self.three_phases {
            self.along(&[high, low, high, high], step)
        } else {
            self.along(&[high, low, high], step)
        })
    }

    fn validate(&self) -> Result<(), ScheduleError> {
        let check =
            |setting, found, is_right, rule| rule_of("one-cycle", setting, found, is_right, rule);
        check(
            "steps",
            self.steps as f64,
            self.steps > 1,
            "it must be 2 or more",
        )?;
        let most = if self.three_phases { 0.5 } else { 1.0 };
        let rises = self.rising > 0.0 && self.rising <= most;
        let rule = "it must lie in (0, 1], in (0, 0.5] with three phases";
        check("rising", self.rising, rises, rule)?;
        for (setting, found) in [
            ("divisor", self.divisor),
            ("last divisor", self.last_divisor),
        ] {
            check(
                setting,
                found,
                found.is_finite() && found > 0.0,
                "it must be a positive number",
            )?;
        }
        for momentum in self.momentum.into_iter().flatten() {
            let is_right = (0.0..1.0).contains(&momentum);
            check("momentum", momentum, is_right, "it must lie in [0, 1)")?;
        }
        Ok(())
    }
}

impl Annealing {
    fn between(self, from: f64, to: f64, share: f64) -> f64 {
        match self {
            Self::Cosine => cosine(from, to, share),
            Self::Linear => from + (to - from) * share,
        }
    }
}

/// `to + (from − to) · (1 + cos(π · share)) / 2`.
fn cosine(from: f64, to: f64, share: f64) -> f64 {
    to + (from - to) * (1.0 + (PI * share).cos()) / 2.0
}

/// `step / steps`, 1 behind the last step.
fn share(step: u64, steps: u64) -> f64 {
    if step >= steps {
        1.0
    } else {
        step as f64 / steps as f64
    }
}

fn power(factor: f64, exponent: u64) -> f64 {
    factor.powf(exponent as f64)
}

/// The place of a step within its run, and the run's length.
fn run_of(step: u64, first: u64, factor: u64) -> (u64, u64) {
    if factor == 1 {
        return (step % first, first);
    }
    let (mut at, mut length) = (step, first);
    while at >= length {
        at -= length;
        length = length.saturating_mul(factor);
    }
    (at, length)
}

fn rule_of(
    schedule: &'static str,
    setting: &'static str,
    found: f64,
    is_right: bool,
    rule: &'static str,
) -> Result<(), ScheduleError> {
    if is_right {
        return Ok(());
    }
    Err(ScheduleError {
        schedule,
        setting,
        found,
        rule,
    })
}

fn at_least_one(
    schedule: &'static str,
    setting: &'static str,
    found: u64,
) -> Result<(), ScheduleError> {
    rule_of(
        schedule,
        setting,
        found as f64,
        found > 0,
        "it must be 1 or more",
    )
}

fn positive(
    schedule: &'static str,
    setting: &'static str,
    found: f64,
) -> Result<(), ScheduleError> {
    let is_right = found.is_finite() && found >= 0.0;
    rule_of(
        schedule,
        setting,
        found,
        is_right,
        "it must be a finite number, 0 or more",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_are_found_without_walking_where_runs_are_equal() {
        let schedule = Schedule::CosineRestarts {
            first: 10,
            factor: 1,
            minimum: 0.0,
        };
        assert_eq!(
            schedule.learning_rate(1.0, u64::MAX - 5),
            schedule.learning_rate(1.0, (u64::MAX - 5) % 10)
        );
        let growing = Schedule::CosineRestarts {
            first: 1,
            factor: 2,
            minimum: 0.25,
        };
        // Runs of 1, 2, 4 … steps begin at 0, 1, 3, 7 …
        for start in [0, 1, 3, 7, 15] {
            assert_eq!(growing.learning_rate(1.0, start), 1.0);
        }
        assert!(growing.learning_rate(1.0, u64::MAX).is_finite());
    }

    #[test]
    fn behind_its_end_a_schedule_stays_where_it_ended() {
        let polynomial = Schedule::Polynomial {
            steps: 5,
            power: 2.0,
        };
        assert_eq!(polynomial.learning_rate(1.0, 99), 0.0);
        let cosine = Schedule::Cosine {
            steps: 5,
            minimum: 0.1,
        };
        assert_eq!(cosine.learning_rate(1.0, 6), 0.1);
        let cycle = Schedule::OneCycle(OneCycle {
            steps: 10,
            momentum: Some([0.85, 0.95]),
            ..OneCycle::default()
        });
        assert_eq!(cycle.learning_rate(1.0, 50), 1.0 / 25.0 / 1e4);
        assert_eq!(cycle.momentum(50), Some(0.95));
        assert_eq!(Schedule::Constant.momentum(3), None);
    }

    #[test]
    fn settings_that_break_their_rules_are_told() {
        let of = |schedule: Schedule| schedule.validate().unwrap_err().to_string();
        assert_eq!(
            of(Schedule::Step {
                every: 0,
                factor: 0.1
            }
            .after_warm_up(3, 0.0)),
            "schedule step: every is 0, it must be 1 or more"
        );
        assert_eq!(
            of(Schedule::OneCycle(OneCycle::default())),
            "schedule one-cycle: steps is 0, it must be 2 or more"
        );
        assert!(
            Schedule::Exponential { factor: f64::NAN }
                .validate()
                .is_err()
        );
        // Unchecked settings give numbers all the same.
        assert_eq!(
            Schedule::Step {
                every: 0,
                factor: 0.5
            }
            .learning_rate(1.0, 1),
            0.5
        );
        assert_eq!(
            Schedule::Cosine {
                steps: 0,
                minimum: 0.5
            }
            .learning_rate(1.0, 0),
            0.5
        );
    }

    #[test]
    fn a_schedule_is_data() {
        let schedule = Schedule::Cosine {
            steps: 7,
            minimum: 0.0,
        }
        .after_warm_up(3, 0.1);
        let text = serde_json::to_string(&schedule).unwrap();
        assert_eq!(
            text,
            r#"{"warm-up":{"steps":3,"start":0.1,"then":{"cosine":{"steps":7,"minimum":0.0}}}}"#
        );
        assert_eq!(serde_json::from_str::<Schedule>(&text).unwrap(), schedule);
    }
}
