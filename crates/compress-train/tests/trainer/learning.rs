//! Models learn.

use crate::digits::{TRAINING, dataset};
use crate::models::digits_cnn;
use compress_train::loss::CrossEntropy;
use compress_train::optimizer::AdamConfig;
use compress_train::stopping::StoppingConfig;
use compress_train::trainer::{
    Initialization, Keep, OptimizerConfig, TopK, TrainReport, Trainer, TrainerConfig,
};
use std::sync::Arc;

fn fit(config: TrainerConfig, samples: usize, scale: u8) -> (Trainer, TrainReport) {
    let mut trainer = Trainer::new(&digits_cnn(), CrossEntropy::default(), config)
        .unwrap()
        .with_metric(TopK::default());
    let held_out = dataset(TRAINING..TRAINING + 100, scale);
    let report = trainer
        .fit(Arc::new(dataset(0..samples, scale)), Some(&held_out))
        .unwrap();
    (trainer, report)
}

fn accuracies(report: &TrainReport) -> Vec<f64> {
    report
        .epochs
        .iter()
        .map(|end| end.validation[1].value)
        .collect()
}

#[test]
fn a_small_network_learns_the_digits_from_raw_pixels() {
    let mut config = TrainerConfig::default();
    (config.epochs, config.batch) = (10, 16);
    // The file's weights were drawn and never trained.
    (config.learning_rate, config.step_share) = (Some(0.1), Some(0.03));
    let (_, report) = fit(config, 640, 16);
    let found = accuracies(&report);
    println!("{found:?}");
    assert!(found[9] > 0.8, "{found:?}");
    let train = &report.epochs[9].train;
    assert!(train[0].value < report.epochs[0].train[0].value);
    assert_eq!(
        (train[1].name.as_str(), train[1].n, report.watched.as_str()),
        ("accuracy", 640, "accuracy")
    );
}

#[test]
fn new_weights_learn_with_adam_and_the_best_are_kept() {
    let mut config = TrainerConfig::default();
    (config.epochs, config.batch) = (12, 16);
    config.initialize = Initialization::He;
    config.optimizer = OptimizerConfig::Adam(AdamConfig::default());
    config.learning_rate = Some(0.01);
    config.keep = Keep::Best;
    let mut stopping = StoppingConfig::default();
    (stopping.patience, stopping.least_gain) = (Some(1), 0.02);
    config.stopping = Some(stopping);
    let (trainer, report) = fit(config, 320, 16);
    let (found, best) = (accuracies(&report), report.best.unwrap());
    println!("{found:?}");
    assert!(
        report.stopped_early && report.epochs.len() < 12 && best.value > 0.6,
        "{found:?}"
    );
    assert!(report.not_initialized.is_empty());
    // What is given is what scored best.
    let model = trainer.model().unwrap();
    let again = Trainer::new(&model, CrossEntropy::default(), TrainerConfig::default()).unwrap();
    let again = again.with_metric(TopK::default());
    let score = again
        .evaluate(&dataset(TRAINING..TRAINING + 100, 16))
        .unwrap();
    assert_eq!(score[1].value, best.value);
}
