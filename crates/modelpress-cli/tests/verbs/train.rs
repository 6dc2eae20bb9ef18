//! `train`.

use crate::data::furnished;
use crate::program::{Place, RUN, check_keys, stderr};
use std::path::Path;

const TRAIN: [&str; 10] = [
    "train",
    "model.onnx",
    "-o",
    "t.onnx",
    "--train",
    "x=x.npy",
    "--labels",
    "y.npy",
    "--batch",
    "3",
];

#[test]
fn a_model_learns_and_the_outcome_says_how() {
    let place = furnished();
    let run = [
        &TRAIN[..],
        &[
            "--epochs",
            "4",
            "--hold-out",
            "0.25",
            "--log",
            "log.csv",
            "--curves",
            "c.svg",
        ],
    ]
    .concat();
    let done = place.json(&run);
    check_keys(&done, &RUN);
    check_keys(
        &done,
        &[
            "statistics",
            "not_initialized",
            "input_bytes",
            "step_ms_p50",
        ],
    );
    assert_eq!(
        (
            done["samples"].as_u64(),
            done["held_out"].as_u64(),
            done["steps"].as_u64()
        ),
        (Some(6), Some(2), Some(8))
    );
    assert_eq!(done["trained"], serde_json::json!(["w", "v"]));
    assert_eq!(done["epochs"][3]["validation"][1]["n"], 2);
    let log = String::from_utf8(place.bytes("log.csv")).unwrap();
    assert_eq!(log.lines().count(), 9);
    assert!(place.bytes("c.svg").starts_with(b"<svg"));
    assert_ne!(place.bytes("t.onnx"), place.bytes("model.onnx"));
    let found = place.json(&["eval", "t.onnx", "--input", "x.npy", "--labels", "y.npy"]);
    assert_eq!(found["n"], 8);
    // On a terminal and in a pipe there is a table.
    let text = place.run(&run);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("held-out loss") && text.contains("2 weights"),
        "{text}"
    );
}

#[test]
fn a_run_that_ended_early_goes_on_to_the_same_bytes() {
    let place = furnished();
    place.json(&[&TRAIN[..], &["--epochs", "3", "--checkpoint-every", "1"]].concat());
    let (model, checkpoint) = (place.bytes("t.onnx"), place.bytes("t.onnx.checkpoint"));
    // A finished run has nothing left to do; without --resume it begins again.
    for (resume, resumed) in [(&["--resume"][..], true), (&[], false)] {
        let run = [
            &TRAIN[..],
            &["--epochs", "3", "--checkpoint-every", "1"],
            resume,
        ]
        .concat();
        let done = place.json(&run);
        assert_eq!(done["resumed"], resumed);
        // A run that goes on from its end takes no step.
        assert_eq!(done["step_ms_p50"].is_null(), resumed);
        assert_eq!(done["epochs"].as_array().unwrap().len(), 3);
        assert!(place.bytes("t.onnx") == model && place.bytes("t.onnx.checkpoint") == checkpoint);
    }
    let error =
        place.refused(&[&TRAIN[..], &["--epochs", "3", "--lr", "0.2", "--resume"]].concat());
    assert!(
        error.contains("belongs to another run: `learning-rate` is null, here 0.2"),
        "{error}"
    );
    for (other, named) in [
        (&["--label-smoothing", "0.2"][..], "`loss`"),
        (&["--no-winograd"], "`winograd`"),
    ] {
        let run = [&TRAIN[..], &["--epochs", "3", "--resume"], other].concat();
        let error = place.refused(&run);
        assert!(
            error.contains("belongs to another run: ") && error.contains(named),
            "{error}"
        );
    }
}

#[test]
fn a_recipe_and_arguments_go_together() {
    let place = furnished();
    let recipe = "[samples]\ninputs = [\"x.npy\"]\nlabels = [\"y.npy\"]\n[trainer]\nepochs = 2\nbatch = 4\n\
                  optimizer = { kind = \"adam\" }\n";
    std::fs::write(place.path("r.toml"), recipe).unwrap();
    let done = place.json(&["train", "model.onnx", "-o", "a.onnx", "--recipe", "r.toml"]);
    assert_eq!(done["steps"], 4);
    let run = [
        "train",
        "model.onnx",
        "-o",
        "b.onnx",
        "--recipe",
        "r.toml",
        "--epochs",
        "1",
    ];
    assert_eq!(place.json(&run)["steps"], 2);
    let flags = [
        &TRAIN[..8],
        &["--epochs", "2", "--batch", "4", "--optimizer", "adamw"],
    ]
    .concat();
    place.json(&flags);
    assert!(place.bytes("a.onnx") == place.bytes("t.onnx"));
    std::fs::write(place.path("r.toml"), "[trainer]\nepoch = 2\n").unwrap();
    let error = place.refused(&["train", "model.onnx", "-o", "a.onnx", "--recipe", "r.toml"]);
    assert!(
        error.contains("r.toml") && error.contains("epoch"),
        "{error}"
    );
}

