//! Moments of what the layers of a model read: which layers, gathered in the order of samples.

use super::patches::Patches;
use super::plan::Plan;
use super::select::Role;
use crate::InputMoments;
use compress_tensor::Tensor;
use onnx_ir::{Graph, Node, NodeId};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Samples from which moments are gathered; more change little and cost `K²` products each.
pub(super) const SAMPLES: usize = 64;
/// Places of a sample that are taken, spread evenly.
const PLACES: usize = 32;

/// What a layer's weight is multiplied with: a value of the graph, cut to pieces.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LayerInput {
    pub value: String,
    pub patches: Patches,
}

impl LayerInput {
    /// Of a convolution or product with a constant weight; `None` for forms that have no such pieces.
    pub(super) fn of(graph: &Graph, node: &Node, weight: usize) -> Option<Self> {
        let shape = graph.constant(node.input(weight)?)?.shape();
        Some(Self {
            value: graph.name_of(node.input(0)?).to_owned(),
            patches: Patches::of(node, shape)?,
        })
    }
}

/// Moments of layers' inputs, one for each group of a convolution.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LayerInputs(Vec<(LayerInput, Vec<InputMoments>)>);

impl LayerInputs {
    pub(super) fn get(&self, input: &LayerInput) -> Option<&[InputMoments]> {
        let found = self.0.iter().find(|(i, _)| i == input);
        found.map(|(_, moments)| moments.as_slice())
    }

    pub(super) fn merge(&mut self, other: &LayerInputs) {
        for (input, theirs) in &other.0 {
            match self.0.iter_mut().find(|(i, _)| i == input) {
                Some((_, mine)) => mine.iter_mut().zip(theirs).for_each(|(m, t)| m.merge(t)),
                None => self.0.push((input.clone(), theirs.clone())),
            }
        }
    }
}

/// Gathers moments from several threads, sample after sample: sums of floats depend on the order.
///
/// A thread waits at each layer until the sample before has passed it, so threads follow one another through
/// the model and none waits for a later sample.
pub(super) struct Gathering {
    layers: Vec<(LayerInput, Mutex<Turn>, Condvar)>,
}

struct Turn {
    next: usize,
    moments: Vec<InputMoments>,
    /// A sample failed: nobody need wait any more.
    over: bool,
}

impl Gathering {
    /// For all layers of `plan` that can be rounded to their inputs.
    pub(super) fn of(graph: &Graph, plan: &Plan) -> Self {
        let mut layers: Vec<(LayerInput, Mutex<Turn>, Condvar)> = Vec::new();
        let core = |id: &NodeId| match plan.selection.roles.get(id)? {
            Role::Core {
                weight: Some(weight),
                ..
            } => LayerInput::of(graph, graph.node(*id), weight.input),
            _ => None,
        };
        for input in plan.selection.order.iter().filter_map(core) {
            if layers.iter().any(|(known, ..)| *known == input) {
                continue;
            }
            let moments =
                (0..input.patches.groups).map(|_| InputMoments::new(input.patches.width()));
            let turn = Turn {
                next: 0,
                moments: moments.collect(),
                over: false,
            };
            layers.push((input, Mutex::new(turn), Condvar::new()));
        }
        Self { layers }
    }

    pub(super) fn finish(self) -> LayerInputs {
        let moments = |(input, turn, _): (LayerInput, Mutex<Turn>, Condvar)| {
            let turn = turn.into_inner().unwrap_or_else(PoisonError::into_inner);
            (input, turn.moments)
        };
        LayerInputs(self.layers.into_iter().map(moments).collect())
    }

    /// The share of one sample, in one thread.
    pub(super) fn sample(&self, index: usize) -> SampleInputs<'_> {
        SampleInputs {
            all: self,
            index,
            passed: vec![index >= SAMPLES; self.layers.len()],
        }
    }
}

/// One sample's way through the layers. Dropped before all are passed it ends the gathering.
pub(super) struct SampleInputs<'a> {
    all: &'a Gathering,
    index: usize,
    passed: Vec<bool>,
}

impl SampleInputs<'_> {
    /// Takes in a value of the graph.
    pub(super) fn see(&mut self, name: &str, tensor: &Tensor) {
        for at in 0..self.passed.len() {
            if !self.passed[at] && self.all.layers[at].0.value == name {
                self.pass(at, Some(tensor));
            }
        }
    }

    /// Passes the layers whose input this sample did not compute.
    pub(super) fn end(mut self) {
        for at in 0..self.passed.len() {
            if !self.passed[at] {
                self.pass(at, None);
            }
        }
    }

    fn pass(&mut self, at: usize, tensor: Option<&Tensor>) {
        self.passed[at] = true;
        let (input, turn, changed) = &self.all.layers[at];
        let rows = tensor.map(|t| input.patches.rows(t, PLACES, self.index));
        let mut turn = locked(turn);
        while turn.next != self.index && !turn.over {
            turn = changed.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
        for (moments, rows) in turn.moments.iter_mut().zip(rows.into_iter().flatten()) {
            moments.add(&rows);
        }
        turn.next += 1;
        drop(turn);
        changed.notify_all();
    }
}

impl Drop for SampleInputs<'_> {
    fn drop(&mut self) {
        if self.passed.iter().all(|&p| p) {
            return;
        }
        for (_, turn, changed) in &self.all.layers {
            locked(turn).over = true;
            changed.notify_all();
        }
    }
}

fn locked(turn: &Mutex<Turn>) -> MutexGuard<'_, Turn> {
    turn.lock().unwrap_or_else(PoisonError::into_inner)
}
