//! Networks that are trained with codes.

use crate::digits::{TRAINING, accuracy, dataset};
use crate::graph::{bits, prepared};
use crate::models::{fit, trained};
use compress_quant::graph::qat::{QatConfig, export_qat};
use compress_quant::qat::StepMethod;
use compress_train::loss::CrossEntropy;
use compress_train::optimizer::Group;
use compress_train::trainer::{Trainer, TrainerConfig};
use onnx_ir::Model;
use std::sync::Arc;

fn config(epochs: u64) -> TrainerConfig {
    let mut config = TrainerConfig::default();
    (config.epochs, config.batch) = (epochs, 32);
    (config.learning_rate, config.step_share) = (Some(0.01), Some(TrainerConfig::FRESH_STEP_SHARE));
    config
}

/// Accuracies of the integer file before and after a short training.
fn gained(qat: &QatConfig, epochs: u64) -> (f64, f64) {
    let (model, _) = prepared(qat);
    let before = accuracy(&export_qat(&model).unwrap().0);
    let after = fit(&model, dataset(0..TRAINING), config(epochs));
    (before, accuracy(&export_qat(&after).unwrap().0))
}

#[test]
fn training_makes_good_what_rounding_took() {
    let float = accuracy(trained());
    assert!(float > 0.9, "{float}");
    let (_, eight) = gained(&bits(8, 8), 2);
    assert!(eight > float - 0.02, "{eight} of {float}");
    // With these rounding takes no more than what 500 samples tell apart: there is nothing to make good, and nothing may be lost.
    for (weights, activations, least) in [(4, 8, 0.02), (4, 4, 0.04)] {
        let (before, after) = gained(&bits(weights, activations), 4);
        println!("W{weights}A{activations}: {before} -> {after}, float {float}");
        assert!(
            after > float - least,
            "W{weights}A{activations}: {before} {after}"
        );
    }
    for (weights, activations) in [(3, 4), (2, 4)] {
        let (before, after) = gained(&bits(weights, activations), 4);
        println!("W{weights}A{activations}: {before} -> {after}, float {float}");
        assert!(
            before < float - 0.05 && after - before > 0.5 * (float - before),
            "W{weights}A{activations}: {before} {after}"
        );
    }
}

#[test]
fn every_method_learns() {
    let float = accuracy(trained());
    let methods = [
        StepMethod::StraightThrough,
        StepMethod::LsqPlus,
        StepMethod::Pact,
        StepMethod::Ewgs { delta: 1e-3 },
        StepMethod::Dsq { alpha: 0.4 },
    ];
    for method in methods {
        let mut qat = bits(3, 4);
        qat.method = method;
        let (before, after) = gained(&qat, 3);
        println!("{method:?}: {before} -> {after}, float {float}");
        assert!(
            after > before && after > float - 0.1,
            "{method:?}: {before} {after}"
        );
    }
}

fn step(model: &Model, name: &str) -> Vec<f32> {
    let id = model.graph.value_by_name(name).unwrap();
    let tensor = model.graph.initializer(id).unwrap();
    tensor.as_slice::<f32>().unwrap().to_vec()
}

#[test]
fn steps_are_learned_where_the_method_says_so() {
    for (method, learns) in [
        (StepMethod::Lsq, true),
        (StepMethod::StraightThrough, false),
    ] {
        let mut qat = bits(4, 4);
        qat.method = method;
        let (model, report) = prepared(&qat);
        let mut short = config(1);
        short.groups = vec![Group {
            patterns: report.steps.clone(),
            weight_decay: Some(0.0),
            ..Group::default()
        }];
        if !learns {
            short.groups.clear();
        }
        let trainer = Trainer::new(&model, CrossEntropy::default(), short).unwrap();
        let trained: Vec<String> = trainer
            .network()
            .parameters()
            .iter()
            .map(|p| p.name.clone())
            .collect();
        assert!(
            trained.contains(&"conv1_w_folded".to_owned())
                && trained.contains(&"linear_b".to_owned())
        );
        let steps = report
            .layers
            .iter()
            .flat_map(|l| [&l.weight_step, &l.activation_step]);
        let steps: Vec<&String> = steps.flatten().collect();
        assert_eq!(steps.len(), 8);
        assert_eq!(report.steps.is_empty(), !learns);
        for name in &steps {
            assert_eq!(trained.contains(name), learns, "{name}");
        }
        let mut trainer = trainer;
        trainer.fit(Arc::new(dataset(0..320)), None).unwrap();
        let after = trainer.model().unwrap();
        for name in steps {
            let (before, after) = (step(&model, name), step(&after, name));
            // Pixels lie on their grid: there is no error for their step to learn from.
            let moves = learns && name != "image_step";
            assert_eq!(before != after, moves, "{name}");
            assert!(after.iter().all(|s| *s > 0.0), "{name}");
        }
    }
}

#[test]
fn two_runs_and_other_threads_give_the_same_bytes() {
    use runtime_session::SessionOptions;
    let (model, _) = prepared(&bits(4, 4));
    let run = |threads: usize| {
        let mut options = SessionOptions::default();
        options.threads = threads;
        let loss = CrossEntropy::default();
        let mut trainer = Trainer::with_session(&model, loss, config(1), &options).unwrap();
        trainer.fit(Arc::new(dataset(0..256)), None).unwrap();
        let (file, _) = export_qat(&trainer.model().unwrap()).unwrap();
        file.to_bytes().unwrap()
    };
    let first = run(1);
    assert!(first == run(1) && first == run(2));
}
