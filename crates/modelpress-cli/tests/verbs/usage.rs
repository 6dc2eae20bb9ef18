//! Arguments that say nothing to each other, or nothing to this model: told, not passed over.

use crate::data::{furnished, write_classifier};
use crate::program::Place;
use modelpress::tensor::{Tensor, npy};

const QUANTIZE: [&str; 4] = ["quantize", "model.onnx", "-o", "q.onnx"];

fn quantize<'a>(given: &[&'a str]) -> Vec<&'a str> {
    [&QUANTIZE[..], given].concat()
}

#[test]
fn lists_of_files_do_not_take_the_model() {
    let place = furnished();
    let stats = [
        "quantize",
        "-o",
        "q.onnx",
        "--stats",
        "a.json",
        "model.onnx",
    ];
    let text = place.refused(&stats);
    assert!(text.contains("name the model before --stats"), "{text}");
    let last = ["--sensitivity", "model.onnx"];
    let done = place.json(&[&["quantize", "-o", "q.onnx", "--calib", "x.npy"][..], &last].concat());
    assert_eq!(done["sensitivity"].as_array().unwrap().len(), 2);
    let done = place.json(&quantize(&["--calib", "x.npy", "--sensitivity=1"]));
    assert_eq!(done["sensitivity"].as_array().unwrap().len(), 2);
}

#[test]
fn settings_of_samples_need_samples() {
    let place = furnished();
    for mode in [&["--mode", "dynamic"][..], &["--stats", "a.json"]] {
        for flag in [
            &["--limit", "3"][..],
            &["--layout", "nhwc"],
            &["--batch", "2"],
        ] {
            let text = place.refused(&quantize(&[mode, flag].concat()));
            assert!(text.contains("has no effect without --calib"), "{text}");
            assert!(text.contains(flag[0]), "{text}");
        }
    }
}

#[test]
fn samples_beside_statistics_are_one_more_shard() {
    let place = furnished();
    let minmax = ["--method", "minmax"];
    let calibrate = [
        "calibrate",
        "model.onnx",
        "--calib",
        "x.npy",
        "-o",
        "a.json",
    ];
    place.json(&[&calibrate[..], &minmax, &["--limit", "3"]].concat());
    let wide = Tensor::from_vec(&[1, 2], vec![9f32, -9.0]).unwrap();
    npy::write(place.path("wide.npy"), &wide).unwrap();
    let both = ["--stats", "a.json", "--calib", "wide.npy"];
    let done = place.json(&quantize(&[&minmax[..], &both].concat()));
    assert_eq!(done["samples"], 1);
    let ranges = &done["layers"][0]["input_range"];
    assert!(ranges[1].as_f64().unwrap() > 8.9, "{ranges}");
    let wide = std::fs::read(place.path("q.onnx")).unwrap();
    place.json(&quantize(&[&minmax[..], &["--stats", "a.json"]].concat()));
    assert_ne!(std::fs::read(place.path("q.onnx")).unwrap(), wide);
}

#[test]
fn statistics_that_cannot_serve_are_named_with_the_reason() {
    let place = furnished();
    let calibrate = [
        "calibrate",
        "model.onnx",
        "--calib",
        "x.npy",
        "-o",
        "a.json",
    ];
    place.json(&[&calibrate[..], &["--method", "minmax"]].concat());
    let line = place.error(&quantize(&["--stats", "a.json"]));
    assert!(line.starts_with("error: a.json: "), "{line}");
    assert!(
        line.contains("method mse") && line.contains("minmax"),
        "{line}"
    );
    crate::data::write_convolutions(&place, "other.onnx");
    let other = [
        "quantize",
        "other.onnx",
        "-o",
        "q.onnx",
        "--stats",
        "a.json",
    ];
    let line = place.error(&other);
    assert!(
        line.starts_with("error: a.json: the statistics are of another model"),
        "{line}"
    );
    assert!(!place.path("q.onnx").exists());
}

#[test]
fn sizes_that_are_taken_as_one_are_named() {
    let place = furnished();
    for verb in [
        &["inspect", "model.onnx"][..],
        &["bench", "model.onnx", "--runs", "1"],
    ] {
        let found = place.json(verb);
        assert_eq!(found["taken_as_one"], serde_json::json!(["batch"]));
        let text = place.run(verb).stdout;
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("(batch = 1)"), "{text}");
        let found = place.json(&[verb, &["--dim", "batch=3"]].concat());
        assert_eq!(found["taken_as_one"], serde_json::json!([]));
    }
}

