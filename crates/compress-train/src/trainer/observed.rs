//! What of a model a loss looks at.

use super::error::TrainError;
use crate::loss::Scores;
use compress_tensor::DType;
use onnx_ir::infer::infer_shapes;
use onnx_ir::operator::PRIVATE_DOMAIN;
use onnx_ir::{Catalog, Graph, Model, ValueId};

/// The values that a loss looks at: their names as outputs, and the names of the values themselves.
pub(super) fn observed(
    model: &Model,
    wanted: &[String],
    scores: Scores,
) -> Result<(Vec<String>, Vec<String>), TrainError> {
    let mut inferred = model.clone();
    // What cannot be inferred here is told, with its node, where the gradient is built.
    let _ = infer_shapes(&mut inferred, Catalog::standard());
    let graph = &inferred.graph;
    let names: Vec<String> = if wanted.is_empty() {
        let is_f32 = |id: &ValueId| {
            let fact = graph.value(*id).fact.as_tensor();
            fact.and_then(|f| f.dtype).is_none_or(|d| d == DType::F32)
        };
        let outputs = graph.outputs().iter().copied().filter(is_f32);
        outputs.map(|id| graph.name_of(id).to_owned()).collect()
    } else {
        wanted.to_vec()
    };
    if names.is_empty() {
        let outputs = graph.outputs().iter();
        let outputs =
            outputs.map(|&id| format!("`{}` ({})", graph.name_of(id), graph.value(id).fact));
        return Err(TrainError::NoOutput {
            outputs: outputs.collect::<Vec<_>>().join(", "),
        });
    }
    let mut values = Vec::with_capacity(names.len());
    for name in &names {
        let id = graph.value_by_name(name);
        let id = id.ok_or_else(|| TrainError::NoSuchOutput {
            name: name.clone(),
            outputs: graph
                .outputs()
                .iter()
                .map(|&id| graph.name_of(id).to_owned())
                .collect(),
        })?;
        values.push(graph.name_of(scored(graph, id, scores)).to_owned());
    }
    Ok((names, values))
}

/// The scores of a value: what stands before a last softmax or sigmoid, or the value itself where there is none. A quantizer may stand
/// behind that one: a prescribed one of 256 codes, which leaves nothing to learn by.
pub fn scored(graph: &Graph, id: ValueId, scores: Scores) -> ValueId {
    let operators: &[&str] = match scores {
        Scores::AsGiven => return id,
        Scores::BeforeSoftmax => &["Softmax", "LogSoftmax"],
        Scores::BeforeSigmoid => &["Sigmoid"],
    };
    let mut at = id;
    while let Some(node) = graph.producer(at).map(|node| graph.node(node)) {
        let Some(input) = node.input(0) else { break };
        if node.domain.is_empty() && operators.contains(&node.op_type.as_str()) {
            return input;
        }
        let is_quantizer = node.domain == PRIVATE_DOMAIN && node.op_type == "LearnedFakeQuantize";
        if !(node.is("Identity") || is_quantizer) {
            break;
        }
        at = input;
    }
    id
}
