//! Statistics and the models that they serve, and files of statistics.

use crate::{config, convolutional, floats, run, samples, statistics};
use compress_quant::Method;
use compress_quant::graph::{
    Calibration, CalibrationError, QuantizeError, prepare, quantize_static,
};
use onnx_ir::Model;

/// Statistics as they would be saved.
pub(crate) fn saved(stats: &Calibration) -> Vec<u8> {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("modelpress-threads-{}-{n}.json", std::process::id());
    let path = std::env::temp_dir().join(name);
    stats.save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    bytes
}

#[test]
fn statistics_serve_the_model_and_what_is_prepared_of_it_and_no_other() {
    let model = convolutional();
    let data = samples(&[1, 3, 8, 8], 2);
    let stats = statistics(&model, &data, &config());
    let prepared = prepare(&model).unwrap();
    stats.check(&model).unwrap();
    stats.check(&prepared).unwrap();
    let results = |m: &Model| {
        let (int8, _) = quantize_static(m, &stats, &config()).unwrap();
        run(&int8, &data[0])
    };
    assert_eq!(results(&model), results(&prepared));
    // Operators and names of results are the same, one weight is wider.
    let mut wider = model.clone();
    let w3 = wider.graph.value_by_name("w3").unwrap();
    wider.graph.remove_initializer(w3);
    wider.graph.set_initializer(w3, floats(&[8, 6], 4));
    let b3 = wider.graph.value_by_name("b3").unwrap();
    wider.graph.remove_initializer(b3);
    wider.graph.set_initializer(b3, floats(&[6], 5));
    assert!(matches!(
        stats.check(&wider),
        Err(CalibrationError::OtherModel { .. })
    ));
    let error = quantize_static(&wider, &stats, &config()).unwrap_err();
    assert!(matches!(error, QuantizeError::OtherModel { .. }), "{error}");
}

#[test]
fn files_of_another_version_or_with_damaged_tensors_are_refused_by_name() {
    let model = convolutional();
    let stats = statistics(&model, &samples(&[1, 3, 8, 8], 2), &config());
    let text = String::from_utf8(saved(&stats)).unwrap();
    assert!(Calibration::from_json(text.as_bytes()).is_ok());
    let old = text.replacen("\"version\":2", "\"version\":1", 1);
    let error = Calibration::from_json(old.as_bytes()).unwrap_err();
    assert!(error.contains("version 1 is not 2"), "{error}");
    // A histogram whose bins are far finer than its range asks for would take memory without bound.
    let mut config = config();
    config.method = Method::Entropy;
    let stats = statistics(&model, &samples(&[1, 3, 8, 8], 2), &config);
    let full = String::from_utf8(saved(&stats)).unwrap();
    assert!(Calibration::from_json(full.as_bytes()).is_ok());
    let start = full.find("\"exponent\":").expect("a histogram") + 11;
    let end = start + full[start..].find(',').expect("more fields");
    let fine = format!("{}-60{}", &full[..start], &full[end..]);
    let error = Calibration::from_json(fine.as_bytes()).unwrap_err();
    assert!(error.contains("damaged"), "{error}");
    let lacking = text.replacen("\"energy\"", "\"energie\"", 1);
    let error = Calibration::from_json(lacking.as_bytes()).unwrap_err();
    assert!(error.contains("tensor `"), "{error}");
}
