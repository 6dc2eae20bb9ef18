//! Tests of recipes.

use super::*;
use crate::ir::{Dim, Fact, Graph, Node};
use crate::tensor::{DType, Tensor};

/// `logits = x · W`, whose class is the larger of two inputs.
fn model() -> Model {
    let mut graph = Graph::new("larger");
    let shape = [Dim::symbol("batch"), Dim::Known(2)];
    let x = graph
        .add_value("x", Fact::tensor(DType::F32, shape))
        .unwrap();
    graph.add_input(x);
    let w = Tensor::from_vec(&[2, 2], vec![1.0f32, -0.5, -0.5, 1.0]).unwrap();
    let w = graph.add_initializer("w", w).unwrap();
    let y = graph.add_value("logits", Fact::Unknown).unwrap();
    graph
        .add_node(Node::new("MatMul", [x, w], [y]).named("product"))
        .unwrap();
    graph.add_output(y);
    Model::new(graph, 17)
}

#[test]
fn every_stage_runs_and_the_recipe_stands_in_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let x = vec![1.0f32, 0.0, 0.2, 0.9, -1.0, 0.3, 0.8, -0.7];
    let x = Tensor::from_vec(&[4, 2], x).unwrap();
    npy::write(folder.path().join("x.npy"), &x).unwrap();
    let y = Tensor::vector(vec![0u8, 1, 1, 1]);
    npy::write(folder.path().join("y.npy"), &y).unwrap();
    let recipe = Recipe::from_toml(
        "[optimize]\n[calibrate]\ninputs = [\"x.npy\"]\n[quantize]\nmethod = \"minmax\"\n\
         [evaluate]\ninputs = [\"x=x.npy\"]\nlabels = \"y.npy\"\n",
    )
    .unwrap();
    let options = SessionOptions::default();
    let (quantized, report) = recipe.run(&model(), folder.path(), &options).unwrap();
    assert_eq!(report.calibration_samples, 4);
    assert_eq!(report.accuracy_before.unwrap().value, 0.75);
    assert_eq!(report.accuracy.unwrap().value, 0.75);
    assert_eq!(report.quantization.unwrap().layers.len(), 1);
    assert!(quantized.graph.nodes().any(|(_, n)| n.is("QuantizeLinear")));
    let noted = quantized.metadata.iter().find(|(k, _)| k == METADATA_KEY);
    assert_eq!(Recipe::from_toml(&noted.unwrap().1).unwrap(), recipe);
}

#[test]
fn a_recipe_that_does_nothing_is_an_error() {
    for text in ["", "[calibrate]\ninputs = [\"x.npy\"]\n"] {
        let recipe = Recipe::from_toml(text).unwrap();
        let run = recipe.run(&model(), Path::new("."), &SessionOptions::default());
        assert!(matches!(run, Err(RecipeError::Empty)), "{text}");
    }
    let idle = Recipe::from_toml("[optimize]\n[calibrate]\ninputs = [\"x.npy\"]\n").unwrap();
    let run = idle.run(&model(), Path::new("."), &SessionOptions::default());
    assert!(matches!(run, Err(RecipeError::NothingToCalibrate)));
}

#[test]
fn settings_are_spelled_as_in_the_program() {
    for (written, method) in [
        ("\"minmax\"", Method::MinMax),
        ("\"moving-average\"", Method::MovingAverage),
        ("\"percentile\"", Method::Percentile(99.99)),
        ("{ percentile = 99.9 }", Method::Percentile(99.9)),
        ("\"entropy\"", Method::Entropy),
        ("\"mse\"", Method::Mse),
    ] {
        let text = format!("[quantize]\ntarget = \"tensorrt\"\nmethod = {written}\n");
        let recipe = Recipe::from_toml(&text).unwrap();
        assert_eq!(recipe.quantize.as_ref().unwrap().method, Some(method));
        let again = Recipe::from_toml(&recipe.to_toml().unwrap()).unwrap();
        assert_eq!(again, recipe);
    }
    let error = Recipe::from_toml("[quantize]\nmethod = \"Mse\"\n").unwrap_err();
    assert!(error.to_string().contains("moving-average"), "{error}");
}

