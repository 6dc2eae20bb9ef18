//! From a model that was trained with codes to the integer file.

use super::{BIAS_OPERATOR, OPERATOR, TARGET};
use crate::graph::edit::{add_dequantize, add_params, drop_unread, record, stored_bytes};
use crate::graph::error::QuantizeError;
use crate::graph::insert::bias_in_steps;
use crate::graph::preflight::fix_sizes;
use crate::graph::report::Note;
use crate::graph::target::Target;
use crate::graph::{QuantizeConfig, TargetRules};
use crate::{DType, Granularity, QuantError, QuantParams, Tensor};
use compress_tensor::CastOptions;
use onnx_ir::operator::{Attrs, Operator, PRIVATE_DOMAIN};
use onnx_ir::ops::quantization::{LearnedFakeQuantize, LearnedGrids};
use onnx_ir::{Catalog, Fact, Graph, Model, Node, NodeId, TensorFact, ValueId};
use serde::Serialize;
use std::collections::HashMap;

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ExportReport {
    /// Weights that became integers.
    pub weights: usize,
    /// Activations with a pair.
    pub activations: usize,
    /// Biases that became integers.
    pub biases: usize,
    /// Where something other was done than usual, and why.
    pub notes: Vec<Note>,
    /// Bytes of all initializers and constants of the model that was trained.
    pub bytes_before: usize,
    /// Bytes of all initializers and constants of the result.
    pub bytes_after: usize,
}

/// Writes the integer file of a model that [`prepare_qat`](super::prepare_qat) gave and that was trained: each `LearnedFakeQuantize` becomes
/// `QuantizeLinear` and `DequantizeLinear`, weights become int8 codes.
///
/// The pairs give the bits of what was trained; weights and biases have the same values, biases as int32 in steps of `s_x s_w`. One that would not fit
/// stays as it is, as it was trained. Codes of fewer than 8 bits of activations are cut off by an integer `Clip`.
///
/// # Errors
/// [`QuantizeError::NotPrepared`]; [`QuantizeError::Values`] for weights and steps that are no numbers; [`QuantizeError::TargetRule`] for open
/// sizes where the target takes none.
pub fn export_qat(model: &Model) -> Result<(Model, ExportReport), QuantizeError> {
    let target = target_of(model);
    let mut report = ExportReport {
        bytes_before: stored_bytes(&model.graph),
        ..ExportReport::default()
    };
    let mut model = model.clone();
    let nodes: Vec<NodeId> = model
        .graph
        .nodes()
        .filter(|(_, node)| node.domain == PRIVATE_DOMAIN && node.op_type == OPERATOR)
        .map(|(id, _)| id)
        .collect();
    if nodes.is_empty() {
        return Err(QuantizeError::NotPrepared);
    }
    let mut exporter = Exporter {
        graph: &mut model.graph,
        rules: target.rules(),
        params: HashMap::new(),
        report: &mut report,
    };
    exporter.bare_biases()?;
    for id in nodes {
        exporter.pair(id)?;
    }
    exporter.biases()?;
    let config = QuantizeConfig {
        target,
        ..QuantizeConfig::default()
    };
    report.notes.append(&mut fix_sizes(&mut model, &config)?);
    model.opsets.remove(PRIVATE_DOMAIN);
    model.metadata.retain(|(key, _)| key != TARGET);
    onnx_ir::infer::infer_shapes(&mut model, Catalog::standard())?;
    record(&mut model, format!("qat target={}", target.name()));
    report.bytes_after = stored_bytes(&model.graph);
    Ok((model, report))
}

fn target_of(model: &Model) -> Target {
    let name = model.metadata.iter().find(|(key, _)| key == TARGET);
    let all = [
        Target::Ort,
        Target::TensorRt,
        Target::Tflite,
        Target::EdgeTpu,
    ];
    let named = name.and_then(|(_, name)| all.into_iter().find(|t| t.name() == name));
    named.unwrap_or_default()
}

/// What stands at the place of a node that was trained.
struct Exported {
    params: QuantParams,
    is_weight: bool,
}

struct Exporter<'a> {
    graph: &'a mut Graph,
    rules: TargetRules,
    /// By the value that the pair writes.
    params: HashMap<ValueId, Exported>,
    report: &'a mut ExportReport,
}

