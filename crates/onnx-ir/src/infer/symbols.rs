//! Names of sizes that depend on data: `_s1`, `_s2`, …, without those that a file gives to sizes of its own.

use crate::fact::{Fact, KnownValue};
use crate::graph::Graph;
use crate::symbolic::Dim;
use std::collections::HashSet;

const PREFIX: &str = "_s";

/// The next symbol, counted by `last`, that is not `taken`.
pub(super) fn fresh(last: &mut usize, taken: &HashSet<String>) -> Dim {
    loop {
        *last += 1;
        let name = format!("{PREFIX}{last}");
        if !taken.contains(&name) {
            return Dim::symbol(&name);
        }
    }
}

/// The symbols of a graph and its subgraphs that look like fresh ones.
pub(super) fn of_graph(graph: &Graph) -> HashSet<String> {
    let mut taken = HashSet::new();
    let mut graphs = vec![graph];
    while let Some(graph) = graphs.pop() {
        for (_, value) in graph.values() {
            collect(&value.fact, &mut taken);
        }
        for (_, node) in graph.nodes() {
            graphs.extend(node.attributes.graphs().map(|nested| nested.as_ref()));
        }
    }
    taken
}

/// The symbols of facts that look like fresh ones.
pub(super) fn of_facts<'a>(facts: impl IntoIterator<Item = &'a Fact>) -> HashSet<String> {
    let mut taken = HashSet::new();
    for fact in facts {
        collect(fact, &mut taken);
    }
    taken
}

fn collect(fact: &Fact, taken: &mut HashSet<String>) {
    let mut fact = fact;
    while let Fact::Sequence(inner) | Fact::Optional(inner) | Fact::Map(_, inner) = fact {
        fact = inner;
    }
    let (Fact::Tensor(tensor) | Fact::SparseTensor(tensor)) = fact else {
        return;
    };
    let elements = match &tensor.value {
        Some(KnownValue::Elements(elements)) => elements.as_slice(),
        _ => &[],
    };
    for dim in tensor.shape.iter().flatten().chain(elements) {
        dim.for_each_symbol(&mut |name| {
            if name.starts_with(PREFIX) {
                taken.insert(name.to_owned());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Node;
    use crate::infer::infer_shapes;
    use crate::model::Model;
    use crate::operator::Catalog;
    use compress_tensor::DType;

    #[test]
    fn a_size_that_depends_on_data_has_no_name_that_the_model_gives() {
        let mut g = Graph::new("g");
        let dims = [Dim::symbol("_s1"), Dim::symbol("_s2") + Dim::Known(1)];
        let x = g.add_value("x", Fact::tensor(DType::F32, dims)).unwrap();
        g.add_input(x);
        let y = g.add_value("y", Fact::Unknown).unwrap();
        g.add_node(Node::new("NonZero", [x], [y])).unwrap();
        g.add_output(y);
        let mut model = Model::new(g, 17);
        infer_shapes(&mut model, Catalog::standard()).unwrap();
        assert_eq!(model.fact("y").unwrap().to_string(), "i64[2, _s3]");
    }
}
