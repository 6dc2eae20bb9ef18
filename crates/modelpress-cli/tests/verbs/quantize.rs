//! `calibrate` and `quantize`.

use crate::data::furnished;
use crate::program::{keys, stderr};

#[test]
fn shards_calibrated_apart_give_the_model_of_all_samples() {
    let place = furnished();
    let all = [
        "quantize",
        "model.onnx",
        "-o",
        "all.onnx",
        "--method",
        "minmax",
        // Statistics files hold no inputs to round weights to.
        "--rounding",
        "nearest",
    ];
    let done = place.json(&[&all[..], &["--calib", "x=x.npy"]].concat());
    for key in [
        "input_bytes",
        "output_bytes",
        "seconds",
        "peak_rss_bytes",
        "layers",
        "skipped",
    ] {
        assert!(keys(&done).contains(&key), "{key}");
    }
    assert_eq!(done["layers"].as_array().unwrap().len(), 2);
    assert_eq!(done["samples"], 8);
    let calibrate = [
        "calibrate",
        "model.onnx",
        "--calib",
        "x.npy",
        "--method",
        "minmax",
    ];
    let shard = place.json(&[&calibrate[..], &["-o", "a.json"]].concat());
    assert_eq!(shard["samples"], 8);
    place.json(&[&calibrate[..], &["-o", "b.json", "--limit", "3"]].concat());
    let merged = [
        "quantize",
        "model.onnx",
        "-o",
        "merged.onnx",
        "--method",
        "minmax",
    ];
    place.json(&[&merged[..], &["--stats", "a.json", "b.json"]].concat());
    let read = |name: &str| std::fs::read(place.path(name)).unwrap();
    assert_eq!(read("all.onnx"), read("merged.onnx"));
}

