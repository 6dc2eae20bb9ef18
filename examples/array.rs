//! The array level: quantize a weight without any model.
//!
//! ```sh
//! cargo run -p modelpress-examples --bin array
//! ```

use modelpress::quant::{DType, Tensor, WeightRule, quantize_per_channel};
use modelpress::tensor::metrics::Comparison;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // [out = 2, in = 4]
    let weight = Tensor::from_vec(
        &[2, 4],
        vec![1.0f32, -2.0, 0.5, 0.25, 0.01, 0.02, -0.03, 0.0],
    )?;
    let quantized = quantize_per_channel(&weight, 0, DType::I8, WeightRule::MaxAbs)?;
    println!("integers {:?}", quantized.values.as_slice::<i8>()?);
    println!("scales   {:?}", quantized.params.scale);

    let back = quantized.params.dequantize(&quantized.values)?;
    let mut error = Comparison::default();
    for (&exact, &rounded) in weight.as_slice::<f32>()?.iter().zip(back.iter()) {
        error.add(f64::from(exact), f64::from(rounded));
    }
    println!("SQNR     {:.1} dB", error.sqnr_db());
    Ok(())
}
