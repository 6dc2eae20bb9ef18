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

#[test]
fn a_filter_that_leaves_nothing_is_wrong_usage() {
    for choice in [["--filter", "rihgt"], ["--op", "Conv"]] {
        let output = cases().run(&[&["conformance", "cases"], &choice[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{choice:?}");
    }
}

#[test]
fn a_test_without_expected_outputs_has_failed_and_all_data_sets_count() {
    let place = cases();
    let right = place.path("cases/test_right");
    let second = right.join("test_data_set_1");
    std::fs::create_dir(&second).unwrap();
    let first = right.join("test_data_set_0");
    std::fs::copy(first.join("input_0.pb"), second.join("input_0.pb")).unwrap();
    let only_right = ["conformance", "cases", "--filter", "right"];
    assert!(place.error(&only_right).contains("1 of 1 cases failed"));
    let wrong = place.path("cases/test_wrong/test_data_set_0/output_0.pb");
    std::fs::copy(wrong, second.join("output_0.pb")).unwrap();
    assert!(place.error(&only_right).contains("1 of 1 cases failed"));
    std::fs::copy(first.join("output_0.pb"), second.join("output_0.pb")).unwrap();
    assert_eq!(place.json(&only_right)["passed"], 1);
}
