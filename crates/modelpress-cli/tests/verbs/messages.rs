//! What the program says of wrong arguments: before any work, once, with what to do.

use crate::data::{furnished, write_convolutions};
use crate::program::{Place, stderr};
use modelpress::ir::io::SaveOptions;
use modelpress::ir::{Dim, Fact, Graph, Model, Node};
use modelpress::tensor::{DType, Tensor, npy};

#[test]
fn numbers_that_make_no_sense_are_wrong_usage_before_any_work() {
    let place = Place::new();
    let quantize = ["quantize", "none.onnx", "-o", "q.onnx", "--calib", "x.npy"];
    // The model is not there: it is not even looked for.
    for given in [
        &["--method", "percentile", "--percentile", "150"][..],
        &["--method", "percentile", "--percentile", "0"],
        &["--std", "0"],
        &["--std", "1,0,1"],
        &["--scale", "nan"],
        &["--mean", "inf"],
        &["--batch", "0"],
        &["--limit", "0"],
        &["--sensitivity=0"],
    ] {
        let text = place.refused(&[&quantize[..], given].concat());
        assert!(text.contains("it must be"), "{given:?}: {text}");
    }
    assert!(
        place
            .refused(&["bench", "none.onnx", "--runs", "0"])
            .contains("--runs")
    );
    let json = std::process::Command::new(env!("CARGO_BIN_EXE_modelpress"))
        .args(["inspect", "none.onnx", "--threads", "99999"])
        .output();
    assert_eq!(json.unwrap().status.code(), Some(2));
}

#[test]
fn an_unknown_dimension_is_wrong_usage_and_the_open_ones_are_listed() {
    let place = furnished();
    for verb in [
        &["inspect", "model.onnx"][..],
        &["bench", "model.onnx"],
        &["optimize", "model.onnx", "-o", "o.onnx"],
    ] {
        let text = place.refused(&[verb, &["--dim", "bach=3"]].concat());
        assert_eq!(
            text,
            "error: --dim: the model has no open dimension `bach`; its inputs leave open batch\n"
        );
    }
    assert!(!place.path("o.onnx").exists());
}

#[test]
fn optimize_writes_fixed_sizes() {
    let place = furnished();
    let arguments = ["optimize", "model.onnx", "-o", "fixed.onnx"];
    place.json(&[&arguments[..], &["--dim", "batch=3"]].concat());
    let found = place.json(&["inspect", "fixed.onnx"]);
    for port in ["inputs", "outputs"] {
        assert_eq!(found[port][0]["shape"], serde_json::json!([3, 2]));
    }
}

#[test]
fn a_missing_file_is_named_once() {
    let place = furnished();
    for arguments in [
        &["inspect", "none.onnx"][..],
        &[
            "eval",
            "model.onnx",
            "--input",
            "x.npy",
            "--labels",
            "none.npy",
        ],
        &["run", "model.onnx", "--input", "none.npy"],
        &[
            "quantize",
            "model.onnx",
            "-o",
            "q.onnx",
            "--stats",
            "none.json",
        ],
    ] {
        let line = place.error(arguments);
        assert_eq!(line.matches("none.").count(), 1, "{line}");
    }
    let line = place.error(&["optimize", "model.onnx", "-o", "none.d/out.onnx"]);
    assert_eq!(line.matches("none.d").count(), 1, "{line}");
}

#[test]
fn images_with_channels_last_are_refused_with_the_flag_that_helps() {
    let place = Place::new();
    write_convolutions(&place, "model.onnx");
    let images = Tensor::full(&[2, 6, 6, 2], 1u8).unwrap();
    npy::write(place.path("nhwc.npy"), &images).unwrap();
    let run = ["run", "model.onnx", "--input", "nhwc.npy"];
    let line = place.error(&run);
    assert!(line.contains("--layout nhwc"), "{line}");
    place.json(&[&run[..], &["--layout", "nhwc"]].concat());
}

#[test]
fn labels_that_do_not_fit_are_refused_with_their_file() {
    let place = furnished();
    let eval = [
        "eval",
        "model.onnx",
        "--input",
        "x.npy",
        "--labels",
        "l.npy",
    ];
    let ten = Tensor::vector(vec![0u8, 1, 1, 10, 0, 1, 0, 1]);
    npy::write(place.path("l.npy"), &ten).unwrap();
    assert_eq!(
        place.error(&eval),
        "error: l.npy: label 10 of sample 3 is none of the model's 2 classes, 0 to 1\n"
    );
    npy::write(place.path("l.npy"), &Tensor::full(&[8], 1f32).unwrap()).unwrap();
    assert_eq!(
        place.error(&eval),
        "error: l.npy: labels should be integers, they are f32\n"
    );
}

