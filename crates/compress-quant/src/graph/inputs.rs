//! Moments of what the layers of a model read: which layers, gathered in the order of samples.

use super::codes::Inputs;
use super::patches::Patches;
use super::select::{Role, Selection};
use crate::InputMoments;
use crate::QuantError;
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
/// Rows that are gathered before they go into the moments.
const ROWS_AT_ONCE: usize = 256;
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
pub(super) struct LayerInputs(Vec<(LayerInput, Seen)>);

/// What was seen of a layer's inputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// Of each group.
    pub moments: Vec<InputMoments>,
    /// Of each group: what quantizing each input at run time takes from it, summed over the rows. Empty unless that is
    /// gathered.
    lost: Vec<Vec<f64>>,
}

impl Seen {
    /// Of each group: `E[x - x̂]` with `x̂` the inputs as quantized at run time, where that was gathered.
    pub(super) fn mean_loss(&self) -> Option<Vec<Vec<f64>>> {
        let mean = |(lost, moments): (&Vec<f64>, &InputMoments)| {
            let rows = moments.rows().max(1) as f64;
            lost.iter().map(|sum| sum / rows).collect()
        };
        let groups = self.lost.iter().zip(&self.moments);
        (!self.lost.is_empty()).then(|| groups.map(mean).collect())
    }

    fn merge(&mut self, other: &Seen) -> Result<(), QuantError> {
        for (mine, theirs) in self.moments.iter_mut().zip(&other.moments) {
            mine.merge(theirs)?;
        }
        // Of statistics for different modes what remains is what both hold.
        if other.lost.is_empty() {
            self.lost.clear();
        }
        for (mine, theirs) in self.lost.iter_mut().zip(&other.lost) {
            mine.iter_mut().zip(theirs).for_each(|(m, t)| *m += t);
        }
        Ok(())
    }
}

/// `Σ (x - x̂)` over rows of `width` numbers, with `x̂` what `DynamicQuantizeLinear` makes of them within `tensor`.
fn lost(rows: &[f32], width: usize, tensor: &Tensor) -> Vec<f64> {
    let mut sums = vec![0f64; width];
    let Ok(data) = tensor.data::<f32>() else {
        return sums;
    };
    let ends = data
        .iter()
        .fold((0f32, 0f32), |(low, high), &x| (low.min(x), high.max(x)));
    let step = (ends.1 - ends.0) / 255.0;
    if !(step.is_finite() && step > 0.0) {
        return sums;
    }
    let zero = (-ends.0 / step).round_ties_even().clamp(0.0, 255.0);
    for row in rows.chunks_exact(width.max(1)) {
        for (sum, &x) in sums.iter_mut().zip(row) {
            let code = ((x / step).round_ties_even() + zero).clamp(0.0, 255.0);
            *sum += f64::from(x - (code - zero) * step);
        }
    }
    sums
}

impl LayerInputs {
    /// The moments of a layer's inputs, where they tell what its weights should be rounded to.
    ///
    /// # Errors
    /// Why not, for the report.
    pub(super) fn get(&self, input: &LayerInput) -> Result<&Seen, String> {
        let width = input.patches.width();
        let found = self.0.iter().find(|(i, _)| i == input);
        let Some((_, seen)) = found else {
            return Err(match input.bytes() {
                bytes if bytes > BUDGET / 8 => format!(
                    "products of its {width} inputs take {} MiB, those of all layers may take {}",
                    bytes >> 20,
                    BUDGET >> 20
                ),
                _ => "products of its inputs were not gathered".to_owned(),
            });
        };
        match seen.moments.iter().find(|m| !m.suffice()) {
            None => Ok(seen),
            Some(few) if few.rows() < width as u64 => Err(format!(
                "{} rows of inputs were seen, {width} are needed: calibrate with more samples",
                few.rows()
            )),
            Some(_) => Err("products of its inputs are beyond f32".to_owned()),
        }
    }

    pub(super) fn merge(&mut self, other: &LayerInputs) -> Result<(), QuantError> {
        for (input, theirs) in &other.0 {
            match self.0.iter_mut().find(|(i, _)| i == input) {
                Some((_, mine)) => mine.merge(theirs)?,
                None => self.0.push((input.clone(), theirs.clone())),
            }
        }
        Ok(())
    }
}

