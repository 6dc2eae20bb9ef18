//! A run with everything, broken off anywhere and taken up again: the same bytes as an unbroken one.

use crate::network::{Network, parameters};
use crate::pictures::{self, CLASSES, dataset};
use compress_tensor::Tensor;
use compress_train::augment::{
    Augmentation, CutMix, Cutout, Flip, Images, Jitter, Mixup, Normalize, RandomCrop,
};
use compress_train::checkpoint::Checkpoint;
use compress_train::data::{Loader, LoaderConfig, Order, Sampler, SamplerConfig};
use compress_train::ema::{Ema, EmaConfig, EmaStart};
use compress_train::gradient::{Accumulator, clip_by_norm};
use compress_train::log::{Log, LogFormat};
use compress_train::loss::Target;
use compress_train::metrics::top_k;
use compress_train::optimizer::{
    Adam, AdamConfig, Group, Lamb, LambConfig, Optimizer, Plan, Sgd, SgdConfig, StepControl,
    StepSettings,
};
use compress_train::picture::{Scale, curves, panel};
use compress_train::schedule::Schedule;
use compress_train::stopping::{BestWeights, Better, EarlyStopping, StoppingConfig, Verdict};
use ndarray::ArrayViewD;
use std::fs;
use std::path::Path;
use std::sync::Arc;

const STEPS: u64 = 24;
/// Steps from one checkpoint to the next.
const EVERY: u64 = 5;
const COLUMNS: [&str; 3] = ["loss", "norm", "rate"];

fn optimizer(kind: &str) -> Box<dyn Optimizer> {
    let slow_bias = Group {
        learning_rate: 0.5,
        weight_decay: Some(0.0),
        ..Group::matching("*.bias")
    };
    let plan = Plan::new(parameters(), &[slow_bias]).unwrap();
    match kind {
        "sgd" => {
            let mut config = SgdConfig::default();
            (config.momentum, config.nesterov, config.weight_decay) = (0.9, true, 1e-3);
            config.control = StepControl::Clip { limit: 1.0 };
            Box::new(Sgd::new(plan, config).unwrap())
        }
        "adam" => {
            let mut config = AdamConfig::default();
            (config.weight_decay, config.amsgrad) = (0.01, true);
            Box::new(Adam::new(plan, config).unwrap())
        }
        _ => Box::new(Lamb::new(plan, LambConfig::default()).unwrap()),
    }
}

fn augmentation() -> Augmentation {
    let images = Images::nchw("x");
    Augmentation::new(21)
        .with(RandomCrop {
            padding: 1,
            ..RandomCrop::of(images.clone())
        })
        .with(Flip {
            images: images.clone(),
            horizontal: 0.0,
            vertical: 0.0,
        })
        .with(Jitter {
            images: images.clone(),
            brightness: 0.1,
            contrast: 0.1,
        })
        .with(Cutout {
            images: images.clone(),
            size: 2,
            fill: 100.0,
            probability: 0.3,
        })
        .with(Normalize {
            images: images.clone(),
            mean: vec![115.0],
            deviation: vec![45.0],
        })
        .with(Mixup {
            column: "x".into(),
            labels: "y".into(),
            classes: CLASSES,
            alpha: 0.3,
            probability: 0.5,
        })
        .with(CutMix {
            images,
            labels: "y".into(),
            classes: CLASSES,
            alpha: 1.0,
            probability: 0.2,
        })
}

struct Run<'a> {
    folder: &'a Path,
    kind: &'a str,
    threads: usize,
    format: LogFormat,
}

/// Everything that a run holds.
struct Held {
    step: u64,
    network: Network,
    optimizer: Box<dyn Optimizer>,
    ema: Ema,
    stopping: EarlyStopping,
    best: Option<BestWeights>,
    loader: Loader,
    log: Log,
}

