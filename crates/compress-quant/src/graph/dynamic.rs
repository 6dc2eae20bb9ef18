//! Dynamic quantization: int8 weights, activations quantized while the model runs.
//!
//! `MatMul(x, W)` becomes `Cast(MatMulInteger(q, W_q, z)) * (s * s_w)` with `q, s, z =
//! DynamicQuantizeLinear(x)`, shared by all readers of `x`: the form that ONNX Runtime fuses into one kernel.

use super::calibrate::Calibration;
use super::codes::{Layer, Request, rounder_of};
use super::config::{Mode, QuantizeConfig};
use super::edit::{
    drop_unread, in_subgraphs, node_name, record, share_equal, sqnr_db, stored_bytes,
};
use super::error::QuantizeError;
use super::patterns::check_patterns;
use super::prepare::prepare;
use super::report::{LayerReport, Note, Report, SkippedNode};
use super::round::Rounder;
use super::select::{Bias, IN_SUBGRAPHS, Role, Weight, nothing, select_in};
use crate::QuantError;
use compress_tensor::Tensor;
use onnx_ir::{Catalog, Fact, Graph, Model, Node, NodeId, ValueId};
use std::collections::HashMap;

/// Quantizes the weights of matrix products to int8; their activations are quantized to uint8 at run time.
///
/// Convolutions stay float unless `config.operators` names them: quantizing their input anew in each run
/// costs more than the integer product saves.
///
/// # Errors
/// [`QuantizeError`]; what could not be quantized of a model that could is listed in the report.
pub fn quantize_dynamic(
    model: &Model,
    config: &QuantizeConfig,
) -> Result<(Model, Report), QuantizeError> {
    quantize(model, None, config)
}

/// As [`quantize_dynamic`], with what [`calibrate_for`](super::calibrate_for) gathered of the layers' inputs for
/// [`Mode::Dynamic`]: `config.rounding` may then be [`Rounding::Calibrated`](super::Rounding::Calibrated).
///
/// # Errors
/// [`QuantizeError`]; [`QuantizeError::OtherModel`] for statistics of another model.
pub fn quantize_dynamic_calibrated(
    model: &Model,
    calibration: &Calibration,
    config: &QuantizeConfig,
) -> Result<(Model, Report), QuantizeError> {
    quantize(model, Some(calibration), config)
}

fn quantize(
    model: &Model,
    calibration: Option<&Calibration>,
    config: &QuantizeConfig,
) -> Result<(Model, Report), QuantizeError> {
    config.validate_for(Mode::Dynamic)?;
    let bytes_before = stored_bytes(&model.graph);
    let mut model = prepare(model)?;
    check_patterns(&model.graph, config)?;
    let rounder = rounder_of(&model, calibration, config)?;
    let mut report = Report {
        bytes_before,
        ..Report::default()
    };
    quantize_graph(&mut model, config, rounder, &mut report)?;
    if report.layers.is_empty() {
        return Err(nothing(&report.skipped));
    }
    onnx_ir::infer::infer_shapes(&mut model, Catalog::standard())?;
    let rounding = config.rounding;
    record(
        &mut model,
        format!("dynamic activations=u8 weights=i8 rounding={rounding:?}"),
    );
    report.bytes_after = stored_bytes(&model.graph);
    Ok((model, report))
}

/// Why convolutions stay float.
const UNASKED: &str = "dynamic quantization leaves convolutions float unless they are named (--ops Conv), as quantizing \
     their input in each run costs more than the integer product saves: static quantization is for them";

/// Whether a node is a convolution that nobody named.
pub(super) fn is_unasked(node: &Node, config: &QuantizeConfig) -> bool {
    config.operators.is_none() && Form::of(node) == Some(Form::Convolution)
}