#[test]
fn the_int8_model_is_near_the_float_one() {
    let place = furnished();
    let quantize = ["quantize", "model.onnx", "-o", "q.onnx", "--calib", "x.npy"];
    place.json(&[&quantize[..], &["--report", "report.json"]].concat());
    let report = std::fs::read(place.path("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["mode"], "static");
    let found = place.json(&["compare", "model.onnx", "q.onnx", "--input", "x.npy"]);
    assert!(found["outputs"][0]["sqnr_db"].as_f64().unwrap() > 30.0);
    assert!(found["outputs"][0]["cosine"].as_f64().unwrap() > 0.999);
}

#[test]
fn a_model_is_never_written_over_its_input_or_as_another_format() {
    let place = furnished();
    let before = std::fs::read(place.path("model.onnx")).unwrap();
    for output in ["model.onnx", "./model.onnx", "q.tflite", "q.ENGINE"] {
        for verb in [&["optimize"][..], &["quantize", "--mode", "dynamic"]] {
            let done = place.run(&[verb, &["model.onnx", "-o", output]].concat());
            assert_eq!(done.status.code(), Some(2), "{verb:?} {output}");
            assert!(stderr(&done).contains(output), "{}", stderr(&done));
        }
    }
    assert_eq!(std::fs::read(place.path("model.onnx")).unwrap(), before);
}

#[test]
fn dynamic_and_weight_only_need_no_samples() {
    let place = furnished();
    for mode in ["dynamic", "weight-only"] {
        let done = place.json(&["quantize", "model.onnx", "-o", "q.onnx", "--mode", mode]);
        assert_eq!(done["mode"], mode);
        assert_eq!(done["layers"].as_array().unwrap().len(), 2, "{mode}");
    }
}

#[test]
fn every_mode_rounds_weights_to_samples() {
    let place = furnished();
    let quantize = ["quantize", "model.onnx", "-o", "q.onnx"];
    let calibrated = ["--calib", "x.npy", "--rounding", "calibrated"];
    for mode in [
        &["--mode", "static"][..],
        &["--mode", "dynamic"],
        &["--mode", "weight-only"],
    ] {
        let done = place.json(&[&quantize[..], &calibrated, mode].concat());
        assert_eq!(done["samples"], 8);
        // A weight either was rounded to its inputs or a note says why not.
        let layers = done["layers"].as_array().unwrap();
        let rounded = layers.iter().filter(|l| l["product_sqnr_db"].is_f64());
        let notes = done["notes"].as_array().unwrap();
        let nearest = notes
            .iter()
            .filter(|n| n.as_str().unwrap().contains("rounded to nearest"));
        assert_eq!(rounded.count() + nearest.count(), 2, "{mode:?} {notes:?}");
    }
}

#[test]
fn static_quantization_without_samples_is_wrong_usage() {
    let place = furnished();
    let output = place.run(&["quantize", "model.onnx", "-o", "q.onnx"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--calib"));
    assert!(!place.path("q.onnx").exists());
}

#[test]
fn nothing_to_quantize_is_an_error_and_leaves_the_old_file() {
    let place = furnished();
    std::fs::write(place.path("q.onnx"), b"old").unwrap();
    let quantize = [
        "quantize",
        "model.onnx",
        "-o",
        "q.onnx",
        "--mode",
        "dynamic",
    ];
    let line = place.error(&[&quantize[..], &["--ops", "Conv"]].concat());
    assert!(line.contains("no node can be quantized"), "{line}");
    assert_eq!(std::fs::read(place.path("q.onnx")).unwrap(), b"old");
}

#[test]
fn a_rule_of_the_target_is_quoted() {
    let place = furnished();
    let quantize = ["quantize", "model.onnx", "-o", "q.onnx", "--calib", "x.npy"];
    let line = place.refused(
        &[
            &quantize[..],
            &["--target", "tensorrt", "--activations", "u8"],
        ]
        .concat(),
    );
    assert!(line.contains("activations must be int8"), "{line}");
}

#[test]
fn what_the_mode_would_not_look_at_is_wrong_usage() {
    let place = furnished();
    let quantize = [
        "quantize",
        "model.onnx",
        "-o",
        "q.onnx",
        "--mode",
        "dynamic",
    ];
    for (given, message) in [
        (["--calib", "x.npy"], "without --rounding calibrated"),
        (["--rounding", "calibrated"], "needs samples"),
        (["--stats", "s.json"], "--stats is for --mode static only"),
        (["--target", "ort"], "--target is for --mode static only"),
        (["--method", "mse"], "--method is for --mode static only"),
        (["--format", "qdq"], "--format is for --mode static only"),
        (["--bits", "8"], "--bits is for --mode weight-only only"),
        (["--bits", "5"], "it must be 4 or 8"),
        (["--block", "24"], "it must be a power of two"),
        (["--mode", "static"], "cannot be used multiple times"),
    ] {
        let output = place.run(&[&quantize[..], &given].concat());
        assert_eq!(output.status.code(), Some(2), "{given:?}");
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
    }
    let blocks = [
        "quantize",
        "model.onnx",
        "-o",
        "q.onnx",
        "--mode",
        "weight-only",
    ];
    let output = place.run(&[&blocks[..], &["--bits", "4", "--weights", "tensor"]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--weights has no effect"));
}

#[test]
fn sensitive_nodes_are_listed_and_left_float_on_request() {
    let place = furnished();
    let quantize = ["quantize", "model.onnx", "-o", "q.onnx", "--calib", "x.npy"];
    let done = place.json(&[&quantize[..], &["--sensitivity"]].concat());
    let nodes = done["sensitivity"].as_array().unwrap();
    assert_eq!(nodes.len(), 2);
    let sqnr = |i: usize| nodes[i]["sqnr_db"].as_f64().unwrap();
    assert!(sqnr(0) <= sqnr(1));
    let between = ((sqnr(0) + sqnr(1)) / 2.0).to_string();
    let done = place.json(&[&quantize[..], &["--auto-exclude", &between]].concat());
    assert_eq!(done["excluded"], serde_json::json!([nodes[0]["node"]]));
    assert_eq!(done["layers"].as_array().unwrap().len(), 1);
}
