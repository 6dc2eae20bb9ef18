//! What can be told of a distillation before any model runs.

use super::config::{KdConfig, LossTerm, Pooling};
use super::error::DistillError;
use super::kinds::KdTerm;
use crate::KdError;
use compress_train::data::{Dataset, Field};
use compress_train::loss::Scores;
use onnx_ir::{Graph, Model};

/// Checks the settings against models and samples.
pub(super) fn validate(
    config: &KdConfig,
    data: &dyn Dataset,
    held_out: Option<&dyn Dataset>,
    student: &Model,
    teachers: &[Model],
) -> Result<(), DistillError> {
    if config.losses.is_empty() {
        return Err(DistillError::NoLosses);
    }
    config.trainer.validate()?;
    not_quantized(&student.graph)?;
    has_field(data, &config.labels, "labels")?;
    has_field(data, &config.mask, "mask")?;
    let labels = labels(config, data, student, teachers);
    for term in &config.losses {
        term.loss.validate()?;
        let weight = term.weight.0;
        if !(weight.is_finite() && weight >= 0.0) {
            return Err(DistillError::Setting {
                setting: "the weight of a loss",
                found: weight,
                rule: "it must be finite and not negative",
            });
        }
        if term.loss.needs_labels() && labels.is_none() {
            return Err(DistillError::NoLabels {
                loss: term.loss.name(),
            });
        }
        if config.scores() == Scores::BeforeSigmoid && term.loss.is_of_classes() {
            return Err(DistillError::ClassesBesideLabels {
                loss: term.loss.name(),
            });
        }
    }
    if config.mask.is_some() && !config.losses.iter().any(looks_at_mask) {
        return Err(DistillError::IdleMask);
    }
    if let Some(held_out) = held_out {
        let look = |loss: &KdTerm| loss.looks_at_labels();
        let labels = labels.filter(|_| config.losses.iter().any(|term| look(&term.loss)));
        has_field(held_out, &labels, "labels of the samples held out")?;
        has_field(held_out, &config.mask, "mask of the samples held out")?;
    }
    match &config.ensemble.weights {
        Some(weights) if weights.len() != teachers.len() => {
            Err(DistillError::Loss(KdError::Length {
                what: "weights of teachers",
                found: weights.len(),
                expected: teachers.len(),
            }))
        }
        _ => Ok(()),
    }
}

/// Whether a term tells tokens that count from others.
fn looks_at_mask(term: &LossTerm) -> bool {
    let of_tokens = matches!(
        term.loss,
        KdTerm::Cosine {}
            | KdTerm::QueryKey { .. }
            | KdTerm::Relation { .. }
            | KdTerm::AttentionDivergence {}
            | KdTerm::AttentionRegression {}
            | KdTerm::HiddenState {}
    );
    of_tokens || term.pool != Pooling::None
}

/// The field that holds the labels: the one given, else the first that feeds no model.
pub(super) fn labels(
    config: &KdConfig,
    data: &dyn Dataset,
    student: &Model,
    teachers: &[Model],
) -> Option<String> {
    let feeds = |field: &&Field| {
        let mut models = std::iter::once(student).chain(teachers);
        models.any(|model| is_input(&model.graph, &field.name))
    };
    let first = || data.fields().iter().find(|field| !feeds(field));
    let first = || first().map(|field| field.name.clone());
    config.labels.clone().or_else(first)
}

fn is_input(graph: &Graph, name: &str) -> bool {
    let value = graph.value_by_name(name);
    value.is_some_and(|id| graph.is_input(id))
}

fn has_field(
    data: &dyn Dataset,
    name: &Option<String>,
    what: &'static str,
) -> Result<(), DistillError> {
    let fields = data.fields();
    match name {
        Some(name) if !fields.iter().any(|f| f.name == *name) => Err(DistillError::NoSuchField {
            what,
            name: name.clone(),
            fields: fields.iter().map(|f| f.name.clone()).collect(),
        }),
        _ => Ok(()),
    }
}

/// Operators of integer files, whose weights do not learn.
const QUANTIZED: [&str; 9] = [
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
    "DynamicQuantizeMatMul",
    "MatMulNBits",
];

fn not_quantized(graph: &Graph) -> Result<(), DistillError> {
    for (id, node) in graph.nodes() {
        let op = &node.op_type;
        if QUANTIZED.contains(&op.as_str()) {
            return Err(DistillError::Quantized {
                node: graph.label(id).to_owned(),
                op: op.clone(),
            });
        }
    }
    Ok(())
}

/// Those of `names` that a misspelt name is nearest to, at most three; none that differ in more than a third of its letters.
pub(super) fn nearest<'n>(wrong: &str, names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let most = (wrong.chars().count() / 3).max(1);
    let by_distance = names.map(|name| (distance(wrong, name), name));
    let mut near: Vec<(usize, &str)> = by_distance.filter(|(d, _)| *d <= most).collect();
    near.sort();
    near.dedup();
    near.truncate(3);
    near.into_iter().map(|(_, name)| name.to_owned()).collect()
}

/// Letters to put in, take out or change (Levenshtein), whatever their case.
fn distance(a: &str, b: &str) -> usize {
    let lower = |text: &str| text.to_lowercase().chars().collect::<Vec<char>>();
    let (a, b) = (lower(a), lower(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_near_are_told_nearest_first() {
        let names = ["relu_1", "Relu_12", "conv_1", "relu_7"];
        let near = |wrong| nearest(wrong, names.into_iter());
        assert_eq!(near("Relu_1"), ["relu_1", "Relu_12", "relu_7"]);
        assert_eq!(near("relu_"), ["relu_1", "relu_7"]);
        assert!(near("pool").is_empty());
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
