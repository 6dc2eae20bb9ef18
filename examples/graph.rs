//! The graph level: optimize, calibrate, quantize and run a model step by step.
//!
//! ```sh
//! cargo run --release -p modelpress-examples --bin graph -- model.onnx train_x.npy int8.onnx
//! ```
//! The array is fed to the model's only input; bytes of images are `[n, height, width, channels]`.

use modelpress::OptimizeOptions;
use modelpress::data::{DataOptions, Dataset, InputSpec, Layout};
use modelpress::ir::Model;
use modelpress::ir::io::SaveOptions;
use modelpress::quant::graph::{QuantizeConfig, calibrate, quantize_static};
use modelpress::session::{Session, SessionOptions};
use modelpress::tensor::metrics::Comparison;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, samples, output] = arguments.as_slice() else {
        return Err("usage: graph MODEL.onnx SAMPLES.npy OUT.onnx".into());
    };
    let mut model = Model::load(input)?;
    modelpress::optimize(&mut model, &OptimizeOptions::default())?;

    let mut options = DataOptions::default();
    options.limit = Some(500);
    options.preprocess.layout = Layout::Nhwc;
    let data = Dataset::open(&model, &[samples.parse::<InputSpec>()?], &options)?;

    let config = QuantizeConfig::default();
    let session_options = SessionOptions::default().with_threads(0);
    let batches = data.batches().map(|batch| batch.map(|b| b.inputs));
    let statistics = calibrate(&model, batches, &config, &session_options)?;
    let (quantized, report) = quantize_static(&model, &statistics, &config)?;
    quantized.save(output, &SaveOptions::default())?;
    for skipped in &report.skipped {
        println!(
            "float: {} ({}): {}",
            skipped.node, skipped.op, skipped.reason
        );
    }
    let (layers, before, after) = (report.layers.len(), report.bytes_before, report.bytes_after);
    println!("{layers} layers quantized, {before} -> {after} bytes of weights");

    let float = Session::new(model, &session_options)?;
    let int8 = Session::new(quantized, &session_options)?;
    let mut difference = Comparison::default();
    for batch in data.batches().take(10) {
        let batch = batch?;
        let (expected, found) = (float.run(&batch.feeds())?, int8.run(&batch.feeds())?);
        if let (Some(x), Some(y)) = (expected.first(), found.first()) {
            for (x, y) in x.to_f64_vec()?.into_iter().zip(y.to_f64_vec()?) {
                difference.add(x, y);
            }
        }
    }
    println!("first output: SQNR {:.1} dB", difference.sqnr_db());
    Ok(())
}
