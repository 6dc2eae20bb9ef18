//! Converts models to other opsets: `cargo run -p onnx-ir --example convert -- LIST`
//!
//! Each line of `LIST` is a model, an opset and the file to write, separated by tabs. Prints for each line `ok`, or why
//! the model cannot be converted.

use std::path::Path;
use std::process::ExitCode;

use onnx_ir::io::SaveOptions;
use onnx_ir::opset::convert;
use onnx_ir::{Catalog, Model};

fn main() -> ExitCode {
    let list = std::env::args().nth(1).unwrap_or_default();
    let lines = match std::fs::read_to_string(&list) {
        Ok(lines) => lines,
        Err(error) => {
            eprintln!("usage: convert LIST\n{list}: {error}");
            return ExitCode::from(2);
        }
    };
    for line in lines.lines() {
        println!(
            "{}",
            converted(line)
                .err()
                .map_or("ok".to_owned(), |e| e.to_string())
        );
    }
    ExitCode::SUCCESS
}

fn converted(line: &str) -> Result<(), Box<dyn std::error::Error>> {
    let [model, opset, copy] = line.split('\t').collect::<Vec<_>>()[..] else {
        return Err("expected a model, an opset and a file".into());
    };
    let mut model = Model::load(model)?;
    convert(&mut model, opset.parse()?, Catalog::standard())?;
    model.save(Path::new(copy), &SaveOptions::default())?;
    Ok(())
}
