//! Contrast, labels that do not exclude one another, and what no term leads to.

use crate::data::{shared_file, shared_model};
use crate::distill::{check_falls, check_is_the_student, config, pictures};
use crate::models::{Builder, images, residual};
use compress_kd::graph::student::halve_width;
use compress_kd::graph::{Distiller, KdConfig, KdData, KdTerm, LossTerm, distill};
use compress_tensor::{DType, Tensor};
use compress_train::data::ArrayDataset;
use compress_train::loss::CrossEntropy;
use compress_train::optimizer::{AdamConfig, Group, LambConfig, SgdConfig};
use compress_train::random::{Purpose, Random};
use compress_train::stopping::StoppingConfig;
use compress_train::trainer::{
    Callback, CheckpointConfig, Flow, Initialization, Keep, Network, OptimizerConfig, StepEnd,
    TopK, Trainer, TrainerConfig,
};
use onnx_ir::Model;
use runtime_session::SessionOptions;
use std::path::PathBuf;
use std::sync::Arc;

/// Contrast of the last images of both networks with four others.
fn contrast() -> LossTerm {
    let term = KdTerm::Crd {
        dimensions: 6,
        negatives: 4,
        temperature: 0.2,
        momentum: 0.5,
    };
    LossTerm::new(term).with_tap("hidden", "hidden")
}

fn narrow() -> Model {
    halve_width(&residual(2)).unwrap().0
}

#[test]
fn contrast_falls_and_leaves_nothing_behind() {
    let student = narrow();
    let labelled = KdData::new(Arc::new(pictures(32))).with_held_out(Arc::new(pictures(10)));
    let x = ArrayDataset::new([("image", images(32, 9))]).unwrap();
    for (data, losses) in [
        (labelled, vec![LossTerm::default(), contrast()]),
        (KdData::new(Arc::new(x)), vec![contrast()]),
    ] {
        let mut config = config(losses);
        config.trainer.epochs = 20;
        let (model, report) = distill(&residual(1), &student, data, &config).unwrap();
        check_falls(&report, 0.9);
        check_is_the_student(&model, &student);
        let sizes: Vec<(usize, usize)> =
            report.projections.iter().map(|p| (p.from, p.to)).collect();
        assert_eq!(sizes, [(3, 6), (6, 6)]);
        // Held-out samples have no memory; their loss is that of the other terms.
        let is_finite = |s: &compress_train::trainer::Score| s.value.is_finite();
        assert!(report.training.epochs[0].validation.iter().all(is_finite));
    }
}

/// Copies the checkpoint of a step.
struct Snapshot(PathBuf, PathBuf);

impl Callback for Snapshot {
    fn on_step(&mut self, end: &StepEnd, _: &Network) -> Flow {
        // The checkpoint of step 5 is there.
        if end.step == 6 {
            std::fs::copy(&self.0, &self.1).unwrap();
        }
        Flow::Continue
    }
}

#[test]
fn memories_of_contrast_go_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mut config = config([LossTerm::default(), contrast(), contrast().weighted(0.5)]);
    config.trainer.epochs = 3;
    config.trainer.checkpoint = Some(CheckpointConfig {
        path: at("checkpoint"),
        every: 1,
    });
    let student = narrow();
    let begin = |config: &KdConfig, threads: usize| {
        let data = KdData::new(Arc::new(pictures(30))).with_held_out(Arc::new(pictures(10)));
        let session = SessionOptions::default().with_threads(threads);
        Distiller::new(&[residual(1)], &student, data, config, &session)
            .unwrap()
            .with_metric(TopK::default())
    };
    let snapshot = Snapshot(at("checkpoint"), at("killed"));
    let mut whole = begin(&config, 1).with_callback(snapshot);
    let report = whole.fit().unwrap();
    let expected = whole.model().unwrap().to_bytes().unwrap();
    let checkpoint = std::fs::read(at("checkpoint")).unwrap();
    let mut resumed = begin(&config, 2);
    resumed.resume(at("killed")).unwrap();
    assert_eq!(resumed.trainer().step(), 5);
    assert_eq!(resumed.fit().unwrap(), report);
    assert_eq!(resumed.model().unwrap().to_bytes().unwrap(), expected);
    assert_eq!(std::fs::read(at("checkpoint")).unwrap(), checkpoint);
    // Draws and memories follow from the seed.
    config.trainer.seed = 1;
    let mut other = begin(&config, 1);
    other.fit().unwrap();
    assert_ne!(other.model().unwrap().to_bytes().unwrap(), expected);
}

