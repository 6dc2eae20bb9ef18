//! `distill`.

use crate::data::furnished;
use crate::program::{Place, keys, stderr};

const DISTILL: [&str; 13] = [
    "distill",
    "--teacher",
    "model.onnx",
    "--student-width",
    "0.5",
    "-o",
    "s.onnx",
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
fn a_student_that_is_made_of_its_teacher_learns_from_it() {
    let place = furnished();
    let run = [
        &DISTILL[..],
        &["--epochs", "4", "--hold-out", "0.25", "--log", "log.csv"],
    ]
    .concat();
    let done = place.json(&run);
    for key in [
        "output",
        "checkpoint",
        "resumed",
        "samples",
        "held_out",
        "losses",
        "teacher",
        "projections",
        "steps",
        "epochs",
        "watched",
        "best",
        "stopped_early",
        "trained",
        "not_initialized",
        "teacher_parameters",
        "student_parameters",
        "teacher_bytes",
        "output_bytes",
        "seconds",
        "peak_rss_bytes",
        "threads",
    ] {
        assert!(keys(&done).contains(&key), "{key}");
    }
    assert_eq!(
        done["losses"],
        serde_json::json!([{ "name": "kd", "weight": 1.0 }])
    );
    assert_eq!(done["teacher"]["runs"], "once, in memory");
    assert_eq!(
        (&done["teacher_parameters"], &done["student_parameters"]),
        (&8.into(), &4.into())
    );
    assert_eq!(done["steps"], 8);
    assert_eq!(done["epochs"][3]["validation"][1]["name"], "accuracy");
    assert_eq!(
        String::from_utf8(bytes(&place, "log.csv"))
            .unwrap()
            .lines()
            .count(),
        9
    );
    let found = place.json(&["eval", "s.onnx", "--input", "x.npy", "--labels", "y.npy"]);
    assert_eq!(found["n"], 8);
    let text = String::from_utf8(place.run(&run).stdout).unwrap();
    assert!(
        text.contains("loss: kd; the teacher ran once, in memory")
            && text.contains("4 of 8 parameters"),
        "{text}"
    );
}

#[test]
fn labels_are_not_needed_and_features_are_told_by_taps() {
    let place = furnished();
    let unlabelled = [&DISTILL[..9], &["--loss", "regression", "--epochs", "2"]].concat();
    let done = place.json(&unlabelled);
    assert_eq!(done["epochs"][1]["train"].as_array().unwrap().len(), 1);
    // Two hidden units on one side, one on the other: a projection between.
    let hint = [
        "--loss",
        "fitnet:0.5",
        "--tap",
        "active=active",
        "--epochs",
        "2",
    ];
    let done = place.json(&[&DISTILL[..], &hint].concat());
    let losses = serde_json::json!([{ "name": "cross-entropy", "weight": 1.0 }, { "name": "hint", "weight": 0.5 }]);
    assert_eq!(done["losses"], losses);
    assert_eq!(done["projections"][0]["to"], 2);
    assert_eq!(done["trained"], serde_json::json!(["w", "v"]));
    let several = [
        "--loss",
        "kd",
        "--loss",
        "rkd:2",
        "--loss",
        "similarity",
        "--tap",
        "active=active",
        "--epochs",
        "1",
    ];
    let done = place.json(&[&DISTILL[..], &several].concat());
    let names: Vec<&str> = done["losses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["kd", "rkd-distance", "rkd-angle", "similarity"]);
    assert_eq!(done["losses"][2]["weight"], 4.0);
}

#[test]
fn a_run_goes_on_to_the_same_bytes() {
    let place = furnished();
    let run = [
        &DISTILL[..],
        &[
            "--epochs",
            "3",
            "--loss",
            "kd",
            "--loss",
            "fitnet:0.1",
            "--tap",
            "active=active",
        ],
    ]
    .concat();
    place.json(&run);
    let (model, checkpoint) = (bytes(&place, "s.onnx"), bytes(&place, "s.onnx.checkpoint"));
    let again = place.json(&[&run[..], &["--resume"]].concat());
    assert_eq!(again["resumed"], true);
    assert!(bytes(&place, "s.onnx") == model && bytes(&place, "s.onnx.checkpoint") == checkpoint);
    place.json(&[&run[..], &["--teacher-folder", "said"]].concat());
    assert!(bytes(&place, "s.onnx") == model);
    let error = place.refused(&[&run[..], &["--resume", "--temperature", "2"]].concat());
    assert!(
        error.contains("belongs to another run: `losses`"),
        "{error}"
    );
}

#[test]
fn a_recipe_and_arguments_go_together() {
    let place = furnished();
    let recipe = "[samples]\ninputs = [\"x.npy\"]\nlabels = [\"y.npy\"]\n[distill.student.width]\nfactor = 0.5\n\
                  [[distill.losses]]\nloss = { kind = \"kd\", alpha = 0.5 }\n[trainer]\nepochs = 2\nbatch = 3\n";
    std::fs::write(place.path("r.toml"), recipe).unwrap();
    let run = [
        "distill",
        "--teacher",
        "model.onnx",
        "-o",
        "a.onnx",
        "--recipe",
        "r.toml",
    ];
    assert_eq!(place.json(&run)["steps"], 6);
    place.json(&[&DISTILL[..], &["--epochs", "2", "--alpha", "0.5"]].concat());
    assert!(bytes(&place, "a.onnx") == bytes(&place, "s.onnx"));
    std::fs::write(place.path("r.toml"), "[loss]\nkind = \"mse\"\n").unwrap();
    assert!(place.refused(&run).contains("losses in [[distill.losses]]"));
    std::fs::write(place.path("r.toml"), "[distill]\nlosess = []\n").unwrap();
    assert!(place.refused(&run).contains("losess"));
}

#[test]
fn wrong_requests_are_refused_with_what_would_do() {
    let place = furnished();
    let refused = |more: &[&str]| place.refused(&[&DISTILL[..], more].concat());
    let none = [
        "distill",
        "--teacher",
        "model.onnx",
        "-o",
        "s.onnx",
        "--train",
        "x.npy",
    ];
    assert!(
        place
            .refused(&none)
            .contains("there is no student: give --student FILE.onnx")
    );
    let none = [
        "distill",
        "--teacher",
        "model.onnx",
        "-o",
        "s.onnx",
        "--student-width",
        "0.5",
    ];
    assert!(place.refused(&none).contains("give --train NAME=FILE.npy"));
    assert!(refused(&["--loss", "magic"]).contains("write one of kd, kl"));
    assert!(refused(&["--pool"]).contains("--pool says what a --loss looks at"));
    // Held-out samples without labels would be scored by the teacher.
    std::fs::write(place.path("r.toml"), "[validation]\ninputs = ['x=x.npy']\n").unwrap();
    assert!(refused(&["--recipe", "r.toml"]).contains("--val-labels"));
    assert!(refused(&["--loss", "fitnet"]).contains("give --tap STUDENT=TEACHER"));
    assert!(
        refused(&["--loss", "minilm", "--tap", "a=b"])
            .contains("those of queries and those of keys")
    );
    assert!(refused(&["--tap", "active=active"]).contains("--tap has no effect"));
    assert!(refused(&["--tap", "active"]).contains("write STUDENT=TEACHER"));
    assert!(
        refused(&["--loss", "kl", "--alpha", "0.5"])
            .contains("--alpha is for --loss kd, dkd and exits")
    );
    assert!(refused(&["--loss", "exits", "--exit", "scores"]).contains("two or more with --exit"));
    assert!(refused(&["--alpha", "2"]).contains("alpha is 2"));
    assert!(refused(&["--student-layers", "9"]).contains("no repeated blocks"));
    let tapped = ["--loss", "fitnet", "--tap", "active=nowhere"];
    assert!(
        refused(&tapped)
            .contains("the teacher has no tensor `nowhere`; its outputs are [\"scores\"]")
    );
    assert!(refused(&["--mask", "m"]).contains("no field `m` for the mask"));
    let wide = [
        "distill",
        "--teacher",
        "model.onnx",
        "--student-width",
        "1.5",
        "-o",
        "s.onnx",
        "--train",
        "x.npy",
    ];
    assert!(
        place
            .refused(&wide)
            .contains("the width factor is 1.5, it must lie in (0, 1)")
    );
    let same = [
        "distill",
        "--teacher",
        "model.onnx",
        "--student",
        "model.onnx",
        "-o",
        "model.onnx",
        "--train",
        "x.npy",
    ];
    assert!(place.refused(&same).contains("the output is the input"));
    let done = place.run(&[&DISTILL[..9], &["--labels", "none.npy"]].concat());
    assert_eq!(done.status.code(), Some(1), "{}", stderr(&done));
    assert!(!place.path("s.onnx").exists());
}
