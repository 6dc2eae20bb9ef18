//! Any bytes as a model, run in a session: where reference evaluation gives outputs and the session does too, their
//! types and shapes are the same.
#![no_main]

use compress_tensor::Bytes;
use libfuzzer_sys::fuzz_target;
use modelpress_fuzz::{inputs, limits, values};
use onnx_ir::Model;
use onnx_ir::eval::Evaluator;
use runtime_session::{Session, SessionOptions};

fuzz_target!(|data: &[u8]| {
    let Ok(model) = Model::load_bytes(Bytes::copy_from_slice(data), None) else { return };
    let Some(inputs) = inputs(&model) else { return };
    let options = SessionOptions::default().with_limits(limits());
    let Ok(session) = Session::new(model.clone(), &options) else { return };
    let feeds: Vec<_> = inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
    let Ok(found) = session.run(&feeds) else { return };
    let Ok(evaluator) = Evaluator::new(&model) else { return };
    let Ok(expected) = evaluator.with_limits(limits()).run(values(&inputs)) else { return };
    assert_eq!(found.len(), expected.len(), "another number of outputs");
    for (found, expected) in found.iter().zip(&expected) {
        let Some(expected) = expected.as_tensor() else { continue };
        assert_eq!(found.dtype(), expected.dtype(), "another element type");
        assert_eq!(found.shape(), expected.shape(), "another shape");
    }
});
