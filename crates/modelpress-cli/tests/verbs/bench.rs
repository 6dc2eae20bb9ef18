//! `bench` and `demo`.

use crate::data::{furnished, write_convolutions};
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

/// The arguments, run with a cache folder in the place.
fn with_cache(place: &Place, arguments: &[&str]) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_modelpress"))
        .args(arguments)
        .args(["--threads", "1"])
        .env("XDG_CACHE_HOME", place.path("cache"))
        .current_dir(place.path("."))
        .output()
        .unwrap()
}

#[test]
fn bench_counts_the_work_of_layers_and_writes_a_trace() {
    let place = Place::new();
    write_convolutions(&place, "model.onnx");
    let bench = ["bench", "model.onnx", "--runs", "5", "--trace", "run.json"];
    let found = place.json(&bench);
    let layers = found["layers"].as_array().unwrap();
    let layer = &layers[0];
    assert_eq!(
        keys(layer),
        [
            "bytes",
            "gbytes_per_s",
            "gflops",
            "kernel",
            "macs",
            "mean_ms",
            "node",
            "of_roofline",
            "op",
            "share",
            "variant"
        ]
    );
    // 8 filters of 2·9 taps on 4 x 4 pixels, 4 of 8 on the result.
    let macs: u64 = layers.iter().filter_map(|l| l["macs"].as_u64()).sum();
    assert_eq!(macs, 8 * 18 * 16 + 4 * 8 * 16);
    assert!(layers.iter().any(|l| l["gflops"].as_f64() > Some(0.0)));
    assert!(found["predicted"].is_null() && layer["of_roofline"].is_null());
    let trace = std::fs::read(place.path("run.json")).unwrap();
    let trace: serde_json::Value = serde_json::from_slice(&trace).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert_eq!(events.len(), layers.len());
    let time = |event: &serde_json::Value, key: &str| event[key].as_f64().unwrap();
    assert_eq!(time(&events[0], "ts"), 0.0);
    for (event, next) in events.iter().zip(&events[1..]) {
        assert_eq!(event["ph"], "X");
        assert!(time(event, "ts") + time(event, "dur") <= time(next, "ts"));
    }
    let text = String::from_utf8(place.run(&bench).stdout).unwrap();
    assert!(
        text.contains("GFLOP/s") && !text.contains("of roofline"),
        "{text}"
    );
    let refused = place.run(&["bench", "model.onnx", "--trace", "model.onnx"]);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn bench_predicts_from_rates_that_it_keeps_and_draws_the_roofline() {
    let place = Place::new();
    write_convolutions(&place, "a & <b>.onnx");
    let bench = ["bench", "a & <b>.onnx", "--runs", "5", "--predict"];
    let drawing = [&bench[..], &["--picture", "layers.svg", "--json"]].concat();
    let output = with_cache(&place, &drawing);
    assert!(output.status.success(), "{output:?}");
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let predicted = &found["predicted"];
    assert_eq!(
        keys(predicted),
        ["error", "overlapped_ms", "sum_ms", "unknown_steps"]
    );
    assert_eq!(predicted["unknown_steps"], 0);
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let error = number(&predicted["sum_ms"]) / number(&found["p50_ms"]) - 1.0;
    assert!((number(&predicted["error"]) - error).abs() < 1e-3);
    assert!(number(&predicted["overlapped_ms"]) > 0.0);
    let layers = found["layers"].as_array().unwrap();
    assert!(layers.iter().any(|l| l["of_roofline"].as_f64() > Some(0.0)));
    let picture = std::fs::read_to_string(place.path("layers.svg")).unwrap();
    assert!(picture.contains("a &amp; &lt;b&gt;.onnx: "), "{picture}");
    well_formed(&picture);
    assert_eq!(picture.matches("<circle").count(), {
        let multiplies = |l: &&serde_json::Value| l["gflops"].is_number();
        layers.iter().filter(multiplies).count()
    });
    let kept: Vec<_> = std::fs::read_dir(place.path("cache/modelpress"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let [kept] = &kept[..] else {
        panic!("{kept:?}")
    };
    // What is kept is used; what is damaged is measured anew.
    let before = std::fs::read(kept).unwrap();
    let text = String::from_utf8(with_cache(&place, &bench).stdout).unwrap();
    assert!(
        text.contains("predicted   ") && text.contains(" %)"),
        "{text}"
    );
    assert!(text.contains("of roofline"), "{text}");
    assert_eq!(std::fs::read(kept).unwrap(), before);
    std::fs::write(kept, &before[..before.len() / 2]).unwrap();
    assert!(with_cache(&place, &bench).status.success());
    let after: serde_json::Value = serde_json::from_slice(&std::fs::read(kept).unwrap()).unwrap();
    assert!(number(&after["f32_macs_per_second"]) > 0.0);
}

/// Holds that each element of an XML text is closed in its turn, and that no text holds a sign of XML.
fn well_formed(xml: &str) {
    let mut open = Vec::new();
    let mut rest = xml;
    while let Some(start) = rest.find('<') {
        let text = &rest[..start];
        assert!(!text.contains('>'), "{text}");
        let length = rest[start..].find('>').unwrap();
        let tag = &rest[start + 1..start + length];
        rest = &rest[start + length + 1..];
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        match (tag.strip_prefix('/'), tag.ends_with('/')) {
            (Some(name), _) => assert_eq!(open.pop().as_deref(), Some(name)),
            (None, true) => {}
            (None, false) => open.push(tag.split(' ').next().unwrap().to_owned()),
        }
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest}");
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
