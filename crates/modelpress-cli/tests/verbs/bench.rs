//! `bench` and `demo`.

use crate::data::furnished;
use crate::program::{Place, keys};

#[test]
fn bench_makes_inputs_up_and_orders_its_percentiles() {
    let place = furnished();
    let found = place.json(&["bench", "model.onnx", "--runs", "20", "--dim", "batch=3"]);
    for key in [
        "p50_ms",
        "p95_ms",
        "p99_ms",
        "mean_ms",
        "runs",
        "threads",
        "throughput_per_s",
    ] {
        assert!(keys(&found).contains(&key), "{key}");
    }
    assert_eq!((&found["runs"], &found["threads"]), (&20.into(), &1.into()));
    assert_eq!(found["batch"], 3);
    let ms = |key: &str| found[key].as_f64().unwrap();
    assert!(ms("min_ms") > 0.0);
    assert!(ms("p50_ms") <= ms("p95_ms") && ms("p95_ms") <= ms("p99_ms"));
    assert!((ms("throughput_per_s") * ms("mean_ms") / 3000.0 - 1.0).abs() < 0.05);
    let share: f64 = found["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["share"].as_f64().unwrap())
        .sum();
    assert!((share - 1.0).abs() < 1e-6);
    let times: Vec<f64> = found["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["mean_ms"].as_f64().unwrap())
        .collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
}

#[test]
fn the_demonstration_keeps_the_accuracy_in_fewer_bytes() {
    let place = Place::new();
    let found = place.json(&["demo"]);
    let (float, int8) = (&found["models"][0], &found["models"][1]);
    assert_eq!(float["accuracy"]["n"], 500);
    assert!(float["accuracy"]["value"].as_f64().unwrap() >= 0.98);
    assert!(int8["accuracy"]["value"].as_f64().unwrap() >= 0.97);
    assert!(found["same_class"]["value"].as_f64().unwrap() >= 0.98);
    let bytes = |row: &serde_json::Value| row["bytes"].as_u64().unwrap();
    assert!(bytes(int8) * 2 < bytes(float));
    for file in [
        "float.onnx",
        "int8.onnx",
        "report.json",
        "report.md",
        "held_out_x.npy",
    ] {
        assert!(place.path("modelpress-demo").join(file).is_file(), "{file}");
    }
    // The lines of the report run as they stand.
    let report = std::fs::read_to_string(place.path("modelpress-demo/report.md")).unwrap();
    let lines: Vec<&str> = report
        .lines()
        .filter(|l| l.starts_with("modelpress "))
        .collect();
    assert!(
        lines.iter().any(|l| l.starts_with("modelpress eval ")),
        "{report}"
    );
    for line in lines {
        let arguments = line.split_whitespace().skip(1);
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_modelpress"))
            .args(arguments)
            .current_dir(place.path("modelpress-demo"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{line}");
    }
}
