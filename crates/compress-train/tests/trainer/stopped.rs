//! A callback ends a run as if its last step were done.

use crate::digits::dataset;
use crate::models::digits_cnn;
use compress_train::loss::CrossEntropy;
use compress_train::trainer::{
    Callback, CheckpointConfig, EpochEnd, Flow, Keep, Network, StepEnd, TopK, Trainer,
    TrainerConfig,
};
use std::sync::Arc;

/// Ends the run after a step.
struct After(u64);

/// Ends the run after its first epoch.
struct AfterOne;

impl Callback for AfterOne {
    fn on_epoch(&mut self, _: &EpochEnd, _: &Network) -> Flow {
        Flow::Stop
    }
}

impl Callback for After {
    fn on_step(&mut self, end: &StepEnd, _: &Network) -> Flow {
        if end.step == self.0 {
            Flow::Stop
        } else {
            Flow::Continue
        }
    }
}

#[test]
fn a_run_that_is_stopped_within_an_epoch_is_evaluated_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c");
    let mut config = TrainerConfig::default();
    (config.epochs, config.batch, config.evaluate_every) = (4, 8, 2);
    config.keep = Keep::Best;
    config.checkpoint = Some(CheckpointConfig {
        path: path.clone(),
        every: 0,
    });
    let trainer = || {
        let trainer = Trainer::new(&digits_cnn(), CrossEntropy::default(), config.clone());
        trainer.unwrap().with_metric(TopK::default())
    };
    let held_out = dataset(100..120, 1);
    let mut stopped = trainer().with_callback(After(6));
    let report = stopped.fit(Arc::new(dataset(0..32, 1)), Some(&held_out));
    let report = report.unwrap();
    assert!(report.stopped_early);
    assert_eq!((report.steps, report.epochs.len()), (6, 2));
    let last = &report.epochs[1];
    assert_eq!(
        (last.step, last.train[0].n, last.validation[0].n),
        (6, 16, 20)
    );
    assert_eq!(report.best.map(|best| best.step), Some(6));
    // The checkpoint knows that it was the end.
    let mut again = trainer();
    again.resume(&path).unwrap();
    let report = again.fit(Arc::new(dataset(0..32, 1)), Some(&held_out));
    assert_eq!(report.unwrap().steps, 6);
}

#[test]
fn an_epoch_after_which_a_run_is_stopped_is_evaluated() {
    let mut config = TrainerConfig::default();
    (config.epochs, config.batch, config.evaluate_every) = (4, 8, 3);
    let trainer = Trainer::new(&digits_cnn(), CrossEntropy::default(), config).unwrap();
    let report = trainer
        .with_callback(AfterOne)
        .fit(Arc::new(dataset(0..32, 1)), Some(&dataset(100..120, 1)))
        .unwrap();
    assert_eq!(report.epochs.len(), 1);
    assert_eq!(report.epochs[0].validation[0].n, 20);
}
