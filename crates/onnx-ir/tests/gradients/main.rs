//! Every operator that has a gradient has a case here, and its gradient is held against finite differences in f64.

mod cases;
mod edges;
mod harness;
mod learned;
mod quantizers;
mod requests;
mod training;
mod whole_models;

use harness::{Case, judge, judge_single};
use onnx_ir::Catalog;
use onnx_ir::operator::GradientKind;
use std::collections::BTreeSet;

fn all() -> Vec<Case> {
    cases::all()
}

/// Operators whose gradient is no derivative of what they compute, by design; `quantizers.rs` and `learned.rs` hold them against formulas.
const STRAIGHT_THROUGH: &[&str] = &[
    "DequantizeLinear",
    "FakeQuantizeBias",
    "LearnedFakeQuantize",
    "QuantizeLinear",
];

#[test]
fn every_operator_with_a_gradient_has_a_case() {
    let cases: BTreeSet<(String, String)> = all().iter().map(Case::op).collect();
    let missing: Vec<String> = Catalog::standard()
        .entries()
        .filter(|entry| {
            matches!(
                entry.gradient,
                GradientKind::Graph | GradientKind::Quantizer
            )
        })
        .map(|entry| {
            (
                entry.signature.domain.to_owned(),
                entry.signature.name.to_owned(),
            )
        })
        .filter(|op| !cases.contains(op) && !STRAIGHT_THROUGH.contains(&op.1.as_str()))
        .map(|(domain, name)| format!("{domain}.{name}"))
        .collect();
    assert!(missing.is_empty(), "no case of {missing:?}");
}

#[test]
fn gradients_are_what_finite_differences_say() {
    let failures: Vec<String> = all().iter().filter_map(|case| judge(case).err()).collect();
    assert!(
        failures.is_empty(),
        "{} fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn gradients_in_f32_are_those_in_f64() {
    let failures: Vec<String> = all()
        .iter()
        .filter_map(|case| judge_single(case).err())
        .collect();
    assert!(
        failures.is_empty(),
        "{} fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