#[test]
fn wrong_requests_are_refused_with_what_would_do() {
    let place = furnished();
    let refused = |more: &[&str]| place.refused(&[&TRAIN[..], more].concat());
    let nothing = place.refused(&["train", "model.onnx", "-o", "t.onnx"]);
    assert!(
        nothing.contains("nothing to train on: give --train"),
        "{nothing}"
    );
    let unlabelled = place.refused(&TRAIN[..6]);
    assert!(
        unlabelled.contains("no labels to train on: give --labels"),
        "{unlabelled}"
    );
    let held_out = refused(&["--val", "x.npy"]);
    assert!(
        held_out.contains("--val has no labels: give --val-labels"),
        "{held_out}"
    );
    let curves = refused(&["--curves", "c.svg"]);
    assert!(
        curves.contains("curves are drawn from the log: give `log` too (--log"),
        "{curves}"
    );
    assert!(
        refused(&["--optimizer", "adam", "--momentum", "0.9"])
            .contains("--momentum is for --optimizer sgd only")
    );
    assert!(refused(&["--freeze", "conv*"]).contains("no initializer matches `conv*`"));
    assert!(refused(&["--augment", "blur"]).contains("write flip"));
    assert!(refused(&["--augment", "flip"]).contains("two axes or more"));
    assert!(refused(&["--lr", "-1"]).contains("the learning rate is -1"));
    let smoothed = ["--loss", "mse", "--label-smoothing", "0.1"];
    assert!(refused(&smoothed).contains("--label-smoothing is for losses of classes only"));
    let same = [
        "train",
        "model.onnx",
        "-o",
        "model.onnx",
        "--train",
        "x.npy",
        "--labels",
        "y.npy",
    ];
    assert!(place.refused(&same).contains("the output is the input"));
    let other = [
        "train",
        "model.onnx",
        "-o",
        "t.onnx",
        "--train",
        "z=x.npy",
        "--labels",
        "y.npy",
    ];
    assert!(place.refused(&other).contains("the model has no input `z`"));
    // Labels for fewer samples: the work fails.
    let few = modelpress::tensor::Tensor::vector(vec![0u8, 1]);
    modelpress::tensor::npy::write(place.path("few.npy"), &few).unwrap();
    let run = [
        "train",
        "model.onnx",
        "-o",
        "t.onnx",
        "--train",
        "x.npy",
        "--labels",
        "few.npy",
    ];
    let done = place.run(&run);
    assert_eq!(done.status.code(), Some(1));
    assert!(
        stderr(&done).contains("`labels` has 2 samples"),
        "{}",
        stderr(&done)
    );
    assert!(!place.path("t.onnx").exists());
}

/// A place with images of 4 x 4 pixels `i.npy`, their labels `l.npy`, and a model `c.onnx` of a convolution and a mean.
fn images() -> Place {
    use modelpress::ir::io::SaveOptions;
    use modelpress::ir::{Dim, Fact, Graph, Model, Node};
    use modelpress::tensor::{DType, Tensor, npy};
    let place = Place::new();
    let mut graph = Graph::new("images");
    let shape = [
        Dim::symbol("batch"),
        1usize.into(),
        4usize.into(),
        4usize.into(),
    ];
    let x = graph
        .add_value("x", Fact::tensor(DType::F32, shape))
        .unwrap();
    graph.add_input(x);
    let w: Vec<f32> = (0..27).map(|i| (i % 7) as f32 * 0.1 - 0.3).collect();
    let w = Tensor::from_vec(&[3, 1, 3, 3], w).unwrap();
    let w = graph.add_initializer("w", w).unwrap();
    let mut value = |name: &str| graph.add_value(name, Fact::Unknown).unwrap();
    let (c, mean, y) = (value("c"), value("mean"), value("y"));
    graph.add_node(Node::new("Conv", [x, w], [c])).unwrap();
    let pooled = Node::new("GlobalAveragePool", [c], [mean]);
    graph.add_node(pooled).unwrap();
    graph.add_node(Node::new("Flatten", [mean], [y])).unwrap();
    graph.add_output(y);
    let model = Model::new(graph, 17);
    model
        .save(place.path("c.onnx"), &SaveOptions::default())
        .unwrap();
    let pixels: Vec<u8> = (0..12 * 16).map(|i| (i * 5 % 16) as u8).collect();
    let pixels = Tensor::from_vec(&[12, 1, 4, 4], pixels).unwrap();
    npy::write(place.path("i.npy"), &pixels).unwrap();
    let labels: Vec<i64> = (0..12).map(|i| i % 3).collect();
    npy::write(place.path("l.npy"), &Tensor::vector(labels)).unwrap();
    place
}

const IMAGES: [&str; 10] = [
    "train", "c.onnx", "-o", "t.onnx", "--train", "i.npy", "--labels", "l.npy", "--batch", "4",
];

