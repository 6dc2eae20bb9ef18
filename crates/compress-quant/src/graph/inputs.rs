//! Moments of what the layers of a model read: which layers, gathered in the order of samples.

use super::patches::Patches;
use super::plan::Plan;
use super::select::Role;
use crate::InputMoments;
use compress_tensor::Tensor;
use onnx_ir::{Graph, Node, NodeId};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Samples from which moments are gathered; more change little and cost `K²` products each.
const SAMPLES: usize = 64;
/// Rows for each number in a row up to which a layer takes in further samples: a layer behind global pooling reads one
/// row of each.
const ROWS_PER_INPUT: u64 = 4;
/// Bytes that the moments of all layers may take together.
const BUDGET: u64 = 1 << 30;
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

    /// Bytes that the moments take.
    fn bytes(&self) -> u64 {
        InputMoments::bytes(self.patches.width()).saturating_mul(self.patches.groups as u64)
    }
}

/// Moments of layers' inputs, one for each group of a convolution.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LayerInputs(Vec<(LayerInput, Vec<InputMoments>)>);

impl LayerInputs {
    /// The moments of a layer's inputs, where they tell what its weights should be rounded to.
    ///
    /// # Errors
    /// Why not, for the report.
    pub(super) fn get(&self, input: &LayerInput) -> Result<&[InputMoments], String> {
        let width = input.patches.width();
        let found = self.0.iter().find(|(i, _)| i == input);
        let Some((_, moments)) = found else {
            return Err(match input.bytes() {
                bytes if bytes > BUDGET / 8 => format!(
                    "products of its {width} inputs take {} MiB, those of all layers may take {}",
                    bytes >> 20,
                    BUDGET >> 20
                ),
                _ => "products of its inputs were not gathered".to_owned(),
            });
        };
        match moments.iter().find(|m| !m.suffice()) {
            None => Ok(moments),
            Some(few) if few.rows() < width as u64 => Err(format!(
                "{} rows of inputs were seen, {width} are needed: calibrate with more samples",
                few.rows()
            )),
            Some(_) => Err("products of its inputs are beyond f32".to_owned()),
        }
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
    /// For the layers of `plan` that can be rounded to their inputs, as many of the smallest as the budget allows.
    pub(super) fn of(graph: &Graph, plan: &Plan) -> Self {
        Self::within(graph, plan, BUDGET)
    }

    fn within(graph: &Graph, plan: &Plan, budget: u64) -> Self {
        let core = |id: &NodeId| match plan.selection.roles.get(id)? {
            Role::Core {
                weight: Some(weight),
                ..
            } => LayerInput::of(graph, graph.node(*id), weight.input),
            _ => None,
        };
        let mut inputs: Vec<LayerInput> = Vec::new();
        for input in plan.selection.order.iter().filter_map(core) {
            if !inputs.contains(&input) {
                inputs.push(input);
            }
        }
        let mut left = budget;
        let mut by_size: Vec<usize> = (0..inputs.len()).collect();
        by_size.sort_by_key(|&i| inputs[i].bytes());
        let mut taken = vec![false; inputs.len()];
        for i in by_size {
            match left.checked_sub(inputs[i].bytes()) {
                Some(rest) => (left, taken[i]) = (rest, true),
                None => break,
            }
        }
        let taken = inputs.into_iter().zip(taken).filter(|(_, taken)| *taken);
        let layer = |(input, _): (LayerInput, bool)| {
            let moments =
                (0..input.patches.groups).map(|_| InputMoments::new(input.patches.width()));
            let turn = Turn {
                next: 0,
                moments: moments.collect(),
                over: false,
            };
            (input, Mutex::new(turn), Condvar::new())
        };
        Self {
            layers: taken.map(layer).collect(),
        }
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
            passed: vec![false; self.layers.len()],
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
        let rows = || tensor.map(|t| input.patches.rows(t, PLACES, self.index));
        // Cut before it is this sample's turn, unless it may not be needed.
        let mut cut = if self.index < SAMPLES { rows() } else { None };
        let mut turn = locked(turn);
        while turn.next != self.index && !turn.over {
            turn = changed.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
        let enough = ROWS_PER_INPUT * input.patches.width() as u64;
        if self.index >= SAMPLES && turn.moments.iter().any(|m| m.rows() < enough) {
            cut = rows();
        }
        for (moments, rows) in turn.moments.iter_mut().zip(cut.into_iter().flatten()) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::QuantizeConfig;
    use compress_tensor::DType;
    use onnx_ir::{Catalog, Fact, Model};

    #[test]
    fn the_largest_layers_go_without_where_the_budget_ends() {
        let mut g = Graph::new("two");
        let x = g
            .add_value("x", Fact::tensor(DType::F32, [1usize, 64]))
            .unwrap();
        g.add_input(x);
        let w1 = Tensor::from_vec(&[64, 8], vec![0.5f32; 512]).unwrap();
        let w2 = Tensor::from_vec(&[8, 4], vec![0.5f32; 32]).unwrap();
        let mut at = x;
        for (name, w) in [("w1", w1), ("w2", w2)] {
            let w = g.add_initializer(name, w).unwrap();
            let y = g.add_value(format!("{name}_y"), Fact::Unknown).unwrap();
            g.add_node(Node::new("Gemm", [at, w], [y])).unwrap();
            at = y;
        }
        g.add_output(at);
        let mut model = Model::new(g, 17);
        onnx_ir::infer::infer_shapes(&mut model, Catalog::standard()).unwrap();
        let plan = Plan::of(&model, &QuantizeConfig::default()).unwrap();
        let within = |budget| {
            let inputs = Gathering::within(&model.graph, &plan, budget).finish();
            inputs
                .0
                .iter()
                .map(|(i, _)| i.value.clone())
                .collect::<Vec<_>>()
        };
        let both = InputMoments::bytes(64) + InputMoments::bytes(8);
        assert_eq!(within(both), ["x", "w1_y"]);
        assert_eq!(within(both - 1), ["w1_y"]);
        assert_eq!(within(0), Vec::<String>::new());
    }
}
