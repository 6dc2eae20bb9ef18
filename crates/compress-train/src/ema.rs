//! Exponential moving averages of weights (Polyak and Juditsky 1992).

use crate::optimizer::ParameterInfo;
use compress_tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Settings of [`Ema`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table with `decay`")]
#[non_exhaustive]
pub struct EmaConfig {
    /// `δ`, of `[0, 1)`: the share of the average that each update keeps.
    pub decay: f64,
    /// Where the average begins.
    pub start: EmaStart,
}

impl Default for EmaConfig {
    fn default() -> Self {
        Self {
            decay: 0.999,
            start: EmaStart::FirstWeights,
        }
    }
}

/// What the average is before there is much to average.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmaStart {
    /// The weights of the first update, which then fade with `δᵗ`; as `torch.optim.swa_utils.AveragedModel`.
    #[default]
    FirstWeights,
    /// Nothing: the average of what was seen, `a / (1 − δᵗ)` (Kingma and Ba 2015, sec. 3).
    BiasCorrected,
}

/// Averages of parameters: `a ← a + (1−δ)(w − a)`.
#[derive(Clone, Debug)]
pub struct Ema {
    config: EmaConfig,
    parameters: Vec<ParameterInfo>,
    averages: Vec<Vec<f32>>,
    updates: Vec<u64>,
}

/// The state of averages, as it is saved.
#[derive(Clone, Debug, Default)]
pub struct EmaState {
    /// How often each average was updated, by parameter.
    pub updates: BTreeMap<String, u64>,
    /// The averages before their correction, by parameter.
    pub averages: BTreeMap<String, Tensor>,
}

/// What does not fit averages.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EmaError {
    /// A decay outside of its range.
    #[error("the decay of averages is {found}, it must lie in [0, 1)")]
    Decay {
        /// The decay.
        found: f64,
    },
    /// An index behind the last parameter.
    #[error("there is no parameter {index}, {count} are averaged")]
    NoSuchParameter {
        /// The index.
        index: usize,
        /// The number of parameters.
        count: usize,
    },
    /// A slice of another length than its parameter.
    #[error("parameter `{name}` has {expected} elements, the slice {found}")]
    Length {
        /// The parameter.
        name: String,
        /// The parameter's length.
        expected: usize,
        /// The slice's length.
        found: usize,
    },
    /// A state that does not belong to these parameters.
    #[error("the state does not fit parameter `{name}`: {problem}")]
    State {
        /// The parameter.
        name: String,
        /// What does not fit.
        problem: String,
    },
}

impl Ema {
    /// Averages of some parameters, of nothing yet.
    ///
    /// # Errors
    /// [`EmaError::Decay`].
    pub fn new(parameters: Vec<ParameterInfo>, config: EmaConfig) -> Result<Self, EmaError> {
        if !(0.0..1.0).contains(&config.decay) {
            return Err(EmaError::Decay {
                found: config.decay,
            });
        }
        Ok(Self {
            averages: parameters.iter().map(|p| vec![0.0; p.count()]).collect(),
            updates: vec![0; parameters.len()],
            parameters,
            config,
        })
    }

    /// Takes the weights of a parameter into its average.
    ///
    /// # Errors
    /// [`EmaError::NoSuchParameter`], [`EmaError::Length`].
    pub fn update(&mut self, index: usize, value: &[f32]) -> Result<(), EmaError> {
        self.check(index, value.len())?;
        let average = &mut self.averages[index];
        let fresh = (1.0 - self.config.decay) as f32;
        if self.updates[index] == 0 && self.config.start == EmaStart::FirstWeights {
            average.copy_from_slice(value);
        } else {
            for (a, &w) in average.iter_mut().zip(value) {
                *a += fresh * (w - *a);
            }
        }
        self.updates[index] += 1;
        Ok(())
    }

    /// Writes the average of a parameter; a parameter without updates is left as it is.
    ///
    /// # Errors
    /// [`EmaError::NoSuchParameter`], [`EmaError::Length`].
    pub fn read(&self, index: usize, value: &mut [f32]) -> Result<(), EmaError> {
        self.check(index, value.len())?;
        let updates = self.updates[index];
        if updates == 0 {
            return Ok(());
        }
        value.copy_from_slice(&self.averages[index]);
        if self.config.start == EmaStart::BiasCorrected {
            let seen = (1.0 - self.config.decay.powf(updates as f64)) as f32;
            value.iter_mut().for_each(|w| *w /= seen);
        }
        Ok(())
    }

    /// The parameters, in the order of their indices.
    pub fn parameters(&self) -> &[ParameterInfo] {
        &self.parameters
    }

