//! What a target would refuse, found before any file is written: refused with the rule, or repaired with a note.

use super::config::QuantizeConfig;
use super::edit::node_name;
use super::error::QuantizeError;
use super::names::Names;
use super::plan::Plan;
use super::report::Note;
use onnx_ir::{Dim, Fact, Graph, Model, TensorFact, ValueId};

/// Gives every input constant sizes where the target asks for it; one note for each input that was changed.
///
/// # Errors
/// [`QuantizeError::TargetRule`] where a size other than the first is open: which one is meant only the user knows.
pub(super) fn fix_sizes(
    model: &mut Model,
    config: &QuantizeConfig,
) -> Result<Vec<Note>, QuantizeError> {
    let mut notes = Vec::new();
    if !config.target.rules().integers_only {
        return Ok(notes);
    }
    for id in model.graph.inputs().to_vec() {
        let name = model.graph.name_of(id).to_owned();
        let Fact::Tensor(fact) = model.graph.value(id).fact.clone() else {
            continue;
        };
        let refuse = |what: String| QuantizeError::TargetRule {
            target: config.target.name(),
            asked: what,
            rule: "tensor sizes must be constant: fix them with `modelpress optimize --dim NAME=SIZE`, then quantize the result",
        };
        let Some(mut dims) = fact.shape else {
            return Err(refuse(format!("input `{name}` of unknown rank")));
        };
        let open: Vec<usize> = (0..dims.len())
            .filter(|&i| dims[i].as_size().is_none())
            .collect();
        match open.as_slice() {
            [] => {}
            [0] => {
                dims[0] = Dim::Known(1);
                model.graph.value_mut(id).fact =
                    TensorFact::with_shape(fact.dtype, Some(dims)).into();
                notes.push(Note::new(
                    name,
                    "batch set to 1, tensor sizes must be constant",
                ));
            }
            _ => {
                let shown: Vec<String> = dims.iter().map(ToString::to_string).collect();
                return Err(refuse(format!("input `{name}` [{}]", shown.join(", "))));
            }
        }
    }
    Ok(notes)
}

/// Checks that every node of a model for an integer-only target runs on integers.
///
/// # Errors
/// [`QuantizeError::TargetRule`] names the nodes that would not.
pub(super) fn check_integers(
    graph: &Graph,
    plan: &Plan,
    config: &QuantizeConfig,
) -> Result<(), QuantizeError> {
    if !config.target.rules().integers_only {
        return Ok(());
    }
    let selection = &plan.selection;
    let computes_floats = |v: &ValueId| {
        let fact = graph.value(*v).fact.as_tensor();
        graph.constant(*v).is_none() && fact.is_none_or(|f| f.dtype.is_none_or(|d| d.is_float()))
    };
    let left: Vec<String> = selection
        .order
        .iter()
        .filter(|id| {
            let node = graph.node(**id);
            !selection.roles.contains_key(id)
                && !selection.fused.values().any(|a| a == *id)
                && node.outputs().iter().flatten().any(computes_floats)
        })
        .map(|&id| {
            format!(
                "{} ({})",
                node_name(graph, id),
                graph.node(id).qualified_op()
            )
        })
        .collect();
    if left.is_empty() {
        return Ok(());
    }
    Err(QuantizeError::TargetRule {
        target: config.target.name(),
        asked: format!("float nodes {}", Names::from(left)),
        rule: "every operator must be quantized and on the compiler's list; what follows another one stays on the CPU",
    })
}