#[test]
fn contrast_says_what_it_cannot_embed() {
    let data = || KdData::new(Arc::new(pictures(16)));
    let refused = |term: LossTerm| {
        let found = distill(&residual(1), &residual(2), data(), &config([term]));
        found.err().unwrap().to_string()
    };
    let bare = LossTerm::new(KdTerm::crd());
    assert!(refused(bare).contains("needs the tensors to embed"));
    let mut none = contrast();
    none.loss = KdTerm::Crd {
        dimensions: 0,
        negatives: 4,
        temperature: 0.2,
        momentum: 0.5,
    };
    assert!(refused(none).contains("the dimensions of an embedding is 0"));
    let tokens = crate::models::transformer(1, 1);
    let sentences = ArrayDataset::new(crate::models::sentences(8, 1)).unwrap();
    let term = LossTerm::new(KdTerm::crd()).with_tap("0.out", "0.out");
    let found = distill(
        &tokens,
        &tokens,
        KdData::new(Arc::new(sentences)),
        &config([term]),
    );
    let error = found.err().unwrap().to_string();
    assert!(
        error.contains("cannot embed `0.out` of the student, of shape [batch, 6, 8]"),
        "{error}"
    );
}

/// Three labels of images, each a network's sigmoid.
fn many(seed: u64) -> Model {
    let mut b = Builder::new(seed);
    let image = b.input("image", DType::F32, &[3, 4, 4]);
    let flat = b.op("Flatten", &[image], "flat");
    let scores = b.linear(flat, "scores", (48, 3));
    let probs = b.op("Sigmoid", &[scores], "probs");
    b.finish(&[probs])
}

#[test]
fn labels_that_do_not_exclude_one_another_are_learned_one_by_one() {
    let x = images(32, 9);
    let mut random = Random::new(3, Purpose::Custom(1), 0, 0);
    let truths: Vec<u8> = (0..32 * 3)
        .map(|_| u8::from(random.between(0.0, 1.0) > 0.5))
        .collect();
    let truths = Tensor::from_vec(&[32, 3], truths).unwrap();
    let labelled = ArrayDataset::new([("image", x.clone()), ("truths", truths)]).unwrap();
    let bare = ArrayDataset::new([("image", x)]).unwrap();
    let term = || LossTerm::new(KdTerm::binary_kd(0.5, 2.0));
    for (data, share) in [(labelled, 0.9), (bare, 0.2)] {
        let data = KdData::new(Arc::new(data));
        let mut config = config([term()]);
        config.trainer.epochs = 30;
        let (_, report) = distill(&many(1), &many(2), data, &config).unwrap();
        check_falls(&report, share);
    }
    let data = KdData::new(Arc::new(pictures(8)));
    let both = config([term(), LossTerm::default()]);
    let error = distill(&many(1), &many(2), data, &both).err().unwrap();
    assert!(
        error
            .to_string()
            .contains("loss `kd` is one of classes that exclude one another"),
        "{error}"
    );
}

