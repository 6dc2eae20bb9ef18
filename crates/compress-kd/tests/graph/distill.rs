//! Distillation: students become like their teachers, by every loss.

use crate::data::{distance, run};
use crate::models::{Builder, images, residual, sentences, transformer};
use compress_kd::graph::student::{KeepBlocks, drop_layers, halve_width};
use compress_kd::graph::{
    Distiller, KdConfig, KdData, KdReport, KdTerm, LossTerm, TeacherRuns, born_again, distill,
};
use compress_tensor::{DType, Tensor};
use compress_train::data::ArrayDataset;
use compress_train::log::LogFormat;
use compress_train::optimizer::AdamConfig;
use compress_train::trainer::{CheckpointConfig, Initialization, LogConfig, OptimizerConfig, TopK};
use onnx_ir::Model;
use runtime_session::SessionOptions;
use std::sync::Arc;

/// Settings of a short run.
pub(crate) fn config(losses: impl IntoIterator<Item = LossTerm>) -> KdConfig {
    let mut config = KdConfig::new(losses);
    (config.trainer.epochs, config.trainer.batch) = (12, 8);
    config.trainer.optimizer = OptimizerConfig::Adam(AdamConfig::default());
    config.trainer.learning_rate = Some(0.01);
    config
}

pub(crate) fn pictures(samples: usize) -> ArrayDataset {
    let labels = Tensor::vector((0..samples as i64).map(|i| i % 5).collect());
    ArrayDataset::new([("image", images(samples, 9)), ("labels", labels)]).unwrap()
}

fn texts(samples: usize) -> ArrayDataset {
    ArrayDataset::new(sentences(samples, 9)).unwrap()
}

/// The loss of the last epoch is this share of that of the first, or less.
pub(crate) fn check_falls(report: &KdReport, share: f64) {
    let loss = |at: usize| report.training.epochs[at].train[0].value;
    let (first, last) = (loss(0), loss(report.training.epochs.len() - 1));
    assert!(
        last < share * first,
        "{:?}: {first} to {last}",
        report.losses
    );
}

pub(crate) fn check_is_the_student(model: &Model, student: &Model) {
    assert_eq!(model.graph.node_count(), student.graph.node_count());
    let names = |m: &Model| -> Vec<String> {
        let initializers = m.graph.initializers();
        initializers
            .map(|(id, _)| m.graph.name_of(id).to_owned())
            .collect()
    };
    assert_eq!(names(model), names(student));
    assert!(
        model
            .graph
            .values()
            .all(|(_, v)| !v.name.starts_with("modelpress.kd/"))
    );
    assert_ne!(model.to_bytes().unwrap(), student.to_bytes().unwrap());
}

#[test]
fn every_loss_on_images_falls_and_leaves_nothing_behind() {
    let teacher = residual(1);
    let (student, _) = halve_width(&residual(2)).unwrap();
    let at = |term: KdTerm| LossTerm::new(term).with_tap("hidden", "hidden");
    let temperature = 2.0;
    let dkd = KdTerm::Dkd {
        alpha: 1.0,
        beta: 2.0,
        temperature,
    };
    let terms = [
        LossTerm::new(KdTerm::kd(0.9, 4.0)),
        LossTerm::new(KdTerm::Kl { temperature }),
        LossTerm::new(KdTerm::ReverseKl { temperature }),
        LossTerm::new(KdTerm::Regression {}),
        LossTerm::new(dkd),
        at(KdTerm::Hint {}),
        at(KdTerm::Attention { power: 2.0 }),
        at(KdTerm::RkdDistance {}),
        at(KdTerm::RkdAngle {}),
        at(KdTerm::Similarity {}),
        at(KdTerm::Correlation { gamma: 0.0 }),
        at(KdTerm::Pkt {}),
        LossTerm::new(KdTerm::Cosine {}),
        at(KdTerm::Hint {}).with_tap("a.sum", "b.sum"),
    ];
    for term in terms {
        let name = term.loss.name();
        let data = KdData::new(Arc::new(pictures(32)));
        let found = distill(&teacher, &student, data, &config([term.clone()]));
        let (model, report) = found.unwrap_or_else(|error| panic!("{name}: {error}"));
        check_falls(&report, 0.95);
        check_is_the_student(&model, &student);
        let projections = if name == "hint" { term.taps.len() } else { 0 };
        assert_eq!(report.projections.len(), projections, "{name}");
        assert!(
            report
                .training
                .trained
                .iter()
                .all(|w| !w.starts_with("modelpress.kd/"))
        );
    }
}

