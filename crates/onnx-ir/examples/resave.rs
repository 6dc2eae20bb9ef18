//! Loads, checks and saves models: `cargo run -p onnx-ir --example resave -- FOLDER MODEL.onnx...`
//!
//! Each model goes to `FOLDER/<number>.onnx`. Prints for each a line of three fields, separated
//! by tabs: `ok`, `warnings` or `invalid`; the model; the saved copy.

use std::path::Path;
use std::process::ExitCode;

use onnx_ir::Model;
use onnx_ir::check::{Finding, check};
use onnx_ir::io::SaveOptions;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(folder) = arguments.next() else {
        eprintln!("usage: resave FOLDER MODEL.onnx...");
        return ExitCode::from(2);
    };
    for (number, path) in arguments.enumerate() {
        let copy = Path::new(&folder).join(format!("{number}.onnx"));
        println!(
            "{}\t{path}\t{}",
            resave(Path::new(&path), &copy),
            copy.display()
        );
    }
    ExitCode::SUCCESS
}

fn resave(path: &Path, copy: &Path) -> &'static str {
    let Ok(model) = Model::load(path) else {
        return "invalid";
    };
    let findings = check(&model);
    if findings.iter().any(Finding::is_error) || model.save(copy, &SaveOptions::default()).is_err()
    {
        return "invalid";
    }
    if findings.is_empty() {
        "ok"
    } else {
        "warnings"
    }
}
