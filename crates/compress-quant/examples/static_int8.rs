//! Calibrates a model of one image input on samples from an `.npy` file and writes its int8 form.
//!
//! ```sh
//! cargo run --release -p compress-quant --example static_int8 -- model.onnx images.npy model_int8.onnx
//! ```
//! The array is uint8 `[n, height, width, channels]`; the model takes f32 `[batch, channels, height, width]`.

use compress_quant::graph::{QuantizeConfig, Sample, calibrate, quantize_static};
use compress_tensor::{Tensor, npy::NpyFile};
use onnx_ir::Model;
use onnx_ir::io::SaveOptions;
use runtime_session::SessionOptions;
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model_path, images_path, out_path] = arguments.as_slice() else {
        return Err("usage: static_int8 MODEL.onnx IMAGES.npy OUT.onnx".into());
    };
    let model = Model::load(Path::new(model_path))?;
    let input = model
        .graph
        .required_inputs()
        .next()
        .ok_or("the model has no input")?;
    let name = model.graph.name_of(input).to_owned();
    let images = NpyFile::open(Path::new(images_path))?;
    let count = images.shape().first().copied().unwrap_or(0).min(500);
    let samples = (0..count).map(|i| -> Result<Sample, Box<dyn Error>> {
        let image = images.rows(i..i + 1)?.into_array::<u8>()?;
        let planes = image.permuted_axes(vec![0, 3, 1, 2]).mapv(f32::from);
        Ok(vec![(name.clone(), Tensor::from_array(planes))])
    });
    let config = QuantizeConfig::default();
    let statistics = calibrate(&model, samples, &config, &SessionOptions::default())?;
    let (quantized, report) = quantize_static(&model, &statistics, &config)?;
    quantized.save(Path::new(out_path), &SaveOptions::default())?;
    println!(
        "{} nodes quantized, {} skipped",
        report.layers.len(),
        report.skipped.len()
    );
    println!(
        "{} -> {} bytes of weights",
        report.bytes_before, report.bytes_after
    );
    Ok(())
}
