//! The same seed, the same bytes: with other threads, and after a run was killed.

use crate::distill::{config, pictures};
use crate::models::residual;
use compress_kd::graph::student::halve_width;
use compress_kd::graph::{Distiller, KdConfig, KdData, KdTerm, LossTerm};
use compress_train::augment::{Augmentation, Flip, Images};
use compress_train::trainer::{Callback, CheckpointConfig, Flow, Network, StepEnd};
use runtime_session::SessionOptions;
use std::path::Path;
use std::sync::Arc;

fn settings(folder: &Path) -> KdConfig {
    let hint = LossTerm::new(KdTerm::Hint {})
        .weighted(0.2)
        .with_tap("hidden", "hidden");
    let mut config = config([LossTerm::default(), hint]);
    config.trainer.epochs = 3;
    config.trainer.checkpoint = Some(CheckpointConfig {
        path: folder.join("checkpoint"),
        every: 1,
    });
    config
}

fn distiller(config: &KdConfig, threads: usize, is_augmented: bool) -> Distiller {
    let (student, _) = halve_width(&residual(2)).unwrap();
    let mut data = KdData::new(Arc::new(pictures(30))).with_held_out(Arc::new(pictures(10)));
    if is_augmented {
        let flip = Flip {
            images: Images::nchw("image"),
            horizontal: 0.5,
            vertical: 0.0,
        };
        data = data.with_augmentation(Augmentation::new(4).with(flip));
    }
    let session = SessionOptions::default().with_threads(threads);
    Distiller::new(&[residual(1)], &student, data, config, &session).unwrap()
}

/// Copies the checkpoint of a step.
struct Snapshot {
    step: u64,
    from: std::path::PathBuf,
    to: std::path::PathBuf,
}

impl Callback for Snapshot {
    fn on_step(&mut self, end: &StepEnd, _: &Network) -> Flow {
        // The checkpoint of the step before is there.
        if end.step == self.step + 1 {
            std::fs::copy(&self.from, &self.to).unwrap();
        }
        Flow::Continue
    }
}

#[test]
fn threads_and_kills_change_no_byte() {
    for is_augmented in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let config = settings(folder.path());
        let snapshot = Snapshot {
            step: 6,
            from: folder.path().join("checkpoint"),
            to: folder.path().join("killed"),
        };
        let mut whole = distiller(&config, 1, is_augmented).with_callback(snapshot);
        let report = whole.fit().unwrap();
        assert_eq!(report.training.steps, 12);
        assert_eq!(report.projections.len(), 1);
        let runs = if is_augmented {
            "for each batch"
        } else {
            "once, in memory"
        };
        assert_eq!(report.teacher.runs, runs);
        let expected = whole.model().unwrap().to_bytes().unwrap();
        let checkpoint = std::fs::read(folder.path().join("checkpoint")).unwrap();
        let mut two = distiller(&config, 2, is_augmented);
        assert_eq!(two.fit().unwrap(), report);
        assert_eq!(two.model().unwrap().to_bytes().unwrap(), expected);
        let mut resumed = distiller(&config, 2, is_augmented);
        resumed.resume(folder.path().join("killed")).unwrap();
        assert_eq!(resumed.trainer().step(), 6);
        assert_eq!(resumed.fit().unwrap(), report);
        assert_eq!(resumed.model().unwrap().to_bytes().unwrap(), expected);
        assert_eq!(
            std::fs::read(folder.path().join("checkpoint")).unwrap(),
            checkpoint
        );
    }
}

#[test]
fn a_checkpoint_of_another_teacher_or_loss_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = settings(folder.path());
    distiller(&config, 1, false).fit().unwrap();
    let path = folder.path().join("checkpoint");
    let mut other = config.clone();
    other.losses[1].weight.0 = 0.3;
    let error = distiller(&other, 1, false)
        .resume(&path)
        .unwrap_err()
        .to_string();
    assert!(error.contains("another run: `losses`"), "{error}");
    let error = distiller(&config, 1, true)
        .resume(&path)
        .unwrap_err()
        .to_string();
    assert!(error.contains("`teacher runs`"), "{error}");
    let (student, _) = halve_width(&residual(2)).unwrap();
    let data = KdData::new(Arc::new(pictures(30))).with_held_out(Arc::new(pictures(10)));
    let session = SessionOptions::default();
    let mut other = Distiller::new(&[residual(3)], &student, data, &config, &session).unwrap();
    let error = other.resume(&path).unwrap_err().to_string();
    assert!(error.contains("`teacher 0`"), "{error}");
}