/// Quantizes the main graph of `model` and the subgraphs of its nodes.
fn quantize_graph(
    model: &mut Model,
    config: &QuantizeConfig,
    rounder: Option<Rounder<'_>>,
    report: &mut Report,
) -> Result<(), QuantizeError> {
    let first_new = model.graph.value_bound();
    in_subgraphs(model, |inner| {
        quantize_graph(inner, config, rounder, report)
    })?;
    let selection = select_in(model, config, Bias::Float)?;
    let others = selection
        .skipped
        .iter()
        .filter(|s| s.reason != IN_SUBGRAPHS);
    report.skipped.extend(others.cloned());
    let mut dynamic: HashMap<ValueId, Dynamic> = HashMap::new();
    for &id in &selection.order {
        let Some(Role::Core { weight, bias }) = selection.roles.get(&id).copied() else {
            continue;
        };
        let graph = &mut model.graph;
        let form = Form::of(graph.node(id));
        let unasked = is_unasked(graph.node(id), config);
        let (Some(weight), Some(form), false) = (weight, form, unasked) else {
            let reason = match form {
                Some(_) if unasked => UNASKED,
                Some(_) => "both factors are activations",
                None => "there is no integer operator for it that leaves its scale open",
            };
            report.skipped.push(SkippedNode {
                node: node_name(graph, id),
                op: graph.node(id).qualified_op(),
                reason: reason.to_owned(),
            });
            continue;
        };
        let request = Request { config, rounder };
        let notes = &mut report.notes;
        let layer = product(
            graph,
            (id, form, weight, bias),
            request,
            &mut dynamic,
            notes,
        )?;
        report.layers.push(layer);
    }
    share_equal(&mut model.graph, first_new);
    Ok(())
}

/// An activation quantized at run time.
#[derive(Clone, Copy)]
struct Dynamic {
    q: ValueId,
    scale: ValueId,
    zero: ValueId,
}

/// The integer operator that takes a node's place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Product,
    Convolution,
}

impl Form {
    fn of(node: &Node) -> Option<Self> {
        match node.op_type.as_str() {
            "MatMul" | "Gemm" => Some(Self::Product),
            "Conv" => Some(Self::Convolution),
            _ => None,
        }
    }
}

