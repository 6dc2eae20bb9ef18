//! Early stopping, and the weights that were best.

use crate::optimizer::ParameterInfo;
use compress_tensor::{Tensor, TensorError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which values of a score are better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// Smaller ones, as of a loss.
    #[default]
    Smaller,
    /// Larger ones, as of an accuracy.
    Larger,
}

/// Settings of [`EarlyStopping`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table with `patience`"
)]
#[non_exhaustive]
pub struct StoppingConfig {
    /// Observations without improvement after which to stop; `None` never stops and only knows the best.
    pub patience: Option<u64>,
    /// By how much a value must be better than the best to count.
    #[serde(alias = "least_gain")]
    pub least_gain: f64,
    /// Which values are better.
    pub better: Better,
}

impl Default for StoppingConfig {
    fn default() -> Self {
        Self {
            patience: Some(10),
            least_gain: 0.0,
            better: Better::Smaller,
        }
    }
}

/// What an observation means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the best so far: keep the weights.
    Improved,
    /// It is not, for this many observations.
    Waiting(u64),
    /// It is not, and patience is at its end.
    Stop,
}

/// What early stopping remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoppingState {
    /// The best value and its step.
    pub best: Option<BestValue>,
    /// Observations since.
    pub waited: u64,
}

/// A value and the step at which it was observed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestValue {
    /// The step.
    pub step: u64,
    /// The value.
    #[serde(with = "crate::checkpoint::exact")]
    pub value: f64,
}

/// Watches a score.
///
/// # Examples
/// ```
/// use compress_train::stopping::{EarlyStopping, StoppingConfig, Verdict};
/// let mut config = StoppingConfig::default();
/// config.patience = Some(2);
/// let mut stopping = EarlyStopping::new(config);
/// let verdicts: Vec<_> = [1.0, 0.5, 0.7, 0.6].into_iter().zip(1..).map(|(v, step)| stopping.observe(step, v)).collect();
/// assert_eq!(verdicts, [Verdict::Improved, Verdict::Improved, Verdict::Waiting(1), Verdict::Stop]);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct EarlyStopping {
    config: StoppingConfig,
    state: StoppingState,
}

impl EarlyStopping {
    /// Nothing observed yet.
    pub fn new(config: StoppingConfig) -> Self {
        Self {
            config,
            state: StoppingState::default(),
        }
    }

    /// Takes in the score of a step. NaN is no improvement.
    pub fn observe(&mut self, step: u64, value: f64) -> Verdict {
        let gain = |best: BestValue| match self.config.better {
            Better::Smaller => best.value - value,
            Better::Larger => value - best.value,
        };
        let improves = !value.is_nan()
            && self
                .state
                .best
                .is_none_or(|best| gain(best) > self.config.least_gain);
        if improves {
            self.state = StoppingState {
                best: Some(BestValue { step, value }),
                waited: 0,
            };
            return Verdict::Improved;
        }
        self.state.waited += 1;
        match self.config.patience {
            Some(patience) if self.state.waited >= patience => Verdict::Stop,
            _ => Verdict::Waiting(self.state.waited),
        }
    }

    /// The state, to be saved.
    pub fn state(&self) -> StoppingState {
        self.state
    }

    /// Goes on from a saved state.
    pub fn restore(&mut self, state: StoppingState) {
        self.state = state;
    }
}

/// The weights of the best step.
#[derive(Clone, Debug)]
pub struct BestWeights {
    /// The step and its score.
    pub at: BestValue,
    /// The weights by name.
    pub weights: BTreeMap<String, Tensor>,
}

impl BestWeights {
    /// Copies the weights of a step; `value_of` gives those of a parameter by its place.
    ///
    /// # Errors
    /// [`TensorError::WrongLength`] for a slice that does not fit its parameter.
    pub fn keep<'a>(
        at: BestValue,
        parameters: &[ParameterInfo],
        value_of: impl Fn(usize) -> &'a [f32],
    ) -> Result<Self, TensorError> {
        let mut weights = BTreeMap::new();
        for (index, parameter) in parameters.iter().enumerate() {
            let tensor = Tensor::from_vec(&parameter.shape, value_of(index).to_vec())?;
            weights.insert(parameter.name.clone(), tensor);
        }
        Ok(Self { at, weights })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(config: StoppingConfig, values: &[f64]) -> Vec<Verdict> {
        let mut stopping = EarlyStopping::new(config);
        values.iter().map(|&v| stopping.observe(0, v)).collect()
    }

    #[test]
    fn small_gains_and_nan_do_not_count() {
        use Verdict::{Improved, Stop, Waiting};
        let config = StoppingConfig {
            patience: Some(3),
            least_gain: 0.1,
            better: Better::Larger,
        };
        let found = verdicts(config, &[f64::NAN, 0.5, 0.55, 0.7, 0.7, f64::NAN, 0.75]);
        assert_eq!(
            found,
            [
                Waiting(1),
                Improved,
                Waiting(1),
                Improved,
                Waiting(1),
                Waiting(2),
                Stop
            ]
        );
        let patient = StoppingConfig {
            patience: None,
            ..StoppingConfig::default()
        };
        assert_eq!(
            verdicts(patient, &[1.0, 2.0, 3.0]),
            [Improved, Waiting(1), Waiting(2)]
        );
    }

    #[test]
    fn a_restored_watch_goes_on() {
        let mut unbroken = EarlyStopping::new(StoppingConfig::default());
        unbroken.observe(1, 0.1 + 0.2);
        unbroken.observe(2, 0.4);
        let text = serde_json::to_string(&unbroken.state()).unwrap();
        assert_eq!(
            text,
            r#"{"best":{"step":1,"value":"0.30000000000000004"},"waited":1}"#
        );
        let mut resumed = EarlyStopping::new(StoppingConfig::default());
        resumed.restore(serde_json::from_str(&text).unwrap());
        assert_eq!(resumed, unbroken);
    }

    #[test]
    fn kept_weights_are_copies() {
        let parameters = [ParameterInfo::new("w", &[2, 1])];
        let mut w = vec![1.0f32, 2.0];
        let best = BestWeights::keep(
            BestValue {
                step: 3,
                value: 0.5,
            },
            &parameters,
            |_| &w,
        )
        .unwrap();
        w[0] = 9.0;
        assert_eq!(best.weights["w"].as_slice::<f32>().unwrap(), [1.0, 2.0]);
        assert!(BestWeights::keep(best.at, &parameters, |_| &w[..1]).is_err());
    }
}
