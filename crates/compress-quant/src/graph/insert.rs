//! Writing a plan into the graph as Q/DQ pairs.

use super::codes::nearest_codes;
use super::edit::{add_dequantize, add_params, drop_unread, quantized_bytes, redirect};
use super::error::QuantizeError;
use super::mean::BiasInput;
use super::plan::Plan;
use super::report::Note;
use super::round::{Rounder, nearest_note};
use super::select::{Role, Weight, channels, is_per_channel};
use super::target::TargetRules;
use crate::weight::{MeanError, QuantizedWeight, WeightRule};
use crate::{QuantError, QuantParams};
use compress_tensor::{DType, Granularity, Tensor};
use onnx_ir::graph::Use;
use onnx_ir::{Fact, Graph, Node, NodeId, TensorFact, ValueId};
use std::collections::{BTreeMap, HashMap};

use super::config::WeightGranularity;

/// What became of a core's weight.
pub(super) struct WeightRecord {
    pub bytes_before: usize,
    pub bytes_after: usize,
    pub sqnr_db: f64,
    pub product_sqnr_db: Option<f64>,
}

pub(super) struct Writer<'a> {
    pub graph: &'a mut Graph,
    pub plan: &'a Plan,
    pub params: &'a BTreeMap<ValueId, QuantParams>,
    pub rules: TargetRules,
    pub granularity: WeightGranularity,
    pub rule: WeightRule,
    /// Where weights are rounded to what the layers read.
    pub rounder: Option<Rounder<'a>>,
    pub repairs: Vec<Note>,
    pub notes: Vec<Note>,
    /// The pairs that were put around activations.
    pub pairs: Vec<ActivationPair>,
    /// The weights that became codes.
    pub weights: Vec<WrittenWeight>,
}

/// A pair that quantizes an activation.
pub(super) struct ActivationPair {
    pub quantize: NodeId,
    pub dequantize: NodeId,
    /// The value whose parameters it has.
    pub like: ValueId,
}

/// A weight as it was, and what the core reads in its place.
pub(super) struct WrittenWeight {
    pub core: NodeId,
    pub name: String,
    pub tensor: Tensor,
    /// The axis along which channels lie; `None` where one scale is for all.
    pub axis: Option<usize>,
    pub dequantized: ValueId,
    /// The bias as it was, and what is read in its place.
    pub bias: Option<(String, Tensor, ValueId)>,
}

