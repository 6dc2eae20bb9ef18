//! `inspect`, `check`, `optimize`, `run`, `eval`, `compare`, `completions`.

use crate::data::{furnished, write_convolutions, write_old};
use crate::program::{Place, keys, stderr};
use modelpress::tensor::npy;

#[test]
fn inspect_counts_what_the_model_holds() {
    let found = furnished().json(&["inspect", "model.onnx", "--dim", "batch=4"]);
    assert_eq!(found["parameters"], 8);
    assert_eq!(found["macs"], 2 * 4 * 2 * 2);
    assert_eq!(found["nodes"], 3);
    assert_eq!(found["opset"], 17);
    assert_eq!(found["operators"]["MatMul"], 2);
    assert_eq!(found["inputs"][0]["name"], "x");
    assert_eq!(found["inputs"][0]["shape"][1], 2);
    assert_eq!(found["outputs"][0]["name"], "scores");
    assert!(found["bytes"].as_u64().unwrap() > 64);
}

#[test]
fn check_exits_with_0_for_a_valid_model_and_with_1_for_another() {
    let place = furnished();
    assert_eq!(place.json(&["check", "model.onnx"])["valid"], true);
    let bytes = std::fs::read(place.path("model.onnx")).unwrap();
    let renamed = String::from_utf8_lossy(&bytes).into_owned();
    assert!(renamed.contains("Relu"));
    let at = bytes.windows(4).position(|w| w == b"Relu").unwrap();
    let mut wrong = bytes.clone();
    wrong[at..at + 4].copy_from_slice(b"Rulu");
    std::fs::write(place.path("wrong.onnx"), wrong).unwrap();
    let output = place.run(&["check", "wrong.onnx", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["valid"], false);
    assert_eq!(found["findings"][0]["node"], "relu");
}

#[test]
fn a_file_that_is_no_model_is_one_line_and_leaves_no_output() {
    let place = furnished();
    std::fs::write(place.path("bad.onnx"), b"\xff\xff\xff\xff not a model").unwrap();
    let before = place.files();
    let line = place.error(&["optimize", "bad.onnx", "-o", "out.onnx"]);
    assert!(line.starts_with("error: bad.onnx: "), "{line}");
    assert_eq!(place.files(), before);
    assert!(place.error(&["inspect", "none.onnx"]).contains("none.onnx"));
}

#[test]
fn optimize_keeps_what_the_model_computes() {
    let place = furnished();
    let done = place.json(&[
        "optimize",
        "model.onnx",
        "-o",
        "small.onnx",
        "--opset",
        "18",
    ]);
    assert_eq!(done["opset"], 18);
    assert_eq!(done["nodes_before"], 3);
    let same = place.json(&["compare", "model.onnx", "small.onnx", "--input", "x.npy"]);
    assert_eq!(same["outputs"][0]["max_abs"], 0.0);
    assert_eq!(same["outputs"][0]["sqnr_db"], serde_json::Value::Null);
    let row = &same["outputs"][0];
    assert_eq!(
        (&row["exact"], &row["finite"]),
        (&true.into(), &true.into())
    );
    assert_eq!(same["outputs"][0]["cosine"], 1.0);
    assert_eq!(same["layers"][0]["name"], "hidden");
}

#[test]
fn weights_that_old_files_list_as_inputs_are_folded_unless_they_are_kept() {
    let place = Place::new();
    write_old(&place, "old.onnx");
    let optimize = ["optimize", "old.onnx", "-o", "new.onnx"];
    let done = place.json(&optimize);
    assert_eq!(
        (&done["defaults_frozen"], &done["nodes_after"]),
        (&5.into(), &1.into())
    );
    let same = ["compare", "old.onnx", "new.onnx", "--input", "zeros"];
    assert!(place.json(&same)["outputs"][0]["max_abs"].as_f64().unwrap() < 1e-6);
    let kept = place.json(&[&optimize[..], &["--keep-defaults"]].concat());
    assert_eq!(
        (&kept["defaults_frozen"], &kept["nodes_after"]),
        (&0.into(), &2.into())
    );
    let reasons = kept["passes"].to_string();
    assert!(
        reasons.contains("inputs with defaults, which callers may replace"),
        "{reasons}"
    );
}

#[test]
fn layers_that_take_in_an_activation_are_compared_behind_it() {
    let place = Place::new();
    write_convolutions(&place, "model.onnx");
    for format in ["qdq", "qlinear"] {
        let quantize = [
            "quantize",
            "model.onnx",
            "-o",
            "int8.onnx",
            "--calib",
            "x.npy",
        ];
        place.json(&[&quantize[..], &["--format", format]].concat());
        let found = place.json(&["compare", "model.onnx", "int8.onnx", "--input", "x.npy"]);
        let layers = found["layers"].as_array().unwrap();
        let names: Vec<&str> = layers.iter().map(|l| l["name"].as_str().unwrap()).collect();
        // `raw`, half of it negative, is no longer a value of its own.
        assert_eq!(names, ["cut"], "{format}");
        let sqnr = layers[0]["sqnr_db"].as_f64().unwrap();
        assert!(sqnr > 30.0, "{format}: {sqnr}");
        // Also where an activation cuts values to 0.
        let relative = layers[0]["max_rel"].as_f64().unwrap();
        assert!(relative > 0.0 && relative < 0.05, "{format}: {relative}");
        assert!(
            found["outputs"][0]["sqnr_db"].as_f64().unwrap() > 25.0,
            "{found}"
        );
    }
}

#[test]
fn a_bound_on_steps_ends_a_run() {
    let place = furnished();
    let run = ["run", "model.onnx", "--input", "x.npy"];
    assert!(
        place
            .run(&[&run[..], &["--max-steps", "100"]].concat())
            .status
            .success()
    );
    let output = place.run(&[&run[..], &["--max-steps", "1"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("stopped after 1 node evaluations"), "{text}");
}

#[test]
fn run_writes_each_output_and_batches_do_not_matter() {
    let place = furnished();
    let done = place.json(&[
        "run",
        "model.onnx",
        "--input",
        "x=x.npy",
        "--output-dir",
        "a",
    ]);
    assert_eq!(done["outputs"][0]["shape"], serde_json::json!([8, 2]));
    place.json(&[
        "run",
        "model.onnx",
        "--input",
        "x.npy",
        "--output-dir",
        "b",
        "--batch",
        "3",
    ]);
    let read = |folder: &str| npy::read(place.path(folder).join("scores.npy")).unwrap();
    let (a, b) = (read("a"), read("b"));
    assert_eq!(a.as_slice::<f32>().unwrap(), b.as_slice::<f32>().unwrap());
    // x = (1, 0.1): relu(0.95, -0.52) = (0.95, 0), times V is (0.855, -0.095).
    let first = &a.as_slice::<f32>().unwrap()[..2];
    assert!((first[0] - 0.855).abs() < 1e-6 && (first[1] + 0.095).abs() < 1e-6);
}

#[test]
fn eval_gives_the_share_with_its_interval_and_the_predictions() {
    let place = furnished();
    let arguments = [
        "eval",
        "model.onnx",
        "--input",
        "x.npy",
        "--labels",
        "y.npy",
    ];
    let more = ["--predictions", "p.npy", "--reference", "model.onnx"];
    let score = place.json(&[&arguments[..], &more].concat());
    assert_eq!(score["metric"], "top1");
    assert_eq!(score["value"], 0.875);
    assert_eq!(score["n"], 8);
    // Wilson for 7 of 8.
    assert!((score["ci95"][0].as_f64().unwrap() - 0.5291).abs() < 1e-4);
    assert!((score["ci95"][1].as_f64().unwrap() - 0.9776).abs() < 1e-4);
    assert_eq!(score["predictions_file"], "p.npy");
    assert_eq!(score["agreement"]["value"], 1.0);
    let predictions = npy::read(place.path("p.npy")).unwrap();
    assert_eq!(
        predictions.as_slice::<i64>().unwrap(),
        [0, 1, 1, 0, 0, 1, 0, 0]
    );
}

#[test]
fn an_input_that_is_not_there_is_named() {
    let place = furnished();
    let line = place.refused(&["run", "model.onnx", "--input", "z=x.npy"]);
    assert_eq!(line, "error: the model has no input `z`; it takes x\n");
}

#[test]
fn wrong_usage_exits_with_2() {
    let place = Place::new();
    for arguments in [
        &["no-such-verb"][..],
        &["run"],
        &["inspect"],
        &["run", "m", "--input", "a.png"],
    ] {
        assert_eq!(place.run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn every_verb_has_a_help_text_with_an_example() {
    let place = Place::new();
    for verb in [
        "inspect",
        "check",
        "optimize",
        "run",
        "eval",
        "bench",
        "compare",
        "calibrate",
        "quantize",
        "conformance",
        "demo",
        "completions",
    ] {
        let output = place.run(&[verb, "--help"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && text.contains("Example"),
            "{verb}: {text}"
        );
        assert!(text.contains(&format!("modelpress {verb}")), "{verb}");
    }
}

#[test]
fn completions_are_a_script() {
    let output = Place::new().run(&["completions", "bash"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("_modelpress"));
}

#[test]
fn json_keys_are_the_documented_ones() {
    let place = furnished();
    let inspect = place.json(&["inspect", "model.onnx"]);
    for key in [
        "inputs",
        "outputs",
        "opset",
        "operators",
        "parameters",
        "macs",
        "bytes",
        "nodes",
    ] {
        assert!(keys(&inspect).contains(&key), "{key}");
    }
    let eval = place.json(&[
        "eval",
        "model.onnx",
        "--input",
        "x.npy",
        "--labels",
        "y.npy",
    ]);
    assert_eq!(
        keys(&eval),
        [
            "agreement",
            "ci95",
            "metric",
            "n",
            "predictions_file",
            "value",
            "without_class"
        ]
    );
}

#[test]
fn a_model_of_halves_is_compared_with_one_of_floats_on_the_same_inputs() {
    use modelpress::ir::Model;
    use modelpress::ir::io::SaveOptions;
    use modelpress::tensor::{CastOptions, DType};
    let place = furnished();
    let mut model = Model::load(place.path("model.onnx")).unwrap();
    let graph = &mut model.graph;
    let weights: Vec<_> = graph
        .initializers()
        .map(|(id, t)| (id, t.clone()))
        .collect();
    for (id, tensor) in weights {
        let half = tensor.cast(DType::F16, CastOptions::default()).unwrap();
        graph.set_initializer(id, half);
    }
    for name in ["x", "scores"] {
        let id = graph.value_by_name(name).unwrap();
        let mut fact = graph.value(id).fact.as_tensor().unwrap().clone();
        fact.dtype = Some(DType::F16);
        graph.value_mut(id).fact = modelpress::ir::Fact::Tensor(fact);
    }
    for name in ["hidden", "active"] {
        let id = graph.value_by_name(name).unwrap();
        graph.value_mut(id).fact = modelpress::ir::Fact::Unknown;
    }
    model
        .save(place.path("half.onnx"), &SaveOptions::default())
        .unwrap();
    // Weights of halves are not quantized, and what would do is said.
    let quantize = ["quantize", "half.onnx", "-o", "q.onnx", "--mode", "dynamic"];
    let told = stderr(&place.run(&quantize));
    assert!(
        told.contains("its weight is f16, only f32 is quantized: export the model in float32"),
        "{told}"
    );
    for (a, b) in [("model.onnx", "half.onnx"), ("half.onnx", "model.onnx")] {
        let found = place.json(&["compare", a, b, "--input", "x.npy"]);
        let error = found["outputs"][0]["max_abs"].as_f64().unwrap();
        assert!(error < 2e-3, "{a} {b}: {error}");
        assert_eq!(found["samples"], 8);
    }
}