#[test]
fn sizes_are_fixed_before_the_passes() {
    let recipe = Recipe::from_toml("[optimize]\ndims = { batch = 3 }\n").unwrap();
    let options = SessionOptions::default();
    let (fixed, _) = recipe.run(&model(), Path::new("."), &options).unwrap();
    assert_eq!(fixed.fact("logits").unwrap().to_string(), "f32[3, 2]");
    let recipe = Recipe::from_toml("[optimize]\ndims = { bach = 3 }\n").unwrap();
    let error = recipe.run(&model(), Path::new("."), &options).unwrap_err();
    let expected = "optimize: the model has no open dimension `bach`; its inputs leave open batch";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn an_unknown_setting_is_an_error() {
    let error = Recipe::from_toml("[quantize]\nwords = 8\n").unwrap_err();
    assert!(matches!(error, RecipeError::Read(_)));
}

#[test]
fn static_quantization_asks_for_calibration() {
    let recipe = Recipe::from_toml("[quantize]\n").unwrap();
    let run = recipe.run(&model(), Path::new("."), &SessionOptions::default());
    assert!(matches!(run, Err(RecipeError::NotCalibrated)));
}

#[test]
fn weights_of_few_bits_are_rounded_to_samples() {
    let folder = tempfile::tempdir().unwrap();
    let x = Tensor::from_vec(&[4, 2], vec![1.0f32, 0.9, 0.2, 0.1, -1.0, -0.8, 0.8, 0.7]);
    npy::write(folder.path().join("x.npy"), &x.unwrap()).unwrap();
    let options = SessionOptions::default();
    for (mode, more, op) in [
        ("weight-only", "bits = 4\nblock = 16\n", "MatMulNBits"),
        ("weight-only", "", "DequantizeLinear"),
        ("dynamic", "", "MatMulInteger"),
    ] {
        let text = format!(
            "[calibrate]\ninputs = [\"x.npy\"]\n\
             [quantize]\nmode = \"{mode}\"\nrounding = \"calibrated\"\n{more}"
        );
        let recipe = Recipe::from_toml(&text).unwrap();
        let (found, report) = recipe.run(&model(), folder.path(), &options).unwrap();
        assert_eq!(report.calibration_samples, 4);
        assert!(report.quantization.unwrap().notes.is_empty());
        assert!(found.graph.nodes().any(|(_, n)| n.op_type == op));
    }
}

#[test]
fn samples_and_rounding_to_them_go_together() {
    let run = |text: &str| {
        let recipe = Recipe::from_toml(text).unwrap();
        recipe.run(&model(), Path::new("."), &SessionOptions::default())
    };
    for mode in ["static", "dynamic", "weight-only"] {
        let quantize = format!("[quantize]\nmode = \"{mode}\"\nrounding = \"calibrated\"\n");
        for text in [&quantize, &format!("[calibrate]\n{quantize}")] {
            assert!(matches!(run(text), Err(RecipeError::NoSamples)), "{text}");
        }
    }
    for mode in ["dynamic", "weight-only"] {
        let idle = run(&format!("[calibrate]\n[quantize]\nmode = \"{mode}\"\n"));
        assert!(matches!(idle, Err(RecipeError::IdleCalibration { .. })));
    }
}

#[test]
fn what_the_mode_would_not_look_at_is_an_error() {
    for (text, named) in [
        (
            "[quantize]\nmode = \"weight-only\"\nformat = \"qlinear\"\n",
            "format",
        ),
        ("[quantize]\nmode = \"dynamic\"\nbits = 8\n", "bits"),
        ("[quantize]\nblock = 32\n", "block"),
        (
            "[quantize]\nmode = \"dynamic\"\ntarget = \"tflite\"\n",
            "target",
        ),
    ] {
        let recipe = Recipe::from_toml(text).unwrap();
        let run = recipe.run(&model(), Path::new("."), &SessionOptions::default());
        let Err(RecipeError::NotInMode { setting, .. }) = run else {
            panic!("{text}");
        };
        assert_eq!(setting, named);
    }
    let recipe = Recipe::from_toml("[quantize]\nmode = \"dynamic\"\n").unwrap();
    let run = recipe.run(&model(), Path::new("."), &SessionOptions::default());
    assert_eq!(run.unwrap().1.quantization.unwrap().layers.len(), 1);
}
