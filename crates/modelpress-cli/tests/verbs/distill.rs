//! `distill`.

use crate::data::furnished;
use crate::program::{RUN, check_keys, stderr};

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

#[test]
fn a_student_that_is_made_of_its_teacher_learns_from_it() {
    let place = furnished();
    let run = [
        &DISTILL[..],
        &["--epochs", "4", "--hold-out", "0.25", "--log", "log.csv"],
    ]
    .concat();
    let done = place.json(&run);
    check_keys(&done, &RUN);
    let own = [
        "losses",
        "teacher",
        "projections",
        "unreached",
        "generations",
        "not_initialized",
        "teacher_parameters",
        "student_parameters",
        "teacher_bytes",
        "peak_rss_bytes",
    ];
    check_keys(&done, &own);
    assert!(done["best"]["value"].is_number());
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
        String::from_utf8(place.bytes("log.csv"))
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
    let (model, checkpoint) = (place.bytes("s.onnx"), place.bytes("s.onnx.checkpoint"));
    let again = place.json(&[&run[..], &["--resume"]].concat());
    assert_eq!(again["resumed"], true);
    assert!(place.bytes("s.onnx") == model && place.bytes("s.onnx.checkpoint") == checkpoint);
    place.json(&[&run[..], &["--teacher-folder", "said"]].concat());
    assert!(place.bytes("s.onnx") == model);
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
    assert!(place.bytes("a.onnx") == place.bytes("s.onnx"));
    std::fs::write(place.path("r.toml"), "[loss]\nkind = \"mse\"\n").unwrap();
    assert!(place.refused(&run).contains("losses in [[distill.losses]]"));
    std::fs::write(place.path("r.toml"), "[qat]\nweight-bits = 4\n").unwrap();
    assert!(
        place
            .refused(&run)
            .contains("`qat` has no effect on distillation")
    );
    std::fs::write(place.path("r.toml"), "[trainer]\noutputs = ['scores']\n").unwrap();
    assert!(
        place
            .refused(&run)
            .contains("`trainer.outputs` has no effect on distillation")
    );
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
            .contains("--alpha is for --loss kd, dkd, exits and binary-kd")
    );
    assert!(refused(&["--loss", "exits", "--exit", "scores"]).contains("two or more with --exit"));
    assert!(refused(&["--alpha", "2"]).contains("alpha is 2"));
    let negatives = ["--loss", "kl", "--negatives", "4"];
    assert!(refused(&negatives).contains("--negatives is for --loss crd"));
    assert!(refused(&["--loss", "crd"]).contains("give --tap STUDENT=TEACHER"));
    assert!(refused(&["--student-layers", "9"]).contains("no repeated blocks"));
    let tapped = ["--loss", "fitnet", "--tap", "active=nowhere"];
    assert!(
        refused(&tapped)
            .contains("model.onnx has no tensor `nowhere`; its outputs are [\"scores\"]")
    );
    let near = ["--loss", "fitnet", "--tap", "hiden=active"];
    assert!(refused(&near).contains("the student has no tensor `hiden` (did you mean `hidden`?)"));
    assert!(refused(&["--mask", "x"]).contains("the mask (--mask) has no effect on these losses"));
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

#[test]
fn a_student_of_a_file_takes_the_place_of_that_of_the_recipe() {
    let place = furnished();
    std::fs::write(
        place.path("r.toml"),
        "[distill.student.width]\nfactor = 0.5\n",
    )
    .unwrap();
    let run = [
        "distill",
        "--teacher",
        "model.onnx",
        "--student",
        "model.onnx",
        "-o",
        "s.onnx",
        "--train",
        "x.npy",
        "--recipe",
        "r.toml",
        "--epochs",
        "1",
    ];
    let done = place.json(&run);
    assert_eq!(done["student_parameters"], 8);
}

#[test]
fn contrast_and_generations_go_on_to_the_same_bytes() {
    let place = furnished();
    let contrast = [
        "--loss",
        "kd",
        "--loss",
        "crd:0.5",
        "--tap",
        "active=active",
    ];
    let more = ["--negatives", "3", "--embedding", "4", "--epochs", "3"];
    let run = [&DISTILL[..], &contrast, &more].concat();
    let done = place.json(&run);
    assert_eq!(done["losses"][1]["name"], "crd");
    assert_eq!(done["projections"][0]["to"], 4);
    assert_eq!(done["projections"][1]["teacher"], "active");
    let (model, checkpoint) = (place.bytes("s.onnx"), place.bytes("s.onnx.checkpoint"));
    assert_eq!(
        place.json(&[&run[..], &["--resume"]].concat())["resumed"],
        true
    );
    assert!(place.bytes("s.onnx") == model && place.bytes("s.onnx.checkpoint") == checkpoint);

    let born = [
        &DISTILL[..3],
        &DISTILL[5..],
        &["--hold-out", "0.25", "--epochs", "2"],
    ]
    .concat();
    let keeps = place.refused(&[&born[..], &["--generations", "3"]].concat());
    assert!(
        keeps.contains("generations of one network begin anew"),
        "{keeps}"
    );
    let anew = ["--initialize", "he", "--generations"];
    let done = place.json(&[&born[..], &anew, &["3"]].concat());
    let generations = done["generations"].as_array().unwrap();
    assert_eq!(generations.len(), 3);
    for (number, generation) in generations.iter().enumerate() {
        assert_eq!(generation["generation"], number + 1);
        assert_eq!(generation["seed"], number);
        let scores = &generation["last"]["validation"];
        assert_eq!(scores[1]["name"], "accuracy");
        let checkpoint = format!("s.onnx.checkpoint.{}", number + 1);
        assert_eq!(generation["checkpoint"], checkpoint.as_str());
        assert!(place.path(checkpoint).exists());
    }
    let third = place.bytes("s.onnx");
    // The second one, and the third again, without a step.
    let done = place.json(&[&born[..], &anew, &["2", "--resume"]].concat());
    assert_eq!(done["generations"][1]["resumed"], true);
    assert!(place.bytes("s.onnx") != third);
    place.json(&[&born[..], &anew, &["3", "--resume"]].concat());
    assert!(place.bytes("s.onnx") == third);
    let text = place.run(&[&born[..], &anew, &["2"]].concat());
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("generation 2: held out: loss "), "{text}");
    // Where the first one begins anew the checkpoints of the others are of other teachers.
    std::fs::remove_file(place.path("s.onnx.checkpoint.1")).unwrap();
    let other = ["3", "--resume", "--alpha", "0.5"];
    let done = place.json(&[&born[..], &anew, &other].concat());
    for generation in done["generations"].as_array().unwrap() {
        assert_eq!(generation["resumed"], false);
    }
}