impl Run<'_> {
    fn checkpoint_path(&self) -> std::path::PathBuf {
        self.folder.join("run.checkpoint")
    }

    fn log_path(&self) -> std::path::PathBuf {
        self.folder.join("log")
    }

    /// A new run, or one from the checkpoint in the folder.
    fn begin(&self) -> Held {
        let saved = self.checkpoint_path();
        let saved = saved.exists().then(|| Checkpoint::read(saved).unwrap());
        let mut network = Network::new(4);
        let mut optimizer = optimizer(self.kind);
        let mut config = EmaConfig::default();
        (config.decay, config.start) = (0.9, EmaStart::BiasCorrected);
        let mut ema = Ema::new(parameters(), config).unwrap();
        let mut config = StoppingConfig::default();
        (config.patience, config.better) = (None, Better::Larger);
        let mut stopping = EarlyStopping::new(config);
        let mut config = SamplerConfig::default();
        (config.seed, config.batch, config.order) = (8, 12, Order::Shuffled);
        let mut sampler = Sampler::new(100, config).unwrap();
        let mut best = None;
        let step = saved.as_ref().map_or(0, |saved| saved.step);
        if let Some(saved) = saved {
            for (parameter, value) in parameters().iter().zip(&mut network.values) {
                value.copy_from_slice(&saved.weights[&parameter.name].data::<f32>().unwrap());
            }
            optimizer.restore(&saved.optimizer).unwrap();
            ema.restore(&saved.ema.unwrap()).unwrap();
            stopping.restore(saved.stopping.unwrap());
            sampler.resume(saved.sampler).unwrap();
            best = saved.best;
        }
        let mut config = LoaderConfig::default();
        (config.threads, config.ahead) = (self.threads, 2);
        let augmentation = Some(Arc::new(augmentation()));
        Held {
            step,
            network,
            optimizer,
            ema,
            stopping,
            best,
            loader: Loader::new(Arc::new(dataset(100, 1)), augmentation, sampler, &config),
            log: Log::resume(self.log_path(), self.format, &COLUMNS, step).unwrap(),
        }
    }

    /// Trains until a step, as if killed there: what came after the last checkpoint is lost.
    fn until(&self, end: u64) {
        let mut held = self.begin();
        while held.step < end {
            held.train_step();
            if held.step.is_multiple_of(EVERY) || held.step == STEPS {
                held.observe();
                held.checkpoint().write(self.checkpoint_path()).unwrap();
            }
        }
    }

    fn bytes(&self) -> [Vec<u8>; 2] {
        [self.checkpoint_path(), self.log_path()].map(|path| fs::read(path).unwrap())
    }
}

impl Held {
    /// One step over two batches.
    fn train_step(&mut self) {
        let schedule = Schedule::Cosine {
            steps: STEPS - 4,
            minimum: 1e-4,
        }
        .after_warm_up(4, 0.2);
        let mut sums = Accumulator::new(self.network.values.iter().map(Vec::len));
        let mut loss = 0.0;
        for _ in 0..2 {
            let batch = self.loader.next_batch().unwrap();
            let shares = batch.column("y").unwrap().f32().unwrap();
            let shares = ArrayViewD::from_shape(vec![batch.len(), CLASSES], shares).unwrap();
            let x = batch.column("x").unwrap().f32().unwrap();
            let (value, gradients) = self.network.gradients(x, Target::Values(shares));
            loss += value / 2.0;
            for (index, gradient) in gradients.iter().enumerate() {
                sums.add(index, gradient, batch.len()).unwrap();
            }
            self.loader.recycle(batch);
        }
        sums.finish();
        let norm = clip_by_norm(&mut sums.gradients(), 1.0);
        let base = if self.optimizer.kind() == "sgd" {
            0.3
        } else {
            0.05
        };
        let rate = schedule.learning_rate(base, self.step);
        self.optimizer.begin_step(StepSettings::new(rate)).unwrap();
        for (index, value) in self.network.values.iter_mut().enumerate() {
            self.optimizer
                .update(index, value, sums.gradient(index).unwrap())
                .unwrap();
            self.ema.update(index, value).unwrap();
        }
        self.step += 1;
        self.log
            .append(self.step, &[Some(loss), Some(norm), Some(rate)])
            .unwrap();
    }

