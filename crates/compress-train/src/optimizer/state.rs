//! What an optimizer remembers between steps.

use super::{OptimizerError, ParameterInfo, Plan};
use compress_tensor::Tensor;
use std::collections::BTreeMap;

/// The state of an optimizer, as it is saved.
#[derive(Clone, Debug, Default)]
pub struct OptimizerState {
    /// The rule's name.
    pub kind: String,
    /// How often each parameter was updated, by name.
    pub updates: BTreeMap<String, u64>,
    /// The averages that the rule keeps, by `slot` and parameter's name; `f32`, each of its parameter's shape.
    pub slots: BTreeMap<String, BTreeMap<String, Tensor>>,
}

/// State of `N` slots for each parameter.
#[derive(Clone, Debug)]
pub(super) struct Slots<const N: usize> {
    kind: &'static str,
    names: [&'static str; N],
    /// By parameter, then by slot.
    values: Vec<[Vec<f32>; N]>,
    updates: Vec<u64>,
}

/// The part of [`super::Optimizer`] that is alike for all rules of the fields `plan`, `slots` and `settings`.
macro_rules! kept_in_slots {
    () => {
        kept_in_slots!(|_: &Self, _: &StepSettings| Ok(()));
    };
    // With a rule of its own on the settings of a step.
    ($check:expr) => {
        fn kind(&self) -> &'static str {
            self.slots.kind()
        }

        fn plan(&self) -> &Plan {
            &self.plan
        }

        fn begin_step(&mut self, settings: StepSettings) -> Result<(), OptimizerError> {
            settings.validate()?;
            let check: fn(&Self, &StepSettings) -> Result<(), OptimizerError> = $check;
            check(self, &settings)?;
            self.settings = settings;
            Ok(())
        }

        fn state(&self) -> super::OptimizerState {
            self.slots.save(&self.plan)
        }

        fn restore(&mut self, state: &super::OptimizerState) -> Result<(), OptimizerError> {
            self.slots.restore(&self.plan, state)
        }
    };
}
pub(super) use kept_in_slots;

impl<const N: usize> Slots<N> {
    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }

    /// Slots of zeros for all parameters, or empty ones where the rule needs none.
    pub(super) fn new(
        kind: &'static str,
        names: [&'static str; N],
        plan: &Plan,
        is_needed: [bool; N],
    ) -> Self {
        let of = |p: &ParameterInfo| {
            is_needed.map(|needed| vec![0.0; if needed { p.count() } else { 0 }])
        };
        Self {
            kind,
            names,
            values: plan.parameters().iter().map(of).collect(),
            updates: vec![0; plan.parameters().len()],
        }
    }

    /// Counts an update of a parameter that exists; gives the count and the slots.
    pub(super) fn advance(&mut self, index: usize) -> (u64, &mut [Vec<f32>; N]) {
        self.updates[index] += 1;
        (self.updates[index], &mut self.values[index])
    }

    /// As [`Self::advance`], of several parameters that exist.
    ///
    /// # Errors
    /// [`OptimizerError::NamedTwice`]; nothing is counted then.
    pub(super) fn advance_each(
        &mut self,
        plan: &Plan,
        indices: impl Iterator<Item = usize>,
    ) -> Result<Vec<&mut [Vec<f32>; N]>, OptimizerError> {
        let mut left: Vec<_> = self.values.iter_mut().map(Some).collect();
        let taken = indices.map(|index| {
            let slots = left.get_mut(index).and_then(Option::take);
            let twice = || OptimizerError::NamedTwice {
                name: plan
                    .parameters()
                    .get(index)
                    .map_or_else(String::new, |p| p.name.clone()),
            };
            Ok((index, slots.ok_or_else(twice)?))
        });
        let taken: Vec<_> = taken.collect::<Result<_, OptimizerError>>()?;
        let counted = taken.into_iter().map(|(index, slots)| {
            self.updates[index] += 1;
            slots
        });
        Ok(counted.collect())
    }

    /// Which update of a parameter the next one is, from 1.
    pub(super) fn next(&self, index: usize) -> u64 {
        self.updates.get(index).map_or(1, |count| count + 1)
    }

    pub(super) fn save(&self, plan: &Plan) -> OptimizerState {
        let mut state = OptimizerState {
            kind: self.kind.to_owned(),
            ..OptimizerState::default()
        };
        for ((parameter, slots), &count) in plan
            .parameters()
            .iter()
            .zip(&self.values)
            .zip(&self.updates)
        {
            state.updates.insert(parameter.name.clone(), count);
            for (slot, values) in self.names.iter().zip(slots) {
                if values.is_empty() {
                    continue;
                }
                // The length is that of the shape.
                if let Ok(tensor) = Tensor::from_vec(&parameter.shape, values.clone()) {
                    let saved = state.slots.entry((*slot).to_owned()).or_default();
                    saved.insert(parameter.name.clone(), tensor);
                }
            }
        }
        state
    }

    pub(super) fn restore(
        &mut self,
        plan: &Plan,
        state: &OptimizerState,
    ) -> Result<(), OptimizerError> {
        if state.kind != self.kind {
            return Err(OptimizerError::OtherKind {
                expected: self.kind,
                found: state.kind.clone(),
            });
        }
        if let Some(name) = foreign(plan, state) {
            return Err(wrong(name, "the optimizer has no such parameter".into()));
        }
        let mut restored = self.clone();
        for (index, parameter) in plan.parameters().iter().enumerate() {
            let count = state.updates.get(&parameter.name);
            let missing = || {
                wrong(
                    &parameter.name,
                    "the count of its updates is missing".into(),
                )
            };
            restored.updates[index] = *count.ok_or_else(missing)?;
            for (slot, values) in self.names.iter().zip(&mut restored.values[index]) {
                let found = state
                    .slots
                    .get(*slot)
                    .and_then(|saved| saved.get(&parameter.name));
                match found {
                    None if values.is_empty() => {}
                    None => return Err(wrong(&parameter.name, format!("its {slot} is missing"))),
                    Some(tensor) => fill(parameter, slot, values, tensor)?,
                }
            }
        }
        *self = restored;
        Ok(())
    }
}

/// A parameter of the state that the plan does not have.
fn foreign<'a>(plan: &Plan, state: &'a OptimizerState) -> Option<&'a str> {
    let is_known = |name: &str| plan.parameters().iter().any(|p| p.name == name);
    let saved = state.slots.values().flat_map(BTreeMap::keys);
    let mut names = state.updates.keys().chain(saved);
    names.find(|name| !is_known(name)).map(String::as_str)
}

fn fill(
    parameter: &ParameterInfo,
    slot: &str,
    values: &mut [f32],
    tensor: &Tensor,
) -> Result<(), OptimizerError> {
    if tensor.shape() != parameter.shape {
        let (found, expected) = (tensor.shape(), &parameter.shape);
        return Err(wrong(
            &parameter.name,
            format!("its {slot} has shape {found:?} instead of {expected:?}"),
        ));
    }
    if values.len() != tensor.len() {
        return Err(wrong(
            &parameter.name,
            format!("it should have no {slot} with these settings"),
        ));
    }
    let data = tensor.data::<f32>();
    let data = data.map_err(|error| wrong(&parameter.name, format!("its {slot}: {error}")))?;
    values.copy_from_slice(&data);
    Ok(())
}

fn wrong(name: &str, problem: String) -> OptimizerError {
    OptimizerError::State {
        name: name.to_owned(),
        problem,
    }
}
