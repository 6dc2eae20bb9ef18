//! Running a plan.

use crate::error::{SessionError, StepError};
use crate::memory::Memory;
use crate::plan::{Operand, Plan, PlannedStep};
use crate::profile::{Bytes, Timings};
use crate::step::{Inputs, Outputs, StepContext};
use compress_tensor::Tensor;
use onnx_ir::Value;
use runtime_kernels::{Context, Scratch};
use std::time::Instant;

/// Inputs of a step that are gathered without allocating.
const INLINE_INPUTS: usize = 8;

/// Called with each tapped value and its name.
pub(crate) type Tap<'t> = &'t mut dyn FnMut(&str, &Tensor);

/// The state of one run: buffers, budget, and the times if they are taken. Kept from run to run, so that one with the
/// shapes of another before allocates nothing.
#[derive(Default)]
pub(crate) struct RunState {
    /// Instruction set and threads of the kernels.
    pub(crate) context: Context,
    pub(crate) scratch: Scratch,
    pub(crate) memory: Memory,
    pub(crate) timings: Option<Timings>,
    /// What is fed, in the order of the graph's inputs.
    pub(crate) feeds: Vec<Option<Value>>,
    /// The values of the plan's slots; empty while a plan runs, which has taken them.
    pub(crate) slots: Vec<Option<Value>>,
    /// Whether the step that ran last left its kernel aside.
    pub(crate) by_reference: bool,
    /// The outputs of one step.
    pub(crate) written: Vec<Option<Value>>,
}

/// Calls `f` with `len` entries of `None`, which take no memory of their own where there are few.
pub(crate) fn with_inputs<'v, R>(len: usize, f: impl FnOnce(&mut [Option<&'v Value>]) -> R) -> R {
    let mut few = [None; INLINE_INPUTS];
    match few.get_mut(..len) {
        Some(few) => f(few),
        None => f(&mut vec![None; len]),
    }
}

/// Runs a plan on the values of its inputs, and hands each of its outputs to `output`, in order.
///
/// # Errors
/// [`SessionError::Step`] names the node; those of `output`.
pub(crate) fn execute(
    plan: &Plan,
    feeds: impl Iterator<Item = Option<Value>>,
    state: &mut RunState,
    tap: Option<Tap<'_>>,
    output: &mut dyn FnMut(Value) -> Result<(), SessionError>,
) -> Result<(), SessionError> {
    // A subgraph runs while the steps around it do: it finds none here, and has its own.
    let mut values = std::mem::take(&mut state.slots);
    values.resize(plan.slots, None);
    for (&slot, value) in plan.inputs.iter().zip(feeds) {
        values[slot] = value;
    }
    let done = run_steps(plan, &mut values, state, tap).and_then(|()| {
        plan.outputs.iter().try_for_each(|operand| {
            let value = match *operand {
                Operand::Constant(i) => plan.constants.get(i).cloned(),
                Operand::Slot(slot) => values[slot].clone(),
            };
            output(value.ok_or_else(|| SessionError::UndefinedValue {
                name: name_of(plan, *operand),
            })?)
        })
    });
    let rest = values.drain(..).flatten();
    rest.for_each(|value| state.memory.recycle(value));
    state.slots = values;
    done
}

fn run_steps(
    plan: &Plan,
    values: &mut [Option<Value>],
    state: &mut RunState,
    mut tap: Option<Tap<'_>>,
) -> Result<(), SessionError> {
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
    let mut written = std::mem::take(&mut state.written);
    for step in &plan.steps {
        // Before it runs: a step may take the buffer of its input over.
        let read = match state.timings {
            Some(_) => bytes_read(plan, step, values),
            None => 0,
        };
        let started = state.timings.is_some().then(Instant::now);
        state.by_reference = false;
        run_step(plan, step, values, &mut written, state).map_err(|error| SessionError::Step {
            node: step.node.to_string(),
            error,
        })?;
        if let (Some(started), Some(timings)) = (started, &mut state.timings) {
            let time = started.elapsed();
            let bytes = bytes_moved(step, values, read);
            timings.add(step.row, (started, time), bytes, state.by_reference);
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
    state.written = written;
    Ok(())
}

/// Bytes of the inputs of a step and of its packed weights, without what it reads in a few places.
fn bytes_read(plan: &Plan, step: &PlannedStep, values: &[Option<Value>]) -> u64 {
    let inputs = step.inputs.iter().enumerate();
    let read = inputs.filter(|(index, _)| !step.step.picks_from(*index));
    let read = read.filter_map(|(_, operand)| match (*operand)? {
        Operand::Constant(i) => plan.constants.get(i),
        Operand::Slot(slot) => values[slot].as_ref(),
    });
    let bytes: u64 = read.map(byte_len).sum();
    bytes.saturating_add(step.fused.weight_bytes)
}

/// What a step moved, given what it read of its whole inputs. Of inputs read in a few places, it read what it wrote.
fn bytes_moved(step: &PlannedStep, values: &[Option<Value>], read: u64) -> Bytes {
    if step.step.is_view() {
        return Bytes::default();
    }
    let results = step.outputs.iter().flatten();
    let results = results.filter_map(|&slot| values[slot].as_ref());
    let written: u64 = results.map(byte_len).sum();
    let picks = (0..step.inputs.len()).any(|index| step.step.picks_from(index));
    let picked = if picks { written } else { 0 };
    Bytes {
        read: read.saturating_add(picked),
        written,
    }
}

fn byte_len(value: &Value) -> u64 {
    value
        .as_tensor()
        .map_or(0, |tensor| tensor.byte_len() as u64)
}

/// What an operand of a plan holds.
pub(crate) fn operand<'v>(
    plan: &'v Plan,
    operand: Operand,
    values: &'v [Option<Value>],
) -> Option<&'v Value> {
    match operand {
        Operand::Constant(i) => plan.constants.get(i),
        Operand::Slot(slot) => values[slot].as_ref(),
    }
}

/// Runs one step on the values of the slots.
///
/// # Errors
/// [`StepError`].
pub(crate) fn run_step(
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
    outputs.clear();
    with_inputs(step.inputs.len(), |gathered| {
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
        step.step.run(&mut StepContext {
            inputs: Inputs { values: gathered },
            outputs: Outputs { values: outputs },
            state,
            reuse,
        })
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
