//! Checks ONNX files: `cargo run -p onnx-ir --example check -- MODEL.onnx...`
//!
//! Prints one line per file, `ok`, `warnings` or `invalid` and the path, and below it the
//! findings. A file that cannot be loaded is invalid.

use std::process::ExitCode;

use onnx_ir::Model;
use onnx_ir::check::{Finding, check};

fn main() -> ExitCode {
    let mut all_valid = true;
    for path in std::env::args().skip(1) {
        let findings = match Model::load(&path) {
            Ok(model) => check(&model),
            Err(error) => {
                println!("invalid\t{path}\n  error[load] {error}");
                all_valid = false;
                continue;
            }
        };
        let verdict = match findings.as_slice() {
            [] => "ok",
            some if some.iter().any(Finding::is_error) => "invalid",
            _ => "warnings",
        };
        println!("{verdict}\t{path}");
        for finding in &findings {
            println!("  {finding}");
        }
        all_valid &= verdict != "invalid";
    }
    if all_valid {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