#[test]
fn every_loss_on_tokens_falls_without_labels() {
    let teacher = transformer(1, 4);
    let keep = KeepBlocks::Evenly(2);
    let shallow = drop_layers(&teacher, 0, &keep).unwrap();
    let narrow = halve_width(&shallow).unwrap().0;
    let at = |term: KdTerm, tensor: &str| {
        LossTerm::new(term).with_tap(format!("0.{tensor}"), format!("0.{tensor}"))
    };
    let states = LossTerm::new(KdTerm::HiddenState {});
    let terms = [
        (states.clone(), &narrow),
        (LossTerm::new(KdTerm::Cosine {}), &narrow),
        (LossTerm::new(KdTerm::Cosine {}).pooled(), &narrow),
        (LossTerm::new(KdTerm::Regression {}).pooled(), &narrow),
        (at(KdTerm::HiddenState {}, "wide"), &narrow),
        (at(KdTerm::Relation { heads: 2 }, "v"), &narrow),
        (
            at(KdTerm::QueryKey { heads: 2 }, "q").with_tap("0.k", "0.k"),
            &narrow,
        ),
        (at(KdTerm::Hint {}, "q"), &narrow),
    ];
    for (term, student) in terms {
        let name = term.loss.name();
        let mut config = config([term]);
        // A hint has no use for it, and is refused with one.
        config.mask = (name != "hint").then(|| "mask".into());
        let data = KdData::new(Arc::new(texts(32)));
        let found = distill(&teacher, student, data, &config);
        let (model, report) = found.unwrap_or_else(|error| panic!("{name}: {error}"));
        check_falls(&report, 0.95);
        check_is_the_student(&model, student);
    }
    // Scores have as many heads: the student is the shallow one with weights of its own.
    let other = drop_layers(&transformer(2, 4), 0, &keep).unwrap();
    for term in [
        KdTerm::AttentionDivergence {},
        KdTerm::AttentionRegression {},
    ] {
        let mut config = config([LossTerm::new(term).with_tap("0.scaled", "0.scaled")]);
        config.mask = Some("mask".into());
        let data = KdData::new(Arc::new(texts(32)));
        let (_, report) = distill(&teacher, &other, data, &config).unwrap();
        check_falls(&report, 0.9);
    }
}

#[test]
fn a_student_becomes_its_teacher_without_labels() {
    let (teacher, student) = (residual(1), residual(2));
    let x = images(64, 9);
    let data = || KdData::new(Arc::new(ArrayDataset::new([("image", x.clone())]).unwrap()));
    let mut config = config([LossTerm::new(KdTerm::Regression {})]);
    config.trainer.epochs = 60;
    let feeds = [("image", images(64, 9))];
    let before = distance(&run(&teacher, &feeds)[0], &run(&student, &feeds)[0]);
    let (trained, _) = distill(&teacher, &student, data(), &config).unwrap();
    let after = distance(&run(&teacher, &feeds)[0], &run(&trained, &feeds)[0]);
    assert!(after < 0.5 * before, "{before} to {after}");
}

#[test]
fn running_statistics_of_a_student_made_in_memory_are_those_of_its_samples() {
    let teacher = residual(1);
    let (student, _) = halve_width(&teacher).unwrap();
    let mut config = config([LossTerm::default()]);
    config.trainer.initialize = Initialization::He;
    let data = KdData::new(Arc::new(pictures(64))).with_held_out(Arc::new(pictures(64)));
    let (trained, report) = distill(&teacher, &student, data, &config).unwrap();
    assert_eq!(report.training.statistics.len(), 6);
    for name in &report.training.statistics {
        let of = |model: &Model| {
            let id = model.graph.value_by_name(name).unwrap();
            model.graph.initializer(id).unwrap().to_f64_vec().unwrap()
        };
        assert_ne!(of(&trained), of(&student), "{name}");
    }
    // The same samples with the running statistics: not far from those with the batch's.
    let last = &report.training.epochs[11];
    let (train, held_out) = (last.train[0].value, last.validation[0].value);
    assert!(held_out < 2.0 * train, "{train} {held_out}");
}

