//! What is written replaces nothing that is read, and has a place before the work begins.

use crate::data::furnished;
use crate::program::{Place, stderr};
use modelpress::ir::Model;
use modelpress::ir::io::{ExternalData, SaveOptions};
use modelpress::tensor::{Tensor, npy};

fn contents(place: &Place) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| {
        let bytes = std::fs::read(place.path(&name)).unwrap();
        (name, bytes)
    };
    place.files().into_iter().map(read).collect()
}

/// The model with its weights in `weights.bin`, beside samples and labels.
fn place_with_external_weights() -> Place {
    let place = furnished();
    let model = Model::load(place.path("model.onnx")).unwrap();
    let external = ExternalData::Always {
        file: Some("weights.bin".to_owned()),
        threshold: 0,
    };
    let mut options = SaveOptions::default();
    options.external_data = external;
    model.save(place.path("split.onnx"), &options).unwrap();
    place
}

#[test]
fn no_output_replaces_an_input() {
    let place = place_with_external_weights();
    let before = contents(&place);
    let eval = [
        "eval",
        "model.onnx",
        "--input",
        "x.npy",
        "--labels",
        "y.npy",
        "--predictions",
    ];
    let static_int8 = ["quantize", "model.onnx", "--calib", "x.npy", "-o"];
    let calibrate = ["calibrate", "split.onnx", "--calib", "x.npy", "-o"];
    for arguments in [
        &["optimize", "model.onnx", "-o", "model.onnx"][..],
        &["optimize", "split.onnx", "-o", "weights.bin"],
        &[&static_int8[..], &["x.npy"]].concat(),
        &[&static_int8[..], &["q.onnx", "--report", "model.onnx"]].concat(),
        &[&static_int8[..], &["q.onnx", "--report", "./q.onnx"]].concat(),
        &[
            &static_int8[..],
            &["q.onnx", "--stats", "s.json", "--report", "s.json"],
        ]
        .concat(),
        &[&calibrate[..], &["split.onnx"]].concat(),
        &[&calibrate[..], &["x.npy"]].concat(),
        &[&calibrate[..], &["weights.bin"]].concat(),
        &[&eval[..], &["y.npy"]].concat(),
        &[&eval[..], &["x.npy"]].concat(),
        &[&eval[..], &["model.onnx"]].concat(),
    ] {
        std::fs::write(place.path("s.json"), b"{}").unwrap();
        let output = place.run(arguments);
        std::fs::remove_file(place.path("s.json")).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let text = stderr(&output);
        assert!(text.contains("give"), "{arguments:?}: {text}");
        assert!(contents(&place) == before, "{arguments:?}");
    }
}

#[test]
fn run_does_not_write_over_what_it_reads() {
    let place = furnished();
    std::fs::rename(place.path("x.npy"), place.path("scores.npy")).unwrap();
    let before = contents(&place);
    let output = place.run(&["run", "model.onnx", "--input", "scores.npy"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("scores.npy: the output is the input"));
    assert!(contents(&place) == before);
}

#[test]
fn an_output_in_a_missing_folder_fails_before_anything_is_written() {
    let place = furnished();
    let before = place.files();
    let quantize = ["quantize", "model.onnx", "--calib", "x.npy", "-o"];
    for arguments in [
        &["optimize", "model.onnx", "-o", "absent/o.onnx"][..],
        &[&quantize[..], &["absent/q.onnx"]].concat(),
        &[&quantize[..], &["q.onnx", "--report", "absent/r.json"]].concat(),
        &[
            "calibrate",
            "model.onnx",
            "--calib",
            "x.npy",
            "-o",
            "absent/s.json",
        ],
    ] {
        let text = place.error(arguments);
        assert_eq!(text, "error: absent: there is no such folder\n");
        assert_eq!(place.files(), before);
    }
    let text = place.error(&["optimize", "model.onnx", "-o", "."]);
    assert!(text.starts_with("error: .: "), "{text}");
}

#[cfg(unix)]
#[test]
fn a_device_takes_outputs() {
    let place = furnished();
    let written = place.json(&["optimize", "model.onnx", "-o", "/dev/null"]);
    assert_eq!(written["output_bytes"], 0);
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
}

#[test]
fn pairs_of_different_lengths_are_an_error() {
    let place = furnished();
    let fewer = Tensor::from_vec(&[7, 2], vec![0.5f32; 14]).unwrap();
    npy::write(place.path("fewer.npy"), &fewer).unwrap();
    let arguments = [
        "eval",
        "model.onnx",
        "--metric",
        "spearman-cosine",
        "--input",
        "x.npy",
        "--input-b",
        "fewer.npy",
        "--labels",
        "y.npy",
    ];
    assert_eq!(
        place.error(&arguments),
        "error: --input gives 8 sentences and --input-b 7: a pair is one of each\n"
    );
}

#[test]
fn samples_without_a_class_are_counted() {
    let place = furnished();
    let samples = Tensor::from_vec(&[8, 2], vec![f32::NAN; 16]).unwrap();
    npy::write(place.path("nan.npy"), &samples).unwrap();
    let eval = [
        "eval",
        "model.onnx",
        "--input",
        "nan.npy",
        "--labels",
        "y.npy",
    ];
    assert_eq!(place.json(&eval)["without_class"], 8);
    let text = String::from_utf8(place.run(&eval).stdout).unwrap();
    assert!(text.contains("note: 8 samples have no class"), "{text}");
}
