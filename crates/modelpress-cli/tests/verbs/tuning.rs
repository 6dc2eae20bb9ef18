//! `--autotune`: what is measured once is kept, and results stay.

use crate::data::{furnished, write_convolutions};
use crate::program::{Place, keys, stderr};
use modelpress::tensor::npy;
use serde_json::Value;

/// A place with a model of convolutions.
fn convolutions() -> Place {
    let place = Place::new();
    write_convolutions(&place, "model.onnx");
    place
}

fn chosen(report: &Value) -> Vec<(&Value, &Value)> {
    let steps = report["steps"].as_array().unwrap();
    steps.iter().map(|s| (&s["node"], &s["chosen"])).collect()
}

#[test]
fn bench_measures_once_and_shows_what_it_chose() {
    let place = convolutions();
    let bench = [
        "bench",
        "model.onnx",
        "--runs",
        "5",
        "--autotune=choices.json",
    ];
    let first = place.json(&bench);
    let report = &first["autotune"];
    assert_eq!(keys(report), ["measured", "remarks", "seconds", "steps"]);
    assert!(report["measured"].as_u64() > Some(0));
    assert!(report["seconds"].as_f64() > Some(0.0));
    let step = &report["steps"][0];
    let all = [
        "chosen",
        "is_measured",
        "kernel",
        "ms",
        "node",
        "rule",
        "rule_ms",
    ];
    assert_eq!(keys(step), all);
    assert!(step["ms"].as_f64() > Some(0.0) && step["rule_ms"].as_f64() >= step["ms"].as_f64());
    // The profile is of a second session: it took its choices from the file.
    let conv = first["layers"].as_array().unwrap().iter();
    let conv: Vec<&Value> = conv.filter(|l| l["kernel"] == "conv.f32").collect();
    assert!(!conv.is_empty());
    let written = std::fs::read(place.path("choices.json")).unwrap();
    let again = place.json(&bench);
    assert_eq!(again["autotune"]["measured"], 0);
    assert_eq!(chosen(&again["autotune"]), chosen(report));
    assert_eq!(std::fs::read(place.path("choices.json")).unwrap(), written);
    let text = String::from_utf8(place.run(&bench).stdout).unwrap();
    assert!(
        text.contains("autotune    0 of ") && text.contains("variant"),
        "{text}"
    );
    let plain = place.json(&bench[..4]);
    assert!(plain.get("autotune").is_none());
}

#[test]
fn runs_and_scores_stay_and_say_what_was_measured() {
    let place = convolutions();
    let run = |dir: &str, more: &[&str]| {
        let run = [
            "run",
            "model.onnx",
            "--input",
            "x=x.npy",
            "--output-dir",
            dir,
        ];
        place.json(&[&run[..], more].concat())
    };
    run("plain", &[]);
    let tuned = run("tuned", &["--autotune=choices.json"]);
    assert!(tuned["autotune"]["measured"].as_u64() > Some(0));
    let read = |dir: &str| npy::read(place.path(dir).join("y.npy")).unwrap();
    let (plain, tuned) = (read("plain"), read("tuned"));
    assert_eq!(plain.shape(), tuned.shape());
    let plain = plain.as_slice::<f32>().unwrap();
    for (a, b) in plain.iter().zip(tuned.as_slice::<f32>().unwrap()) {
        assert!((a - b).abs() <= 1e-5 * (1.0 + a.abs()), "{a} {b}");
    }
    let only_read = run("read", &["--autotune=none.json", "--autotune-read-only"]);
    assert_eq!(only_read["autotune"]["measured"], 0);
    assert!(!place.path("none.json").exists());

    let place = furnished();
    let eval = [
        "eval",
        "model.onnx",
        "--input",
        "x.npy",
        "--labels",
        "y.npy",
    ];
    let plain = place.json(&eval);
    let tuned = place.json(&[&eval[..], &["--autotune=choices.json"]].concat());
    assert_eq!(plain["value"], tuned["value"]);
    assert_eq!(
        keys(&tuned["autotune"]),
        ["measured", "remarks", "seconds", "steps"]
    );
}

