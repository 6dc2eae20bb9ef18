//! From a float model to one that is trained with codes.

use super::bits::AllBits;
use super::config::QatConfig;
use super::ranges::{FirstCodes, first_codes};
use super::report::{QatLayer, QatReport};
use super::{BIAS_OPERATOR, OPERATOR, TARGET};
use crate::graph::calibrate::Calibration;
use crate::graph::edit::{drop_unread, node_name, sqnr_db};
use crate::graph::error::QuantizeError;
use crate::graph::insert::{ActivationPair, WrittenWeight, least_scale, widened_note};
use crate::graph::plan::Plan;
use crate::graph::preflight::{check_integers, fix_sizes};
use crate::graph::prepare::prepare;
use crate::graph::static_int8::{Strictness, Written, write};
use crate::qat::{CodeRange, FakeQuantizer, StepMethod, least_squares_step};
use crate::{QuantError, Tensor};
use onnx_ir::operator::{PRIVATE_DOMAIN, PRIVATE_DOMAIN_VERSION};
use onnx_ir::ops::quantization::LearnedMethod;
use onnx_ir::{Catalog, Graph, Model, Node, NodeId, ValueId};
use std::collections::{BTreeMap, HashMap};

/// The floor of a step is its first value over this.
const FLOOR: f32 = 1024.0;

/// By how much a bias may grow, or the step of what its layer reads shrink, before the least step that the weight has for it would be too small.
const ROOM: f64 = 4.0;

/// Puts a node with a learned step wherever static quantization puts a pair of `QuantizeLinear` and `DequantizeLinear`, with its ranges to begin
/// with.
///
/// Batch normalizations are folded with their running statistics and stay so: to have these fit the data, train the float model first
/// (`Trainer` updates them) and prepare the result. Weights and biases stay floats under the names that folding leaves them, biases behind a
/// `FakeQuantizeBias` where the file has them as int32; steps are initializers
/// `NAME_step` of the rank of what they quantize, so that an optimizer that bounds steps by a layer's norm bounds theirs; LSQ+
/// has `NAME_offset` beside. Activations that share a scale share the step. No step falls below a 1024th of the least of its node's first ones.
/// In channels whose weights are so small that the bias would not fit in int32, steps begin with, and do not fall below, four times what it takes;
/// [`QatReport::repairs`] tells of them.
///
/// The result is trained as any other model: [`QatReport::steps`] names what should have no weight decay. `calibration` is that of
/// [`calibrate`](crate::graph::calibrate) with `config.quantize`.
///
/// # Errors
/// Those of [`QatConfig::validate`] and of [`quantize_static`](crate::graph::quantize_static); [`QuantizeError::NoSuchLayer`].
pub fn prepare_qat(
    model: &Model,
    calibration: &Calibration,
    config: &QatConfig,
) -> Result<(Model, QatReport), QuantizeError> {
    config.validate()?;
    let quantize = &config.quantize;
    let prepared = prepare(model)?;
    let mut fixed = prepared.clone();
    // Sizes stay open for batches; whether the target takes the rest shows with those that it will have.
    let repairs = fix_sizes(&mut fixed, quantize)?;
    check_integers(&fixed.graph, &Plan::of(&fixed, quantize)?, quantize)?;
    let bits = AllBits::of(&prepared.graph, &Plan::of(&prepared, quantize)?, config)?;
    let written = write(&prepared, calibration, quantize, Strictness::Loose)?;
    let Written {
        mut model,
        plan,
        params,
        described,
        notes,
        activation_pairs,
        written_weights,
        ..
    } = written;
    let codes = first_codes(
        &prepared.graph,
        &plan,
        &params,
        &bits.groups,
        calibration,
        quantize,
    )?;
    let mut learner = Learner {
        graph: &mut model.graph,
        names: &prepared.graph,
        config,
        plan: &plan,
        codes: &codes,
        steps: BTreeMap::new(),
        biases: BTreeMap::new(),
        report: QatReport::default(),
    };
    for pair in &activation_pairs {
        learner.activation(pair)?;
    }
    written_weights.iter().for_each(|w| learner.note_bias(w));
    let mut of_weights: HashMap<NodeId, LearnedWeight> = HashMap::new();
    let mut shared = BTreeMap::new();
    for weight in written_weights {
        let core = weight.core;
        let bits = bits.layers.get(&core).map_or(8, |bits| bits.weights);
        let bias = weight.bias.clone();
        let learned = learner.weight(weight, bits, &mut shared)?;
        if let Some(bias) = bias {
            learner.bias(core, bias, &learned)?;
        }
        of_weights.insert(core, learned);
    }
    let (steps, mut report) = (learner.steps, learner.report);
    for (id, layer) in described {
        let Some(of_layer) = bits.layers.get(&id) else {
            continue;
        };
        let weight = of_weights.remove(&id);
        let read = plan.selection.data_inputs(&prepared.graph, id);
        let read = read.first().and_then(|&i| prepared.graph.node(id).input(i));
        let root = read.and_then(|v| plan.quantized.get(&v));
        report.layers.push(QatLayer {
            node: layer.node,
            op: layer.op,
            weight_bits: weight.is_some().then_some(of_layer.weights),
            activation_bits: root.and_then(|root| bits.groups.get(root).copied()),
            weight_sqnr_db: weight.as_ref().map(|w| w.sqnr_db),
            weight_step: weight.map(|w| w.step_name),
            activation_step: root.and_then(|root| Some(steps.get(root)?.name.clone())),
        });
    }
    report.notes = notes;
    let of_weights = std::mem::replace(&mut report.repairs, repairs);
    report.repairs.extend(of_weights);
    report.skipped = plan.selection.skipped;
    model.opsets.set(PRIVATE_DOMAIN, PRIVATE_DOMAIN_VERSION);
    model.set_metadata(TARGET, quantize.target.name());
    onnx_ir::infer::infer_shapes(&mut model, Catalog::standard())?;
    Ok((model, report))
}