#[test]
fn weights_that_no_term_leads_to_stay_and_are_told() {
    let student = residual(2);
    let hint = || LossTerm::new(KdTerm::Hint {}).with_tap("hidden", "hidden");
    let x = ArrayDataset::new([("image", images(32, 9))]).unwrap();
    let mut features = config([hint()]);
    let mut sgd = SgdConfig::default();
    // Which would decay what has no gradient.
    sgd.weight_decay = 0.1;
    features.trainer.optimizer = OptimizerConfig::Sgd(sgd);
    let (model, report) =
        distill(&residual(1), &student, KdData::new(Arc::new(x)), &features).unwrap();
    assert_eq!(report.unreached, ["classifier.weight", "classifier.bias"]);
    assert!(!report.training.trained.contains(&report.unreached[0]));
    let of = |model: &Model, name: &str| {
        let id = model.graph.value_by_name(name).unwrap();
        model.graph.initializer(id).unwrap().to_f64_vec().unwrap()
    };
    for name in &report.unreached {
        assert_eq!(of(&model, name), of(&student, name), "{name}");
    }
    assert_ne!(of(&model, "last.weight"), of(&student, "last.weight"));
    let data = KdData::new(Arc::new(pictures(32)));
    let mut idle = LossTerm::default();
    idle.weight.0 = 0.0;
    let both = config([hint(), idle]);
    let (_, report) = distill(&residual(1), &student, data, &both).unwrap();
    assert_eq!(report.unreached.len(), 2);
    let data = KdData::new(Arc::new(pictures(32)));
    let both = config([hint(), LossTerm::default()]);
    let (_, report) = distill(&residual(1), &student, data, &both).unwrap();
    assert!(report.unreached.is_empty());
}

#[test]
fn terms_of_weight_0_that_project_leave_the_run_as_it_is() {
    let student = narrow();
    let hint = LossTerm::new(KdTerm::Hint {}).with_tap("hidden", "hidden");
    for idle in [hint, contrast()] {
        let name = idle.loss.name();
        let config = config([LossTerm::default(), idle.weighted(0.0)]);
        let data = KdData::new(Arc::new(pictures(32)));
        let found = distill(&residual(1), &student, data, &config);
        let (model, report) = found.unwrap_or_else(|error| panic!("{name}: {error}"));
        check_falls(&report, 0.95);
        check_is_the_student(&model, &student);
        assert!(
            report.unreached.is_empty(),
            "{name}: {:?}",
            report.unreached
        );
    }
}

#[test]
fn groups_of_all_weights_leave_projections_to_theirs() {
    let student = narrow();
    let hint = LossTerm::new(KdTerm::Hint {}).with_tap("hidden", "hidden");
    let mut config = config([LossTerm::default(), hint]);
    // Projections learn by ten times the rate of weights that are kept.
    config.trainer.learning_rate = None;
    let trained = |config: &KdConfig| {
        let data = KdData::new(Arc::new(pictures(32)));
        let (model, _) = distill(&residual(1), &student, data, config).unwrap();
        model.to_bytes().unwrap()
    };
    let expected = trained(&config);
    config.trainer.groups = vec![Group::matching("*")];
    assert!(trained(&config) == expected);
}

#[test]
fn running_statistics_that_no_term_leads_to_stay() {
    let student = residual(2);
    let term = LossTerm::new(KdTerm::Hint {}).with_tap("stem.relu", "stem.relu");
    let x = ArrayDataset::new([("image", images(32, 9))]).unwrap();
    let data = KdData::new(Arc::new(x));
    let (model, report) = distill(&residual(1), &student, data, &config([term])).unwrap();
    let mut statistics = report.training.statistics.clone();
    statistics.sort();
    assert_eq!(statistics, ["stem.norm.mean", "stem.norm.var"]);
    assert!(report.unreached.contains(&"b.norm.scale".to_owned()));
    assert!(!report.unreached.contains(&"b.norm.mean".to_owned()));
    let of = |model: &Model, name: &str| {
        let id = model.graph.value_by_name(name).unwrap();
        model.graph.initializer(id).unwrap().to_f64_vec().unwrap()
    };
    for name in ["a.norm.mean", "a.norm.var", "b.norm.mean", "b.norm.var"] {
        assert_eq!(of(&model, name), of(&student, name), "{name}");
    }
    for name in ["stem.norm.mean", "stem.norm.var"] {
        assert_ne!(of(&model, name), of(&student, name), "{name}");
    }
}

