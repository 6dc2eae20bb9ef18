//! `conformance`.

use crate::data::{write_classifier, write_samples};
use crate::program::Place;
use modelpress::ir::io::write_tensor;
use modelpress::tensor::{Tensor, npy};

/// Two tests: one with the right result, one with another.
fn cases() -> Place {
    let place = Place::new();
    write_classifier(&place, "model.onnx");
    write_samples(&place);
    place.json(&[
        "run",
        "model.onnx",
        "--input",
        "x.npy",
        "--output-dir",
        "out",
    ]);
    let x = npy::read(place.path("x.npy")).unwrap();
    let right = npy::read(place.path("out").join("scores.npy")).unwrap();
    let wrong = Tensor::full(&[8, 2], 7f32).unwrap();
    for (name, expected) in [("test_right", right), ("test_wrong", wrong)] {
        let folder = place.path("cases").join(name);
        let data = folder.join("test_data_set_0");
        std::fs::create_dir_all(&data).unwrap();
        std::fs::copy(place.path("model.onnx"), folder.join("model.onnx")).unwrap();
        std::fs::write(data.join("input_0.pb"), write_tensor("x", &x).unwrap()).unwrap();
        std::fs::write(
            data.join("output_0.pb"),
            write_tensor("scores", &expected).unwrap(),
        )
        .unwrap();
    }
    std::fs::create_dir_all(place.path("cases/test_empty")).unwrap();
    std::fs::copy(
        place.path("model.onnx"),
        place.path("cases/test_empty/model.onnx"),
    )
    .unwrap();
    place
}

#[test]
fn tests_are_counted_with_their_reasons() {
    let place = cases();
    for arguments in [
        &["conformance", "cases", "--json"][..],
        &["conformance", "cases", "--json", "--reference"],
    ] {
        let output = place.run(arguments);
        assert_eq!(output.status.code(), Some(1));
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let counts = ["passed", "failed", "skipped"].map(|k| found[k].as_u64().unwrap());
        assert_eq!(counts, [1, 1, 1]);
        let wrong = found["cases"]
            .as_array()
            .unwrap()
            .iter()
            .find(|c| c["name"] == "test_wrong");
        assert_eq!(wrong.unwrap()["status"], "failed");
        assert!(
            wrong.unwrap()["reason"]
                .as_str()
                .unwrap()
                .contains("16 of 16 elements differ")
        );
        assert_eq!(wrong.unwrap()["operator"], "MatMul");
    }
}

#[test]
fn a_filter_leaves_the_others_out() {
    let found = cases().json(&["conformance", "cases", "--filter", "right"]);
    assert_eq!((&found["passed"], &found["failed"]), (&1.into(), &0.into()));
}
