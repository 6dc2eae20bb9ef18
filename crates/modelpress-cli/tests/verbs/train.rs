//! `train`.

use crate::data::furnished;
use crate::program::{Place, keys, stderr};

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

fn bytes(place: &Place, name: &str) -> Vec<u8> {
    std::fs::read(place.path(name)).unwrap()
}

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
    for key in [
        "epochs",
        "steps",
        "best",
        "watched",
        "trained",
        "seconds",
        "checkpoint",
        "threads",
        "output_bytes",
    ] {
        assert!(keys(&done).contains(&key), "{key}");
    }
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
    let log = String::from_utf8(bytes(&place, "log.csv")).unwrap();
    assert_eq!(log.lines().count(), 9);
    assert!(bytes(&place, "c.svg").starts_with(b"<svg"));
    assert_ne!(bytes(&place, "t.onnx"), bytes(&place, "model.onnx"));
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
    let (model, checkpoint) = (bytes(&place, "t.onnx"), bytes(&place, "t.onnx.checkpoint"));
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
        assert!(
            bytes(&place, "t.onnx") == model && bytes(&place, "t.onnx.checkpoint") == checkpoint
        );
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
    assert!(bytes(&place, "a.onnx") == bytes(&place, "t.onnx"));
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
    assert!(
        place
            .refused(&["train", "model.onnx", "-o", "t.onnx"])
            .contains("--train")
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
