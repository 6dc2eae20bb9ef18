//! What fuzzing found: files in `found/` that once made loading, checking, inference or evaluation panic or run out
//! of memory. Each is named after what was wrong.

use compress_tensor::{Bytes, DType, Tensor};
use onnx_ir::eval::Evaluator;
use onnx_ir::operator::Limits;
use onnx_ir::{Catalog, Model, Value};

/// Ones for every input, symbolic sizes being 2.
fn inputs(model: &Model) -> Option<Vec<(String, Value)>> {
    let one = |id| {
        let fact = model.graph.value(id).fact.as_tensor()?;
        let shape = fact.shape.as_ref()?.iter();
        let shape: Vec<usize> = shape.map(|dim| dim.as_size().unwrap_or(2)).collect();
        let ones = Tensor::full(&shape, 1f32).ok()?;
        let ones = ones.cast(fact.dtype.unwrap_or(DType::F32), Default::default());
        Some((model.graph.name_of(id).to_owned(), ones.ok()?.into()))
    };
    model.graph.required_inputs().map(one).collect()
}

#[test]
fn files_that_fuzzing_found_end_in_errors_or_results() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/found");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        println!("{}", path.display());
        let bytes = Bytes::from(std::fs::read(&path).expect("a file"));
        // A file that no longer loads holds nothing that loading does not.
        let model =
            Model::load_bytes(bytes, None).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let _ = onnx_ir::check::check(&model);
        let _ = onnx_ir::infer::infer_shapes(&mut model.clone(), Catalog::standard());
        let limits = Limits::folding().with_max_steps(2_000);
        let limits = limits.with_max_tensor_bytes(1 << 20);
        let inputs = inputs(&model).unwrap_or_else(|| panic!("{}: inputs", path.display()));
        let evaluator = Evaluator::new(&model);
        let evaluator = evaluator.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let _ = evaluator.with_limits(limits).run(inputs);
        seen += 1;
    }
    assert!(seen >= 2, "only {seen} files in {folder}");
}