#[test]
fn nothing_goes_by_a_loss_that_says_nothing_of_held_out_samples() {
    let run = |losses: Vec<LossTerm>, change: fn(&mut TrainerConfig), has_metric: bool| {
        let mut config = config(losses);
        config.trainer.epochs = 2;
        change(&mut config.trainer);
        let data = KdData::new(Arc::new(pictures(24))).with_held_out(Arc::new(pictures(8)));
        let session = SessionOptions::default();
        let teachers = [residual(1)];
        let mut distiller = Distiller::new(&teachers, &narrow(), data, &config, &session)?;
        if has_metric {
            distiller = distiller.with_metric(TopK::default());
        }
        distiller.fit()
    };
    let stops: fn(&mut TrainerConfig) = |t| t.stopping = Some(StoppingConfig::default());
    let keeps: fn(&mut TrainerConfig) = |t| t.keep = Keep::Best;
    for change in [stops, keeps] {
        for losses in [
            vec![contrast()],
            vec![contrast(), LossTerm::default().weighted(0.0)],
        ] {
            let error = run(losses, change, false).unwrap_err().to_string();
            assert!(
                error.contains("`stopping`") && error.contains("`keep = \"best\"`"),
                "{error}"
            );
        }
        assert!(run(vec![contrast()], change, true).is_ok());
        assert!(run(vec![contrast(), LossTerm::default()], change, false).is_ok());
    }
    let watches: fn(&mut TrainerConfig) = |t| {
        t.keep = Keep::Best;
        t.watch = Some("loss".into());
    };
    assert!(run(vec![contrast()], watches, true).is_err());
    assert!(run(vec![contrast()], |_| {}, false).is_ok());
}

/// A network with a `Softmax` within, `shares` of so many channels, whose biases before it are moved.
fn gated(seed: u64, channels: usize, moved: f32) -> Model {
    let mut b = Builder::new(seed);
    let image = b.input("image", DType::F32, &[3, 4, 4]);
    let flat = b.op("Flatten", &[image], "flat");
    let scores = b.linear(flat, "scores", (48, channels));
    let by = b.constant("by", Tensor::scalar(moved));
    let scores = b.op("Add", &[scores, by], "scores.moved");
    let shares = b.op("Softmax", &[scores], "shares");
    let logits = b.linear(shares, "logits", (channels, 5));
    b.finish(&[logits])
}

#[test]
fn a_softmax_that_is_tapped_is_looked_at_as_it_is() {
    let hint = LossTerm::new(KdTerm::Hint {}).with_tap("shares", "shares");
    let mut crd = contrast();
    crd.taps.clone_from(&hint.taps);
    let first = |term: &LossTerm, teacher: &Model, student: &Model| {
        let mut config = config([term.clone()]);
        // One step.
        (config.trainer.epochs, config.trainer.batch) = (1, 16);
        let data = KdData::new(Arc::new(pictures(16)));
        let (_, report) = distill(teacher, student, data, &config).unwrap();
        report.training.epochs[0].train[0].value
    };
    // Shares do not know what all scores are moved by: the student is its teacher.
    let same = first(&hint, &gated(1, 4, 20.0), &gated(1, 4, 0.0));
    assert!(same < 1e-6, "{same}");
    // Also where the student's go through a projection, or both are embedded.
    for (term, channels) in [(&hint, 6), (&crd, 4)] {
        let student = gated(2, 4, 0.0);
        let [near, far] = [0.0, 100.0].map(|by| first(term, &gated(1, channels, by), &student));
        let name = term.loss.name();
        assert!((near - far).abs() < 1e-2 * near, "{name}: {near} {far}");
    }
}

/// Images `[batch, 3, 12, 12]` through a convolution, `hidden`, to five classes, without a normalisation.
fn plain(seed: u64, channels: usize) -> Model {
    let mut b = Builder::new(seed);
    let image = b.input("image", DType::F32, &[3, 12, 12]);
    let x = b.conv(image, "first", (3, channels), (3, 1));
    let hidden = b.op("Relu", &[x], "hidden");
    let mean = b.op("GlobalAveragePool", &[hidden], "mean");
    let flat = b.op("Flatten", &[mean], "flat");
    let logits = b.linear(flat, "logits", (channels, 5));
    b.finish(&[logits])
}

