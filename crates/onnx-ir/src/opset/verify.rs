//! Every node against the schema of its version: the last word of a conversion.

use super::ConvertError;
use crate::graph::Graph;
use crate::schema;

pub(super) fn against_schema(graph: &Graph, target: i64) -> Result<(), ConvertError> {
    for (id, node) in graph.nodes() {
        for subgraph in node.attributes.graphs() {
            against_schema(subgraph, target)?;
        }
        if !matches!(node.domain.as_str(), "" | "ai.onnx") {
            continue;
        }
        let refuse = |reason: String| ConvertError::Node {
            node: graph.describe(id),
            target,
            reason,
        };
        let Some(schema) = schema::registry().lookup("", &node.op_type, target) else {
            return Err(refuse("the operator came with a later opset".to_owned()));
        };
        if schema.deprecated {
            return Err(refuse("the operator is deprecated there".to_owned()));
        }
        let (_, most) = schema.input_arity();
        if most.is_some_and(|most| node.inputs().len() > most) {
            return Err(refuse(format!("it has {} inputs", node.inputs().len())));
        }
        if let Some((name, _)) = node
            .attributes
            .iter()
            .find(|(name, _)| schema.attribute(name).is_none())
        {
            return Err(refuse(format!("it has attribute `{name}`")));
        }
        if let Some(a) = schema
            .attributes
            .iter()
            .find(|a| a.required && node.attributes.get(a.name).is_none())
        {
            return Err(refuse(format!("it has no attribute `{}`", a.name)));
        }
        for (index, input) in node.inputs().iter().enumerate() {
            let parameter = schema::parameter_at(&schema.inputs, index);
            let dtype = input.and_then(|v| graph.value(v).fact.as_tensor()?.dtype);
            let (Some(parameter), Some(dtype)) = (parameter, dtype) else {
                continue;
            };
            let Some(name) = crate::io::name_of_dtype(dtype) else {
                continue;
            };
            let name = format!("tensor({name})");
            if !schema.allowed_types(parameter).contains(&name) {
                return Err(refuse(format!(
                    "input {index} is {dtype}, which it does not take"
                )));
            }
        }
    }
    Ok(())
}
