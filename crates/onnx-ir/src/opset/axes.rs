//! Downwards to opsets below 11, in which an axis was not counted from the end.

use super::inputs_to_attributes::refuse;
use super::{ConvertError, Step, rank};
use crate::graph::{Attribute, Graph, NodeId};
use crate::ops::axis;

pub(super) fn adapt(graph: &mut Graph, id: NodeId, step: Step) -> Result<(), ConvertError> {
    if step != Step::Down(11) {
        return Ok(());
    }
    let node = graph.node(id);
    // How many axes there are beyond those of the input.
    let more = match node.op_type.as_str() {
        "OneHot" => 1,
        "Unsqueeze" => match node.attributes.get("axes") {
            Some(Attribute::Ints(axes)) => axes.len(),
            _ => 0,
        },
        _ => 0,
    };
    for name in ["axis", "axes"] {
        let given = match graph.node(id).attributes.get(name) {
            Some(Attribute::Int(axis)) => vec![*axis],
            Some(Attribute::Ints(axes)) => axes.clone(),
            _ => continue,
        };
        if given.iter().all(|&axis| axis >= 0) {
            continue;
        }
        let rank = rank(graph, id).map(|rank| rank + more);
        let resolve = |axis: &i64| Some(axis::resolve(*axis, rank?)? as i64);
        let Some(axes) = given.iter().map(resolve).collect::<Option<Vec<i64>>>() else {
            return Err(refuse(
                graph,
                id,
                10,
                "an axis counts from the end of an unknown rank",
            ));
        };
        graph.edit_node(id, |node| {
            let is_one = matches!(node.attributes.get(name), Some(Attribute::Int(_)));
            let value = match axes.first() {
                Some(&axis) if is_one => Attribute::Int(axis),
                _ => Attribute::Ints(axes),
            };
            node.attributes.set(name, value)
        });
    }
    Ok(())
}