#[test]
fn a_file_that_is_no_cache_is_noted_and_kept() {
    let place = convolutions();
    std::fs::write(place.path("notes.json"), "[\"mine\"]").unwrap();
    let bench = [
        "bench",
        "model.onnx",
        "--runs",
        "2",
        "--autotune=notes.json",
    ];
    let output = place.run(&bench);
    assert!(output.status.success());
    let text = stderr(&output);
    let note = "note: the file of choices notes.json is ignored and left as it is: ";
    assert!(text.contains(note), "{text}");
    assert!(text.contains("delete it, or name another one"), "{text}");
    assert_eq!(
        std::fs::read_to_string(place.path("notes.json")).unwrap(),
        "[\"mine\"]"
    );
}

#[test]
fn without_a_file_choices_are_kept_in_the_cache_folder() {
    let place = convolutions();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_modelpress"))
        .args([
            "bench",
            "model.onnx",
            "--runs",
            "2",
            "--threads",
            "1",
            "--autotune",
        ])
        .env("XDG_CACHE_HOME", place.path("cache"))
        .current_dir(place.path("."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let kept = std::fs::read(place.path("cache/modelpress/autotune.json")).unwrap();
    let kept: Value = serde_json::from_slice(&kept).unwrap();
    assert_eq!(kept["hosts"].as_array().unwrap().len(), 1);
    let refused = place.refused(&["bench", "model.onnx", "--autotune-read-only"]);
    assert!(refused.contains("--autotune"), "{refused}");
}

#[test]
fn verbs_that_tune_nothing_refuse_and_folders_are_not_made() {
    let place = furnished();
    let train = [
        "train",
        "model.onnx",
        "-o",
        "t.onnx",
        "--train",
        "x.npy",
        "--labels",
        "y.npy",
    ];
    let quantize = [
        "quantize",
        "model.onnx",
        "-o",
        "q.onnx",
        "--mode",
        "dynamic",
    ];
    for verb in [&["inspect", "model.onnx"][..], &train, &quantize] {
        let refused = place.refused(&[verb, &["--autotune=choices.json"]].concat());
        assert!(
            refused.contains("--autotune is for bench, run, eval and compare"),
            "{refused}"
        );
    }
    let before = place.files();
    let bench = [
        "bench",
        "model.onnx",
        "--runs",
        "2",
        "--autotune=none/choices.json",
    ];
    let line = place.error(&bench);
    assert!(line.contains("none: there is no such folder"), "{line}");
    assert_eq!(place.files(), before);
}

#[test]
fn run_eval_and_compare_say_in_text_what_was_measured() {
    let place = convolutions();
    let tuned = ["--autotune=choices.json"];
    let text = |arguments: &[&str]| {
        let output = place.run(&[arguments, &tuned].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let run = [
        "run",
        "model.onnx",
        "--input",
        "x=x.npy",
        "--output-dir",
        "out",
    ];
    assert!(text(&run).contains("autotune    "));
    let compare = ["compare", "model.onnx", "model.onnx", "--input", "x=x.npy"];
    assert_eq!(text(&compare).matches("autotune    ").count(), 2);
    let found = place.json(&[&compare[..], &tuned].concat());
    assert_eq!(found["autotune_b"]["measured"], 0);
    let place = furnished();
    let eval = [
        "eval",
        "model.onnx",
        "--input",
        "x.npy",
        "--labels",
        "y.npy",
    ];
    let output = place.run(&[&eval[..], &tuned].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("autotune    "), "{text}");
    let read_only =
        place.run(&[&eval[..], &["--autotune=none.json", "--autotune-read-only"]].concat());
    let text = stderr(&read_only);
    assert!(
        text.contains("there is no file none.json: all steps run as by rule"),
        "{text}"
    );
}
