//! What several fuzz targets share: inputs for any model, and the limits under which it is run.

use compress_tensor::{DType, Tensor};
use onnx_ir::graph::{Attribute, Node};
use onnx_ir::operator::{EvalError, Limits};
use onnx_ir::{Model, Value};
use runtime_session::{SessionError, StepError};

/// The most elements that one input is given.
const MAX_ELEMENTS: usize = 4096;

/// The operators through which a small error stays small: no rounding, no choice by comparison, no division by what
/// may be near 0, no random numbers.
const STEADY: &[&str] = &[
    "Abs", "Add", "AveragePool", "Clip", "Concat", "Constant", "ConstantOfShape", "Conv", "ConvTranspose", "DepthToSpace",
    "Dropout", "Elu", "Expand", "Flatten", "Gather", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid", "Identity",
    "LeakyRelu", "MatMul", "Max", "MaxPool", "Mean", "Min", "Mul", "Neg", "PRelu", "Pad", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceSum", "Relu", "Reshape", "Shape", "Sigmoid", "Slice", "Softmax", "Softplus", "SpaceToDepth",
    "Split", "Squeeze", "Sub", "Sum", "Tanh", "Transpose", "Unsqueeze",
];

/// The largest weight with which rounding errors are still far below the tolerance of [`assert_close`].
const MAX_WEIGHT: f64 = 100.0;

/// Limits under which no file can keep a run for long.
pub fn limits() -> Limits {
    Limits::folding().with_max_steps(2_000).with_max_tensor_bytes(1 << 20)
}

/// A ramp for every input that a model must be given, symbolic dimensions being 2; `None` where an input is no
/// tensor, has no declared type or shape, or is large.
pub fn inputs(model: &Model) -> Option<Vec<(String, Tensor)>> {
    model.graph.required_inputs().map(|id| Some((model.graph.name_of(id).to_owned(), input(model, id)?))).collect()
}

/// The same as values, as reference evaluation takes them.
pub fn values(inputs: &[(String, Tensor)]) -> Vec<(String, Value)> {
    inputs.iter().map(|(name, tensor)| (name.clone(), Value::Tensor(tensor.clone()))).collect()
}

/// Whether a session may stop here where reference evaluation does not: both count steps and bytes, not the same ones.
pub fn is_limit(error: &SessionError) -> bool {
    let SessionError::Step { error: StepError::Eval(error), .. } = error else { return false };
    match error {
        EvalError::TooLarge { .. } | EvalError::StepLimit { .. } | EvalError::IterationLimit { .. } => true,
        EvalError::Subgraph { message, .. } => message.contains("limit of"),
        _ => false,
    }
}

/// Whether any node holds subgraphs.
pub fn has_subgraphs(model: &Model) -> bool {
    let is_graph = |(_, attribute): (&str, &Attribute)| matches!(attribute, Attribute::Graph(_) | Attribute::Graphs(_));
    model.graph.nodes().any(|(_, node)| node.attributes.iter().any(is_graph))
}

/// Whether two right evaluations of `model` differ by no more than [`assert_close`] allows, whatever the order in which
/// they add.
pub fn has_steady_values(model: &Model) -> bool {
    let graph = &model.graph;
    let small = |tensor: &Tensor| {
        let floats = tensor.dtype() == DType::F32;
        !floats || tensor.as_slice::<f32>().is_ok_and(|v| v.iter().all(|&x| f64::from(x).abs() <= MAX_WEIGHT))
    };
    let steady = |node: &Node| {
        let constants = node.attributes.iter().all(|(_, attribute)| match attribute {
            Attribute::Tensor(tensor) => small(tensor),
            Attribute::Float(x) => f64::from(*x).abs() <= MAX_WEIGHT,
            Attribute::Graph(_) | Attribute::Graphs(_) => false,
            _ => true,
        });
        node.domain.is_empty() && STEADY.contains(&node.op_type.as_str()) && constants
    };
    let mut initializers = graph.initializers();
    graph.nodes().count() <= 8 && graph.nodes().all(|(_, node)| steady(node)) && initializers.all(|(_, t)| small(t))
}

/// Both hold the same numbers within a hundredth of the largest one; not looked at beyond f32 and with infinite values.
///
/// # Panics
/// Where they do not.
pub fn assert_close(found: &Tensor, expected: &Tensor) {
    let (Ok(found), Ok(expected)) = (found.as_slice::<f32>(), expected.as_slice::<f32>()) else { return };
    if !expected.iter().all(|x| x.is_finite()) {
        return;
    }
    let largest = expected.iter().fold(1.0_f32, |m, x| m.max(x.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= 0.01 * largest, "element {i} is {f}, reference evaluation gives {e}");
    }
}

fn input(model: &Model, id: onnx_ir::ValueId) -> Option<Tensor> {
    let fact = model.graph.value(id).fact.as_tensor()?;
    let shape: Vec<usize> = fact.shape.as_ref()?.iter().map(|d| d.as_size().unwrap_or(2)).collect();
    let count = compress_tensor::element_count(&shape).filter(|&n| n <= MAX_ELEMENTS)?;
    let ramp = (0..count).map(|i| i as f32 * 0.25 - 3.0).collect::<Vec<_>>();
    let tensor = Tensor::from_vec(&shape, ramp).ok()?;
    match fact.dtype? {
        DType::F32 => Some(tensor),
        dtype => tensor.cast(dtype, Default::default()).ok(),
    }
}
