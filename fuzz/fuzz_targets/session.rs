//! Any bytes as a model, run in a session: where reference evaluation gives outputs the session does too, within its
//! limits, with the same types and shapes and, where no operator magnifies a rounding error, the same values.
#![no_main]

use compress_tensor::Bytes;
use libfuzzer_sys::fuzz_target;
use modelpress_fuzz::{assert_close, has_steady_values, has_subgraphs, inputs, is_limit, limits, values};
use onnx_ir::{Model, Value};
use onnx_ir::eval::Evaluator;
use runtime_session::{Session, SessionOptions};

fuzz_target!(|data: &[u8]| {
    let Ok(model) = Model::load_bytes(Bytes::copy_from_slice(data), None) else { return };
    let Some(inputs) = inputs(&model) else { return };
    let expected = Evaluator::new(&model).ok().and_then(|e| e.with_limits(limits()).run(values(&inputs)).ok());
    let options = SessionOptions::default().with_limits(limits());
    let feeds = inputs.iter().map(|(name, tensor)| (name.as_str(), Value::Tensor(tensor.clone())));
    let found = Session::new(model.clone(), &options).and_then(|session| session.run_values(feeds));
    let Some(expected) = expected else { return };
    let found = match found {
        Ok(found) => found,
        Err(e) if is_limit(&e) => return,
        // Of a branch that does not run: a session looks at all of them beforehand, as onnxruntime does.
        Err(_) if has_subgraphs(&model) => return,
        Err(e) => panic!("reference evaluation runs it, the session does not: {e}"),
    };
    assert_eq!(found.len(), expected.len(), "another number of outputs");
    let steady = has_steady_values(&model);
    for (found, expected) in found.iter().zip(&expected) {
        let Some(expected) = expected.as_tensor() else { continue };
        let Some(found) = found.as_tensor() else { panic!("a tensor became something else") };
        assert_eq!(found.dtype(), expected.dtype(), "another element type");
        assert_eq!(found.shape(), expected.shape(), "another shape");
        if steady {
            assert_close(found, expected);
        }
    }
});