#[test]
fn each_epoch_is_told_where_no_bar_is_drawn() {
    let place = furnished();
    let run = [
        &TRAIN[..],
        &["--epochs", "2", "--hold-out", "0.25", "--json"],
    ]
    .concat();
    let output = place.run(&run);
    let told = stderr(&output);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 2, "{told}");
    for (line, begin) in lines.iter().zip(["epoch 1: loss ", "epoch 2: loss "]) {
        assert!(
            line.starts_with(begin) && line.contains("accuracy") && line.contains("held out: loss"),
            "{line}"
        );
    }
    let done: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    // The best value is a number.
    let epochs = done["epochs"].as_array().unwrap();
    let accuracies = epochs
        .iter()
        .map(|e| e["validation"][1]["value"].as_f64().unwrap());
    assert_eq!(done["best"]["value"].as_f64(), accuracies.reduce(f64::max));
}

#[test]
fn a_crop_that_leaves_nothing_of_an_image_is_refused() {
    let place = images();
    let with =
        |padding: &'static str| [&IMAGES[..], &["--epochs", "1", "--augment", padding]].concat();
    place.json(&with("crop:3"));
    let refused = place.refused(&with("crop:4"));
    assert!(
        refused.contains("crop: padding = 4 of images [1, 4, 4]: it must be less than their sides"),
        "{refused}"
    );
}

#[test]
fn the_first_samples_are_taken_before_some_are_held_out() {
    let place = images();
    let run = [
        &IMAGES[..],
        &["--epochs", "1", "--limit", "8", "--hold-out", "0.25"],
    ]
    .concat();
    let done = place.json(&run);
    assert_eq!(
        (&done["samples"], &done["held_out"]),
        (&6.into(), &2.into())
    );
    let all = place.json(&[&IMAGES[..], &["--epochs", "1", "--limit", "100"]].concat());
    assert_eq!(all["samples"], 12);
}

#[test]
fn a_run_goes_on_with_its_own_samples_and_model_only() {
    use modelpress::tensor::{Tensor, npy};
    let place = images();
    let run = [&IMAGES[..], &["--epochs", "2"]].concat();
    place.json(&run);
    let resume = [&run[..], &["--resume"]].concat();
    assert_eq!(place.json(&resume)["resumed"], true);
    let labels = npy::read(place.path("l.npy")).unwrap();
    npy::write(place.path("l.npy"), &Tensor::vector(vec![1i64; 12])).unwrap();
    let error = place.refused(&resume);
    assert!(
        error.contains("belongs to another run: `samples`"),
        "{error}"
    );
    npy::write(place.path("l.npy"), &labels).unwrap();
    std::fs::copy(place.path("t.onnx"), place.path("c.onnx")).unwrap();
    let error = place.refused(&resume);
    assert!(
        error.contains("belongs to another run: `weights of the model`"),
        "{error}"
    );
}

#[test]
fn arguments_change_what_they_name_and_nothing_beside_it() {
    let place = furnished();
    let recipe = |trainer: &str, loss: &str| {
        format!(
            "[samples]\ninputs = [\"x.npy\"]\nlabels = [\"y.npy\"]\n[loss]\n{loss}\n[trainer]\nepochs = 3\nbatch = 4\n{trainer}"
        )
    };
    let model = |text: String, flags: &[&str]| {
        std::fs::write(place.path("r.toml"), text).unwrap();
        let run = ["train", "model.onnx", "-o", "t.onnx", "--recipe", "r.toml"];
        place.json(&[&run[..], flags].concat());
        place.bytes("t.onnx.checkpoint")
    };
    let smooth = "kind = \"cross-entropy\"\nlabel-smoothing = 0.2";
    let own = "optimizer = { kind = \"adam\", beta1 = 0.5 }\naverage = { decay = 0.5, start = \"bias-corrected\" }\n\
               stopping = { patience = 7, least-gain = 0.25 }\nschedule = { kind = \"cosine\", minimum = 0.0005 }";
    let whole = own.replace("0.5 }\n", "0.5, weight-decay = 0.1 }\n");
    let expected = model(recipe(&whole, smooth), &[]);
    let fewer = whole
        .replace("patience = 7", "patience = 2")
        .replace("decay = 0.5,", "decay = 0.9,");
    let flags = [
        "--patience",
        "7",
        "--ema",
        "0.5",
        "--loss",
        "cross-entropy",
        "--optimizer",
        "adamw",
        "--schedule",
        "cosine",
        "--weight-decay",
        "0.1",
    ];
    let found = model(recipe(&fewer, smooth), &flags);
    assert!(found == expected);
    let other = model(recipe(own, smooth), &[]);
    assert!(other != expected);
}

#[test]
fn what_cannot_be_written_is_told_before_the_run() {
    let place = furnished();
    let unwritable = Path::new("/proc");
    if !unwritable.is_dir() {
        return;
    }
    let before = place.files();
    let mut run = TRAIN;
    run[3] = "/proc/t.onnx";
    let output = place.run(&[&run[..], &["--checkpoint", "c"]].concat());
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        told.contains("/proc/t.onnx: ") && !told.contains("epoch 1"),
        "{told}"
    );
    assert_eq!(place.files(), before);
}