impl Writer<'_> {
    /// Quantizes weights and biases, then puts Q/DQ pairs around activations.
    pub(super) fn write(&mut self) -> Result<HashMap<NodeId, WeightRecord>, QuantizeError> {
        let mut records = HashMap::new();
        for id in self.plan.selection.order.clone() {
            if let Some(Role::Core {
                weight: Some(weight),
                bias,
            }) = self.plan.selection.roles.get(&id).copied()
            {
                records.insert(id, self.weight(id, weight, bias)?);
            }
        }
        self.drop_absorbed_activations()?;
        for (&value, params) in self.params {
            self.activation(value, params)?;
        }
        Ok(records)
    }

    fn weight(
        &mut self,
        id: NodeId,
        weight: Weight,
        bias: Option<usize>,
    ) -> Result<WeightRecord, QuantizeError> {
        let node = self.graph.node(id).clone();
        let (Some(w), Some(x)) = (node.input(weight.input), node.input(0)) else {
            return Err(missing(self.graph, id));
        };
        let name = self.graph.name_of(w).to_owned();
        let values = |error: QuantError| QuantizeError::Values {
            tensor: name.clone(),
            error,
        };
        let Some(tensor) = self.graph.constant(w).cloned() else {
            return Err(missing(self.graph, id));
        };
        let per_channel = is_per_channel(&node, tensor.rank()).then_some(weight.axis);
        let quantized = nearest_codes(&tensor, per_channel, self.granularity, self.rule);
        let mut quantized = quantized.map_err(values)?;
        let bias = bias.and_then(|b| Some((b, node.input(b)?)));
        let mut floats = match bias {
            Some((_, b)) => {
                let channels = channels(&node, tensor.shape(), weight.axis);
                Some(bias_values(self.graph, b, channels)?)
            }
            None => None,
        };
        let input = self
            .params
            .get(&x)
            .cloned()
            .filter(|_| self.rules.quantize_bias);
        if let (Some(bias), Some(input)) = (&floats, &input) {
            let widened = widen(&tensor, bias, input.scale[0], &mut quantized, weight.axis);
            let widened = widened.map_err(values)?;
            if widened > 0 {
                self.repairs.push(widened_note(&name, widened));
            }
        }
        let mut product_sqnr_db = None;
        if let Some(rounder) = self.rounder {
            match rounder.moments(self.graph, &node, weight) {
                Err(reason) => self.notes.push(nearest_note(&name, &reason)),
                Ok(seen) => {
                    let channels = tensor.shape()[weight.axis];
                    let behind = BiasInput::of(self.graph, id, None, channels);
                    let mean = match floats {
                        Some(_) => MeanError::InBias,
                        None => BiasInput::mean(behind),
                    };
                    let params = quantized.params;
                    let refined = rounder.refine(&node, &tensor, params, weight.axis, (seen, mean));
                    let refined = refined.map_err(values)?;
                    quantized = refined.weight;
                    product_sqnr_db = Some(refined.product_sqnr_db);
                    match (&mut floats, behind) {
                        (Some(floats), _) => {
                            let each = floats.iter_mut().zip(refined.bias_shift);
                            each.for_each(|(b, shift)| *b += shift);
                        }
                        (None, Some(behind)) => behind.shift(self.graph, &refined.bias_shift)?,
                        (None, None) => {}
                    }
                }
            }
        }
        let data = tensor.data::<f32>().map_err(|e| values(e.into()))?;
        let back = quantized
            .params
            .dequantize(&quantized.values)
            .map_err(|e| values(e.into()))?;
        let sqnr_db = super::edit::sqnr_db(&data, back.iter().copied());
        let mut record = WeightRecord {
            bytes_before: tensor.byte_len(),
            bytes_after: quantized_bytes(&quantized.values, &quantized.params),
            sqnr_db,
            product_sqnr_db,
        };
        let q = self
            .graph
            .add_initializer(&format!("{name}_quantized"), quantized.values.clone())?;
        let (scale, zero) = add_params(self.graph, &name, &quantized.params)?;
        let dequantized = add_dequantize(
            self.graph,
            &name,
            q,
            (scale, zero),
            quantized.params.granularity,
        )?;
        self.graph
            .set_node_input(id, weight.input, Some(dequantized));
        let mut written = WrittenWeight {
            core: id,
            name: name.clone(),
            axis: match quantized.params.granularity {
                Granularity::PerChannel { axis } => Some(axis),
                _ => None,
            },
            tensor,
            dequantized,
            bias: None,
        };
        let mut unread = vec![w];
        if let (Some((at, b)), Some(floats)) = (bias, floats) {
            let bias_name = self.graph.name_of(b).to_owned();
            let bytes = self.graph.constant(b).map_or(0, Tensor::byte_len);
            record.bytes_before += bytes;
            let new = match &input {
                Some(input) => {
                    let (codes, params) = bias_in_steps(&floats, input.scale[0], &quantized.params);
                    record.bytes_after += quantized_bytes(&codes, &params);
                    let q = self
                        .graph
                        .add_initializer(&format!("{bias_name}_quantized"), codes)?;
                    let granularity = params.granularity;
                    let params = add_params(self.graph, &bias_name, &params)?;
                    Some(add_dequantize(
                        self.graph,
                        &bias_name,
                        q,
                        params,
                        granularity,
                    )?)
                }
                None if product_sqnr_db.is_some() => {
                    let tensor = Tensor::vector(floats);
                    record.bytes_after += tensor.byte_len();
                    Some(
                        self.graph
                            .add_initializer(&format!("{bias_name}_corrected"), tensor)?,
                    )
                }
                None => {
                    record.bytes_after += bytes;
                    None
                }
            };
            if let Some(new) = new {
                let old = self.graph.constant(b).cloned();
                written.bias = old.map(|old| (bias_name, old, new));
                self.graph.set_node_input(id, at, Some(new));
                unread.push(b);
            }
        }
        drop_unread(self.graph, unread);
        self.weights.push(written);
        Ok(record)
    }

    /// Removes activations whose bounds the quantized range already keeps: `Relu` where the least code stands
    /// for 0, `Clip` where both ends lie within.
    fn drop_absorbed_activations(&mut self) -> Result<(), QuantizeError> {
        for (&core, &activation) in &self.plan.selection.fused {
            let node = self.graph.node(activation).clone();
            let (Some(inner), Some(result)) = (node.input(0), node.output(0)) else {
                continue;
            };
            let Some(params) = self.params.get(&result) else {
                continue;
            };
            let (low, high) = represented(params);
            let (min, max) = bounds(self.graph, &node);
            if low < min || high > max || self.graph.node(core).output(0) != Some(inner) {
                continue;
            }
            self.graph.remove_node(activation);
            let mut producer = self.graph.node(core).clone();
            producer = with_output(producer, result);
            self.graph.replace_node(core, producer)?;
            self.graph.remove_value_if_unused(inner);
        }
        Ok(())
    }

    fn activation(&mut self, value: ValueId, params: &QuantParams) -> Result<(), QuantizeError> {
        let name = self.graph.name_of(value).to_owned();
        let fact = self.graph.value(value).fact.clone();
        let integer = match &fact {
            Fact::Tensor(f) => TensorFact::with_shape(Some(params.dtype), f.shape.clone()).into(),
            _ => Fact::Unknown,
        };
        let (scale, zero) = add_params(self.graph, &name, params)?;
        let all = self.plan.for_all_readers.contains(&value);
        let q = self
            .graph
            .fresh_value(&format!("{name}_quantized"), integer)?;
        let quantize = format!("{name}_QuantizeLinear");
        let captured = |u: &Use| matches!(u, Use::Captured { .. });
        let by_name = self.graph.is_output(value) || self.graph.uses(value).iter().any(captured);
        if let Some(producer) = self.graph.producer(value).filter(|_| all && by_name) {
            // What is read by name, from outside or in a branch, keeps it: it becomes the dequantized value.
            let inner = self.graph.fresh_value(&format!("{name}_float"), fact)?;
            let uses_dequantized = self.graph.node(producer).clone();
            let at = uses_dequantized
                .outputs()
                .iter()
                .position(|&o| o == Some(value));
            let moved = replace_output(uses_dequantized, at.unwrap_or(0), inner);
            self.graph.replace_node(producer, moved)?;
            let node = Node::new("QuantizeLinear", [inner, scale, zero], [q]);
            let quantize = self.graph.add_node(node.named(quantize))?;
            let node = Node::new("DequantizeLinear", [q, scale, zero], [value]);
            let named = node.named(format!("{name}_DequantizeLinear"));
            let dequantize = self.graph.add_node(named)?;
            self.pairs.push(ActivationPair {
                quantize,
                dequantize,
                like: value,
            });
            return self.requantize(value, value);
        }
        let id = self
            .graph
            .add_node(Node::new("QuantizeLinear", [value, scale, zero], [q]).named(quantize))?;
        let dequantized =
            add_dequantize(self.graph, &name, q, (scale, zero), Granularity::PerTensor)?;
        self.note_pair(id, dequantized, value);
        let selection = &self.plan.selection;
        let readers: HashMap<NodeId, Vec<usize>> = selection
            .roles
            .keys()
            .filter(|id| self.graph.get_node(**id).is_some())
            .map(|&id| (id, selection.data_inputs(self.graph, id)))
            .collect();
        let reads = |node: NodeId, index: usize| {
            node != id
                && (all
                    || readers
                        .get(&node)
                        .is_some_and(|inputs| inputs.contains(&index)))
        };
        redirect(self.graph, value, dequantized, reads);
        self.requantize(value, dequantized)
    }

    /// Notes a pair that ends in `dequantized`.
    fn note_pair(&mut self, quantize: NodeId, dequantized: ValueId, like: ValueId) {
        if let Some(dequantize) = self.graph.producer(dequantized) {
            self.pairs.push(ActivationPair {
                quantize,
                dequantize,
                like,
            });
        }
    }

    /// Gives `value`, whose scale is prescribed and which stands dequantized in `from`, the scales of the groups that
    /// it has readers in.
    fn requantize(&mut self, value: ValueId, from: ValueId) -> Result<(), QuantizeError> {
        for &(reader, index, like) in &self.plan.requantized {
            let reads = self.graph.get_node(reader).and_then(|n| n.input(index)) == Some(from);
            let Some(params) = self.params.get(&like).filter(|_| reads) else {
                continue;
            };
            let name = format!("{}_requantized", self.graph.name_of(value));
            let integer = match &self.graph.value(value).fact {
                Fact::Tensor(f) => {
                    TensorFact::with_shape(Some(params.dtype), f.shape.clone()).into()
                }
                _ => Fact::Unknown,
            };
            let (scale, zero) = add_params(self.graph, &name, params)?;
            let q = self.graph.fresh_value(&name, integer)?;
            let node = Node::new("QuantizeLinear", [from, scale, zero], [q]);
            let id = self
                .graph
                .add_node(node.named(format!("{name}_QuantizeLinear")))?;
            let params = (scale, zero);
            let again = add_dequantize(self.graph, &name, q, params, Granularity::PerTensor)?;
            self.note_pair(id, again, like);
            self.graph.set_node_input(reader, index, Some(again));
        }
        Ok(())
    }
}

