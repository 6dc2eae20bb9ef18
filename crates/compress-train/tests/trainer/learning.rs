//! Models learn.

use crate::digits::{TRAINING, dataset};
use crate::models::digits_cnn;
use compress_train::loss::CrossEntropy;
use compress_train::trainer::{TopK, Trainer, TrainerConfig};
use std::sync::Arc;

#[test]
fn a_small_network_learns_the_digits_from_raw_pixels() {
    let mut config = TrainerConfig::default();
    (config.epochs, config.batch) = (6, 32);
    let mut trainer = Trainer::new(&digits_cnn(), CrossEntropy::default(), config).unwrap();
    trainer = trainer.with_metric(TopK::default());
    let data = Arc::new(dataset(0..TRAINING, 16));
    let held_out = dataset(TRAINING..1797, 16);
    let report = trainer.fit(data, Some(&held_out)).unwrap();
    let accuracies: Vec<f64> = report
        .epochs
        .iter()
        .map(|e| e.validation[1].value)
        .collect();
    println!("{accuracies:?}");
    assert!(accuracies[5] > 0.9, "{accuracies:?}");
}
