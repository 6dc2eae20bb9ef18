//! Infers shapes: `cargo run -p onnx-ir --example infer -- MODELS FOLDER`
//!
//! Every `.onnx` file in `MODELS` goes with the facts of all its values, functions expanded, to the file of the same
//! name in `FOLDER`. Prints for each a line of two fields, separated by a tab: the file's name; `ok`, or what could not
//! be inferred.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use onnx_ir::functions::inline_functions;
use onnx_ir::infer::infer_shapes_within;
use onnx_ir::io::SaveOptions;
use onnx_ir::{Catalog, Model};

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [models, folder] = &arguments[..] else {
        eprintln!("usage: infer MODELS FOLDER");
        return ExitCode::from(2);
    };
    let files = match std::fs::read_dir(models)
        .and_then(|entries| entries.collect::<Result<Vec<_>, _>>())
    {
        Ok(files) => files,
        Err(error) => {
            eprintln!("{}: {error}", models.display());
            return ExitCode::from(2);
        }
    };
    for file in files {
        let name = file.file_name();
        let outcome = infer(&file.path(), &folder.join(&name));
        println!(
            "{}\t{}",
            name.to_string_lossy(),
            outcome.unwrap_or_else(|error| error.to_string())
        );
    }
    ExitCode::SUCCESS
}

fn infer(path: &Path, copy: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let mut model = Model::load(path)?;
    inline_functions(&mut model)?;
    let report = infer_shapes_within(&mut model, Catalog::standard())?;
    model.save(copy, &SaveOptions::default())?;
    let issues: Vec<String> = report.issues.iter().map(ToString::to_string).collect();
    Ok(if issues.is_empty() {
        "ok".to_owned()
    } else {
        issues.join("; ")
    })
}
