//! The same seed, the same bytes: again, with other threads, and after being killed at any step.

use crate::digits::{TRAINING, dataset};
use crate::models::Builder;
use compress_train::augment::{Augmentation, Flip, Images, RandomCrop};
use compress_train::ema::EmaConfig;
use compress_train::loss::CrossEntropy;
use compress_train::optimizer::{Group, SgdConfig};
use compress_train::stopping::StoppingConfig;
use compress_train::trainer::{
    Callback, CheckpointConfig, Flow, Keep, LogConfig, Network, OptimizerConfig, StepEnd, TopK,
    Trainer, TrainerConfig,
};
use onnx_ir::Model;
use runtime_session::SessionOptions;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SAMPLES: usize = 52;

fn model() -> Model {
    Builder::images(1, 8)
        .conv("first", 4, 2)
        .norm("norm")
        .apply("Relu", "relu")
        .dropout("dropout", 0.25)
        .classifier(10)
        .finish()
}

fn config(folder: &Path) -> TrainerConfig {
    let mut config = TrainerConfig::default();
    (config.epochs, config.batch, config.accumulate, config.seed) = (3, 8, 2, 5);
    let mut sgd = SgdConfig::default();
    (sgd.momentum, sgd.nesterov, sgd.weight_decay) = (0.9, true, 1e-3);
    config.optimizer = OptimizerConfig::Sgd(sgd);
    config.groups = vec![Group {
        weight_decay: Some(0.0),
        ..Group::matching("*.bias")
    }];
    config.warm_up = 0.5;
    config.clip_norm = Some(5.0);
    let mut average = EmaConfig::default();
    average.decay = 0.8;
    config.average = Some(average);
    (config.keep, config.stopping) = (Keep::Best, Some(StoppingConfig::default()));
    config.checkpoint = Some(CheckpointConfig {
        path: folder.join("checkpoint"),
        every: 2,
    });
    config.log = Some(LogConfig {
        path: folder.join("log.csv"),
        format: Default::default(),
        every: 1,
    });
    config.curves = Some(folder.join("curves.svg"));
    config
}

/// Copies what stands in the run's folder while a step is done: what a run that is killed there leaves.
struct Snapshots {
    folder: PathBuf,
}

impl Callback for Snapshots {
    fn on_step(&mut self, end: &StepEnd, _: &Network) -> Flow {
        let to = self.folder.join(end.step.to_string());
        fs::create_dir(&to).unwrap();
        for name in ["checkpoint", "log.csv"] {
            let from = self.folder.join(name);
            if from.exists() {
                fs::copy(from, to.join(name)).unwrap();
            }
        }
        Flow::Continue
    }
}

fn trainer(config: TrainerConfig, threads: usize) -> Trainer {
    let options = SessionOptions::default().with_threads(threads);
    let images = Images::nchw("image");
    let augmentation = Augmentation::new(3)
        .with(Flip {
            images: images.clone(),
            horizontal: 0.5,
            vertical: 0.0,
        })
        .with(RandomCrop {
            padding: 1,
            ..RandomCrop::of(images)
        });
    Trainer::with_session(&model(), CrossEntropy::default(), config, &options)
        .unwrap()
        .with_metric(TopK::default())
        .with_augmentation(augmentation)
}

/// Model, log, checkpoint and curves at the end.
fn finish(mut trainer: Trainer, folder: &Path) -> Vec<Vec<u8>> {
    let held_out = dataset(TRAINING..TRAINING + 20, 1);
    trainer
        .fit(Arc::new(dataset(0..SAMPLES, 1)), Some(&held_out))
        .unwrap();
    let files = ["log.csv", "checkpoint", "curves.svg"];
    let files = files.map(|name| fs::read(folder.join(name)).unwrap());
    let model = trainer.model().unwrap().to_bytes().unwrap().to_vec();
    std::iter::once(model).chain(files).collect()
}

#[test]
fn threads_and_kills_change_no_byte() {
    let folder = tempfile::tempdir().unwrap();
    let first = trainer(config(folder.path()), 1).with_callback(Snapshots {
        folder: folder.path().to_owned(),
    });
    let expected = finish(first, folder.path());
    // 7 batches an epoch, two of them a step: 4 steps.
    let log = String::from_utf8(expected[1].clone()).unwrap();
    assert_eq!(log.lines().count(), 1 + 12);
    assert!(log.starts_with(
        "step,epoch,loss,gradient_norm,learning_rate,train_loss,train_accuracy,validation_loss"
    ));
    for (threads, readers) in [(1, 1), (2, 2), (1, 0)] {
        let other = tempfile::tempdir().unwrap();
        let mut config = config(other.path());
        config.readers = readers;
        let found = finish(trainer(config, threads), other.path());
        assert!(found == expected, "{threads} threads, {readers} readers");
    }
    for step in 1..=12u64 {
        let other = tempfile::tempdir().unwrap();
        for name in ["checkpoint", "log.csv"] {
            let from = folder.path().join(step.to_string()).join(name);
            if from.exists() {
                fs::copy(from, other.path().join(name)).unwrap();
            }
        }
        let mut resumed = trainer(config(other.path()), 1 + (step % 2) as usize);
        let checkpoint = other.path().join("checkpoint");
        if checkpoint.exists() {
            resumed.resume(&checkpoint).unwrap();
            assert!(resumed.step() < step);
        }
        let found = finish(resumed, other.path());
        assert!(found == expected, "killed in step {step}");
    }
}

/// Layers that are large enough to be shared out to threads.
#[test]
fn threads_that_share_the_work_of_kernels_change_no_byte() {
    let model = Builder::images(1, 8)
        .conv("first", 32, 1)
        .norm("norm")
        .apply("Relu", "relu")
        .conv("second", 32, 1)
        .apply("Relu", "second_relu")
        .classifier(10)
        .finish();
    let trained = |threads| {
        let mut config = TrainerConfig::default();
        (config.epochs, config.batch) = (2, 32);
        let options = SessionOptions::default().with_threads(threads);
        let loss = CrossEntropy::default();
        let mut trainer = Trainer::with_session(&model, loss, config, &options).unwrap();
        trainer.fit(Arc::new(dataset(0..96, 1)), None).unwrap();
        trainer.model().unwrap().to_bytes().unwrap().to_vec()
    };
    let expected = trained(1);
    for threads in [2, 3] {
        assert!(trained(threads) == expected, "{threads} threads");
    }
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    finish(trainer(config(folder.path()), 1), folder.path());
    let mut other = config(folder.path());
    other.learning_rate = Some(0.2);
    let error = trainer(other, 1)
        .resume(folder.path().join("checkpoint"))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the checkpoint belongs to another run: `learning-rate` is null, here 0.2"
    );
    let mut other = config(folder.path());
    other.freeze = vec!["first.weight".into()];
    let error = trainer(other, 1)
        .resume(folder.path().join("checkpoint"))
        .unwrap_err();
    assert!(error.to_string().contains("`freeze`"), "{error}");
}