/// A weight behind its quantizer.
#[derive(Clone)]
struct LearnedWeight {
    value: ValueId,
    step: ValueId,
    step_name: String,
    /// How many steps there are.
    channels: usize,
    floor: f32,
    sqnr_db: f64,
}

/// The step of a group of activations.
struct GroupStep {
    name: String,
    step: ValueId,
    floor: f32,
    offset: Option<ValueId>,
}

struct Learner<'a> {
    graph: &'a mut Graph,
    /// The graph as it was, in which values of the plan have their names.
    names: &'a Graph,
    config: &'a QatConfig,
    plan: &'a Plan,
    codes: &'a BTreeMap<ValueId, FirstCodes>,
    /// By the representative of the group.
    steps: BTreeMap<ValueId, GroupStep>,
    /// By the name of a weight: the steps that each bias of its layers takes at least.
    biases: BTreeMap<String, Vec<Vec<f64>>>,
    report: QatReport,
}

impl Learner<'_> {
    /// Puts one node in the place of a pair.
    fn activation(&mut self, pair: &ActivationPair) -> Result<(), QuantizeError> {
        let quantize = self.graph.node(pair.quantize).clone();
        let dequantize = self.graph.node(pair.dequantize).clone();
        let root = self.plan.quantized.get(&pair.like).copied();
        let found = root.and_then(|root| Some((root, *self.codes.get(&root)?)));
        let (Some((root, codes)), Some(x), Some(y)) =
            (found, quantize.input(0), dequantize.output(0))
        else {
            return Err(QuantizeError::NotCalibrated {
                tensor: self.names.name_of(pair.like).to_owned(),
            });
        };
        let method = match self.plan.is_prescribed(root) {
            true => LearnedMethod::Ste,
            false => self.config.method.of_activations(),
        };
        let learns = method != LearnedMethod::Ste;
        let learns_offset =
            method == LearnedMethod::LsqPlus && codes.zero_point != codes.codes.q_min;
        let rank = self.graph.value(x).fact.as_tensor().and_then(|f| f.rank());
        let (step, offset) = self.step_of(root, codes, rank, [learns, learns_offset])?;
        let mut node = self
            .node([Some(x), Some(step), offset], y, codes.codes, method)
            .named(format!("{}_FakeQuantize", self.graph.name_of(y)))
            .with("batched", 1i64)
            .with("floor", floor([codes.step]));
        if offset.is_none() {
            node = node.with("zero_point", i64::from(codes.zero_point));
        }
        self.graph.replace_node(pair.dequantize, node)?;
        self.graph.remove_node(pair.quantize);
        let left = quantize.outputs().iter().chain(quantize.inputs()).flatten();
        let left: Vec<ValueId> = left.copied().filter(|&v| v != x).collect();
        drop_unread(self.graph, left);
        Ok(())
    }

    /// The step and the offset of a group.
    fn step_of(
        &mut self,
        root: ValueId,
        codes: FirstCodes,
        rank: Option<usize>,
        [learns, learns_offset]: [bool; 2],
    ) -> Result<(ValueId, Option<ValueId>), QuantizeError> {
        if let Some(found) = self.steps.get(&root) {
            return Ok((found.step, found.offset));
        }
        let base = self.names.name_of(root).to_owned();
        let shape = vec![1; rank.unwrap_or(1).max(1)];
        let number = |v: f32| {
            Tensor::from_vec(&shape, vec![v]).map_err(|e| QuantizeError::Values {
                tensor: base.clone(),
                error: e.into(),
            })
        };
        let step = self
            .graph
            .add_initializer(&format!("{base}_step"), number(codes.step)?)?;
        let name = self.graph.name_of(step).to_owned();
        if learns {
            self.report.steps.push(name.clone());
        }
        let offset = match learns_offset {
            false => None,
            true => {
                let offset = number(-codes.step * codes.zero_point as f32)?;
                let offset = self
                    .graph
                    .add_initializer(&format!("{base}_offset"), offset)?;
                self.report
                    .offsets
                    .push(self.graph.name_of(offset).to_owned());
                Some(offset)
            }
        };
        let floor = floor([codes.step]);
        self.steps.insert(
            root,
            GroupStep {
                name,
                step,
                floor,
                offset,
            },
        );
        Ok((step, offset))
    }

    /// The step of what a layer reads.
    fn read_step(&self, core: NodeId) -> Option<(&GroupStep, f32)> {
        let read = self.names.node(core).input(0)?;
        let root = self.plan.quantized.get(&read)?;
        Some((self.steps.get(root)?, self.codes.get(root)?.step))
    }

    /// Notes what the bias of a layer asks of the steps of its weight.
    fn note_bias(&mut self, written: &WrittenWeight) {
        let Some((_, step)) = self.read_step(written.core) else {
            return;
        };
        let floats = written
            .bias
            .as_ref()
            .and_then(|(_, b, _)| b.to_f32_vec().ok());
        let least = floats.iter().flatten().map(|&b| least_scale(b, step));
        let least = least.collect();
        let of_weight = self.biases.entry(written.name.clone()).or_default();
        of_weight.push(least);
    }

    /// Raises the steps of a weight with which a bias would not fit in int32; gives the number of them, and the least that they may become.
    fn raise(&self, name: &str, steps: &mut [f32]) -> (usize, f32) {
        let mut least = vec![0f64; steps.len()];
        for bias in self.biases.get(name).into_iter().flatten() {
            for (c, least) in least.iter_mut().enumerate() {
                *least = match (steps.len(), bias.len()) {
                    // One number for all, of steps or of biases.
                    (1, _) | (_, 1) => bias.iter().fold(*least, |m, &b| m.max(b)),
                    _ => bias.get(c).map_or(*least, |&b| least.max(b)),
                };
            }
        }
        let (mut raised, mut highest, mut others) = (0, 0f32, f32::INFINITY);
        for (step, least) in steps.iter_mut().zip(least) {
            if f64::from(*step) < ROOM * least {
                *step = ((ROOM * least) as f32).clamp(f32::MIN_POSITIVE, f32::MAX);
                highest = highest.max(*step);
                raised += 1;
            } else {
                others = others.min(*step);
            }
        }
        // There is one floor for all, which leaves the other channels as they are.
        let least = steps.iter_mut().filter(|s| **s < highest.min(others));
        least.for_each(|s| *s = highest.min(others));
        (raised, highest.min(others))
    }

    /// Puts a weight back, behind a node with steps of its own; `shared` holds what was put back for other readers.
    fn weight(
        &mut self,
        written: WrittenWeight,
        bits: u32,
        shared: &mut BTreeMap<(String, Option<usize>, u32), LearnedWeight>,
    ) -> Result<LearnedWeight, QuantizeError> {
        let WrittenWeight {
            name,
            tensor,
            axis,
            dequantized,
            ..
        } = written;
        let key = (name, axis, bits);
        if let Some(known) = shared.get(&key).cloned() {
            self.take_place(dequantized, known.value)?;
            return Ok(known);
        }
        let (name, axis, bits) = &key;
        let values = |error: QuantError| QuantizeError::Values {
            tensor: name.clone(),
            error,
        };
        // The code without an opposite is left out with 8 bits, as the kernels of LiteRT ask for; of few codes each counts.
        let codes = match *bits {
            8 => CodeRange::symmetric(8),
            bits => CodeRange::signed(bits),
        };
        let codes = codes.map_err(values)?;
        let mut steps = least_squares_step(&tensor, *axis, codes).map_err(values)?;
        let (raised, least) = self.raise(name, &mut steps);
        if raised > 0 {
            self.report.repairs.push(widened_note(name, raised));
        }
        let sqnr_db = noise(&tensor, codes, *axis, &steps).map_err(values)?;
        let mut shape = vec![1; tensor.rank()];
        if let Some(axis) = *axis {
            shape[axis] = steps.len();
        }
        let floor = floor(steps.iter().copied()).max(least);
        let channels = steps.len();
        let steps = Tensor::from_vec(&shape, steps).map_err(|e| values(e.into()))?;
        let w = self.initializer(name, tensor)?;
        let step = self.graph.add_initializer(&format!("{name}_step"), steps)?;
        let step_name = self.graph.name_of(step).to_owned();
        let method = self.config.method.of_weights();
        let node = self
            .node([Some(w), Some(step), None], dequantized, codes, method)
            .named(format!("{name}_FakeQuantize"))
            .with("floor", floor);
        let Some(old) = self.graph.producer(dequantized) else {
            return Err(values(QuantError::NothingObserved));
        };
        let old = self.graph.replace_node(old, node)?;
        let left: Vec<ValueId> = old.inputs().iter().flatten().copied().collect();
        drop_unread(self.graph, left);
        if method != LearnedMethod::Ste {
            self.report.steps.push(step_name.clone());
        }
        let learned = LearnedWeight {
            value: dequantized,
            step,
            step_name,
            channels,
            floor,
            sqnr_db,
        };
        shared.insert(key, learned.clone());
        Ok(learned)
    }

    /// Puts a bias back, behind a node that rounds it as the file does: to int32 in steps of those of what the layer reads and of its weight.
    fn bias(
        &mut self,
        core: NodeId,
        (name, tensor, new): (String, Tensor, ValueId),
        weight: &LearnedWeight,
    ) -> Result<(), QuantizeError> {
        let count = tensor.len();
        let float = self.initializer(&name, tensor)?;
        let (Some((step, _)), Some(old)) = (self.read_step(core), self.graph.producer(new)) else {
            return self.take_place(new, float);
        };
        if ![1, count].contains(&weight.channels) {
            // One number for all channels, of which the file has a code for each.
            return self.take_place(new, float);
        }
        // Of the layer, as others may have the same bias.
        let layer = node_name(self.names, core);
        let node = Node::new(BIAS_OPERATOR, [float, step.step, weight.step], [new])
            .in_domain(PRIVATE_DOMAIN)
            .named(format!("{layer}_FakeQuantizeBias"))
            .with("floor_x", step.floor)
            .with("floor_w", weight.floor);
        let old = self.graph.replace_node(old, node)?;
        drop_unread(self.graph, old.inputs().iter().flatten().copied());
        Ok(())
    }

    /// The initializer of a name as it was; there again, or still there for others.
    fn initializer(&mut self, name: &str, tensor: Tensor) -> Result<ValueId, QuantizeError> {
        let known = self.graph.value_by_name(name);
        match known.filter(|&v| self.graph.initializer(v).is_some()) {
            Some(known) => Ok(known),
            None => Ok(self.graph.add_initializer(name, tensor)?),
        }
    }

    /// Lets readers of `old` read `new`, and drops what wrote `old`.
    fn take_place(&mut self, old: ValueId, new: ValueId) -> Result<(), QuantizeError> {
        self.graph.replace_uses(old, new);
        let producer = self.graph.producer(old);
        let inputs = producer.map(|node| self.graph.node(node).inputs().to_vec());
        drop_unread(self.graph, [old]);
        drop_unread(self.graph, inputs.into_iter().flatten().flatten());
        Ok(())
    }

    fn node(
        &self,
        inputs: [Option<ValueId>; 3],
        output: ValueId,
        codes: CodeRange,
        method: LearnedMethod,
    ) -> Node {
        let count = if inputs[2].is_some() { 3 } else { 2 };
        let mut node = Node::new(OPERATOR, inputs.into_iter().take(count), [Some(output)])
            .in_domain(PRIVATE_DOMAIN)
            .with("method", method.name())
            .with("q_min", i64::from(codes.q_min))
            .with("q_max", i64::from(codes.q_max));
        match self.config.method {
            StepMethod::Ewgs { delta } => node = node.with("delta", delta),
            StepMethod::Dsq { alpha } => node = node.with("alpha", alpha),
            _ => {}
        }
        node
    }
}

/// What the steps of a node do not fall below.
fn floor(steps: impl IntoIterator<Item = f32>) -> f32 {
    let least = steps.into_iter().fold(f32::INFINITY, f32::min);
    (least / FLOOR).clamp(f32::MIN_POSITIVE, f32::MAX)
}

/// Signal to noise of a weight's codes.
fn noise(
    weight: &Tensor,
    codes: CodeRange,
    axis: Option<usize>,
    steps: &[f32],
) -> Result<f64, QuantError> {
    let mut quantizer = FakeQuantizer::new(codes, StepMethod::StraightThrough);
    quantizer.axis = axis;
    // Files hold weights at any place.
    let weight = weight.to_aligned();
    let rounded = quantizer.forward(weight.view::<f32>()?, steps, None)?;
    let data = weight.data::<f32>()?;
    Ok(sqnr_db(&data, rounded.iter().copied()))
}