#[test]
fn several_losses_have_weights_and_are_told_apart() {
    let (teacher, student) = (residual(1), residual(2));
    let hint = LossTerm::new(KdTerm::Hint {})
        .weighted(0.25)
        .with_tap("hidden", "hidden");
    let config = config([LossTerm::default(), hint.clone(), hint]);
    let data = KdData::new(Arc::new(pictures(32))).with_held_out(Arc::new(pictures(16)));
    let session = SessionOptions::default();
    let mut distiller = Distiller::new(&[teacher], &student, data, &config, &session)
        .unwrap()
        .with_metric(TopK::default());
    assert_eq!(distiller.samples(), (32, 16));
    let report = distiller.fit().unwrap();
    let expected = [
        ("kd".to_owned(), 1.0),
        ("hint".to_owned(), 0.25),
        ("hint 2".to_owned(), 0.25),
    ];
    assert_eq!(report.losses, expected);
    // As many channels on both sides: nothing is trained along.
    assert!(report.projections.is_empty());
    assert_eq!(report.training.epochs[11].validation.len(), 2);
    assert_eq!(report.teacher.runs, "once, in memory");
    // Five logits and an image of 6 x 4 x 4 for each of 48 samples.
    assert_eq!(report.teacher.bytes, 48 * 4 * (5 + 96));
}

#[test]
fn teachers_that_run_once_and_for_each_batch_teach_the_same() {
    let (teacher, student) = (residual(1), residual(2));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("teacher");
    let runs = [
        TeacherRuns::OnTheFly {},
        TeacherRuns::default(),
        TeacherRuns::Folder { path: path.clone() },
    ];
    let mut found = Vec::new();
    for runs in runs {
        let mut config = config([LossTerm::default()]);
        config.teacher_runs = runs;
        let data = KdData::new(Arc::new(pictures(30)));
        found.push(distill(&teacher, &student, data, &config).unwrap());
    }
    let kinds: Vec<&str> = found
        .iter()
        .map(|(_, report)| report.teacher.runs)
        .collect();
    assert_eq!(
        kinds,
        ["for each batch", "once, in memory", "once, in a folder"]
    );
    assert_eq!(std::fs::read_dir(path).unwrap().count(), 1);
    let bytes: Vec<_> = found
        .iter()
        .map(|(model, _)| model.to_bytes().unwrap())
        .collect();
    assert_eq!(bytes[1], bytes[2]);
    let feeds = [("image", images(8, 3))];
    let [each, once] = [0, 1].map(|i| run(&found[i].0, &feeds).remove(0));
    assert!(distance(&each, &once) < 1e-3, "{}", distance(&each, &once));
}

#[test]
fn several_teachers_teach_together() {
    let (one, two, student) = (residual(1), residual(4), residual(2));
    let mut config = config([
        LossTerm::default(),
        LossTerm::new(KdTerm::Hint {})
            .weighted(0.1)
            .with_tap("hidden", "hidden"),
    ]);
    config.losses[1].teacher = 1;
    config.ensemble.weights = Some(vec![1.0, 2.0]);
    let data = KdData::new(Arc::new(pictures(32)));
    let session = SessionOptions::default();
    let mut distiller = Distiller::new(&[one, two], &student, data, &config, &session).unwrap();
    let report = distiller.fit().unwrap();
    check_falls(&report, 0.95);
    assert_eq!(report.teacher.teachers, 2);
}

#[test]
fn a_teacher_may_call_its_only_input_otherwise() {
    let mut b = Builder::new(3);
    let x = b.input("pixels", DType::F32, &[3, 4, 4]);
    let flat = b.op("Flatten", &[x], "flat");
    let y = b.linear(flat, "logits", (48, 5));
    let y = b.op("Softmax", &[y], "probs");
    let teacher = b.finish(&[y]);
    let data = KdData::new(Arc::new(pictures(16)));
    let (_, report) =
        distill(&teacher, &residual(2), data, &config([LossTerm::default()])).unwrap();
    check_falls(&report, 0.95);
    let data = KdData::new(Arc::new(pictures(16)));
    let error = distill(
        &transformer(1, 1),
        &residual(2),
        data,
        &config([LossTerm::default()]),
    );
    let error = error.unwrap_err().to_string();
    assert_eq!(
        error,
        "the teacher reads the input `ids`, which no samples feed: they have the fields [\"image\", \"labels\"]"
    );
}

