//! The recipe level: the same steps as data, with their report.
//!
//! ```sh
//! cargo run --release -p modelpress-examples --bin recipe -- model.onnx recipe.toml int8.onnx
//! ```
//! See `recipe.toml` beside this file; its arrays are looked for in the recipe's folder.

use modelpress::Recipe;
use modelpress::ir::Model;
use modelpress::ir::io::SaveOptions;
use modelpress::session::SessionOptions;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, recipe_file, output] = arguments.as_slice() else {
        return Err("usage: recipe MODEL.onnx RECIPE.toml OUT.onnx".into());
    };
    let recipe = Recipe::from_toml(&std::fs::read_to_string(recipe_file)?)?;
    let folder = Path::new(recipe_file).parent().unwrap_or(Path::new("."));
    let options = SessionOptions::default().with_threads(0);
    let (model, report) = recipe.run(&Model::load(input)?, folder, &options)?;
    model.save(output, &SaveOptions::default())?;
    if let (Some(before), Some(after)) = (report.accuracy_before, report.accuracy) {
        let [low, high] = after.ci95;
        println!(
            "top-1 {:.4} -> {:.4} [{low:.4}, {high:.4}], n = {}",
            before.value, after.value, after.n
        );
    }
    Ok(())
}
