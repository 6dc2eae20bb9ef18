//! The learning rate over a whole run, told in epochs.

use crate::schedule::{Annealing, OneCycle, Schedule, ScheduleError};
use serde::{Deserialize, Serialize};

/// How the learning rate goes over a run; the lengths follow from that of the run.
///
/// Epochs that are named (`every`, `milestones`) count from the beginning of the run, those of the warm-up too; what goes on from step to
/// step (cosine, exponential, polynomial, one cycle) begins behind the warm-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "kebab-case",
    deny_unknown_fields,
    expecting = "a table with a `kind` of schedule"
)]
pub enum Course {
    /// It stays.
    Constant,
    /// Half a wave of the cosine down to `minimum` at the end of the run.
    Cosine {
        /// The last learning rate.
        #[serde(default)]
        minimum: f64,
    },
    /// Multiplied by `factor` after every so many epochs.
    Step {
        /// Epochs of one learning rate.
        every: f64,
        /// What it is then multiplied by.
        factor: f64,
    },
    /// Multiplied by `factor` at each milestone.
    MultiStep {
        /// Epochs after which the learning rate changes.
        milestones: Vec<f64>,
        /// What it is then multiplied by.
        factor: f64,
    },
    /// Multiplied by `factor` in each epoch, bit by bit.
    Exponential {
        /// What it is multiplied by in an epoch.
        factor: f64,
    },
    /// `(1 − t/T)^power`.
    Polynomial {
        /// The exponent.
        power: f64,
    },
    /// Up and down again (Smith and Topin 2018, arXiv:1708.07120).
    OneCycle {
        /// The share of the run in which it rises.
        #[serde(default = "rising")]
        rising: f64,
        /// The highest over the first learning rate.
        #[serde(default = "divisor")]
        divisor: f64,
        /// The first over the last learning rate.
        #[serde(default = "last_divisor", alias = "last_divisor")]
        last_divisor: f64,
        /// The lowest and the highest momentum, which moves against it.
        #[serde(default)]
        momentum: Option<[f64; 2]>,
    },
}

fn rising() -> f64 {
    OneCycle::default().rising
}

fn divisor() -> f64 {
    OneCycle::default().divisor
}

fn last_divisor() -> f64 {
    OneCycle::default().last_divisor
}

impl Default for Course {
    /// The cosine, down to 0.
    fn default() -> Self {
        Self::Cosine { minimum: 0.0 }
    }
}

impl Course {
    /// One cycle with the shape of PyTorch's.
    pub fn one_cycle() -> Self {
        Self::OneCycle {
            rising: rising(),
            divisor: divisor(),
            last_divisor: last_divisor(),
            momentum: None,
        }
    }

    /// The schedule of a run of `epochs` epochs of `steps` steps each, of which the first `warm_up` rise from zero.
    ///
    /// # Errors
    /// [`ScheduleError`] with the first setting that breaks its rule.
    pub fn schedule(
        &self,
        epochs: u64,
        steps: u64,
        warm_up: f64,
    ) -> Result<Schedule, ScheduleError> {
        let setting = |found: f64, what| {
            let is_right = found.is_finite() && found >= 0.0;
            let error = ScheduleError {
                schedule: "run",
                setting: what,
                found,
                rule: "it must be a finite number of epochs, 0 or more",
            };
            if is_right {
                Ok((found * steps as f64).round() as u64)
            } else {
                Err(error)
            }
        };
        let all = epochs.saturating_mul(steps).max(1);
        let warm_up = setting(warm_up, "warm-up")?.min(all);
        let rest = (all - warm_up).max(1);
        let schedule = match self {
            Self::Constant => Schedule::Constant,
            Self::Cosine { minimum } => Schedule::Cosine {
                steps: rest,
                minimum: *minimum,
            },
            Self::Step { every, factor } => Schedule::Step {
                every: setting(*every, "every")?,
                factor: *factor,
            },
            Self::MultiStep { milestones, factor } => Schedule::MultiStep {
                milestones: milestones
                    .iter()
                    .map(|&m| setting(m, "milestone"))
                    .collect::<Result<_, ScheduleError>>()?,
                factor: *factor,
            },
            Self::Exponential { factor } => Schedule::Exponential {
                factor: factor.powf(1.0 / steps.max(1) as f64),
            },
            Self::Polynomial { power } => Schedule::Polynomial {
                steps: rest,
                power: *power,
            },
            Self::OneCycle {
                rising,
                divisor,
                last_divisor,
                momentum,
            } => Schedule::OneCycle(OneCycle {
                steps: rest.max(2),
                rising: *rising,
                divisor: *divisor,
                last_divisor: *last_divisor,
                annealing: Annealing::Cosine,
                three_phases: false,
                momentum: *momentum,
            }),
        };
        let counts_from_the_start =
            matches!(schedule, Schedule::Step { .. } | Schedule::MultiStep { .. });
        let schedule = if warm_up > 0 && counts_from_the_start {
            Schedule::Entered {
                at: warm_up,
                of: Box::new(schedule),
            }
        } else {
            schedule
        };
        let schedule = if warm_up > 0 {
            // The first step is not lost: it takes its share of the way up.
            schedule.after_warm_up(warm_up, 1.0 / (warm_up + 1) as f64)
        } else {
            schedule
        };
        schedule.validate()?;
        Ok(schedule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_follow_from_the_run() {
        let schedule = Course::default().schedule(10, 79, 0.0).unwrap();
        let cosine = Schedule::Cosine {
            steps: 790,
            minimum: 0.0,
        };
        assert_eq!(schedule, cosine);
        let step = Course::Step {
            every: 2.5,
            factor: 0.1,
        };
        let step = step.schedule(10, 4, 0.0).unwrap();
        assert_eq!(
            (step.learning_rate(1.0, 9), step.learning_rate(1.0, 10)),
            (1.0, 0.1)
        );
        let exponential = Course::Exponential { factor: 0.25 };
        let exponential = exponential.schedule(3, 8, 0.0).unwrap();
        assert!((exponential.learning_rate(1.0, 8) - 0.25).abs() < 1e-12);
    }

    #[test]
    fn the_warm_up_is_part_of_the_run() {
        let warm = Course::default().schedule(4, 10, 1.0).unwrap();
        assert!((warm.learning_rate(1.1, 0) - 0.1).abs() < 1e-12);
        assert_eq!(warm.learning_rate(1.1, 10), 1.1);
        assert!(warm.learning_rate(1.1, 39) < 0.01);
        let milestones = Course::MultiStep {
            milestones: vec![2.0],
            factor: 0.5,
        };
        let milestones = milestones.schedule(4, 10, 1.0).unwrap();
        assert_eq!(
            (
                milestones.learning_rate(1.0, 19),
                milestones.learning_rate(1.0, 20)
            ),
            (1.0, 0.5)
        );
        // Epochs count alike in both.
        let step = Course::Step {
            every: 2.0,
            factor: 0.5,
        };
        let step = step.schedule(4, 10, 1.0).unwrap();
        for at in 10..40 {
            assert_eq!(
                step.learning_rate(1.0, at),
                milestones.learning_rate(1.0, at)
            );
        }
    }

    #[test]
    fn settings_that_make_no_sense_are_told() {
        let step = Course::Step {
            every: -1.0,
            factor: 0.1,
        };
        let error = step.schedule(10, 4, 0.0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "schedule run: every is -1, it must be a finite number of epochs, 0 or more"
        );
        assert!(Course::Constant.schedule(1, 1, f64::NAN).is_err());
    }
}