/// The values of a bias, one for each channel; a single one holds for all.
fn bias_values(graph: &Graph, bias: ValueId, channels: usize) -> Result<Vec<f32>, QuantizeError> {
    let values = |error: QuantError| QuantizeError::Values {
        tensor: graph.name_of(bias).to_owned(),
        error,
    };
    let tensor = graph.constant(bias);
    let tensor = tensor.ok_or_else(|| values(QuantError::NothingObserved))?;
    let mut floats = tensor
        .data::<f32>()
        .map_err(|e| values(e.into()))?
        .into_owned();
    if let Some((index, &value)) = floats.iter().enumerate().find(|(_, v)| !v.is_finite()) {
        return Err(values(QuantError::NotFinite { index, value }));
    }
    if let [one] = *floats {
        floats = vec![one; channels];
    }
    match floats.len() {
        n if n == channels => Ok(floats),
        found => Err(values(QuantError::Length {
            what: "values",
            found,
            expected: channels,
        })),
    }
}

fn with_output(node: Node, value: ValueId) -> Node {
    replace_output(node, 0, value)
}

fn replace_output(node: Node, index: usize, value: ValueId) -> Node {
    let outputs: Vec<Option<ValueId>> = node
        .outputs()
        .iter()
        .enumerate()
        .map(|(i, &o)| if i == index { Some(value) } else { o })
        .collect();
    node.with_outputs(outputs)
}