#[test]
fn a_hint_over_whole_feature_maps_does_not_diverge() {
    // Half the squares summed over 8 x 12 x 12 numbers: a bias that moves by its gradient at a rate of 0.1 overshoots 144 / 38 times.
    let mut random = Random::new(9, Purpose::Custom(1), 0, 0);
    let values = (0..32 * 3 * 144).map(|_| random.between(0.0, 255.0) as f32);
    let x = Tensor::from_vec(&[32, 3, 12, 12], values.collect()).unwrap();
    let labels = Tensor::vector((0..32i64).map(|i| i % 5).collect());
    for initialize in [Initialization::Keep, Initialization::He] {
        let data = [("image", x.clone()), ("labels", labels.clone())];
        let data = KdData::new(Arc::new(ArrayDataset::new(data).unwrap()));
        let hint = LossTerm::new(KdTerm::Hint {}).with_tap("hidden", "hidden");
        let mut config = KdConfig::new([LossTerm::default(), hint]);
        (config.trainer.epochs, config.trainer.batch) = (20, 8);
        config.trainer.initialize = initialize;
        let (_, report) = distill(&plain(1, 8), &plain(2, 4), data, &config).unwrap();
        assert_eq!(report.projections.len(), 1);
        check_falls(&report, 0.9);
    }
}

/// Images of the shared data from a row on, raw pixels with channels first, and their labels.
fn raw_images(first: usize, count: usize) -> Option<ArrayDataset> {
    let open = |name: &str| {
        let path = shared_file(&format!("cifar10/{name}"))?;
        let file = compress_tensor::npy::NpyFile::open(path).unwrap();
        Some(file.rows(first..first + count).unwrap())
    };
    let (x, y) = (open("train_x.npy")?, open("train_y.npy")?);
    let last = x.as_slice::<u8>().unwrap();
    let places = 32 * 32;
    let at = |i: usize| {
        let (image, channel, place) = (i / (3 * places), i / places % 3, i % places);
        f32::from(last[(image * places + place) * 3 + channel])
    };
    let values = (0..last.len()).map(at).collect();
    let x = Tensor::from_vec(&[count, 3, 32, 32], values).unwrap();
    Some(ArrayDataset::new([("input", x), ("labels", y)]).unwrap())
}

#[test]
fn a_trained_model_goes_on_to_learn_at_the_settings_it_has_by_default() {
    let (Some(model), Some(train), Some(others)) = (
        shared_model("resnet8_cifar10.onnx"),
        raw_images(0, 300),
        raw_images(9000, 500),
    ) else {
        return;
    };
    let optimizers = [
        OptimizerConfig::default(),
        OptimizerConfig::Adam(AdamConfig::default()),
        OptimizerConfig::Lamb(LambConfig::default()),
    ];
    let (train, others) = (Arc::new(train), Arc::new(others));
    for optimizer in optimizers {
        let mut config = KdConfig::new([LossTerm::new(KdTerm::kd(0.5, 4.0))]);
        config.trainer.epochs = 2;
        config.trainer.optimizer = optimizer;
        let data = KdData::new(train.clone());
        let session = SessionOptions::default();
        let teachers = std::slice::from_ref(&model);
        let mut distiller = Distiller::new(teachers, &model, data, &config, &session).unwrap();
        distiller.fit().unwrap();
        let student = distiller.model().unwrap();
        let found = Trainer::new(&student, CrossEntropy::default(), TrainerConfig::default())
            .unwrap()
            .with_metric(TopK::default())
            .evaluate(&*others)
            .unwrap();
        // Before: 0.80 or so; at the rates of weights that begin anew chance, 0.1 to 0.5.
        let accuracy = found[1].value;
        println!("{:?}: {accuracy}", config.trainer.optimizer);
        assert!(accuracy > 0.7, "{:?}: {accuracy}", config.trainer.optimizer);
    }
}