#[test]
fn labels_that_do_not_exclude_one_another_are_learned() {
    use modelpress::tensor::{Tensor, npy};
    let place = furnished();
    // Whether each of the two numbers is positive, in a row of its own; the last sample has both labels.
    let truths = vec![
        1.0f32, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0,
    ];
    let truths = Tensor::from_vec(&[8, 2], truths).unwrap();
    npy::write(place.path("truths.npy"), &truths).unwrap();
    let run = [
        "distill",
        "--teacher",
        "model.onnx",
        "--student",
        "model.onnx",
        "-o",
        "s.onnx",
        "--train",
        "x=x.npy",
        "--labels",
        "truths.npy",
        "--loss",
        "binary-kd",
        "--batch",
        "4",
        "--epochs",
        "20",
        "--lr",
        "0.1",
        "--step-share",
        "0.03",
    ];
    let done = place.json(&run);
    assert_eq!(
        done["losses"],
        serde_json::json!([{ "name": "binary-kd", "weight": 1.0 }])
    );
    let epochs = done["epochs"].as_array().unwrap();
    // No classes, no accuracy.
    assert_eq!(epochs[0]["train"].as_array().unwrap().len(), 1);
    let loss = |at: usize| epochs[at]["train"][0]["value"].as_f64().unwrap();
    assert!(loss(19) < 0.98 * loss(0), "{} to {}", loss(0), loss(19));
}

#[test]
fn weights_that_no_loss_leads_to_are_told_before_the_run_and_after_it() {
    let place = furnished();
    let hint = [
        "--loss",
        "fitnet",
        "--tap",
        "hidden=hidden",
        "--epochs",
        "1",
    ];
    let run = [&DISTILL[..9], &hint].concat();
    let output = place.run(&run);
    let (told, text) = (stderr(&output), String::from_utf8(output.stdout).unwrap());
    for text in [told, text] {
        assert!(
            text.contains("note: no loss leads to `v`, which stay as they are"),
            "{text}"
        );
    }
    assert_eq!(place.json(&run)["unreached"], serde_json::json!(["v"]));
    let both = [&run[..], &["--loss", "kl"]].concat();
    assert_eq!(place.json(&both)["unreached"], serde_json::json!([]));
}

#[test]
fn nothing_that_a_run_reads_is_replaced() {
    use modelpress::ir::Model;
    use modelpress::ir::io::{ExternalData, SaveOptions};
    let place = furnished();
    // The folder of what the teacher says, with an input in it.
    std::fs::create_dir(place.path("said")).unwrap();
    std::fs::copy(place.path("x.npy"), place.path("said/0-0.npy")).unwrap();
    let mut run = DISTILL;
    run[8] = "x=said/0-0.npy";
    let before = place.bytes("said/0-0.npy");
    let error = place.refused(&[&run[..], &["--teacher-folder", "said"]].concat());
    assert!(
        error.contains("said/0-0.npy: --teacher-folder would replace it"),
        "{error}"
    );
    assert!(place.bytes("said/0-0.npy") == before);
    // Weights beside the model.
    let model = Model::load(place.path("model.onnx")).unwrap();
    let beside = SaveOptions::with_external_data(ExternalData::Always {
        file: Some("w.data".into()),
        threshold: 0,
    });
    model.save(place.path("model.onnx"), &beside).unwrap();
    for flag in ["--checkpoint", "--log", "--curves"] {
        let log: &[&str] = if flag == "--curves" {
            &["--log", "l.csv"]
        } else {
            &[]
        };
        let error = place.refused(&[&DISTILL[..], &[flag, "w.data"], log].concat());
        assert!(error.contains("w.data: the output is the input"), "{error}");
        let train = ["train", "model.onnx", "-o", "t.onnx", "--train", "x.npy"];
        let more = ["--labels", "y.npy", flag, "w.data"];
        let error = place.refused(&[&train[..], &more, log].concat());
        assert!(error.contains("w.data: the output is the input"), "{error}");
    }
}
