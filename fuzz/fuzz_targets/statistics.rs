//! Any bytes as calibration statistics: what loads can be asked for ranges and merged.
#![no_main]

use compress_quant::graph::Calibration;
use compress_quant::{DType, Method, RangeRule};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(mut calibration) = Calibration::from_json(data) else { return };
    for (_, stats) in calibration.tensors() {
        for method in [Method::MinMax, Method::MovingAverage, Method::Percentile(99.9), Method::Entropy, Method::Mse] {
            let _ = method.range(stats, DType::U8, RangeRule::Asymmetric);
            let _ = method.range(stats, DType::I8, RangeRule::Symmetric);
        }
    }
    let other = calibration.clone();
    let _ = calibration.merge(&other);
});