/// The least and the greatest value that the parameters represent.
pub(super) fn represented(params: &QuantParams) -> (f64, f64) {
    let (low, high) = params.dtype.integer_range().unwrap_or((0, 0));
    let value = |q: i64| (q - i64::from(params.zero_point[0])) as f64 * f64::from(params.scale[0]);
    (value(low), value(high))
}

/// Bounds that an activation keeps its values in.
fn bounds(graph: &Graph, node: &Node) -> (f64, f64) {
    let constant = |i: usize| {
        let tensor = graph.constant(node.input(i)?)?;
        tensor.data::<f32>().ok()?.first().map(|&v| f64::from(v))
    };
    match node.op_type.as_str() {
        "Relu" => (0.0, f64::INFINITY),
        "Clip" => {
            let open = |i: usize, default: f64| match node.input(i) {
                None => Some(default),
                Some(_) => constant(i),
            };
            match (open(1, f64::NEG_INFINITY), open(2, f64::INFINITY)) {
                (Some(min), Some(max)) => (min, max),
                _ => (f64::INFINITY, f64::NEG_INFINITY),
            }
        }
        _ => (f64::INFINITY, f64::NEG_INFINITY),
    }
}

/// The least scale of a weight with which a bias fits in int32 in steps of `s_x · s_w`, with head room for the sum of products: the bias may take
/// half of int32.
pub(super) fn least_scale(bias: f32, input_scale: f32) -> f64 {
    f64::from(bias.abs()) / (f64::from(i32::MAX) / 2.0) / f64::from(input_scale)
}

