//! Clipping by the global norm, and averages of weights.

use super::Goldens;
use compress_tensor::metrics::ulp_distance;
use compress_train::ema::{Ema, EmaConfig};
use compress_train::gradient::clip_by_norm;
use compress_train::optimizer::ParameterInfo;
use std::collections::BTreeMap;

#[test]
fn clipped_gradients_are_those_of_torch() {
    let goldens: Goldens<BTreeMap<String, f64>> = Goldens::read("gradients");
    let mut parts: Vec<Vec<f32>> = (0..3).map(|i| goldens.f32(&format!("part-{i}"))).collect();
    let mut slices: Vec<&mut [f32]> = parts.iter_mut().map(|p| &mut p[..]).collect();
    let norm = clip_by_norm(&mut slices, goldens.cases["limit"]);
    // PyTorch sums in single precision.
    let expected = goldens.contents.tensors["norm"].to_f64_vec().unwrap()[0];
    assert!((norm / expected - 1.0).abs() < 3e-7, "{norm} {expected}");
    for (i, part) in parts.iter().enumerate() {
        for (&found, expected) in part.iter().zip(goldens.f32(&format!("clipped-{i}"))) {
            assert!(ulp_distance(found, expected) <= 2, "{found} {expected}");
        }
    }
}

#[test]
fn averages_are_those_of_torch() {
    let goldens: Goldens<BTreeMap<String, f64>> = Goldens::read("gradients");
    let mut config = EmaConfig::default();
    config.decay = goldens.cases["decay"];
    let mut ema = Ema::new(vec![ParameterInfo::new("w", &[3, 4])], config).unwrap();
    let mut found = [0.0; 12];
    for (weights, expected) in goldens
        .f32("walk")
        .chunks(12)
        .zip(goldens.f32("averages").chunks(12))
    {
        ema.update(0, weights).unwrap();
        ema.read(0, &mut found).unwrap();
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 2.4e-7, "{found} {expected}");
        }
    }
}