/// Gathers moments from several threads, sample after sample: sums of floats depend on the order.
///
/// A thread waits at each layer until the sample before has passed it, so threads follow one another through
/// the model and none waits for a later sample.
pub(super) struct Gathering {
    /// Whether inputs are quantized at run time.
    dynamic: bool,
    layers: Vec<(LayerInput, Mutex<Turn>, Condvar)>,
}

struct Turn {
    next: usize,
    seen: Seen,
    /// Rows of each group that are not among the moments yet: a matrix of products takes long to go through.
    waiting: Vec<Vec<f32>>,
    /// A sample failed: nobody need wait any more.
    over: bool,
}

impl Gathering {
    /// For the selected layers that can be rounded to their inputs, as many of the smallest as the budget allows.
    pub(super) fn of(graph: &Graph, selection: &Selection, inputs: Inputs) -> Self {
        Self::within(graph, selection, inputs, BUDGET)
    }

    fn within(graph: &Graph, selection: &Selection, inputs: Inputs, budget: u64) -> Self {
        let dynamic = inputs == Inputs::Dynamic;
        let core = |id: &NodeId| match selection.roles.get(id)? {
            Role::Core {
                weight: Some(weight),
                ..
            } => LayerInput::of(graph, graph.node(*id), weight.input),
            _ => None,
        };
        let mut inputs: Vec<LayerInput> = Vec::new();
        for input in selection.order.iter().filter_map(core) {
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
            let (groups, width) = (input.patches.groups, input.patches.width());
            let turn = Turn {
                next: 0,
                seen: Seen {
                    moments: vec![InputMoments::new(width); groups],
                    lost: vec![vec![0.0; width]; if dynamic { groups } else { 0 }],
                },
                waiting: vec![Vec::new(); groups],
                over: false,
            };
            (input, Mutex::new(turn), Condvar::new())
        };
        Self {
            dynamic,
            layers: taken.map(layer).collect(),
        }
    }

    /// The values that samples are to show.
    pub(super) fn values(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().map(|(input, ..)| input.value.as_str())
    }

    pub(super) fn finish(self) -> LayerInputs {
        let moments = |(input, turn, _): (LayerInput, Mutex<Turn>, Condvar)| {
            let mut turn = turn.into_inner().unwrap_or_else(PoisonError::into_inner);
            turn.add_waiting(0);
            (input, turn.seen)
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
        let rows = || {
            let tensor = tensor?;
            let rows = input.patches.rows(tensor, PLACES, self.index);
            let width = input.patches.width();
            let lost = match self.all.dynamic {
                true => rows.iter().map(|rows| lost(rows, width, tensor)).collect(),
                false => Vec::new(),
            };
            Some((rows, lost))
        };
        // Cut before it is this sample's turn, unless it may not be needed.
        let mut cut = if self.index < SAMPLES { rows() } else { None };
        let mut turn = locked(turn);
        while turn.next != self.index && !turn.over {
            turn = changed.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
        let enough = ROWS_PER_INPUT * input.patches.width() as u64;
        if self.index >= SAMPLES && turn.rows() < enough {
            cut = rows();
        }
        if let Some((rows, lost)) = cut {
            for (waiting, rows) in turn.waiting.iter_mut().zip(rows) {
                waiting.extend(rows);
            }
            for (sums, lost) in turn.seen.lost.iter_mut().zip(lost) {
                sums.iter_mut().zip(lost).for_each(|(sum, l)| *sum += l);
            }
        }
        turn.add_waiting(ROWS_AT_ONCE * input.patches.width());
        turn.next += 1;
        drop(turn);
        changed.notify_all();
    }
}

impl Turn {
    /// Rows seen of each group.
    fn rows(&self) -> u64 {
        let groups = self.seen.moments.iter().zip(&self.waiting);
        let rows = groups.map(|(m, w)| m.rows() + (w.len() / m.width().max(1)) as u64);
        rows.min().unwrap_or(0)
    }

    /// Adds the rows that wait where they hold more than `most` numbers.
    fn add_waiting(&mut self, most: usize) {
        for (moments, waiting) in self.seen.moments.iter_mut().zip(&mut self.waiting) {
            if waiting.len() > most {
                moments.add(waiting);
                waiting.clear();
            }
        }
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
    use crate::graph::select::select;
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
        let selection = select(&model, &QuantizeConfig::default()).unwrap();
        let within = |budget| {
            let inputs =
                Gathering::within(&model.graph, &selection, Inputs::Dynamic, budget).finish();
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
