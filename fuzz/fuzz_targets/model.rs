//! Any bytes as a model: load, check, infer, optimize, convert, save, load again.
#![no_main]

use compress_tensor::Bytes;
use libfuzzer_sys::fuzz_target;
use onnx_ir::passes::{
    EliminateIdentity, FoldBatchNorm, FoldConstants, Pass, Pipeline, RemoveDuplicates, RemoveUnused, RewritePass,
};
use onnx_ir::{Catalog, Model};

fuzz_target!(|data: &[u8]| {
    let Ok(mut model) = Model::load_bytes(Bytes::copy_from_slice(data), None) else { return };
    let findings = onnx_ir::check::check(&model);
    let saved = model.to_bytes().expect("what was loaded can be saved");
    Model::load_bytes(saved, None).expect("what was saved can be loaded");
    if findings.iter().any(|f| f.is_error()) {
        return;
    }
    let _ = onnx_ir::infer::infer_shapes(&mut model, Catalog::standard());
    let passes: Vec<Box<dyn Pass>> = vec![
        Box::new(FoldConstants::default()),
        Box::new(RewritePass::new("rewrites", vec![Box::new(EliminateIdentity), Box::new(FoldBatchNorm)])),
        Box::new(RemoveDuplicates),
        Box::new(RemoveUnused),
    ];
    let pipeline = Pipeline::new(passes).expect("the order is right");
    if pipeline.run(&mut model, Catalog::standard()).is_ok() {
        for opset in [13, 21] {
            let _ = onnx_ir::opset::convert(&mut model, opset, Catalog::standard());
        }
        let saved = model.to_bytes().expect("what was optimized can be saved");
        Model::load_bytes(saved, None).expect("what was saved can be loaded");
    }
});