    /// The state, to be saved.
    pub fn state(&self) -> EmaState {
        let mut state = EmaState::default();
        for ((p, average), &count) in self
            .parameters
            .iter()
            .zip(&self.averages)
            .zip(&self.updates)
        {
            state.updates.insert(p.name.clone(), count);
            // The length is that of the shape.
            if let Ok(tensor) = Tensor::from_vec(&p.shape, average.clone()) {
                state.averages.insert(p.name.clone(), tensor);
            }
        }
        state
    }

    /// Takes over a saved state.
    ///
    /// # Errors
    /// [`EmaError::State`]; the averages are then as they were before.
    pub fn restore(&mut self, state: &EmaState) -> Result<(), EmaError> {
        let wrong = |name: &str, problem: String| EmaError::State {
            name: name.to_owned(),
            problem,
        };
        let is_known = |name: &String| self.parameters.iter().any(|p| p.name == *name);
        if let Some(name) = state
            .averages
            .keys()
            .chain(state.updates.keys())
            .find(|n| !is_known(n))
        {
            return Err(wrong(name, "no such parameter is averaged".into()));
        }
        let (mut averages, mut updates) = (Vec::new(), Vec::new());
        for p in &self.parameters {
            let (Some(average), Some(&count)) =
                (state.averages.get(&p.name), state.updates.get(&p.name))
            else {
                return Err(wrong(&p.name, "it is missing".into()));
            };
            if average.shape() != p.shape {
                let problem = format!("shape {:?} instead of {:?}", average.shape(), p.shape);
                return Err(wrong(&p.name, problem));
            }
            let data = average.data::<f32>();
            averages.push(
                data.map_err(|error| wrong(&p.name, error.to_string()))?
                    .into_owned(),
            );
            updates.push(count);
        }
        (self.averages, self.updates) = (averages, updates);
        Ok(())
    }

    fn check(&self, index: usize, found: usize) -> Result<(), EmaError> {
        let count = self.parameters.len();
        let parameter = self
            .parameters
            .get(index)
            .ok_or(EmaError::NoSuchParameter { index, count })?;
        if parameter.count() == found {
            return Ok(());
        }
        Err(EmaError::Length {
            name: parameter.name.clone(),
            expected: parameter.count(),
            found,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ema(start: EmaStart) -> Ema {
        let config = EmaConfig { decay: 0.75, start };
        Ema::new(vec![ParameterInfo::new("w", &[2])], config).unwrap()
    }

    fn averaged(ema: &Ema) -> [f32; 2] {
        let mut w = [f32::NAN; 2];
        ema.read(0, &mut w).unwrap();
        w
    }

    #[test]
    fn the_first_weights_fade() {
        let mut ema = ema(EmaStart::FirstWeights);
        for w in [[4.0, -8.0], [0.0, 0.0], [0.0, 16.0]] {
            ema.update(0, &w).unwrap();
        }
        assert_eq!(averaged(&ema), [2.25, -0.5]);
    }

    #[test]
    fn a_corrected_average_weighs_what_it_saw() {
        let mut ema = ema(EmaStart::BiasCorrected);
        assert!(averaged(&ema)[0].is_nan());
        ema.update(0, &[4.0, -8.0]).unwrap();
        assert_eq!(averaged(&ema), [4.0, -8.0]);
        ema.update(0, &[11.0, -8.0]).unwrap();
        // (0.75 · 4 + 11) · 0.25 / (1 − 0.75²) = 8.
        assert_eq!(averaged(&ema), [8.0, -8.0]);
    }

    #[test]
    fn a_restored_average_goes_on_to_the_same_bits() {
        for start in [EmaStart::FirstWeights, EmaStart::BiasCorrected] {
            let mut unbroken = ema(start);
            for i in 0..3 {
                unbroken.update(0, &[0.1 * i as f32, 1.0 / 3.0]).unwrap();
            }
            let mut resumed = ema(start);
            resumed.restore(&unbroken.state()).unwrap();
            for e in [&mut unbroken, &mut resumed] {
                e.update(0, &[0.7, 0.3]).unwrap();
            }
            assert_eq!(
                averaged(&unbroken).map(f32::to_bits),
                averaged(&resumed).map(f32::to_bits)
            );
        }
    }

    #[test]
    fn states_that_do_not_fit_are_told() {
        let mut other = ema(EmaStart::FirstWeights);
        let mut state = other.state();
        state
            .averages
            .insert("w".into(), Tensor::vector(vec![1.0f32; 3]));
        let error = other.restore(&state).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the state does not fit parameter `w`: shape [3] instead of [2]"
        );
        state.updates.insert("v".into(), 1);
        assert!(
            other
                .restore(&state)
                .unwrap_err()
                .to_string()
                .contains("`v`")
        );
        assert!(other.restore(&EmaState::default()).is_err());
        assert!(other.update(1, &[]).is_err() && other.update(0, &[1.0]).is_err());
        let config = EmaConfig {
            decay: 1.0,
            ..EmaConfig::default()
        };
        assert!(Ema::new(Vec::new(), config).is_err());
    }
}
