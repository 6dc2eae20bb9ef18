//! Statistics, threads, and weights that are rounded to inputs.

use super::*;
use crate::files::saved;

#[test]
fn shards_calibrated_apart_and_merged_are_the_whole() {
    let model = convolutional();
    let data = samples(&[1, 3, 8, 8], 6);
    let whole = statistics(&model, &data, &config());
    let mut merged = statistics(&model, &data[3..], &config());
    merged
        .merge(&statistics(&model, &data[..3], &config()))
        .unwrap();
    let bytes = |c: &Calibration| {
        let (model, _) = quantize_static(&model, c, &config()).unwrap();
        model.to_bytes().unwrap()
    };
    assert_eq!(bytes(&whole), bytes(&merged));
    let other = statistics(&transformer_like(), &samples(&[1, 5, 16], 1), &config());
    assert!(merged.merge(&other).is_err());
}

#[test]
fn statistics_survive_a_file() {
    let model = convolutional();
    let stats = statistics(&model, &samples(&[1, 3, 8, 8], 2), &config());
    let path =
        std::env::temp_dir().join(format!("modelpress-statistics-{}.json", std::process::id()));
    stats.save(&path).unwrap();
    let read = Calibration::load(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let bytes = |c: &Calibration| {
        quantize_static(&model, c, &config())
            .unwrap()
            .0
            .to_bytes()
            .unwrap()
    };
    assert_eq!(bytes(&stats), bytes(&read));
    assert!(Calibration::from_json(b"{\"version\":1}").is_err());
}

#[test]
fn statistics_are_the_same_bits_with_any_number_of_threads() {
    let model = convolutional();
    // Samples of unlike size, so that threads overtake one another.
    let data: Vec<Sample> = (0..23u32)
        .map(|i| {
            let batch = 1 + (i as usize * 7) % 5;
            vec![("x".to_owned(), floats(&[batch, 3, 8, 8], 100 + i))]
        })
        .collect();
    for method in [Method::Mse, Method::MovingAverage] {
        let mut config = config();
        config.method = method;
        let on = |threads: usize| {
            let samples = data.iter().map(|s| Ok::<_, String>(s.clone()));
            let options = SessionOptions::default().with_threads(threads);
            saved(&calibrate(&model, samples, &config, &options).unwrap())
        };
        let one = on(1);
        for threads in [2, 3, 8] {
            assert_eq!(on(threads), one, "{method:?}, {threads} threads");
        }
    }
}

#[test]
fn the_earliest_sample_that_fails_is_named_with_any_number_of_threads() {
    let model = convolutional();
    let mut data = samples(&[1, 3, 8, 8], 20);
    for bad in [5, 6, 17] {
        let mut values = noise(1, 192);
        values[3] = f32::NAN;
        data[bad][0].1 = Tensor::from_vec(&[1, 3, 8, 8], values).unwrap();
    }
    for threads in [1, 2, 4] {
        let samples = data.iter().map(|s| Ok::<_, String>(s.clone()));
        let options = SessionOptions::default().with_threads(threads);
        let error = calibrate(&model, samples, &config(), &options).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("calibration sample 5, tensor `"),
            "{error}"
        );
    }
}

#[test]
fn rounding_to_the_inputs_brings_the_outputs_closer() {
    let model = convolutional();
    // Neighbouring pixels hang together, as in images.
    let data: Vec<Sample> = (0..24u32)
        .map(|i| {
            let rough = noise(300 + i, 192);
            let smooth = (0..192).map(|p| 6.0 + 0.3 * rough[p / 16 * 16] + 0.03 * rough[p]);
            let x = Tensor::from_vec(&[1, 3, 8, 8], smooth.collect::<Vec<_>>()).unwrap();
            vec![("x".to_owned(), x)]
        })
        .collect();
    let (calibration, held_out) = data.split_at(16);
    let mut calibrated = config();
    calibrated.rounding = Rounding::Calibrated;
    let stats = statistics(&model, calibration, &calibrated);
    let (nearest, _) = quantize_static(&model, &stats, &config()).unwrap();
    let (rounded, report) = quantize_static(&model, &stats, &calibrated).unwrap();
    assert!(report.layers[1].product_sqnr_db.unwrap() > report.layers[1].weight_sqnr_db.unwrap());
    let error = |int8: &Model| -> f64 {
        let each = held_out.iter().flat_map(|s| {
            let (a, b) = (run(int8, s), run(&model, s));
            a.into_iter()
                .zip(b)
                .map(|(a, b)| f64::from(a - b).powi(2))
                .collect::<Vec<_>>()
        });
        each.sum()
    };
    let (before, after) = (error(&nearest), error(&rounded));
    assert!(after < before * 0.8, "{before} {after}");
    // The same bits with any number of threads.
    let bytes = |threads| {
        let samples = calibration.iter().map(|s| Ok::<_, String>(s.clone()));
        let options = SessionOptions::default().with_threads(threads);
        let stats = calibrate(&model, samples, &calibrated, &options).unwrap();
        quantize_static(&model, &stats, &calibrated)
            .unwrap()
            .0
            .to_bytes()
            .unwrap()
    };
    let one = bytes(1);
    assert!(bytes(2) == one && bytes(5) == one);
    // Statistics alone do not hold the inputs.
    let plain = statistics(&model, calibration, &config());
    assert!(matches!(
        quantize_static(&model, &plain, &calibrated),
        Err(QuantizeError::NoInputs)
    ));
}

#[test]
fn the_reported_noise_of_an_input_is_that_of_its_codes_behind_the_activation() {
    let model = convolutional();
    let data = samples(&[1, 3, 8, 8], 8);
    for method in [Method::MinMax, Method::Percentile(98.0)] {
        let mut config = config();
        config.method = method;
        let (_, report) =
            quantize_static(&model, &statistics(&model, &data, &config), &config).unwrap();
        // `conv2` reads what the activation behind `conv1` left.
        let layer = &report.layers[1];
        let (low, high) = layer.input_range.unwrap();
        assert_eq!(low, 0.0);
        let step = f64::from(high - low) / 255.0;
        let session = Session::new(model.clone(), &SessionOptions::default()).unwrap();
        let (mut signal, mut noise, mut beyond, mut count) = (0.0, 0.0, 0usize, 0usize);
        for sample in &data {
            let inputs: Vec<(&str, Tensor)> = sample
                .iter()
                .map(|(n, t)| (n.as_str(), t.clone()))
                .collect();
            let tap = |_: &str, t: &Tensor| {
                for &x in t.as_slice::<f32>().unwrap() {
                    let x = f64::from(x);
                    let back = (x / step).round().clamp(0.0, 255.0) * step;
                    signal += x * x;
                    noise += (x - back).powi(2);
                    beyond += usize::from(x > f64::from(high) + step / 2.0);
                    count += 1;
                }
            };
            session.run_with_taps(&inputs, &["r1"], tap).unwrap();
        }
        let expected = 10.0 * f64::log10(signal / noise);
        let found = layer.input_sqnr_db.unwrap();
        assert!(
            (found - expected).abs() < 0.3,
            "{method:?}: {found} {expected}"
        );
        let clipped = layer.clipped_share.unwrap();
        assert!(
            (clipped - beyond as f64 / count as f64).abs() < 0.002,
            "{clipped}"
        );
    }
}
