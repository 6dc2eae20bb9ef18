//! One form for files that say the same: what [`onnx_ir::io`] documents as carrying no meaning
//! is brought into one shape on both sides, everything else must be equal.

use std::collections::HashSet;

use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    SparseTensorProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    tensor_shape_proto, type_proto,
};
use protobuf::{Enum, EnumOrUnknown, MessageField};

/// Panics with the first part of `what` that differs.
pub(crate) fn assert_same(mut before: ModelProto, mut after: ModelProto, what: &str) {
    model(&mut before);
    model(&mut after);
    let (graph_before, graph_after) = (before.graph.take(), after.graph.take());
    assert_eq!(before, after, "{what}: outside of the graph");
    let (Some(mut before), Some(mut after)) = (graph_before, graph_after) else {
        panic!("{what}: a graph is missing");
    };
    assert_eq!(before.node.len(), after.node.len(), "{what}: node count");
    for (before, after) in std::mem::take(&mut before.node)
        .iter()
        .zip(std::mem::take(&mut after.node))
    {
        assert_eq!(*before, after, "{what}: node {}", before.name);
    }
    let before_tensors = std::mem::take(&mut before.initializer);
    for (before, after) in before_tensors
        .iter()
        .zip(std::mem::take(&mut after.initializer))
    {
        let data_is_equal = before.raw_data == after.raw_data;
        assert!(
            *before == after && data_is_equal,
            "{what}: initializer {}",
            before.name
        );
    }
    assert_eq!(
        before, after,
        "{what}: the graph but for nodes and initializers"
    );
}

fn model(model: &mut ModelProto) {
    opsets(&mut model.opset_import);
    if let Some(graph) = model.graph.as_mut() {
        self::graph(graph);
    }
    model.functions.iter_mut().for_each(function);
}

fn function(function: &mut FunctionProto) {
    opsets(&mut function.opset_import);
    function.node.iter_mut().for_each(node);
    function.attribute_proto.iter_mut().for_each(attribute);
}

fn opsets(imports: &mut Vec<OperatorSetIdProto>) {
    for import in imports.iter_mut() {
        if import.domain == "ai.onnx" {
            import.domain.clear();
        }
    }
    imports.sort_by(|a, b| a.domain.cmp(&b.domain));
    imports.dedup();
}

fn graph(graph: &mut GraphProto) {
    let mut elsewhere: HashSet<String> = graph
        .initializer
        .iter()
        .map(|tensor| tensor.name.clone())
        .collect();
    let edges = graph.input.iter().chain(&graph.output);
    elsewhere.extend(edges.map(|value| value.name.clone()));
    graph
        .value_info
        .retain(|value| !elsewhere.contains(&value.name));
    graph.value_info.sort_by(|a, b| a.name.cmp(&b.name));
    graph
        .input
        .iter_mut()
        .chain(&mut graph.output)
        .for_each(value);
    graph.value_info.iter_mut().for_each(value);
    graph
        .value_info
        .retain(|value| value.type_.is_some() || !value.doc_string.is_empty());
    graph.initializer.iter_mut().for_each(tensor);
    graph.sparse_initializer.iter_mut().for_each(sparse_tensor);
    graph.node.iter_mut().for_each(node);
}

fn value(value: &mut ValueInfoProto) {
    if let Some(declared) = value.type_.as_mut() {
        type_(declared);
        if declared.value.is_none() && declared.denotation.is_empty() {
            value.type_ = MessageField::none();
        }
    }
}

fn type_(declared: &mut TypeProto) {
    use type_proto::Value;
    match &mut declared.value {
        Some(Value::TensorType(tensor)) => tensor.shape.as_mut().map_or((), shape),
        Some(Value::SparseTensorType(tensor)) => tensor.shape.as_mut().map_or((), shape),
        _ => {}
    }
}

fn shape(shape: &mut TensorShapeProto) {
    use tensor_shape_proto::dimension::Value;
    for dim in &mut shape.dim {
        let says_nothing = match &dim.value {
            Some(Value::DimValue(size)) => *size < 0,
            Some(Value::DimParam(name)) => name.is_empty(),
            Some(_) | None => true,
        };
        if says_nothing {
            dim.value = None;
        }
    }
}

fn node(node: &mut NodeProto) {
    node.attribute.iter_mut().for_each(attribute);
}

fn attribute(attribute: &mut AttributeProto) {
    attribute.t.as_mut().into_iter().for_each(tensor);
    attribute.tensors.iter_mut().for_each(tensor);
    attribute.g.as_mut().into_iter().for_each(graph);
    attribute.graphs.iter_mut().for_each(graph);
    attribute
        .sparse_tensor
        .as_mut()
        .into_iter()
        .for_each(sparse_tensor);
    attribute.sparse_tensors.iter_mut().for_each(sparse_tensor);
}

fn sparse_tensor(sparse: &mut SparseTensorProto) {
    sparse.values.as_mut().into_iter().for_each(tensor);
    sparse.indices.as_mut().into_iter().for_each(tensor);
}

/// Brings the data into `raw_data`.
fn tensor(tensor: &mut TensorProto) {
    tensor.data_location = EnumOrUnknown::default();
    if tensor.data_type == DataType::STRING as i32 {
        tensor.raw_data.clear();
        return;
    }
    let mut raw = std::mem::take(&mut tensor.raw_data);
    for value in std::mem::take(&mut tensor.float_data) {
        raw.extend(value.to_le_bytes());
    }
    for value in std::mem::take(&mut tensor.double_data) {
        raw.extend(value.to_le_bytes());
    }
    for value in std::mem::take(&mut tensor.int64_data) {
        raw.extend(value.to_le_bytes());
    }
    let width = match DataType::from_i32(tensor.data_type) {
        Some(DataType::INT32) => 4,
        Some(DataType::INT16 | DataType::UINT16 | DataType::FLOAT16 | DataType::BFLOAT16) => 2,
        _ => 1,
    };
    for value in std::mem::take(&mut tensor.int32_data) {
        raw.extend(&value.to_le_bytes()[..width]);
    }
    let width = if tensor.data_type == DataType::UINT32 as i32 {
        4
    } else {
        8
    };
    for value in std::mem::take(&mut tensor.uint64_data) {
        raw.extend(&value.to_le_bytes()[..width]);
    }
    tensor.raw_data = raw;
}
