//! The parameters that an optimizer was made for, and their groups.

use super::{OptimizerError, StepControl, check_positive, glob};
use serde::{Deserialize, Serialize};

/// A parameter: its name and shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterInfo {
    /// The name, as of the initializer.
    pub name: String,
    /// The shape.
    pub shape: Vec<usize>,
}

impl ParameterInfo {
    /// A parameter of a name and shape.
    pub fn new(name: impl Into<String>, shape: &[usize]) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
        }
    }

    /// The number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Settings for the parameters whose names match one of its patterns (`*`: any characters, `?`: one).
///
/// A parameter belongs to the first group that it matches, and to [`Group::default`] if there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table with `patterns`"
)]
pub struct Group {
    /// Patterns of names.
    pub patterns: Vec<String>,
    /// Multiplies the learning rate of the schedule.
    #[serde(alias = "learning_rate")]
    pub learning_rate: f64,
    /// Takes the place of the optimizer's weight decay.
    #[serde(alias = "weight_decay")]
    pub weight_decay: Option<f64>,
    /// Takes the place of the optimizer's step control.
    pub control: Option<StepControl>,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            patterns: Vec::new(),
            learning_rate: 1.0,
            weight_decay: None,
            control: None,
        }
    }
}

impl Group {
    /// The parameters that match a pattern, with the optimizer's settings.
    pub fn matching(pattern: impl Into<String>) -> Self {
        Self {
            patterns: vec![pattern.into()],
            ..Self::default()
        }
    }

    fn holds(&self, name: &str) -> bool {
        self.patterns
            .iter()
            .any(|pattern| glob::matches(pattern, name))
    }

    fn validate(&self) -> Result<(), OptimizerError> {
        check_positive("the learning rate of a group", self.learning_rate)?;
        if let Some(decay) = self.weight_decay {
            check_positive("the weight decay of a group", decay)?;
        }
        self.control.map_or(Ok(()), |control| control.validate())
    }
}

/// Parameters with the groups that they belong to.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    parameters: Vec<ParameterInfo>,
    groups: Vec<Group>,
}

/// What holds for one parameter in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) learning_rate: f64,
    pub(super) weight_decay: f64,
    pub(super) control: StepControl,
    /// Of the tensor.
    pub(super) axes: usize,
}

impl Plan {
    /// Puts each parameter into its group.
    ///
    /// # Errors
    /// [`OptimizerError::NamedTwice`]; [`OptimizerError::EmptyGroup`] for a group without parameters, which is nearly always
    /// a misspelt pattern; [`OptimizerError::Setting`].
    pub fn new(parameters: Vec<ParameterInfo>, groups: &[Group]) -> Result<Self, OptimizerError> {
        let mut names: Vec<&str> = parameters.iter().map(|p| p.name.as_str()).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(OptimizerError::NamedTwice {
                name: pair[0].to_owned(),
            });
        }
        for group in groups {
            group.validate()?;
            if !names.iter().any(|name| group.holds(name)) {
                return Err(OptimizerError::EmptyGroup {
                    patterns: group.patterns.clone(),
                    examples: names.iter().take(5).map(ToString::to_string).collect(),
                });
            }
        }
        let of = |p: &ParameterInfo| groups.iter().find(|g| g.holds(&p.name)).cloned();
        Ok(Self {
            groups: parameters
                .iter()
                .map(|p| of(p).unwrap_or_default())
                .collect(),
            parameters,
        })
    }

    /// The parameters, in the order of their indices.
    pub fn parameters(&self) -> &[ParameterInfo] {
        &self.parameters
    }

    /// The group of a parameter.
    pub fn group(&self, index: usize) -> Option<&Group> {
        self.groups.get(index)
    }

    /// Checks the slices of an update and says what holds for the parameter.
    pub(super) fn settings(
        &self,
        index: usize,
        lengths: [usize; 2],
        learning_rate: f64,
        weight_decay: f64,
        control: StepControl,
    ) -> Result<Settings, OptimizerError> {
        let (Some(parameter), Some(group)) = (self.parameters.get(index), self.groups.get(index))
        else {
            return Err(OptimizerError::NoSuchParameter {
                index,
                count: self.parameters.len(),
            });
        };
        let expected = parameter.count();
        for (found, what) in lengths.into_iter().zip(["value", "gradient"]) {
            if found != expected {
                return Err(OptimizerError::Length {
                    name: parameter.name.clone(),
                    what,
                    expected,
                    found,
                });
            }
        }
        Ok(Settings {
            learning_rate: learning_rate * group.learning_rate,
            weight_decay: group.weight_decay.unwrap_or(weight_decay),
            control: group.control.unwrap_or(control),
            axes: parameter.shape.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> Vec<ParameterInfo> {
        ["conv1.weight", "conv1.bias", "fc.weight"]
            .map(|name| ParameterInfo::new(name, &[2, 3]))
            .to_vec()
    }

    #[test]
    fn the_first_group_that_matches_counts() {
        let slow = Group {
            learning_rate: 0.1,
            ..Group::matching("conv*")
        };
        let undecayed = Group {
            weight_decay: Some(0.0),
            ..Group::matching("*.bias")
        };
        let plan = Plan::new(parameters(), &[undecayed.clone(), slow.clone()]).unwrap();
        assert_eq!(plan.group(0), Some(&slow));
        assert_eq!(plan.group(1), Some(&undecayed));
        assert_eq!(plan.group(2), Some(&Group::default()));
        let settings = plan
            .settings(0, [6, 6], 0.5, 1e-4, StepControl::None)
            .unwrap();
        assert_eq!(
            (settings.learning_rate, settings.weight_decay),
            (0.05, 1e-4)
        );
        let settings = plan
            .settings(1, [6, 6], 0.5, 1e-4, StepControl::None)
            .unwrap();
        assert_eq!((settings.learning_rate, settings.weight_decay), (0.5, 0.0));
    }

    #[test]
    fn wrong_names_and_lengths_are_told() {
        let error = Plan::new(parameters(), &[Group::matching("conv2*")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no parameter matches [\"conv2*\"]: the names begin with [\"conv1.bias\", \"conv1.weight\", \"fc.weight\"]"
        );
        let twice = vec![ParameterInfo::new("a", &[1]); 2];
        assert_eq!(
            Plan::new(twice, &[]),
            Err(OptimizerError::NamedTwice { name: "a".into() })
        );
        let plan = Plan::new(parameters(), &[]).unwrap();
        let error = plan
            .settings(2, [6, 5], 1.0, 0.0, StepControl::None)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "parameter `fc.weight` has 6 elements, its gradient 5"
        );
        assert!(
            plan.settings(3, [6, 6], 1.0, 0.0, StepControl::None)
                .is_err()
        );
    }
}
