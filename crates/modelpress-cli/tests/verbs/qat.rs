//! `qat`.

use crate::data::furnished;
use crate::program::{Place, keys, stderr};

const QAT: [&str; 10] = [
    "qat",
    "model.onnx",
    "-o",
    "q.onnx",
    "--train",
    "x=x.npy",
    "--labels",
    "y.npy",
    "--batch",
    "4",
];

fn bytes(place: &Place, name: &str) -> Vec<u8> {
    std::fs::read(place.path(name)).unwrap()
}

#[test]
fn an_integer_file_comes_out_and_the_outcome_says_how() {
    let place = furnished();
    let bits = ["--epochs", "2", "--weight-bits", "4", "--hold-steps", "0.5"];
    let run = [&QAT[..], &bits, &["--hold-out", "0.25"]].concat();
    let done = place.json(&run);
    for key in [
        "output",
        "checkpoint",
        "resumed",
        "method",
        "target",
        "teacher",
        "calibration_samples",
        "float_epochs",
        "steps",
        "epochs",
        "layers",
        "skipped",
        "notes",
        "trained",
        "input_bytes",
        "output_bytes",
        "seconds",
        "threads",
    ] {
        assert!(keys(&done).contains(&key), "{key}");
    }
    assert_eq!(
        (done["method"].as_str(), done["target"].as_str()),
        (Some("lsq"), Some("ort"))
    );
    assert_eq!(
        (
            done["samples"].as_u64(),
            done["calibration_samples"].as_u64()
        ),
        (Some(6), Some(6))
    );
    assert_eq!(done["teacher"], serde_json::Value::Null);
    let layer = &done["layers"][1];
    assert_eq!(
        (layer["node"].as_str(), layer["weight_bits"].as_u64()),
        (Some("second"), Some(4))
    );
    assert_eq!(layer["weight_step"], "v_step");
    let mut trained: Vec<&str> = done["trained"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|name| name.as_str())
        .collect();
    trained.sort_unstable();
    assert_eq!(
        trained,
        ["active_step", "v", "v_step", "w", "w_step", "x_step"]
    );
    let found = place.json(&["eval", "q.onnx", "--input", "x.npy", "--labels", "y.npy"]);
    assert_eq!(found["n"], 8);
    let report = place.json(&["inspect", "q.onnx"]);
    let operators = report["operators"].to_string();
    assert!(
        operators.contains("DequantizeLinear") && !operators.contains("LearnedFakeQuantize"),
        "{operators}"
    );
    // On a terminal and in a pipe there is a table.
    let text = String::from_utf8(place.run(&run).stdout).unwrap();
    assert!(
        text.contains("held-out loss") && text.contains("2 layers with codes"),
        "{text}"
    );
}

#[test]
fn without_labels_the_model_learns_from_itself_and_with_a_teacher_from_both() {
    let place = furnished();
    let alone = [&QAT[..6], &["--batch", "4", "--epochs", "2"]].concat();
    let done = place.json(&alone);
    assert_eq!(done["teacher"], "model.onnx");
    let taught = [
        &QAT[..],
        &["--epochs", "1", "--teacher", "model.onnx", "--alpha", "0.9"],
    ]
    .concat();
    assert_eq!(place.json(&taught)["teacher"], "model.onnx");
    let first = bytes(&place, "q.onnx");
    place.json(&[&QAT[..], &["--epochs", "1"]].concat());
    assert!(first != bytes(&place, "q.onnx"));
}

#[test]
fn a_run_that_ended_early_goes_on_to_the_same_bytes() {
    let place = furnished();
    let settings = [
        "--epochs",
        "2",
        "--float-epochs",
        "1",
        "--checkpoint-every",
        "1",
    ];
    let run = [&QAT[..], &settings].concat();
    place.json(&run);
    let names = ["q.onnx", "q.onnx.checkpoint", "q.onnx.checkpoint.float"];
    let first = names.map(|name| bytes(&place, name));
    for (resume, resumed) in [(&["--resume"][..], true), (&[], false)] {
        let done = place.json(&[&run[..], resume].concat());
        assert_eq!(done["resumed"], resumed);
        assert!(first == names.map(|name| bytes(&place, name)));
    }
    // The second half alone is left to do.
    std::fs::remove_file(place.path("q.onnx.checkpoint")).unwrap();
    place.json(&[&run[..], &["--resume"]].concat());
    assert!(first == names.map(|name| bytes(&place, name)));
    let error = place.refused(&[&run[..], &["--resume", "--lr", "0.2"]].concat());
    assert!(error.contains("belongs to another run"), "{error}");
}

