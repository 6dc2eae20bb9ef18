//! `cargo xtask conformance`: what the pinned peers say of the same files.
//!
//! * The backend node tests of the pinned `onnx` package are written to `target/conformance`, once.
//!   Every model among them is checked and saved, and `onnx.checker` must agree with the verdict and
//!   take the saved copy.
//! * They are run in the reference evaluator and in the session, and inferred shapes are held against
//!   their results.
//! * Shape inference, the checker and opset conversion are held against those of the `onnx` package: on
//!   the node tests, on whole models, on random graphs of operators, and on models broken on purpose.
//! * Whole models: what `modelpress` writes passes `onnx.checker`, loads in ONNX Runtime and gives its
//!   results; the models are those of the data pack where it is there, and the one in the repository.
//!
//! `cargo xtask conformance inference`, `checker` or `opset` runs the one comparison with the `onnx` package alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{self, Error};
use crate::tally::{Outcome, Tally};
use crate::{venv, workspace};

/// Runs all parts, or the one that is named, and prints what disagrees.
pub(crate) fn run(arguments: &[String]) -> Result<Tally, Error> {
    let python = venv::ensure()?;
    let cases = node_cases(&python)?;
    if let Some(name) = arguments.first() {
        let part = AGREEMENTS.iter().find(|part| part.name == name);
        let part = part.ok_or_else(|| Error::Usage {
            usage: format!(
                "cargo xtask conformance [{}]",
                AGREEMENTS.map(|part| part.name).join("|")
            ),
        })?;
        build_programs()?;
        return agreement(&python, &cases, part);
    }
    build_programs()?;
    let mut total = file_agreement(&python, &cases)?;
    for (part, flags) in NODE_TEST_RUNS {
        println!("==> node tests: {part}");
        total += node_tests(&cases, flags)?;
    }
    for part in &AGREEMENTS {
        println!("==> {}", part.what);
        total += agreement(&python, &cases, part)?;
    }
    println!("==> whole models beside ONNX Runtime");
    total += whole_models(&python)?;
    Ok(total)
}

/// What the node tests are run in, and the flags of the runner for it.
const NODE_TEST_RUNS: [(&str, &[&str]); 3] = [
    ("reference evaluator", &["--known", KNOWN_FAILURES]),
    ("session", &["--session", "--known", KNOWN_FAILURES]),
    (
        "inferred shapes",
        &["--infer", "--known", KNOWN_INFERENCE_FAILURES],
    ),
];

/// Something that an example of `onnx-ir` does and the `onnx` package does too, compared by a script.
#[derive(Clone, Copy)]
struct Agreement {
    name: &'static str,
    what: &'static str,
    example: &'static str,
    script: &'static str,
    /// The differences that stay, each with its reason.
    known: &'static str,
}

const AGREEMENTS: [Agreement; 3] = [
    Agreement {
        name: "inference",
        what: "shape inference beside onnx.shape_inference",
        example: "infer",
        script: "xtask/python/infer_agreement.py",
        known: "crates/testkit/data/known_inference_differences.txt",
    },
    Agreement {
        name: "checker",
        what: "the checker beside onnx.checker",
        example: "check",
        script: "xtask/python/check_agreement.py",
        known: "crates/testkit/data/known_checker_differences.txt",
    },
    Agreement {
        name: "opset",
        what: "opset conversion beside onnx.version_converter",
        example: "convert",
        script: "xtask/python/opset_agreement.py",
        known: "crates/testkit/data/known_conversion_differences.txt",
    },
];

/// Tests that cannot pass, each with its reason.
const KNOWN_FAILURES: &str = "crates/testkit/data/known_failures.txt";

/// Tests whose inference cannot pass, each with its reason.
const KNOWN_INFERENCE_FAILURES: &str = "crates/testkit/data/known_inference_failures.txt";

/// Builds the programs that are compared: all of the workspace at once, as its tests are built, so that nothing is compiled with
/// other features of what it depends on.
fn build_programs() -> Result<(), Error> {
    let build = ["build", "--quiet", "--workspace", "--bins", "--examples"];
    process::run(&mut process::cargo(&build))
}

fn program(name: &str) -> PathBuf {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    workspace::target().join("debug").join(file)
}

fn node_tests(cases: &Path, flags: &[&str]) -> Result<Tally, Error> {
    let mut command = process::command(&program("node_tests"), &[]);
    command.arg(cases).args(flags);
    summed(&mut command)
}

fn agreement(python: &Path, cases: &Path, part: &Agreement) -> Result<Tally, Error> {
    let mut command = process::command(python, &[part.script]);
    command
        .arg(program(&format!("examples/{}", part.example)))
        .arg(cases)
        .arg(workspace::root())
        .arg(part.known);
    summed(&mut command)
}

fn whole_models(python: &Path) -> Result<Tally, Error> {
    let mut command = process::command(python, &["xtask/python/model_conformance.py"]);
    command.arg(program("modelpress")).arg(workspace::root());
    summed(&mut command)
}

/// The counts that a program prints as `N passed, N failed`; one failure where it prints none, passes
/// nothing or ends badly without one.
fn summed(command: &mut Command) -> Result<Tally, Error> {
    let mut tally = None;
    let ended_well = process::stream(command, |line| {
        tally = Tally::from_summary(line).or(tally);
    })?;
    Ok(match tally {
        Some(tally) if tally.failed > 0 || ended_well && tally.passed > 0 => tally,
        _ => Tally::of_one(Outcome::Failed),
    })
}

/// The folder of the node cases; written again when the pinned packages change.
fn node_cases(python: &Path) -> Result<PathBuf, Error> {
    let folder = workspace::target().join("conformance/node");
    let stamp = folder.join("requirements.txt");
    let requirements = workspace::root().join("xtask/requirements.txt");
    let wanted = std::fs::read(&requirements).map_err(Error::file(&requirements))?;
    if std::fs::read(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(folder);
    }
    if folder.is_dir() {
        std::fs::remove_dir_all(&folder).map_err(Error::file(&folder))?;
    }
    let script = ["xtask/python/node_cases.py", &folder.to_string_lossy()];
    process::run(&mut process::command(python, &script))?;
    std::fs::write(&stamp, wanted).map_err(Error::file(&stamp))?;
    Ok(folder)
}

fn file_agreement(python: &Path, cases: &Path) -> Result<Tally, Error> {
    let saved = workspace::target().join("conformance/saved");
    std::fs::create_dir_all(&saved).map_err(Error::file(&saved))?;
    let mut resave = process::command(&program("examples/resave"), &[]);
    resave.arg(&saved).args(models(cases)?);
    let verdicts = saved.join("verdicts.tsv");
    let printed = process::capture(&mut resave)?;
    std::fs::write(&verdicts, printed).map_err(Error::file(&verdicts))?;

    let script = [
        "xtask/python/file_agreement.py",
        &verdicts.to_string_lossy(),
    ];
    summed(&mut process::command(python, &script))
}

fn models(cases: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut models = Vec::new();
    for entry in std::fs::read_dir(cases).map_err(Error::file(cases))? {
        let model = entry.map_err(Error::file(cases))?.path().join("model.onnx");
        if model.is_file() {
            models.push(model);
        }
    }
    models.sort();
    Ok(models)
}
