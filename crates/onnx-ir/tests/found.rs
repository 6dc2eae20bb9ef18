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
        seen += 1;
        let bytes = Bytes::from(std::fs::read(&path).expect("a file"));
        let Ok(model) = Model::load_bytes(bytes, None) else {
            continue;
        };
        let _ = onnx_ir::check::check(&model);
        let _ = onnx_ir::infer::infer_shapes(&mut model.clone(), Catalog::standard());
        let limits = Limits::folding().with_max_steps(2_000);
        let limits = limits.with_max_tensor_bytes(1 << 20);
        if let (Some(inputs), Ok(evaluator)) = (inputs(&model), Evaluator::new(&model)) {
            let _ = evaluator.with_limits(limits).run(inputs);
        }
    }
    assert!(seen >= 2, "only {seen} files in {folder}");
}
