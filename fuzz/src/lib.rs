//! What several fuzz targets share: inputs for any model, and the limits under which it is run.

use compress_tensor::{DType, Tensor};
use onnx_ir::operator::Limits;
use onnx_ir::{Model, Value};

/// The most elements that one input is given.
const MAX_ELEMENTS: usize = 4096;

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