fn product(
    graph: &mut Graph,
    (id, form, weight, bias): (NodeId, Form, Weight, Option<usize>),
    request: Request<'_>,
    dynamic: &mut HashMap<ValueId, Dynamic>,
    notes: &mut Vec<Note>,
) -> Result<LayerReport, QuantizeError> {
    let node = graph.node(id).clone();
    let name = node_name(graph, id);
    let missing = || QuantizeError::Values {
        tensor: name.clone(),
        error: QuantError::NothingObserved,
    };
    let (Some(x), Some(w), Some(y)) = (node.input(0), node.input(weight.input), node.output(0))
    else {
        return Err(missing());
    };
    let Some(tensor) = graph.constant(w).cloned() else {
        return Err(missing());
    };
    let weight_name = graph.name_of(w).to_owned();
    let values = |error: QuantError| QuantizeError::Values {
        tensor: weight_name.clone(),
        error,
    };
    let is_conv = form == Form::Convolution;
    let layer = Layer { id, weight, bias };
    let (quantized, product_sqnr_db) = layer.codes(graph, &tensor, request, notes)?;
    // Its bias may have grown.
    let node = graph.node(id).clone();
    let back = quantized
        .params
        .dequantize(&quantized.values)
        .map_err(|e| values(e.into()))?;
    let data = tensor.data::<f32>().map_err(|e| values(e.into()))?;
    let sqnr_db = sqnr_db(&data, back.iter().copied());
    let transposed = node.is("Gemm") && weight.axis == 0;
    let codes = if transposed {
        transpose(&quantized.values).map_err(values)?
    } else {
        quantized.values
    };

    let d = match dynamic.get(&x) {
        Some(d) => *d,
        None => {
            let base = graph.name_of(x).to_owned();
            let q = graph.fresh_value(&format!("{base}_quantized"), Fact::Unknown)?;
            let scale = graph.fresh_value(&format!("{base}_scale"), Fact::Unknown)?;
            let zero = graph.fresh_value(&format!("{base}_zero_point"), Fact::Unknown)?;
            let quantize = Node::new("DynamicQuantizeLinear", [x], [q, scale, zero]);
            graph.add_node(quantize.named(format!("{base}_DynamicQuantizeLinear")))?;
            let d = Dynamic { q, scale, zero };
            dynamic.insert(x, d);
            d
        }
    };
    let code_bytes = codes.byte_len();
    let wq = graph.add_initializer(&format!("{weight_name}_quantized"), codes)?;
    let (scales, zeros) = match (quantized.params.scale.as_slice(), is_conv) {
        ([one], _) => (Tensor::scalar(*one), Tensor::scalar(0i8)),
        // The integer convolution itself knows no scales, and zero is one zero point for all channels.
        (many, true) => {
            let mut shape = vec![1; tensor.rank() - 1];
            shape[0] = many.len();
            let scales = Tensor::from_vec(&shape, many.to_vec()).map_err(|e| values(e.into()))?;
            (scales, Tensor::scalar(0i8))
        }
        (many, false) => (
            Tensor::vector(many.to_vec()),
            Tensor::vector(vec![0i8; many.len()]),
        ),
    };
    let bytes_after = code_bytes + scales.byte_len() + zeros.byte_len();
    let ws = graph.add_initializer(&format!("{weight_name}_scale"), scales)?;
    let wz = graph.add_initializer(&format!("{weight_name}_zero_point"), zeros)?;
    let value = |graph: &mut Graph, suffix: &str| {
        graph.fresh_value(&format!("{name}_{suffix}"), Fact::Unknown)
    };
    let (acc, float) = (value(graph, "integers")?, value(graph, "float")?);
    let scale = value(graph, "scale")?;
    graph.remove_node(id);
    let mut integer = Node::new(
        if is_conv {
            "ConvInteger"
        } else {
            "MatMulInteger"
        },
        [d.q, wq, d.zero, wz],
        [acc],
    );
    if is_conv {
        integer.attributes = node.attributes.clone();
    }
    graph.add_node(integer.named(format!("{name}_quantized")))?;
    graph.add_node(
        Node::new("Cast", [acc], [float])
            .with("to", 1i64)
            .named(format!("{name}_cast")),
    )?;
    graph.add_node(Node::new("Mul", [d.scale, ws], [scale]).named(format!("{name}_scales")))?;
    let bias = bias.and_then(|b| node.input(b));
    let product = if bias.is_some() {
        value(graph, "product")?
    } else {
        y
    };
    graph.add_node(Node::new("Mul", [float, scale], [product]).named(format!("{name}_rescale")))?;
    if let Some(b) = bias {
        let b = if is_conv {
            channelwise(graph, b, tensor.rank())?
        } else {
            b
        };
        graph.add_node(Node::new("Add", [product, b], [y]).named(format!("{name}_bias")))?;
    }
    drop_unread(graph, [w]);
    Ok(LayerReport {
        node: name,
        op: node.qualified_op(),
        weight_sqnr_db: Some(sqnr_db),
        product_sqnr_db,
        bytes_before: tensor.byte_len(),
        bytes_after,
        ..LayerReport::default()
    })
}

/// A convolution's bias `[C]` as `[1, C, 1, …]`.
fn channelwise(graph: &mut Graph, bias: ValueId, rank: usize) -> Result<ValueId, QuantizeError> {
    let name = graph.name_of(bias).to_owned();
    let reshaped = graph.constant(bias).map(|t| {
        let mut shape = vec![1; rank];
        shape[1] = t.len();
        t.reshape(&shape)
    });
    match reshaped {
        Some(Ok(tensor)) => Ok(graph.add_initializer(&format!("{name}_channels"), tensor)?),
        Some(Err(e)) => Err(QuantizeError::Values {
            tensor: name,
            error: e.into(),
        }),
        None => Err(QuantizeError::Values {
            tensor: name,
            error: QuantError::NothingObserved,
        }),
    }
}

/// `[N, K]` as `[K, N]`.
fn transpose(codes: &Tensor) -> Result<Tensor, QuantError> {
    let &[n, k] = codes.shape() else {
        return Err(QuantError::Rank {
            what: "the weight",
            found: codes.rank(),
            expected: 2,
        });
    };
    let data = codes.data::<i8>()?;
    let turned = (0..k).flat_map(|row| (0..n).map(move |column| (row, column)));
    Ok(Tensor::from_vec(
        &[k, n],
        turned.map(|(row, column)| data[column * k + row]).collect(),
    )?)
}