impl Exporter<'_> {
    /// Lets layers read their biases themselves.
    fn bare_biases(&mut self) -> Result<(), QuantizeError> {
        let is_bias = |node: &Node| node.domain == PRIVATE_DOMAIN && node.op_type == BIAS_OPERATOR;
        let nodes = self.graph.nodes().filter(|(_, node)| is_bias(node));
        for id in nodes.map(|(id, _)| id).collect::<Vec<_>>() {
            let node = self.graph.node(id);
            let (Some(b), Some(y)) = (node.input(0), node.output(0)) else {
                return Err(QuantizeError::Quantizer {
                    node: self.graph.describe(id),
                    reason: "it reads or writes nothing".to_owned(),
                });
            };
            self.graph.replace_uses(y, b);
            drop_unread(self.graph, [y]);
        }
        Ok(())
    }

    fn pair(&mut self, id: NodeId) -> Result<(), QuantizeError> {
        let node = self.graph.node(id).clone();
        let place = self.graph.describe(id);
        let broken = |reason: String| QuantizeError::Quantizer {
            node: place.clone(),
            reason,
        };
        let (inputs, outputs) = (node.inputs().len(), node.outputs().len());
        let operator =
            LearnedFakeQuantize::parse(&mut Attrs::new(&node.attributes, 1, inputs, outputs));
        let operator = operator.map_err(|e| broken(e.to_string()))?;
        let (Some(x), Some(y)) = (node.input(0), node.output(0)) else {
            return Err(broken("it reads or writes nothing".to_owned()));
        };
        let constant = |index: usize| node.input(index).and_then(|v| self.graph.constant(v));
        let step = constant(1).ok_or_else(|| broken("its step is no constant".to_owned()))?;
        let shape = match self.graph.constant(x) {
            Some(weight) => weight.shape().to_vec(),
            None => step.shape().to_vec(),
        };
        let steps = step.to_f32_vec().map_err(|e| broken(e.to_string()))?;
        if let Some(wrong) = steps.iter().find(|s| !s.is_finite()) {
            return Err(broken(format!("its step is {wrong}")));
        }
        let grids = operator.grids(&shape, step, constant(2));
        let grids = grids.map_err(|e| broken(e.to_string()))?;
        let axis = step.shape().iter().position(|&d| d != 1);
        let params = params(&operator, &grids, axis);
        let weight = self.graph.constant(x).cloned();
        let is_weight = weight.is_some();
        match weight {
            Some(weight) => self.weight(id, (x, y), &weight, &operator, &grids, &params)?,
            None => self.activation(id, (x, y), &operator, &params)?,
        }
        drop_unread(self.graph, node.inputs().iter().flatten().copied());
        self.params.insert(y, Exported { params, is_weight });
        Ok(())
    }

    fn weight(
        &mut self,
        id: NodeId,
        (w, y): (ValueId, ValueId),
        weight: &Tensor,
        operator: &LearnedFakeQuantize,
        grids: &LearnedGrids,
        params: &QuantParams,
    ) -> Result<(), QuantizeError> {
        let name = self.graph.name_of(w).to_owned();
        let codes = codes(weight, operator, grids).map_err(|error| QuantizeError::Values {
            tensor: name.clone(),
            error,
        })?;
        let q = self
            .graph
            .add_initializer(&format!("{name}_quantized"), codes)?;
        let (scale, zero) = add_params(self.graph, &name, params)?;
        let mut node = Node::new("DequantizeLinear", [q, scale, zero], [y])
            .named(format!("{name}_DequantizeLinear"));
        if let Granularity::PerChannel { axis } = params.granularity {
            node = node.with("axis", axis as i64);
        }
        self.graph.replace_node(id, node)?;
        self.report.weights += 1;
        Ok(())
    }

    fn activation(
        &mut self,
        id: NodeId,
        (x, y): (ValueId, ValueId),
        operator: &LearnedFakeQuantize,
        params: &QuantParams,
    ) -> Result<(), QuantizeError> {
        let name = self.graph.name_of(x).to_owned();
        let integer = match &self.graph.value(x).fact {
            Fact::Tensor(f) => TensorFact::with_shape(Some(params.dtype), f.shape.clone()).into(),
            _ => Fact::Unknown,
        };
        let (scale, zero) = add_params(self.graph, &name, params)?;
        let mut q = self
            .graph
            .fresh_value(&format!("{name}_quantized"), integer.clone())?;
        let node = Node::new("QuantizeLinear", [x, scale, zero], [q]);
        self.graph
            .add_node(node.named(format!("{name}_QuantizeLinear")))?;
        let (low, high) = params.dtype.integer_range().unwrap_or((0, 0));
        if i64::from(operator.q_min) > low || i64::from(operator.q_max) < high {
            let mut bound = |what: &str, code: i32| {
                let tensor = Tensor::scalar(code)
                    .cast(params.dtype, CastOptions::default())
                    .map_err(|e| QuantizeError::Values {
                        tensor: name.clone(),
                        error: e.into(),
                    })?;
                Ok::<_, QuantizeError>(
                    self.graph
                        .add_initializer(&format!("{name}_{what}"), tensor)?,
                )
            };
            let (least, most) = (
                bound("least_code", operator.q_min)?,
                bound("greatest_code", operator.q_max)?,
            );
            let clipped = self
                .graph
                .fresh_value(&format!("{name}_clipped"), integer)?;
            let node = Node::new("Clip", [q, least, most], [clipped]);
            self.graph.add_node(node.named(format!("{name}_Clip")))?;
            q = clipped;
        }
        let node = Node::new("DequantizeLinear", [q, scale, zero], [y]);
        self.graph
            .replace_node(id, node.named(format!("{name}_DequantizeLinear")))?;
        self.report.activations += 1;
        Ok(())
    }

    /// Biases of nodes whose input and weight have pairs become int32 in steps of `s_x s_w`.
    fn biases(&mut self) -> Result<(), QuantizeError> {
        if !self.rules.quantize_bias {
            return Ok(());
        }
        let nodes: Vec<NodeId> = self.graph.nodes().map(|(id, _)| id).collect();
        for id in nodes {
            let node = self.graph.node(id);
            let is_layer = ["Conv", "ConvTranspose", "Gemm"];
            if !is_layer.iter().any(|op| node.is(op)) {
                continue;
            }
            let read = |index: usize| node.input(index).and_then(|v| self.params.get(&v));
            let (Some(input), Some(weight), Some(b)) = (read(0), read(1), node.input(2)) else {
                continue;
            };
            if input.is_weight || !weight.is_weight {
                continue;
            }
            let Some(bias) = self.graph.constant(b) else {
                continue;
            };
            let name = self.graph.name_of(b).to_owned();
            let mut floats = bias.to_f32_vec().map_err(|e| QuantizeError::Values {
                tensor: name.clone(),
                error: e.into(),
            })?;
            let channels = weight.params.scale.len();
            if let ([one], true) = (floats.as_slice(), channels > 1) {
                floats = vec![*one; channels];
            }
            if channels > 1 && floats.len() != channels {
                continue;
            }
            let step = input.params.scale[0];
            let fits = |(c, b): (usize, &f32)| {
                let scale = weight.params.scale[if channels == 1 { 0 } else { c }];
                let code = f64::from(*b) / (f64::from(step) * f64::from(scale));
                // Head room for the sum of products: the bias may take half of int32.
                code.abs() <= f64::from(i32::MAX) / 2.0
            };
            if !floats.iter().enumerate().all(fits) {
                let text = "stays in float: it does not fit in int32 in steps of its layer";
                self.report.notes.push(Note::new(name, text));
                continue;
            }
            let (codes, params) = bias_in_steps(&floats, step, &weight.params);
            let q = self
                .graph
                .add_initializer(&format!("{name}_quantized"), codes)?;
            let granularity = params.granularity;
            let params = add_params(self.graph, &name, &params)?;
            let new = add_dequantize(self.graph, &name, q, params, granularity)?;
            self.graph.set_node_input(id, 2, Some(new));
            drop_unread(self.graph, [b]);
            self.report.biases += 1;
        }
        Ok(())
    }
}