#[test]
fn a_batch_that_changes_nothing_is_wrong_usage() {
    let place = furnished();
    let bench = ["bench", "model.onnx", "--batch", "4", "--dim", "batch=8"];
    let text = place.refused(&bench);
    assert!(
        text.contains("--batch has no effect") && text.contains("by --dim"),
        "{text}"
    );
    crate::data::write_convolutions(&place, "fixed.onnx");
    let text = place.refused(&["bench", "fixed.onnx", "--batch", "4"]);
    assert!(text.contains("--batch has no effect"), "{text}");
}

#[test]
fn names_that_the_model_does_not_have_are_wrong_usage() {
    let place = furnished();
    let static_int8 = |given: &[&'static str]| quantize(&[&["--calib", "x.npy"], given].concat());
    for (arguments, name) in [
        (static_int8(&["--exclude", "third"]), "third"),
        (static_int8(&["--include", "fourth*"]), "fourth*"),
        (
            static_int8(&["--target", "tensorrt", "--activations", "u8"]),
            "tensorrt",
        ),
        (quantize(&["--calib", "image=x.npy"]), "image"),
        (vec!["run", "model.onnx", "--input", "image=x.npy"], "image"),
        (
            vec![
                "eval",
                "model.onnx",
                "--input",
                "x.npy",
                "--labels",
                "y.npy",
                "--output",
                "z",
            ],
            "`z`",
        ),
    ] {
        let text = place.refused(&arguments);
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn a_range_from_zeros_is_remarked_on() {
    let place = furnished();
    let done = place.json(&quantize(&["--calib", "zeros"]));
    let notes = done["notes"].to_string();
    assert!(notes.contains("x: it was 0 in all samples"), "{notes}");
    let done = place.json(&quantize(&["--calib", "x.npy"]));
    assert!(!done["notes"].to_string().contains("in all samples"));
}

#[test]
fn run_refuses_what_gives_no_output() {
    let place = furnished();
    let none = Tensor::from_vec(&[0, 2], Vec::<f32>::new()).unwrap();
    npy::write(place.path("none.npy"), &none).unwrap();
    let line = place.error(&[
        "run",
        "model.onnx",
        "--input",
        "none.npy",
        "--output-dir",
        "out",
    ]);
    assert_eq!(line, "error: input `x`: the array holds no samples\n");
    assert!(!place.path("out").exists());
    let line = place.error(&[
        "run",
        "model.onnx",
        "--input",
        "x.npy",
        "--output-dir",
        "x.npy",
    ]);
    assert!(line.starts_with("error: x.npy: not a directory"), "{line}");
}

#[test]
fn files_of_other_kinds_are_called_by_their_name() {
    let place = Place::new();
    write_classifier(&place, "model.onnx");
    std::fs::write(place.path("m.tflite"), b"\x1c\0\0\0TFL3\x14\0\x20\0").unwrap();
    let line = place.error(&["inspect", "m.tflite"]);
    assert_eq!(
        line,
        "error: m.tflite: this is a TensorFlow Lite model, not an ONNX file\n"
    );
    let mut complex = b"\x93NUMPY\x01\0\x76\0".to_vec();
    let header = "{'descr': '<c8', 'fortran_order': False, 'shape': (1, 2), }";
    complex.extend(format!("{header:<117}\n").as_bytes());
    complex.extend([0; 16]);
    std::fs::write(place.path("complex.npy"), complex).unwrap();
    let line = place.error(&["run", "model.onnx", "--input", "complex.npy"]);
    assert!(
        line.contains("input `x`") || line.contains("complex.npy"),
        "{line}"
    );
    std::fs::create_dir(place.path("folder.npy")).unwrap();
    let line = place.error(&["run", "model.onnx", "--input", "folder.npy"]);
    assert!(line.contains("folder.npy"), "{line}");
}

#[test]
fn completions_are_a_script() {
    let place = Place::new();
    let text = place.refused(&["completions", "bash", "--json"]);
    assert!(text.contains("--json has no effect"), "{text}");
    assert!(place.run(&["completions", "bash"]).status.success());
}