/// What is told where [`widen`] or its like did something.
pub(super) fn widened_note(weight: &str, channels: usize) -> Note {
    let text = format!("scales of {channels} channels widened so that the bias fits in int32");
    Note::new(weight, text)
}

/// Makes the scale of weights grow in channels whose bias would not fit in int32; gives the number of them.
fn widen(
    weight: &Tensor,
    bias: &[f32],
    input_scale: f32,
    quantized: &mut QuantizedWeight,
    axis: usize,
) -> Result<usize, QuantError> {
    let mut scale = quantized.params.scale.clone();
    let mut widened = 0;
    let single = scale.len() == 1;
    for (c, &b) in bias.iter().enumerate() {
        let s = &mut scale[if single { 0 } else { c }];
        let least = least_scale(b, input_scale);
        if f64::from(*s) < least {
            *s = least as f32 * 1.000_001;
            widened += 1;
        }
    }
    if widened > 0 {
        *quantized = requantize(weight, quantized.clone(), &scale, axis)?;
    }
    Ok(widened)
}

/// The bias as int32 in steps of `s_x · s_w`.
pub(super) fn bias_in_steps(
    bias: &[f32],
    input_scale: f32,
    weight: &QuantParams,
) -> (Tensor, QuantParams) {
    let scale = &weight.scale;
    let step = |c: usize| input_scale * scale[if scale.len() == 1 { 0 } else { c }];
    let codes: Vec<i32> = bias
        .iter()
        .enumerate()
        .map(|(c, &b)| (f64::from(b) / f64::from(step(c))).round_ties_even() as i32)
        .collect();
    let params = QuantParams {
        scale: (0..scale.len()).map(step).collect(),
        zero_point: vec![0; scale.len()],
        dtype: DType::I32,
        granularity: if scale.len() == 1 {
            Granularity::PerTensor
        } else {
            Granularity::PerChannel { axis: 0 }
        },
    };
    (Tensor::vector(codes), params)
}

fn requantize(
    weight: &Tensor,
    quantized: QuantizedWeight,
    scale: &[f32],
    axis: usize,
) -> Result<QuantizedWeight, QuantError> {
    let data = weight.data::<f32>()?;
    let inner: usize = weight.shape()[axis + 1..].iter().product();
    let channel = |i: usize| {
        if scale.len() == 1 {
            0
        } else {
            i / inner.max(1) % scale.len()
        }
    };
    let codes: Vec<i8> = data
        .iter()
        .enumerate()
        .map(|(i, &w)| {
            (w / scale[channel(i)])
                .round_ties_even()
                .clamp(-127.0, 127.0) as i8
        })
        .collect();
    let params = QuantParams {
        scale: scale.to_vec(),
        ..quantized.params
    };
    Ok(QuantizedWeight {
        values: Tensor::from_vec(weight.shape(), codes)?,
        params,
    })
}

fn missing(graph: &Graph, id: NodeId) -> QuantizeError {
    QuantizeError::Values {
        tensor: graph.describe(id),
        error: QuantError::NothingObserved,
    }
}