    /// The accuracy of the averaged weights on other pictures.
    fn accuracy(&self) -> f64 {
        let mut averaged = self.network.clone();
        for (index, value) in averaged.values.iter_mut().enumerate() {
            self.ema.read(index, value).unwrap();
        }
        let (pixels, labels) = pictures::make(200, 99);
        let x: Vec<f32> = pixels
            .iter()
            .map(|&p| (f32::from(p) - 115.0) / 45.0)
            .collect();
        top_k(averaged.logits(&x).view(), &labels, 1).unwrap().value
    }

    fn observe(&mut self) {
        if self.stopping.observe(self.step, self.accuracy()) == Verdict::Improved {
            let at = self.stopping.state().best.unwrap();
            let values = &self.network.values;
            self.best = Some(BestWeights::keep(at, &parameters(), |index| &values[index]).unwrap());
        }
    }

    fn checkpoint(&self) -> Checkpoint {
        let mut checkpoint = Checkpoint::default();
        checkpoint.step = self.step;
        for (parameter, value) in parameters().iter().zip(&self.network.values) {
            let tensor = Tensor::from_vec(&parameter.shape, value.clone()).unwrap();
            checkpoint.weights.insert(parameter.name.clone(), tensor);
        }
        checkpoint.optimizer = self.optimizer.state();
        checkpoint.ema = Some(self.ema.state());
        checkpoint.stopping = Some(self.stopping.state());
        checkpoint.best = self.best.clone();
        checkpoint.sampler = self.loader.position();
        checkpoint.seeds.insert("augment".into(), 21);
        checkpoint
    }
}

#[test]
fn a_run_that_was_broken_off_ends_in_the_same_bytes() {
    for (kind, format) in [
        ("sgd", LogFormat::Csv),
        ("adam", LogFormat::JsonLines),
        ("lamb", LogFormat::Csv),
    ] {
        let run = |folder: &Path, threads: usize, stops: &[u64]| {
            let run = Run {
                folder,
                kind,
                threads,
                format,
            };
            stops.iter().for_each(|&stop| run.until(stop));
            run.until(STEPS);
            run.bytes()
        };
        let folder = || tempfile::tempdir().unwrap();
        let expected = run(folder().path(), 1, &[]);
        for (threads, stops) in [
            (0, &[][..]),
            (2, &[7]),
            (1, &[3]),
            (3, &[5, 13, 23]),
            (1, &[10, 11, 12]),
        ] {
            assert!(
                run(folder().path(), threads, stops) == expected,
                "{kind} {threads} {stops:?}"
            );
        }
    }
}

#[test]
fn the_run_learns_and_its_curves_are_drawn() {
    let folder = tempfile::tempdir().unwrap();
    for kind in ["sgd", "adam"] {
        let folder = folder.path().join(kind);
        fs::create_dir(&folder).unwrap();
        let run = Run {
            folder: &folder,
            kind,
            threads: 1,
            format: LogFormat::Csv,
        };
        run.until(STEPS);
        let held = run.begin();
        let best = held.best.as_ref().unwrap().at;
        println!(
            "{kind}: {:.3}, best {:.3} at {}",
            held.accuracy(),
            best.value,
            best.step
        );
        assert!(best.value > 0.9, "{kind}: {best:?}");
        let rows = held.log.rows().unwrap();
        assert_eq!(rows.len() as u64, STEPS);
        let panels = [
            panel("loss", Scale::Linear, held.log.columns(), &rows, &["loss"]),
            panel(
                "learning rate",
                Scale::Logarithmic,
                held.log.columns(),
                &rows,
                &["rate"],
            ),
        ];
        assert_eq!(curves("pictures", &panels).matches("<polyline").count(), 2);
    }
}
