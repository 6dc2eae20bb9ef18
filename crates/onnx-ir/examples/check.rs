//! Checks ONNX files: `cargo run -p onnx-ir --example check -- [--facts] MODEL.onnx|FOLDER...`
//!
//! Prints one line per file, `ok`, `warnings` or `invalid` and the path, and below it the findings, indented. A file that
//! cannot be loaded is invalid. `--facts` infers types and shapes as well. A folder stands for the `.onnx` files in it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use onnx_ir::Model;
use onnx_ir::check::{Finding, check, check_with_facts};

fn main() -> ExitCode {
    let mut checker: fn(&Model) -> Vec<Finding> = check;
    let mut all_valid = true;
    for argument in std::env::args_os().skip(1) {
        if argument == "--facts" {
            checker = check_with_facts;
            continue;
        }
        for path in files(Path::new(&argument)) {
            all_valid &= report(&path, checker);
        }
    }
    if all_valid {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The models of a folder, sorted; a file itself.
fn files(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else {
        return vec![path.to_path_buf()];
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut models: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "onnx"))
        .collect();
    models.sort();
    models
}

/// Prints what is found; whether the model is valid.
fn report(path: &Path, checker: fn(&Model) -> Vec<Finding>) -> bool {
    let findings = match Model::load(path) {
        Ok(model) => checker(&model),
        Err(error) => {
            println!("invalid\t{}\n  error[load] {error}", path.display());
            return false;
        }
    };
    let verdict = match findings.as_slice() {
        [] => "ok",
        some if some.iter().any(Finding::is_error) => "invalid",
        _ => "warnings",
    };
    println!("{verdict}\t{}", path.display());
    for finding in &findings {
        println!("  {finding}");
    }
    verdict != "invalid"
}
