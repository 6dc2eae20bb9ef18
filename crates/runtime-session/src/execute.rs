//! Running a plan.

use crate::error::{SessionError, StepError};
use crate::memory::Memory;
use crate::plan::{Operand, Plan, PlannedStep};
use crate::profile::Timings;
use crate::step::{Inputs, Outputs, StepContext};
use compress_tensor::Tensor;
use onnx_ir::Value;
use runtime_kernels::{Context, Scratch};
use std::time::Instant;

/// Inputs of a step that are gathered without allocating.
const INLINE_INPUTS: usize = 8;

/// Called with each tapped value and its name.
pub(crate) type Tap<'t> = &'t mut dyn FnMut(&str, &Tensor);

/// The state of one run: buffers, budget, and the times if they are taken. Kept from run to run.
#[derive(Default)]
pub(crate) struct RunState {
    /// Instruction set and threads of the kernels.
    pub(crate) context: Context,
    pub(crate) scratch: Scratch,
    pub(crate) memory: Memory,
    pub(crate) timings: Option<Timings>,
}

/// Runs a plan on the values of its inputs and gives its outputs.
///
/// # Errors
/// [`SessionError::Step`] names the node.
pub(crate) fn execute(
    plan: &Plan,
    feeds: Vec<Option<Value>>,
    state: &mut RunState,
    mut tap: Option<Tap<'_>>,
) -> Result<Vec<Value>, SessionError> {
    let mut values: Vec<Option<Value>> = vec![None; plan.slots];
    for (&slot, value) in plan.inputs.iter().zip(feeds) {
        values[slot] = value;
    }
    if let Some(tap) = &mut tap {
        for (operand, id) in &plan.tapped {
            let value = match *operand {
                Operand::Constant(i) => plan.constants.get(i),
                Operand::Slot(slot) => values[slot].as_ref(),
            };
            if let Some(Value::Tensor(tensor)) = value {
                tap(&plan.names[id.index()], tensor);
            }
        }
    }
    let mut outputs = Vec::new();
    for step in &plan.steps {
        let started = state.timings.is_some().then(Instant::now);
        run_step(plan, step, &mut values, &mut outputs, state).map_err(|error| {
            SessionError::Step {
                node: step.node.to_string(),
                error,
            }
        })?;
        if let (Some(started), Some(timings)) = (started, &mut state.timings) {
            let written = step
                .outputs
                .iter()
                .flatten()
                .filter_map(|&slot| values[slot].as_ref());
            let bytes = written
                .filter_map(Value::as_tensor)
                .map(Tensor::byte_len)
                .sum();
            timings.add(step.row, started.elapsed(), bytes);
        }
        if let Some(tap) = &mut tap {
            for &(slot, named) in &step.tapped {
                if let Some(Value::Tensor(tensor)) = &values[slot] {
                    tap(&plan.names[named.index()], tensor);
                }
            }
        }
        for &slot in &step.dead {
            if let Some(value) = values[slot].take() {
                state.memory.recycle(value);
            }
        }
    }
    let output = |operand: &Operand| {
        let value = match *operand {
            Operand::Constant(i) => plan.constants.get(i).cloned(),
            Operand::Slot(slot) => values[slot].clone(),
        };
        value.ok_or_else(|| SessionError::UndefinedValue {
            name: name_of(plan, *operand),
        })
    };
    let outputs = plan.outputs.iter().map(output).collect();
    values
        .into_iter()
        .flatten()
        .for_each(|v| state.memory.recycle(v));
    outputs
}

fn run_step(
    plan: &Plan,
    step: &PlannedStep,
    values: &mut [Option<Value>],
    outputs: &mut Vec<Option<Value>>,
    state: &mut RunState,
) -> Result<(), StepError> {
    state.memory.count_step()?;
    let slot_of = |index: usize| match step.inputs.get(index) {
        Some(Some(Operand::Slot(slot))) => Some(*slot),
        _ => None,
    };
    let reuse = step
        .in_place
        .and_then(slot_of)
        .and_then(|slot| values[slot].take());
    let given_over = reuse.as_ref().and(step.in_place);
    let mut inline = [None; INLINE_INPUTS];
    let mut many;
    let gathered: &mut [Option<&Value>] = match inline.get_mut(..step.inputs.len()) {
        Some(inline) => inline,
        None => {
            many = vec![None; step.inputs.len()];
            &mut many
        }
    };
    for (i, (to, operand)) in gathered.iter_mut().zip(&step.inputs).enumerate() {
        let Some(operand) = *operand else { continue };
        let value = match operand {
            Operand::Constant(i) => plan.constants.get(i),
            Operand::Slot(slot) => values[slot].as_ref(),
        };
        if value.is_none() && given_over != Some(i) {
            return Err(StepError::UndefinedValue {
                name: name_of(plan, operand),
            });
        }
        *to = value;
    }
    outputs.clear();
    step.step.run(&mut StepContext {
        inputs: Inputs { values: gathered },
        outputs: Outputs { values: outputs },
        state,
        reuse,
    })?;
    let given = outputs.len();
    for (index, slot) in step.outputs.iter().enumerate() {
        let Some(slot) = *slot else { continue };
        match outputs.get_mut(index).and_then(Option::take) {
            Some(value) => values[slot] = Some(value),
            None => return Err(StepError::TooFewOutputs { index, given }),
        }
    }
    for value in outputs.drain(..).flatten() {
        state.memory.recycle(value);
    }
    Ok(())
}

fn name_of(plan: &Plan, operand: Operand) -> String {
    match operand {
        Operand::Slot(slot) => plan.names[plan.slot_values[slot].index()].clone(),
        Operand::Constant(i) => format!("constant {i}"),
    }
}