/// Scales and zero points as the file holds them.
fn params(
    operator: &LearnedFakeQuantize,
    grids: &LearnedGrids,
    axis: Option<usize>,
) -> QuantParams {
    let dtype = if operator.q_min < 0 {
        DType::I8
    } else {
        DType::U8
    };
    QuantParams {
        scale: grids.grids.iter().map(|g| g.step as f32).collect(),
        zero_point: grids.grids.iter().map(|g| g.zero_point).collect(),
        dtype,
        granularity: match axis {
            Some(axis) => Granularity::PerChannel { axis },
            None => Granularity::PerTensor,
        },
    }
}

/// The codes of a weight.
fn codes(
    weight: &Tensor,
    operator: &LearnedFakeQuantize,
    grids: &LearnedGrids,
) -> Result<Tensor, QuantError> {
    let data = weight.data::<f32>()?;
    let code = |(index, &value): (usize, &f32)| {
        if !value.is_finite() {
            return Err(QuantError::NotFinite { index, value });
        }
        let (_, grid) = grids.of(index);
        let [low, high] = [operator.q_min, operator.q_max].map(|q| (q - grid.zero_point) as f32);
        let v = (value / grid.step as f32).clamp(low, high);
        Ok((v.round_ties_even() as i32 + grid.zero_point) as i8)
    };
    let codes: Vec<i8> = data
        .iter()
        .enumerate()
        .map(code)
        .collect::<Result<_, _>>()?;
    Ok(Tensor::from_vec(weight.shape(), codes)?)
}
