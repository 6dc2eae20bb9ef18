//! A draft and what is known of its values become a plan: slots, constants, last uses.

use super::{Draft, DraftStep, Fused, Tapped};
use crate::step::Step;
use compress_tensor::Tensor;
use onnx_ir::{Value, ValueId};
use std::collections::HashMap;
use std::sync::Arc;

/// Where a step reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    Constant(usize),
    Slot(usize),
}

/// What a run goes through, step by step.
pub(crate) struct Plan {
    pub(crate) steps: Vec<PlannedStep>,
    pub(crate) constants: Vec<Value>,
    /// The number of slots.
    pub(crate) slots: usize,
    /// The slots of the draft's inputs.
    pub(crate) inputs: Vec<usize>,
    pub(crate) outputs: Vec<Operand>,
    /// Tapped values that are there before the first step.
    pub(crate) tapped: Vec<(Operand, ValueId)>,
    /// Values of the slots.
    pub(crate) slot_values: Vec<ValueId>,
    pub(crate) names: Arc<Vec<String>>,
    /// See [`Draft::origins`].
    pub(crate) origins: Arc<Vec<ValueId>>,
    /// The multiply-accumulates of each step by row of the profile, those in subgraphs too; empty unless somebody counts
    /// them.
    pub(crate) macs: Arc<[Option<u64>]>,
}

/// One step over slots.
pub(crate) struct PlannedStep {
    pub(crate) step: Arc<dyn Step>,
    pub(crate) inputs: Vec<Option<Operand>>,
    pub(crate) outputs: Vec<Option<usize>>,
    /// The input that may be handed over for its buffer: see [`Step::in_place`].
    pub(crate) in_place: Option<usize>,
    /// Slots that nobody reads after this step.
    pub(crate) dead: Vec<usize>,
    /// Slots to show, written by this step, and the values under whose names.
    pub(crate) tapped: Vec<(usize, ValueId)>,
    pub(crate) node: Arc<str>,
    pub(crate) row: usize,
    pub(crate) fused: Arc<Fused>,
}

impl Plan {
    /// The plan of `draft` where the values in `known` are constants.
    pub(crate) fn lower(draft: &Draft, known: &HashMap<ValueId, Tensor>) -> Self {
        let constant = |v: ValueId| known.get(&v).or_else(|| draft.constants.get(&v));
        let needed = needed_steps(draft, &|v| constant(v).is_some());
        let mut slots = Slots::default();
        let inputs: Vec<usize> = draft.inputs.iter().map(|&v| slots.slot(v)).collect();
        let mut plan = Self {
            steps: Vec::new(),
            constants: Vec::new(),
            slots: 0,
            inputs,
            outputs: Vec::new(),
            tapped: Vec::new(),
            slot_values: Vec::new(),
            names: draft.names.clone(),
            origins: draft.origins.clone(),
            macs: Arc::default(),
        };
        let mut constants: HashMap<ValueId, usize> = HashMap::new();
        let mut operand = |v: ValueId, slots: &mut Slots| match constant(v) {
            None => Operand::Slot(slots.slot(v)),
            Some(tensor) => Operand::Constant(*constants.entry(v).or_insert_with(|| {
                plan.constants.push(Value::Tensor(tensor.clone()));
                plan.constants.len() - 1
            })),
        };
        for (planned, _) in draft.steps.iter().zip(&needed).filter(|(_, n)| **n) {
            let inputs = planned
                .inputs
                .iter()
                .map(|v| v.map(|v| operand(v, &mut slots)));
            let inputs = inputs.collect();
            let outputs = planned.outputs.iter().map(|v| v.map(|v| slots.slot(v)));
            plan.steps.push(PlannedStep {
                step: planned.step.clone(),
                inputs,
                outputs: outputs.collect(),
                in_place: None,
                dead: Vec::new(),
                tapped: Vec::new(),
                node: planned.node.clone(),
                row: planned.row,
                fused: planned.fused.clone(),
            });
        }
        plan.outputs = draft
            .outputs
            .iter()
            .map(|&v| operand(v, &mut slots))
            .collect();
        for &Tapped { named, shown } in &draft.tapped {
            let at = operand(shown, &mut slots);
            let writer = plan.steps.iter_mut().find_map(|s| {
                let Operand::Slot(slot) = at else { return None };
                s.outputs.contains(&Some(slot)).then_some((s, slot))
            });
            match writer {
                Some((step, slot)) => step.tapped.push((slot, named)),
                None => plan.tapped.push((at, named)),
            }
        }
        plan.slots = slots.values.len();
        plan.slot_values = slots.values;
        plan.mark_last_uses();
        plan
    }

    fn mark_last_uses(&mut self) {
        let mut read_later = vec![false; self.slots];
        for output in &self.outputs {
            if let Operand::Slot(slot) = *output {
                read_later[slot] = true;
            }
        }
        for step in self.steps.iter_mut().rev() {
            let dies_here = |slot: usize| !read_later[slot];
            step.in_place = step.step.in_place().filter(|&i| {
                let Some(Some(Operand::Slot(slot))) = step.inputs.get(i).copied() else {
                    return false;
                };
                let reads = step.inputs.iter().flatten();
                dies_here(slot) && reads.filter(|&&o| o == Operand::Slot(slot)).count() == 1
            });
            let read = step.inputs.iter().flatten().filter_map(|o| match o {
                Operand::Slot(slot) => Some(*slot),
                Operand::Constant(_) => None,
            });
            for slot in read.chain(step.outputs.iter().flatten().copied()) {
                if !read_later[slot] {
                    read_later[slot] = true;
                    step.dead.push(slot);
                }
            }
        }
    }
}

/// Which steps write something that is read, shown or given out, and is not constant.
fn needed_steps(draft: &Draft, constant: &dyn Fn(ValueId) -> bool) -> Vec<bool> {
    let mut wanted = vec![false; draft.names.len()];
    let shown = draft.tapped.iter().map(|tapped| &tapped.shown);
    for v in draft.outputs.iter().chain(shown) {
        wanted[v.index()] = !constant(*v);
    }
    let needs = |wanted: &mut Vec<bool>, step: &DraftStep| {
        let needed = step.outputs.iter().flatten().any(|v| wanted[v.index()]);
        for v in step.inputs.iter().flatten().filter(|_| needed) {
            wanted[v.index()] |= !constant(*v);
        }
        needed
    };
    let mut needed: Vec<bool> = draft
        .steps
        .iter()
        .rev()
        .map(|s| needs(&mut wanted, s))
        .collect();
    needed.reverse();
    needed
}

/// Slots in the order of first use.
#[derive(Default)]
struct Slots {
    by_value: HashMap<ValueId, usize>,
    values: Vec<ValueId>,
}

impl Slots {
    fn slot(&mut self, v: ValueId) -> usize {
        *self.by_value.entry(v).or_insert_with(|| {
            self.values.push(v);
            self.values.len() - 1
        })
    }
}