#[test]
fn an_operator_that_no_mode_has_is_answered_with_the_nearest() {
    let place = Place::new();
    let quantize = ["quantize", "none.onnx", "-o", "q.onnx", "--mode", "dynamic"];
    assert_eq!(
        place.refused(&[&quantize[..], &["--ops", "Matmull"]].concat()),
        "error: dynamic quantization has no operator `Matmull`: did you mean `MatMul`?\n"
    );
}

#[test]
fn convolutions_that_stay_float_are_told_why_in_one_line() {
    let place = Place::new();
    write_convolutions(&place, "model.onnx");
    let quantize = ["quantize", "model.onnx", "-o", "q.onnx", "--mode"];
    let line = place.error(&[&quantize[..], &["dynamic"]].concat());
    assert!(
        line.contains("Conv first, second: dynamic quantization leaves convolutions float"),
        "{line}"
    );
    let line = place.error(&[&quantize[..], &["weight-only", "--bits", "4"]].concat());
    assert!(
        line.contains("Conv first, second: 4-bit weights and weights in blocks are for products"),
        "{line}"
    );
}

/// `y = MatMul(x, w)` with `x` `[?, ?]` and `w` `[4, 2]`: the second size can only be 4.
fn write_open(place: &Place) {
    let mut graph = Graph::new("open");
    let x = Fact::tensor(DType::F32, [Dim::Unknown, Dim::Unknown]);
    let x = graph.add_value("x", x).unwrap();
    graph.add_input(x);
    let w = Tensor::full(&[4, 2], 1f32).unwrap();
    let w = graph.add_initializer("w", w).unwrap();
    let y = graph.add_value("y", Fact::Unknown).unwrap();
    graph.add_node(Node::new("MatMul", [x, w], [y])).unwrap();
    graph.add_output(y);
    let model = Model::new(graph, 17);
    let file = place.path("open.onnx");
    model.save(file, &SaveOptions::default()).unwrap();
}

#[test]
fn made_up_sizes_that_do_not_suit_the_model_are_named() {
    let place = Place::new();
    write_open(&place);
    let bench = ["bench", "open.onnx", "--runs", "1"];
    let line = place.error(&bench);
    assert!(line.contains("made up (x [1, 1])"), "{line}");
    assert!(line.contains("--dim x:0=N --dim x:1=N"), "{line}");
    let found = place.json(&[&bench[..], &["--dim", "x:1=4", "--batch", "3"]].concat());
    assert_eq!(found["batch"], 3);
}

#[test]
fn zeros_need_no_name_where_there_is_one_input() {
    let place = furnished();
    let done = place.json(&["quantize", "model.onnx", "-o", "q.onnx", "--calib", "zeros"]);
    assert_eq!(done["samples"], 1);
}

#[test]
fn settings_that_bench_would_not_look_at_are_wrong_usage() {
    let place = furnished();
    let text = place.refused(&["bench", "model.onnx", "--layout", "nhwc"]);
    assert!(
        text.starts_with("error: --layout has no effect without --input"),
        "{text}"
    );
    let given = [
        "bench",
        "model.onnx",
        "--input",
        "x.npy",
        "--dim",
        "batch=3",
    ];
    let text = place.refused(&given);
    assert!(
        text.starts_with("error: --dim has no effect with --input"),
        "{text}"
    );
}

#[test]
fn inputs_beyond_all_bounds_are_not_made_up() {
    for dtype in [DType::F32, DType::I8, DType::String] {
        let place = Place::new();
        let mut graph = Graph::new("large");
        let fact = Fact::tensor(dtype, [1usize << 20, 1 << 20]);
        let x = graph.add_value("x", fact).unwrap();
        graph.add_input(x);
        let y = graph.add_value("y", Fact::Unknown).unwrap();
        graph.add_node(Node::new("Identity", [x], [y])).unwrap();
        graph.add_output(y);
        let model = Model::new(graph, 17);
        model
            .save(place.path("large.onnx"), &SaveOptions::default())
            .unwrap();
        let text = place.error(&["bench", "large.onnx"]);
        assert!(
            text.contains("input `x`") && text.contains("cannot be made up"),
            "{text}"
        );
    }
}

#[test]
fn a_list_may_start_with_a_negative_number() {
    let place = furnished();
    let run = [
        "run",
        "model.onnx",
        "--input",
        "x.npy",
        "--output-dir",
        "out",
    ];
    let given = ["--mean", "-1,-2", "--std", "-1,2"];
    let output = place.run(&[&run[..], &given].concat());
    assert_ne!(output.status.code(), Some(2), "{}", stderr(&output));
}
