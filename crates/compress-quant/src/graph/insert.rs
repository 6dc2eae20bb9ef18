//! Writing a plan into the graph as Q/DQ pairs.

use super::edit::{add_dequantize, add_params, drop_unread, redirect};
use super::error::QuantizeError;
use super::inputs::{LayerInput, LayerInputs};
use super::plan::Plan;
use super::round::refine;
use super::select::{Role, Weight};
use super::target::TargetRules;
use crate::weight::{
    MeanError, QuantizedWeight, WeightRule, quantize_per_channel, quantize_per_tensor,
};
use crate::{QuantError, QuantParams};
use compress_tensor::{DType, Granularity, Tensor};
use onnx_ir::{Attribute, Fact, Graph, Node, NodeId, TensorFact, ValueId};
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
    /// What the layers read, where weights are rounded to it.
    pub inputs: Option<&'a LayerInputs>,
    pub repairs: Vec<String>,
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
        let mut quantized = match (self.granularity, self.groups_of_transposed(&node)) {
            (WeightGranularity::PerChannel, 1) => {
                quantize_per_channel(&tensor, weight.axis, DType::I8, self.rule)
            }
            // Output channels of a grouped transposed convolution do not lie along one axis.
            _ => quantize_per_tensor(&tensor, DType::I8, self.rule),
        }
        .map_err(values)?;
        let bias = bias.and_then(|b| Some((b, node.input(b)?)));
        let mut floats = match bias {
            Some((_, b)) => match self.graph.constant(b) {
                Some(tensor) => Some(
                    tensor
                        .data::<f32>()
                        .map_err(|e| values(e.into()))?
                        .into_owned(),
                ),
                None => return Err(missing(self.graph, id)),
            },
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
                self.repairs.push(format!(
                    "{name}: scales of {widened} channels widened so that the bias fits in int32"
                ));
            }
        }
        let inputs = self
            .inputs
            .and_then(|all| all.get(&LayerInput::of(self.graph, &node, weight.input)?));
        let mut product_sqnr_db = None;
        if let Some(moments) = inputs {
            let mean = match &floats {
                Some(bias) if bias.len() == tensor.shape()[weight.axis] => MeanError::InBias,
                _ => MeanError::Stays,
            };
            let refined = refine(&tensor, quantized.params, weight.axis, moments, mean);
            let refined = refined.map_err(values)?;
            quantized = refined.weight;
            product_sqnr_db = Some(refined.product_sqnr_db);
            for (b, shift) in floats.iter_mut().flatten().zip(refined.bias_shift) {
                *b += shift;
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
            bytes_after: quantized.values.byte_len(),
            sqnr_db,
            product_sqnr_db,
        };
        record.bytes_after += quantized.params.scale.len() * 5;
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
        let mut unread = vec![w];
        if let (Some((at, b)), Some(floats)) = (bias, floats) {
            let bias_name = self.graph.name_of(b).to_owned();
            let new = match &input {
                Some(input) => {
                    let (codes, params) = bias_in_steps(&floats, input.scale[0], &quantized.params);
                    record.bytes_before += floats.len() * 4;
                    record.bytes_after += floats.len() * 4 + params.scale.len() * 8;
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
                    let shape = self
                        .graph
                        .constant(b)
                        .map_or(Vec::new(), |t| t.shape().to_vec());
                    let tensor = Tensor::from_vec(&shape, floats).map_err(|e| values(e.into()))?;
                    Some(
                        self.graph
                            .add_initializer(&format!("{bias_name}_corrected"), tensor)?,
                    )
                }
                None => None,
            };
            if let Some(new) = new {
                self.graph.set_node_input(id, at, Some(new));
                unread.push(b);
            }
        }
        drop_unread(self.graph, unread);
        Ok(record)
    }

    fn groups_of_transposed(&self, node: &Node) -> usize {
        match node.attributes.get("group") {
            Some(Attribute::Int(n)) if node.is("ConvTranspose") => usize::try_from(*n).unwrap_or(1),
            _ => 1,
        }
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
        if all && self.graph.is_output(value) {
            // The output keeps its name: it becomes the dequantized value.
            let inner = self.graph.fresh_value(&format!("{name}_float"), fact)?;
            let Some(producer) = self.graph.producer(value) else {
                return Ok(());
            };
            let uses_dequantized = self.graph.node(producer).clone();
            let at = uses_dequantized
                .outputs()
                .iter()
                .position(|&o| o == Some(value));
            let moved = replace_output(uses_dequantized, at.unwrap_or(0), inner);
            self.graph.replace_node(producer, moved)?;
            self.graph
                .add_node(Node::new("QuantizeLinear", [inner, scale, zero], [q]).named(quantize))?;
            let node = Node::new("DequantizeLinear", [q, scale, zero], [value]);
            self.graph
                .add_node(node.named(format!("{name}_DequantizeLinear")))?;
            return Ok(());
        }
        let id = self
            .graph
            .add_node(Node::new("QuantizeLinear", [value, scale, zero], [q]).named(quantize))?;
        let dequantized =
            add_dequantize(self.graph, &name, q, (scale, zero), Granularity::PerTensor)?;
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
        Ok(())
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
    // Head room for the sum of products: the bias may take half of int32.
    let most = f64::from(i32::MAX) / 2.0;
    let single = scale.len() == 1;
    for (c, &b) in bias.iter().enumerate() {
        let s = &mut scale[if single { 0 } else { c }];
        let least = f64::from(b.abs()) / most / f64::from(input_scale);
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
fn bias_in_steps(bias: &[f32], input_scale: f32, weight: &QuantParams) -> (Tensor, QuantParams) {
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
