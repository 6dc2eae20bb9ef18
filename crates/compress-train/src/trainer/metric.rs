//! What is measured beside the loss.

use super::error::TrainError;
use crate::loss::{LossError, Outputs, Target, Targets};
use crate::metrics::{Mean, is_among, wilson_interval};
use crate::stopping::Better;
use ndarray::Axis;
use serde::{Deserialize, Deserializer, Serialize};

/// A measure of each sample, whose mean is reported.
///
/// # Examples
/// The distance of the first output from the first target:
/// ```
/// use compress_train::loss::{LossError, Outputs, Targets};
/// use compress_train::stopping::Better;
/// use compress_train::trainer::Metric;
/// struct Distance;
/// impl Metric for Distance {
///     fn name(&self) -> &str {
///         "distance"
///     }
///     fn better(&self) -> Better {
///         Better::Smaller
///     }
///     fn measure(&self, outputs: &Outputs<'_>, targets: &Targets<'_>, values: &mut Vec<f64>) -> Result<(), LossError> {
///         let ((_, y), (_, t)) = (outputs.get(0)?, targets.values(0)?);
///         values.extend(y.iter().zip(t).map(|(y, t)| f64::from((y - t).abs())));
///         Ok(())
///     }
/// }
/// ```
pub trait Metric: Send + Sync {
    /// The name, as in `accuracy`.
    fn name(&self) -> &str;

    /// Which values are better.
    fn better(&self) -> Better;

    /// Adds one value for each sample.
    ///
    /// # Errors
    /// [`LossError`] where outputs and targets do not fit one another.
    fn measure(
        &self,
        outputs: &Outputs<'_>,
        targets: &Targets<'_>,
        values: &mut Vec<f64>,
    ) -> Result<(), LossError>;
}

/// The share of samples whose class is among the `k` largest of their scores: the first output, `[samples, classes]` with axes of length
/// 1 between, and the first target, classes or probabilities of classes.
///
/// Equal scores count for the class that comes first. Of probabilities the largest is the class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopK {
    k: usize,
    name: String,
}

impl Default for TopK {
    fn default() -> Self {
        Self::new(1)
    }
}

impl TopK {
    /// Among the `k` largest; `k` of 0 counts as 1.
    pub fn new(k: usize) -> Self {
        let k = k.max(1);
        let name = if k == 1 {
            "accuracy".into()
        } else {
            format!("top-{k}")
        };
        Self { k, name }
    }
}

impl Metric for TopK {
    fn name(&self) -> &str {
        &self.name
    }

    fn better(&self) -> Better {
        Better::Larger
    }

    fn measure(
        &self,
        outputs: &Outputs<'_>,
        targets: &Targets<'_>,
        values: &mut Vec<f64>,
    ) -> Result<(), LossError> {
        let (name, scores) = outputs.get(0)?;
        let (target_name, target) = targets.get(0)?;
        let shape = |what, name: &str, found: &[usize], expected: String| LossError::Shape {
            what,
            name: name.to_owned(),
            found: found.to_vec(),
            expected,
        };
        let is_scores =
            scores.ndim() >= 2 && scores.shape()[1..].iter().filter(|&&n| n != 1).count() <= 1;
        if !is_scores || scores.is_empty() {
            return Err(shape(
                "output",
                name,
                scores.shape(),
                "[samples, classes]".into(),
            ));
        }
        let samples = scores.len_of(Axis(0));
        let classes = scores.len() / samples;
        let labels: Vec<usize> = match target {
            Target::Classes(labels) if labels.len() == samples => {
                let classes_of = labels.iter().enumerate().map(|(position, &class)| {
                    let known = usize::try_from(class).ok().filter(|&c| c < classes);
                    known.ok_or_else(|| LossError::NoSuchClass {
                        target: target_name.to_owned(),
                        class,
                        position,
                        classes,
                    })
                });
                classes_of.collect::<Result<_, _>>()?
            }
            Target::Values(shares) if shares.len() == scores.len() => {
                let rows = shares.axis_iter(Axis(0));
                rows.map(|row| largest(row.iter().copied())).collect()
            }
            other => {
                let expected = format!("[{samples}]");
                return Err(shape("target", target_name, other.shape(), expected));
            }
        };
        for (row, label) in scores.axis_iter(Axis(0)).zip(labels) {
            let is_right = is_among(row.iter().copied(), label, self.k);
            values.push(f64::from(u8::from(is_right)));
        }
        Ok(())
    }
}

