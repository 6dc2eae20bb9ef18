//! Any bytes as a model, run by reference evaluation on inputs of its declared shapes, under tight limits.
#![no_main]

use compress_tensor::Bytes;
use libfuzzer_sys::fuzz_target;
use modelpress_fuzz::{inputs, limits, values};
use onnx_ir::Model;
use onnx_ir::eval::Evaluator;

fuzz_target!(|data: &[u8]| {
    let Ok(model) = Model::load_bytes(Bytes::copy_from_slice(data), None) else { return };
    let Some(inputs) = inputs(&model) else { return };
    if let Ok(evaluator) = Evaluator::new(&model) {
        let _ = evaluator.with_limits(limits()).run(values(&inputs));
    }
});
