//! What a model weighs and works: parameters and multiply-accumulates.
//!
//! A multiply-accumulate (MAC) is one `a·b + c`. Counted are the operators whose time grows with them: convolutions
//! and matrix products, float or integer. Everything else counts as none.

use crate::graph::{Attribute, Graph, Node, NodeId};
use crate::{Dim, ValueId};
use compress_tensor::{DType, Tensor};

/// The elements of all weights: initializers and constants of the graph and of its subgraphs, without 64-bit
/// integers, truth values and strings, which are shapes, indices and labels.
pub fn parameters(graph: &Graph) -> u64 {
    let count = |t: &Tensor| match t.dtype() {
        DType::I64 | DType::U64 | DType::Bool | DType::String => 0,
        _ => t.len() as u64,
    };
    let stored: u64 = graph.initializers().map(|(_, t)| count(t)).sum();
    let nodes = graph.nodes().map(|(_, node)| {
        let constant = match node.attributes.get("value") {
            Some(Attribute::Tensor(t)) if node.is("Constant") => count(t),
            _ => 0,
        };
        let nested: u64 = node.attributes.graphs().map(|g| parameters(g)).sum();
        constant + nested
    });
    stored + nodes.sum::<u64>()
}

/// The multiply-accumulates of one node for given sizes of the symbols; 0 for an operator that is not counted,
/// `None` where a shape is not known. Shapes must have been inferred.
///
/// A convolution takes `|y| · C/g · k_h · k_w`, a matrix product `|y| · K`.
pub fn macs(graph: &Graph, id: NodeId, symbols: &dyn Fn(&str) -> Option<i64>) -> Option<u64> {
    let node = graph.node(id);
    let shape = |v: Option<ValueId>| sizes(graph, v?, symbols);
    let product = |dims: &[u64]| dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d));
    let output = || product(&shape(node.output(0))?);
    match node.op_type.as_str() {
        "Conv" | "ConvInteger" | "QLinearConv" | "FusedConv" | "NhwcFusedConv" => {
            let weight = if node.op_type == "QLinearConv" { 3 } else { 1 };
            let weight = shape(node.input(weight))?;
            output()?.checked_mul(product(weight.get(1..)?)?)
        }
        "ConvTranspose" => {
            let input = product(&shape(node.input(0))?)?;
            input.checked_mul(product(shape(node.input(1))?.get(1..)?)?)
        }
        "MatMul"
        | "MatMulInteger"
        | "QLinearMatMul"
        | "FusedMatMul"
        | "MatMulIntegerToFloat"
        | "DynamicQuantizeMatMul"
        | "MatMulNBits" => output()?.checked_mul(*inner(&shape(node.input(0))?, node, "transA")?),
        "Gemm" | "QGemm" => output()?.checked_mul(*inner(&shape(node.input(0))?, node, "transA")?),
        _ => Some(0),
    }
}

/// The length of the axis that a matrix product sums over.
fn inner<'s>(a: &'s [u64], node: &Node, transposed: &str) -> Option<&'s u64> {
    match node.attributes.get(transposed) {
        Some(Attribute::Int(1)) => a.iter().rev().nth(1),
        _ => a.last(),
    }
}

fn sizes(graph: &Graph, value: ValueId, symbols: &dyn Fn(&str) -> Option<i64>) -> Option<Vec<u64>> {
    if let Some(tensor) = graph.initializer(value) {
        return Some(tensor.shape().iter().map(|&d| d as u64).collect());
    }
    let dims = graph.value(value).fact.as_tensor()?.shape.as_ref()?;
    let size = |dim: &Dim| u64::try_from(dim.eval(symbols)?).ok();
    dims.iter().map(size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::infer_shapes;
    use crate::{Catalog, Fact, Model};

    #[test]
    fn a_convolution_and_a_matrix_product_count_what_they_sum() {
        let mut graph = Graph::new("costs");
        let shape = [
            Dim::symbol("n"),
            Dim::Known(3),
            Dim::Known(8),
            Dim::Known(8),
        ];
        let x = graph
            .add_value("x", Fact::tensor(DType::F32, shape))
            .unwrap();
        graph.add_input(x);
        let w = Tensor::full(&[4, 3, 3, 3], 0f32).unwrap();
        let w = graph.add_initializer("w", w).unwrap();
        let y = graph.add_value("y", Fact::Unknown).unwrap();
        let conv = graph.add_node(Node::new("Conv", [x, w], [y])).unwrap();
        let b = Tensor::full(&[6, 5], 0f32).unwrap();
        let b = graph.add_initializer("b", b).unwrap();
        let z = graph.add_value("z", Fact::Unknown).unwrap();
        let product = graph.add_node(Node::new("MatMul", [y, b], [z])).unwrap();
        graph.add_output(z);
        let mut model = Model::new(graph, 17);
        infer_shapes(&mut model, Catalog::standard()).unwrap();
        let two = |_: &str| Some(2);
        // [2, 4, 6, 6] of 3·3·3 each; [2, 4, 6, 5] of 6 each.
        assert_eq!(macs(&model.graph, conv, &two), Some(2 * 4 * 36 * 27));
        assert_eq!(macs(&model.graph, product, &two), Some(2 * 4 * 6 * 5 * 6));
        assert_eq!(macs(&model.graph, conv, &|_| None), None);
        assert_eq!(parameters(&model.graph), 108 + 30);
    }
}