fn largest(values: impl Iterator<Item = f32>) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (at, value) in values.enumerate() {
        if value > best.1 {
            best = (at, value);
        }
    }
    best.0
}

/// Reads a number, and `null` as NaN.
fn number_or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// A mean over samples with its confidence interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// What was measured: `loss`, or a metric's name.
    pub name: String,
    /// The mean. JSON has no numbers that are not finite: they are written as `null`, which is read as NaN.
    #[serde(deserialize_with = "number_or_nan")]
    pub value: f64,
    /// The number of samples.
    pub n: u64,
    /// The 95 % interval: Wilson's for shares, the normal one for other means; none for a loss and for one sample.
    pub ci95: Option<[f64; 2]>,
}

/// Losses and measures so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Tally {
    /// The sum of losses, each times its samples.
    loss: f64,
    samples: u64,
    /// By metric.
    measures: Vec<Mean>,
    /// Whether all values of a metric were 0 or 1.
    are_shares: Vec<bool>,
}

impl Tally {
    pub(super) fn new(metrics: usize) -> Self {
        Self {
            measures: vec![Mean::default(); metrics],
            are_shares: vec![true; metrics],
            ..Self::default()
        }
    }

    /// Takes in the mean loss of some samples.
    pub(super) fn add_loss(&mut self, loss: f64, samples: usize) {
        self.loss += loss * samples as f64;
        self.samples += samples as u64;
    }

    /// Takes in the measures of some samples.
    pub(super) fn add(
        &mut self,
        metrics: &[Box<dyn Metric>],
        outputs: &Outputs<'_>,
        targets: &Targets<'_>,
        samples: usize,
        values: &mut Vec<f64>,
    ) -> Result<(), TrainError> {
        for (at, metric) in metrics.iter().enumerate() {
            values.clear();
            metric.measure(outputs, targets, values)?;
            if values.len() != samples {
                return Err(TrainError::MetricCount {
                    metric: metric.name().to_owned(),
                    found: values.len(),
                    samples,
                });
            }
            for (sample, &value) in values.iter().enumerate() {
                if !value.is_finite() {
                    return Err(TrainError::Metric {
                        metric: metric.name().to_owned(),
                        sample,
                        found: value,
                    });
                }
                self.are_shares[at] &= value == 0.0 || value == 1.0;
                self.measures[at].add(value);
            }
        }
        Ok(())
    }

    /// The number of metrics.
    pub(super) fn metrics(&self) -> usize {
        self.measures.len()
    }

    /// Whether it is of as many metrics as another.
    pub(super) fn fits(&self, other: &Self) -> bool {
        self.measures.len() == other.measures.len()
            && self.are_shares.len() == other.are_shares.len()
    }

    /// The mean loss; NaN before the first sample.
    pub(super) fn loss(&self) -> f64 {
        self.loss / self.samples as f64
    }

    /// The loss, then the metrics.
    pub(super) fn scores(&self, metrics: &[Box<dyn Metric>]) -> Vec<Score> {
        let mut scores = vec![Score {
            name: "loss".into(),
            value: self.loss(),
            n: self.samples,
            ci95: None,
        }];
        for ((metric, mean), &is_share) in metrics.iter().zip(&self.measures).zip(&self.are_shares)
        {
            let Some(estimate) = mean.estimate() else {
                continue;
            };
            let (n, value) = (estimate.n, estimate.value);
            let correct = (value * n as f64).round();
            let interval = if is_share {
                wilson_interval(correct as usize, n as usize)
            } else {
                Some(estimate.ci95).filter(|ci| ci[0].is_finite() && ci[1].is_finite())
            };
            scores.push(Score {
                name: metric.name().to_owned(),
                value: if is_share { correct / n as f64 } else { value },
                n,
                ci95: interval,
            });
        }
        scores
    }
}
