//! `docs/training.md` names every table and key of a recipe, and nothing else.

use super::*;
use crate::train::augment::Border;
use crate::train::ema::EmaConfig;
use crate::train::log::LogFormat;
use crate::train::optimizer::{AdamConfig, Group, LambConfig, SgdConfig, StepControl};
use crate::train::stopping::StoppingConfig;
use crate::train::trainer::{CheckpointConfig, Course, Hold, LogConfig, OptimizerConfig};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use toml::{Table, Value};

/// For each table its keys, or its kinds, each with its settings.
type Reference = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn documented() -> Reference {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/training.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, text) = text.split_once("\n## Recipes\n").unwrap();
    let (text, _) = text.split_once("\n## ").unwrap();
    let spans = |text: &str| -> Vec<String> {
        let parts = text.split('`').skip(1).step_by(2);
        parts.map(str::to_owned).collect()
    };
    let mut reference = Reference::new();
    let (mut table, mut has_kinds) = (String::new(), false);
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            table = spans(heading).remove(0);
            reference.entry(table.clone()).or_default();
        }
        if line.starts_with("| key ") || line.starts_with("| kind ") {
            has_kinds = line.starts_with("| kind ");
        }
        if line.starts_with("| `") {
            let columns: Vec<&str> = line.split('|').collect();
            let settings = match has_kinds {
                // Values are code too: they hold quotes, braces or digits.
                true => spans(columns[2])
                    .into_iter()
                    .filter(|span| !span.contains(['"', '{']))
                    .collect(),
                false => BTreeSet::new(),
            };
            let name = spans(columns[1]).remove(0);
            reference.get_mut(&table).unwrap().insert(name, settings);
        }
    }
    reference
}

fn table(of: &impl Serialize) -> Table {
    match Value::try_from(of).unwrap() {
        Value::Table(table) => table,
        other => panic!("{other}"),
    }
}

fn keys(table: &Table) -> BTreeMap<String, BTreeSet<String>> {
    let keys = table.keys().map(|key| (key.clone(), BTreeSet::new()));
    keys.collect()
}

/// Kinds with their settings.
fn kinds<T: Serialize>(all: &[T]) -> BTreeMap<String, BTreeSet<String>> {
    let one = |of: &T| {
        let mut table = table(of);
        let kind = table.remove("kind").unwrap();
        let kind = kind.as_str().unwrap().to_owned();
        (kind, table.keys().cloned().collect())
    };
    all.iter().map(one).collect()
}

fn quantizing() -> QatSpec {
    QatSpec {
        end_bits: Some(8),
        layers: vec![LayerSpec {
            nodes: vec!["conv*".into()],
            weight_bits: Some(4),
            activation_bits: Some(4),
        }],
        step_learning_rate: Some(0.5),
        teacher: Some("t.onnx".into()),
        ..QatSpec::default()
    }
}

/// A recipe in which all is said.
fn whole() -> TrainRecipe {
    let mut recipe = TrainRecipe {
        limit: Some(8),
        validation: Some(SampleSpec::default()),
        hold_out: Some(0.5),
        qat: Some(quantizing()),
        augment: vec![AugmentSpec::crop(1)],
        ..TrainRecipe::default()
    };
    recipe.preprocess.scale = Some(2.0);
    let trainer = &mut recipe.trainer;
    (trainer.learning_rate, trainer.step_share) = (Some(0.5), Some(0.5));
    (trainer.clip_norm, trainer.clip_value) = (Some(1.0), Some(1.0));
    trainer.average = Some(EmaConfig::default());
    trainer.statistics_momentum = Some(0.5);
    trainer.activation_memory = Some(1 << 20);
    trainer.watch = Some("loss".into());
    trainer.stopping = Some(StoppingConfig::default());
    trainer.groups = vec![Group {
        weight_decay: Some(0.0),
        control: Some(StepControl::Clip { limit: 0.5 }),
        ..Group::matching("*")
    }];
    trainer.checkpoint = Some(CheckpointConfig {
        path: "c".into(),
        every: 1,
    });
    trainer.log = Some(LogConfig {
        path: "l".into(),
        format: LogFormat::Csv,
        every: 1,
    });
    trainer.curves = Some("s".into());
    trainer.hold = vec![Hold {
        patterns: vec!["*".into()],
        from: 1.0,
    }];
    recipe
}

