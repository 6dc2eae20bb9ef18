//! What an absent attribute stands for, by the schemas of the two versions that a step lies between.

use super::Step;
use crate::graph::{Attribute, Graph, NodeId};
use crate::schema::{AttributeDefault, OpSchema, registry};

/// Attributes whose default is not what the version before did, so that they are never dropped for being it.
const NOT_AS_BEFORE: &[(&str, &str)] = &[("RoiAlign", "coordinate_transformation_mode")];

/// Writes down each absent attribute whose default changes with the step.
pub(super) fn spell_out(graph: &mut Graph, id: NodeId, step: Step) {
    let Some((left, entered)) = schemas(graph, id, step) else {
        return;
    };
    for attribute in &left.attributes {
        let Some(other) = entered.attribute(attribute.name) else {
            continue;
        };
        let is_absent = graph.node(id).attributes.get(attribute.name).is_none();
        if let Some(default) = &attribute.default
            && attribute.default != other.default
            && is_absent
        {
            let value = as_attribute(default);
            graph.edit_node(id, |node| node.attributes.set(attribute.name, value));
        }
    }
}

/// Downwards, drops each attribute that the older version does not have and that holds its default.
pub(super) fn drop_new(graph: &mut Graph, id: NodeId, step: Step) {
    let (Step::Down(_), Some((newer, older))) = (step, schemas(graph, id, step)) else {
        return;
    };
    for attribute in &newer.attributes {
        let is_kept = older.attribute(attribute.name).is_some()
            || NOT_AS_BEFORE.contains(&(newer.name, attribute.name));
        let Some(default) = attribute.default.as_ref().filter(|_| !is_kept) else {
            continue;
        };
        let found = graph.node(id).attributes.get(attribute.name);
        if found.is_some_and(|found| is_same(found, default)) {
            graph.edit_node(id, |node| node.attributes.remove(attribute.name));
        }
    }
}

/// The schemas of the version that is left and of the one that is entered.
fn schemas(
    graph: &Graph,
    id: NodeId,
    step: Step,
) -> Option<(&'static OpSchema, &'static OpSchema)> {
    let op = &graph.node(id).op_type;
    let at = |version| registry().lookup("", op, version);
    let (left, entered) = match step {
        Step::Up(version) => (version - 1, version),
        Step::Down(version) => (version, version - 1),
    };
    Some((at(left)?, at(entered)?))
}

fn as_attribute(default: &AttributeDefault) -> Attribute {
    match default {
        AttributeDefault::Int(value) => Attribute::Int(*value),
        AttributeDefault::Float(value) => Attribute::Float(*value),
        AttributeDefault::String(text) => Attribute::String(text.as_bytes().to_vec()),
        AttributeDefault::Ints(values) => Attribute::Ints(values.clone()),
        AttributeDefault::Floats(values) => Attribute::Floats(values.clone()),
        AttributeDefault::Strings(texts) => {
            Attribute::Strings(texts.iter().map(|text| text.as_bytes().to_vec()).collect())
        }
    }
}

fn is_same(found: &Attribute, default: &AttributeDefault) -> bool {
    match (found, default) {
        (Attribute::Int(found), AttributeDefault::Int(value)) => found == value,
        (Attribute::Float(found), AttributeDefault::Float(value)) => found == value,
        (Attribute::String(found), AttributeDefault::String(text)) => found == text.as_bytes(),
        (Attribute::Ints(found), AttributeDefault::Ints(values)) => found == values,
        (Attribute::Floats(found), AttributeDefault::Floats(values)) => found == values,
        _ => false,
    }
}