#[test]
fn a_run_with_another_teacher_is_another_run() {
    let place = furnished();
    let other = ["train", "model.onnx", "-o", "other.onnx", "--epochs", "1"];
    let data = ["--train", "x.npy", "--labels", "y.npy"];
    place.json(&[&other[..], &data].concat());
    let taught =
        |teacher: &'static str| [&QAT[..], &["--epochs", "1", "--teacher", teacher]].concat();
    place.json(&taught("model.onnx"));
    place.json(&[&taught("model.onnx")[..], &["--resume"]].concat());
    let error = place.refused(&[&taught("other.onnx")[..], &["--resume"]].concat());
    assert!(error.contains("belongs to another run"), "{error}");
}

#[test]
fn a_recipe_and_arguments_go_together() {
    let place = furnished();
    let recipe = "[samples]\ninputs = [\"x.npy\"]\nlabels = [\"y.npy\"]\n[trainer]\nepochs = 2\nbatch = 4\n\
                  [qat]\nmethod = \"pact\"\nweight-bits = 3\nlayers = [{ nodes = [\"first\"], weight-bits = 8 }]\n";
    std::fs::write(place.path("r.toml"), recipe).unwrap();
    let done = place.json(&["qat", "model.onnx", "-o", "a.onnx", "--recipe", "r.toml"]);
    let bits = |done: &serde_json::Value| {
        let layers = done["layers"].as_array().unwrap();
        layers
            .iter()
            .map(|l| l["weight_bits"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        (done["method"].as_str(), bits(&done)),
        (Some("pact"), vec![8, 3])
    );
    let more = [
        "--method",
        "lsq+",
        "--weight-bits",
        "5",
        "--layer-bits",
        "second=2:8",
    ];
    let run = [
        &["qat", "model.onnx", "-o", "b.onnx", "--recipe", "r.toml"][..],
        &more,
    ]
    .concat();
    let done = place.json(&run);
    assert_eq!(
        (done["method"].as_str(), bits(&done)),
        (Some("lsq+"), vec![5, 2])
    );
    // Training alone does not do what the recipe asks for.
    let error = place.refused(&["train", "model.onnx", "-o", "a.onnx", "--recipe", "r.toml"]);
    assert!(error.contains("modelpress qat"), "{error}");
    std::fs::write(place.path("r.toml"), "[qat]\nweights = 4\n").unwrap();
    let error = place.refused(&["qat", "model.onnx", "-o", "a.onnx", "--recipe", "r.toml"]);
    assert!(
        error.contains("r.toml") && error.contains("weights"),
        "{error}"
    );
}

#[test]
fn wrong_requests_are_refused_with_what_would_do() {
    let place = furnished();
    let refused = |more: &[&str]| place.refused(&[&QAT[..], more].concat());
    assert!(
        place
            .refused(&["qat", "model.onnx", "-o", "q.onnx"])
            .contains("--train")
    );
    assert!(refused(&["--weight-bits", "9"]).contains("2..=8"));
    assert!(refused(&["--layer-bits", "first"]).contains("write NODE=W:A"));
    assert!(
        refused(&["--layer-bits", "third=4:4"])
            .contains("no quantized layer matches `third`: the layers are first, second")
    );
    assert!(refused(&["--exclude", "third"]).contains("no node or output matches `third`"));
    assert!(
        refused(&["--alpha", "1.5", "--teacher", "model.onnx"])
            .contains("alpha is 1.5, it must lie in [0, 1]")
    );
    assert!(refused(&["--alpha", "0.5"]).contains("--alpha is for --teacher beside labels"));
    // What is wrong with the settings shows before the float model is trained.
    let warm = ["--float-epochs", "1", "--layer-bits", "third=4:4"];
    assert!(refused(&warm).contains("no quantized layer matches `third`"));
    assert!(!place.path("q.onnx.checkpoint.float").exists());
    assert!(refused(&["--initialize", "he"]).contains("--float-epochs"));
    assert!(
        refused(&["--hold-steps", "20"])
            .contains("it must be 0 or more, and no more than the epochs")
    );
    assert!(
        refused(&["--loss", "mse", "--teacher", "model.onnx"])
            .contains("a teacher goes with loss cross-entropy")
    );
    let alone = [&QAT[..6], &["--float-epochs", "1"]].concat();
    assert!(
        place
            .refused(&alone)
            .contains("a warm-up without labels needs a teacher")
    );
    let same = ["qat", "model.onnx", "-o", "model.onnx", "--train", "x.npy"];
    assert!(place.refused(&same).contains("the output is the input"));
    // An integer file is not trained again: the work fails.
    place.json(&[&QAT[..], &["--epochs", "1"]].concat());
    let done = place.run(&["qat", "q.onnx", "-o", "r.onnx", "--train", "x.npy"]);
    assert_eq!(done.status.code(), Some(1));
    assert!(
        stderr(&done).contains("already quantized"),
        "{}",
        stderr(&done)
    );
    assert!(!place.path("r.onnx").exists());
}