fn expected() -> Reference {
    let recipe = whole();
    let trainer = &recipe.trainer;
    let losses = [
        LossSpec::CrossEntropy {
            label_smoothing: 0.0,
            class_weights: Some(vec![1.0]),
            ignored_class: Some(1),
        },
        LossSpec::BinaryCrossEntropy {
            positive_weight: 1.0,
            label_smoothing: 0.0,
        },
        LossSpec::Mse {},
        LossSpec::L1 {},
        LossSpec::Huber { delta: 1.0 },
        LossSpec::SmoothL1 { beta: 1.0 },
    ];
    let steps = [
        AugmentSpec::Flip {
            horizontal: 0.5,
            vertical: 0.0,
        },
        AugmentSpec::Crop {
            padding: 1,
            border: Border::Edge,
        },
        AugmentSpec::Jitter {
            brightness: 0.0,
            contrast: 0.0,
        },
        AugmentSpec::Cutout {
            size: 1,
            fill: 0.0,
            probability: 0.5,
        },
        AugmentSpec::Mixup {
            classes: 2,
            alpha: 0.2,
            probability: 1.0,
        },
        AugmentSpec::Cutmix {
            classes: 2,
            alpha: 1.0,
            probability: 0.5,
        },
    ];
    let optimizers = [
        OptimizerConfig::Sgd(SgdConfig::default()),
        OptimizerConfig::Adam(AdamConfig::default()),
        OptimizerConfig::Lamb(LambConfig::default()),
    ];
    let factor = 0.5;
    let schedules = [
        Course::Constant,
        Course::Cosine { minimum: 0.0 },
        Course::Step { every: 1.0, factor },
        Course::MultiStep {
            milestones: vec![1.0],
            factor,
        },
        Course::Exponential { factor },
        Course::Polynomial { power: 1.0 },
        Course::OneCycle {
            rising: 0.3,
            divisor: 25.0,
            last_divisor: 1e4,
            momentum: Some([0.8, 0.9]),
        },
    ];
    let controls = [
        StepControl::Clip { limit: 0.5 },
        StepControl::Normalize { trust: 0.5 },
    ];
    let controls = controls.iter().map(|control| {
        let (kind, settings) = table(control).into_iter().next().unwrap();
        let settings = settings.as_table().unwrap().keys().cloned().collect();
        (kind, settings)
    });
    let tables = [
        ("recipe", keys(&table(&recipe))),
        ("samples", keys(&table(&recipe.samples))),
        ("preprocess", keys(&table(&recipe.preprocess))),
        ("loss", kinds(&losses)),
        ("augment", kinds(&steps)),
        ("trainer", keys(&table(trainer))),
        ("optimizer", kinds(&optimizers)),
        ("control", controls.collect()),
        ("schedule", kinds(&schedules)),
        ("groups", keys(&table(&trainer.groups[0]))),
        ("average", keys(&table(trainer.average.as_ref().unwrap()))),
        ("stopping", keys(&table(trainer.stopping.as_ref().unwrap()))),
        (
            "checkpoint",
            keys(&table(trainer.checkpoint.as_ref().unwrap())),
        ),
        ("log", keys(&table(trainer.log.as_ref().unwrap()))),
        ("hold", keys(&table(&trainer.hold[0]))),
        ("qat", keys(&table(&quantizing()))),
        ("layers", keys(&table(&quantizing().layers[0]))),
    ];
    tables.map(|(name, keys)| (name.to_owned(), keys)).into()
}

#[test]
fn every_table_and_key_is_documented_and_no_other() {
    let (documented, expected) = (documented(), expected());
    for (table, keys) in &expected {
        assert_eq!(documented.get(table), Some(keys), "{table}");
    }
    assert_eq!(documented.len(), expected.len());
}

#[test]
fn keys_are_of_one_spelling_and_the_other_is_read_too() {
    let text = whole().to_toml().unwrap();
    let named = |line: &str| line.split('=').next().unwrap_or_default().contains('_');
    assert!(!text.lines().any(named), "{text}");
    let other = text.lines().map(|line| match line.split_once('=') {
        Some((key, value)) => format!("{}={value}\n", key.replace('-', "_")),
        None => format!("{line}\n"),
    });
    let other = TrainRecipe::from_toml(&other.collect::<String>()).unwrap();
    assert_eq!(other, whole());
}

#[test]
fn kinds_are_enough_as_text() {
    let recipe = TrainRecipe::from_toml(
        "loss = 'mse'\naugment = ['flip', { kind = 'crop', padding = 1 }]\n[trainer]\noptimizer = 'adam'\nschedule = 'constant'",
    );
    let recipe = recipe.unwrap();
    assert_eq!(recipe.loss, LossSpec::Mse {});
    assert_eq!(recipe.augment.len(), 2);
    let adam = OptimizerConfig::Adam(AdamConfig::default());
    assert_eq!(recipe.trainer.optimizer, adam);
    assert_eq!(recipe.trainer.schedule, Course::Constant);
}

#[test]
fn what_is_no_setting_is_told_without_the_names_of_types() {
    for (text, expected) in [
        ("loss = 5", "a kind as text, or a table with a `kind`"),
        (
            "loss = 'mean'",
            "unknown variant `mean`, expected one of `cross-entropy`",
        ),
        ("augment = [1]", "a kind as text, or a table with a `kind`"),
        ("trainer = 5", "a table of settings"),
        ("samples = 'x.npy'", "a table with `inputs` and `labels`"),
        (
            "[trainer]\noptimizer = 5",
            "a kind as text, or a table with a `kind`",
        ),
        (
            "[trainer]\noptimizer = 'adamm'",
            "expected one of `sgd`, `adam`, `lamb`",
        ),
        ("[trainer]\noptimizer = {}", "missing field `kind`"),
        ("[trainer]\nschedule = 'step'", "missing field `every`"),
        ("[trainer]\naverage = 0.9", "a table with `decay`"),
        ("[trainer]\nstopping = 5", "a table with `patience`"),
        ("[trainer]\ngroups = ['*']", "a table with `patterns`"),
        (
            "[trainer]\nlog = 'l.csv'",
            "a table with the `path` of a file",
        ),
        (
            "[trainer]\ncheckpoint = 'c'",
            "a table with the `path` of a file",
        ),
        ("preprocess = 5", "a table"),
    ] {
        let error = TrainRecipe::from_toml(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
        for word in ["struct ", "enum ", "Config", "Spec"] {
            assert!(!error.contains(word), "{text}: {error}");
        }
    }
}
