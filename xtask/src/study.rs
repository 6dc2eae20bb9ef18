//! `cargo xtask study NAME [ARGUMENT …]`: measurements, most of them beside the peers, longer than a test may take.
//!
//! Each is a script in `xtask/python` that is given a release build of the program, or a program of `testkit`; both are given the data pack
//! (the folder that `MODELPRESS_DATA` names, or `../shared/data`) and print the rows of `docs/measurements.md`.

use std::path::PathBuf;

use crate::process::{self, Error};
use crate::tally::Tally;
use crate::{venv, workspace};

/// A measurement.
struct Study {
    name: &'static str,
    about: &'static str,
    form: Form,
    /// What its script needs beside `requirements.txt`.
    more: Option<&'static str>,
}

/// What measures.
enum Form {
    /// `xtask/python/NAME_study.py`, with `_` for `-`.
    Script,
    /// `crates/testkit/src/bin/NAME_study.rs`; ends badly where a limit is missed.
    Program,
}

const STUDIES: &[Study] = &[
    Study {
        name: "int8",
        about: "accuracy and agreement of int8 files in ONNX Runtime [MODEL …]",
        form: Form::Script,
        more: None,
    },
    Study {
        name: "fidelity",
        about: "how far int8 files of models without labels stay from float [magika|ultraface|silero …]",
        form: Form::Script,
        more: None,
    },
    Study {
        name: "cost",
        about: "time and peak memory of quantizing beside onnxruntime.quantization [JOB …]",
        form: Form::Script,
        more: None,
    },
    Study {
        name: "half",
        about: "f16 and bfloat16 models beside f32 and ONNX Runtime [--threads N[,N…]] [--rounds N] [CASE …]",
        form: Form::Script,
        more: None,
    },
    Study {
        name: "latency",
        about: "time of one run beside ONNX Runtime [--threads N[,N…]] [--rounds N] [CASE …]",
        form: Form::Script,
        more: None,
    },
    Study {
        name: "latency-model",
        about: "predicted beside measured time [--shapes N] [--threads N] [FILE[:NAME=SIZE,…] …]",
        form: Form::Script,
        more: None,
    },
    Study {
        name: "products",
        about: "matrix products beside ONNX Runtime [--threads N] [--rounds N] [SHAPE …]",
        form: Form::Script,
        more: None,
    },
    Study {
        name: "training",
        about: "accuracy and step time of training beside PyTorch [--threads N[,N…]] [--rounds N] [digits|cifar|steps …]",
        form: Form::Script,
        more: Some("requirements-training.txt"),
    },
    Study {
        name: "distillation",
        about: "students of ResNet-large and MiniLM by every loss [--threads N] [--epochs N] [--seeds N] [--samples N] [--losses A,B] [--students N] [cifar|minilm …]",
        form: Form::Script,
        more: None,
    },
    Study {
        name: "qat",
        about: "ResNets and DS-CNN trained with codes of 8 and 4 bits [--threads N] [--epochs N] [--samples N] [resnet8|resnet_large|dscnn …]",
        form: Form::Script,
        more: None,
    },
    Study {
        name: "loading",
        about: "time and memory of loading 1 GiB of weights [--layers N] [--folder FOLDER]",
        form: Form::Program,
        more: None,
    },
    Study {
        name: "sharing",
        about: "one session run by many threads [--seconds N] [--callers N]",
        form: Form::Program,
        more: None,
    },
];

/// Runs the study that the first argument names; the rest is its own.
pub(crate) fn run(arguments: &[String]) -> Result<Tally, Error> {
    let found = arguments.split_first().and_then(|(name, rest)| {
        let study = STUDIES.iter().find(|study| study.name == name)?;
        Some((study, rest))
    });
    let Some((study, rest)) = found else {
        return Err(Error::Usage { usage: usage() });
    };
    let mut command = match study.form {
        Form::Script => {
            let python = match study.more {
                Some(requirements) => venv::ensure_with(requirements)?,
                None => venv::ensure()?,
            };
            let program = program()?;
            let name = study.name.replace('-', "_");
            let script = format!("xtask/python/{name}_study.py");
            let mut command = process::command(&python, &[script.as_str()]);
            command.arg(program);
            command
        }
        Form::Program => {
            let program = built("testkit", &format!("{}_study", study.name))?;
            process::command(&program, &[])
        }
    };
    process::run(command.arg(data()).args(rest))?;
    Ok(Tally::default())
}

/// A release build of the program.
pub(crate) fn program() -> Result<PathBuf, Error> {
    built("modelpress-cli", "modelpress")
}

/// A program of a package, built for release.
fn built(package: &str, program: &str) -> Result<PathBuf, Error> {
    let build = ["build", "--quiet", "--release", "--package", package];
    process::run(process::cargo(&build).args(["--bin", program]))?;
    Ok(workspace::target().join("release").join(program))
}

/// The data pack.
pub(crate) fn data() -> PathBuf {
    std::env::var_os("MODELPRESS_DATA").map_or_else(
        || {
            let root = workspace::root();
            root.parent().unwrap_or(&root).join("shared/data")
        },
        PathBuf::from,
    )
}

fn usage() -> String {
    let line = |study: &Study| format!("\n  {:<13} {}", study.name, study.about);
    let studies: String = STUDIES.iter().map(line).collect();
    format!("cargo xtask study <name> [argument …]{studies}")
}
