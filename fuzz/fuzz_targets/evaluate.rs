//! Any bytes as a model, run by reference evaluation on inputs of its declared shapes, under tight limits.
#![no_main]

use compress_tensor::{Bytes, DType, Tensor};
use libfuzzer_sys::fuzz_target;
use onnx_ir::eval::Evaluator;
use onnx_ir::operator::Limits;
use onnx_ir::{Model, Value};

fuzz_target!(|data: &[u8]| {
    let Ok(model) = Model::load_bytes(Bytes::copy_from_slice(data), None) else { return };
    let mut inputs = Vec::new();
    for id in model.graph.required_inputs() {
        let value = model.graph.value(id);
        let Some(fact) = value.fact.as_tensor() else { return };
        let shape: Option<Vec<usize>> =
            fact.shape.as_ref().map(|dims| dims.iter().map(|d| d.as_size().unwrap_or(2)).collect());
        let (Some(dtype), Some(shape)) = (fact.dtype, shape) else { return };
        let Some(count) = compress_tensor::element_count(&shape).filter(|&n| n <= 4096) else { return };
        let ramp: Vec<f32> = (0..count).map(|i| i as f32 * 0.25 - 3.0).collect();
        let Ok(tensor) = Tensor::from_vec(&shape, ramp) else { return };
        let tensor = if dtype == DType::F32 { Ok(tensor) } else { tensor.cast(dtype, Default::default()) };
        let Ok(tensor) = tensor else { return };
        inputs.push((value.name.clone(), Value::Tensor(tensor)));
    }
    let limits = Limits::folding().with_max_steps(2_000).with_max_tensor_bytes(1 << 20);
    if let Ok(evaluator) = Evaluator::new(&model) {
        let _ = evaluator.with_limits(limits).run(inputs);
    }
});
