//! A graph as text, one node per line, in the manner of ONNX's own textual syntax.
//!
//! ```text
//! graph main (f32[batch, 3, 32, 32] input) => (f32[batch, 10] probs) {
//!   f32[16, 3, 3, 3] weight
//!   f32[batch, 16, 32, 32] conv = Conv<pads = [1, 1, 1, 1]>(input, weight)
//! }
//! ```

use crate::graph::{Attribute, Graph, NodeId, ValueId};
use std::fmt::{self, Write};

/// Elements of an attribute list that are printed.
const MAX_LIST: usize = 16;

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(self, f, 0)
    }
}

fn print(graph: &Graph, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
    let indent = "  ".repeat(depth);
    write!(f, "graph {} (", graph.name)?;
    list(f, graph.required_inputs(), |f, v| typed(graph, f, v))?;
    f.write_str(") => (")?;
    list(f, graph.outputs().iter().copied(), |f, v| {
        typed(graph, f, v)
    })?;
    f.write_str(") {\n")?;
    for (id, _) in graph.initializers() {
        write!(f, "{indent}  ")?;
        typed(graph, f, id)?;
        f.write_char('\n')?;
    }
    // A graph with a cycle is printed in the order of the file.
    let order = graph
        .topological_order()
        .unwrap_or_else(|_| graph.nodes().map(|(id, _)| id).collect());
    for id in order {
        write!(f, "{indent}  ")?;
        node(graph, f, id, depth)?;
        f.write_char('\n')?;
    }
    write!(f, "{indent}}}")
}

fn node(graph: &Graph, f: &mut fmt::Formatter<'_>, id: NodeId, depth: usize) -> fmt::Result {
    let node = graph.node(id);
    list(f, node.outputs().iter(), |f, v| match v {
        Some(v) => typed(graph, f, *v),
        None => f.write_str("_"),
    })?;
    write!(f, " = {}", node.qualified_op())?;
    if !node.attributes.is_empty() {
        f.write_str("<")?;
        list(f, node.attributes.iter(), |f, (name, value)| {
            write!(f, "{name} = ")?;
            attribute(f, value, depth + 1)
        })?;
        f.write_str(">")?;
    }
    f.write_str("(")?;
    list(f, node.inputs().iter(), |f, v| {
        f.write_str(v.map_or("_", |v| graph.name_of(v)))
    })?;
    f.write_str(")")
}

fn typed(graph: &Graph, f: &mut fmt::Formatter<'_>, id: ValueId) -> fmt::Result {
    let value = graph.value(id);
    write!(f, "{} {}", value.fact, value.name)
}

fn attribute(f: &mut fmt::Formatter<'_>, value: &Attribute, depth: usize) -> fmt::Result {
    match value {
        Attribute::Float(v) => write!(f, "{v:?}"),
        Attribute::Int(v) => write!(f, "{v}"),
        Attribute::String(v) => write!(f, "{:?}", String::from_utf8_lossy(v)),
        Attribute::Tensor(t) => write!(f, "{t:?}"),
        Attribute::Type(fact) => write!(f, "{fact}"),
        Attribute::Graph(graph) => print(graph, f, depth),
        Attribute::Floats(v) => shortened(f, v, |f, v| write!(f, "{v:?}")),
        Attribute::Ints(v) => shortened(f, v, |f, v| write!(f, "{v}")),
        Attribute::Strings(v) => {
            shortened(f, v, |f, v| write!(f, "{:?}", String::from_utf8_lossy(v)))
        }
        Attribute::Graphs(v) => shortened(f, v, |f, v| print(v, f, depth)),
        Attribute::Reference { name, .. } => write!(f, "@{name}"),
        other => f.write_str(other.kind()),
    }
}

fn shortened<T>(
    f: &mut fmt::Formatter<'_>,
    items: &[T],
    one: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    f.write_str("[")?;
    list(f, items.iter().take(MAX_LIST), |f, v| one(f, v))?;
    if items.len() > MAX_LIST {
        write!(f, ", … {} in all", items.len())?;
    }
    f.write_str("]")
}

fn list<T>(
    f: &mut fmt::Formatter<'_>,
    items: impl Iterator<Item = T>,
    mut one: impl FnMut(&mut fmt::Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    for (i, item) in items.enumerate() {
        if i > 0 {
            f.write_str(", ")?;
        }
        one(f, item)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::fact::Fact;
    use crate::graph::{Graph, Node};
    use compress_tensor::{DType, Tensor};

    #[test]
    fn a_graph_prints_one_node_per_line() {
        let mut g = Graph::new("main");
        let x = g
            .add_value("x", Fact::tensor(DType::F32, [1usize, 2]))
            .unwrap();
        g.add_input(x);
        let w = g
            .add_initializer("w", Tensor::vector(vec![1f32, 2.0]))
            .unwrap();
        let y = g
            .add_value("y", Fact::tensor(DType::F32, [1usize, 2]))
            .unwrap();
        g.add_node(Node::new("Add", [x, w], [y])).unwrap();
        g.add_output(y);
        let text =
            "graph main (f32[1, 2] x) => (f32[1, 2] y) {\n  f32[2] w\n  f32[1, 2] y = Add(x, w)\n}";
        assert_eq!(g.to_string(), text);
    }
}
