//! `cargo xtask study NAME [ARGUMENT …]`: measurements beside the peers, longer than a test may take.
//!
//! Each is a script in `xtask/python` that is given a release build of the program and the data pack (the folder that
//! `MODELPRESS_DATA` names, or `../shared/data`); it prints the rows of `docs/measurements.md`.

use std::path::PathBuf;

use crate::process::{self, Error};
use crate::tally::Tally;
use crate::{venv, workspace};

/// A study by its name, and what it measures.
const STUDIES: &[(&str, &str)] = &[
    (
        "int8",
        "accuracy and agreement of int8 files in ONNX Runtime [MODEL …]",
    ),
    (
        "fidelity",
        "how far int8 files of models without labels stay from float [magika|ultraface|silero …]",
    ),
    (
        "cost",
        "time and peak memory of quantizing beside onnxruntime.quantization [JOB …]",
    ),
    (
        "latency",
        "time of one run beside ONNX Runtime [--threads N[,N…]] [CASE …]",
    ),
];

/// Runs the study that the first argument names; the rest is its own.
pub(crate) fn run(arguments: &[String]) -> Result<Tally, Error> {
    let found = arguments
        .split_first()
        .filter(|(name, _)| STUDIES.iter().any(|(study, _)| study == name));
    let Some((name, rest)) = found else {
        return Err(Error::Usage { usage: usage() });
    };
    let python = venv::ensure()?;
    let build = [
        "build",
        "--quiet",
        "--release",
        "--package",
        "modelpress-cli",
    ];
    process::run(&mut process::cargo(&build))?;
    let script = format!("xtask/python/{name}_study.py");
    let mut command = process::command(&python, &[script.as_str()]);
    command
        .arg(workspace::target().join("release/modelpress"))
        .arg(data())
        .args(rest);
    process::run(&mut command)?;
    Ok(Tally::default())
}

fn data() -> PathBuf {
    std::env::var_os("MODELPRESS_DATA").map_or_else(
        || {
            let root = workspace::root();
            root.parent().unwrap_or(&root).join("shared/data")
        },
        PathBuf::from,
    )
}

fn usage() -> String {
    let line = |(name, about): &(&str, &str)| format!("\n  {name:<8} {about}");
    let studies: String = STUDIES.iter().map(line).collect();
    format!("cargo xtask study <name> [argument …]{studies}")
}
