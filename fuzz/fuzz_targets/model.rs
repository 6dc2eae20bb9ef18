//! Any bytes as a model: load, save, check, infer, optimize, convert, save again. What was loaded can be saved and
//! loaded again, and what was saved is the same once loaded and saved again.
#![no_main]

use compress_tensor::Bytes;
use libfuzzer_sys::fuzz_target;
use onnx_ir::{Catalog, Model};

fuzz_target!(|data: &[u8]| {
    let Ok(mut model) = Model::load_bytes(Bytes::copy_from_slice(data), None) else { return };
    save_and_load(&model);
    let findings = onnx_ir::check::check(&model);
    let _ = onnx_ir::infer::infer_shapes(&mut model.clone(), Catalog::standard());
    if findings.iter().any(|f| f.is_error()) {
        return;
    }
    if modelpress::optimize(&mut model, &modelpress::OptimizeOptions::default()).is_ok() {
        for opset in [13, 21] {
            let _ = onnx_ir::opset::convert(&mut model, opset, Catalog::standard());
        }
        save_and_load(&model);
    }
});

fn save_and_load(model: &Model) {
    let Ok(saved) = model.to_bytes() else { return };
    let again = Model::load_bytes(saved.clone(), None).expect("what was saved can be loaded");
    let again = again.to_bytes().expect("what was loaded can be saved");
    assert!(saved == again, "what was saved, loaded and saved again is another file");
}
