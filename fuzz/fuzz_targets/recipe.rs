//! Any text as a recipe: what can be read can be written, and reads back as the same recipe.
#![no_main]

use libfuzzer_sys::fuzz_target;
use modelpress::Recipe;

fuzz_target!(|text: &str| {
    let Ok(recipe) = Recipe::from_toml(text) else { return };
    let written = recipe.to_toml().expect("what was read can be written");
    let again = Recipe::from_toml(&written).expect("what was written can be read");
    assert_eq!(again.to_toml().expect("as before"), written);
    if let Some(stage) = &recipe.quantize {
        let _ = stage.config().validate();
    }
});