#[test]
fn exits_of_one_network_teach_one_another() {
    let mut b = Builder::new(3);
    let image = b.input("image", DType::F32, &[3, 4, 4]);
    let h = b.conv(image, "first", (3, 8), (3, 1));
    let h = b.op("Relu", &[h], "h");
    let flat = b.op("Flatten", &[h], "flat");
    let early = b.linear(flat, "early", (128, 5));
    let h = b.conv(h, "second", (8, 8), (3, 1));
    let h = b.op("Relu", &[h], "h2");
    let flat = b.op("Flatten", &[h], "flat2");
    let late = b.linear(flat, "late", (128, 5));
    let model = b.finish(&[early, late]);
    let exits = KdTerm::Exits {
        outputs: vec!["early".into(), "late".into()],
        alpha: 0.5,
        temperature: 3.0,
        weights: None,
    };
    let data = KdData::new(Arc::new(pictures(30)));
    let session = SessionOptions::default();
    let config = config([LossTerm::new(exits)]);
    let mut distiller = Distiller::new(&[], &model, data, &config, &session).unwrap();
    let report = distiller.fit().unwrap();
    check_falls(&report, 0.5);
    assert_eq!((report.teacher.runs, report.teacher.teachers), ("never", 0));
    check_is_the_student(&distiller.model().unwrap(), &model);
}

#[test]
fn a_generation_that_begins_anew_takes_those_behind_it_along() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let mut config = config([LossTerm::new(KdTerm::kd(0.5, 2.0))]);
    config.trainer.epochs = 2;
    config.trainer.initialize = Initialization::He;
    config.trainer.checkpoint = Some(CheckpointConfig {
        path: path.clone(),
        every: 0,
    });
    let born = |config: &KdConfig| {
        let data = |_| Ok(KdData::new(Arc::new(pictures(30))));
        let session = SessionOptions::default();
        let all = born_again(&residual(1), 2, data, config, &session);
        all.map(|all| all[1].0.to_bytes().unwrap())
    };
    let first = born(&config).unwrap();
    // Both go on, without a step.
    assert!(born(&config).unwrap() == first);
    // The checkpoint of the second one is of another teacher.
    std::fs::remove_file(path.with_extension("1")).unwrap();
    let kept = folder.path().join("run.10");
    std::fs::write(&kept, "another file").unwrap();
    config.losses = vec![LossTerm::new(KdTerm::kd(0.9, 2.0))];
    assert!(born(&config).unwrap() != first);
    assert!(path.with_extension("2").exists() && kept.exists());
}

#[test]
fn generations_are_born_again() {
    let model = residual(1);
    let mut config = config([LossTerm::new(KdTerm::kd(0.5, 2.0))]);
    config.trainer.initialize = Initialization::He;
    let data = |_| Ok(KdData::new(Arc::new(pictures(30))));
    let session = SessionOptions::default();
    let all = born_again(&model, 2, data, &config, &session).unwrap();
    assert_eq!(all.len(), 2);
    // The second one is what a run with its seed and the first one as teacher gives.
    config.trainer.seed += 1;
    let data = KdData::new(Arc::new(pictures(30)));
    let (again, _) = distill(&all[0].0, &model, data, &config).unwrap();
    assert_eq!(all[1].0.to_bytes().unwrap(), again.to_bytes().unwrap());
    // Features are looked at where the student has them.
    config.losses = vec![LossTerm::new(KdTerm::Hint {}).with_tap("own", "large")];
    config.trainer.log = Some(LogConfig {
        path: "a/log.csv".into(),
        format: LogFormat::Csv,
        every: 1,
    });
    let later = config.generation(1);
    assert_eq!(later.losses[0].taps[0].to_string(), "own=own");
    assert_eq!(
        later.trainer.log.unwrap().path.to_str(),
        Some("a/log.2.csv")
    );
    assert_eq!(config.generation(0).losses, config.losses);
    assert_ne!(all[0].0.to_bytes().unwrap(), all[1].0.to_bytes().unwrap());
}
