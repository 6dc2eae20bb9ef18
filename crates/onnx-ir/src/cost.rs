//! What a model weighs and works: parameters and multiply-accumulates.
//!
//! A multiply-accumulate (MAC) is one `a·b + c`. Counted are the operators whose time grows with them: convolutions
//! and matrix products, float or integer, recurrent layers, attention, and control flow by what its subgraphs do.
//! Everything else counts as none.

use crate::fact::TensorFact;
use crate::graph::{Attribute, Graph, Node, NodeId};
use crate::ops::linear::equation::Equation;
use crate::{Dim, ValueId};
use compress_tensor::{DType, Tensor};
use std::collections::BTreeMap;

/// The elements of all weights: initializers and constants of the graph and of its subgraphs, without 64-bit
/// integers, truth values and strings, which are shapes, indices and labels.
pub fn parameters(graph: &Graph) -> u64 {
    weight(graph).parameters
}

/// What weights take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Their elements.
    pub parameters: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl std::iter::Sum for Weight {
    fn sum<I: Iterator<Item = Self>>(weights: I) -> Self {
        weights.fold(Self::default(), |sum, weight| Self {
            parameters: sum.parameters + weight.parameters,
            bytes: sum.bytes + weight.bytes,
        })
    }
}

/// All weights of a graph and of its subgraphs; what counts as one is said at [`parameters`].
pub fn weight(graph: &Graph) -> Weight {
    let stored = graph
        .initializers()
        .map(|(_, tensor)| tensor_weight(tensor));
    let held = graph.nodes().map(|(_, node)| held_weight(node));
    stored.chain(held).sum()
}

/// The weights that a node reads from initializers and those that it holds: a constant, subgraphs.
pub fn node_weight(graph: &Graph, id: NodeId) -> Weight {
    let node = graph.node(id);
    let read = node.inputs().iter().flatten();
    let read = read
        .filter_map(|&v| graph.initializer(v))
        .map(tensor_weight);
    read.chain([held_weight(node)]).sum()
}

fn held_weight(node: &Node) -> Weight {
    let constant = match node.attributes.get("value") {
        Some(Attribute::Tensor(tensor)) if node.is("Constant") => tensor_weight(tensor),
        _ => Weight::default(),
    };
    let nested = node.attributes.graphs().map(|graph| weight(graph));
    nested.chain([constant]).sum()
}

fn tensor_weight(tensor: &Tensor) -> Weight {
    match tensor.dtype() {
        DType::I64 | DType::U64 | DType::Bool | DType::String => Weight::default(),
        _ => Weight {
            parameters: tensor.len() as u64,
            bytes: tensor.bytes().len() as u64,
        },
    }
}

/// The multiply-accumulates of one node for given sizes of the symbols; 0 for an operator that is not counted,
/// `None` where a shape or the iterations of a loop are not known. Shapes must have been inferred, in subgraphs too
/// ([`infer_shapes_within`](crate::infer::infer_shapes_within)).
///
/// | operator | multiply-accumulates |
/// |---|---|
/// | convolution | `|y| · C/g · k_h · k_w` |
/// | matrix product | `|y| · K` |
/// | `Einsum` of `n` operands | the product of all index sizes, `n - 1` times |
/// | recurrent layer | `T · N · (|W| + |R|)` |
/// | attention | `N · S · L · (H·d_qk + H·d_v)` for `L` keys, and the projection where the operator holds it |
/// | `If` | those of the larger branch |
/// | `Loop`, `Scan` | those of the body, as often as it runs |
pub fn macs(graph: &Graph, id: NodeId, symbols: &dyn Fn(&str) -> Option<i64>) -> Option<u64> {
    let at = At {
        graph,
        node: graph.node(id),
        symbols,
    };
    match at.node.op_type.as_str() {
        "Conv" | "ConvInteger" | "DeformConv" | "FusedConv" | "NhwcConv" | "NhwcFusedConv" => {
            at.convolution(1)
        }
        "QLinearConv" => at.convolution(3),
        "ConvTranspose" => product(&at.input(0)?)?.checked_mul(product(at.input(1)?.get(1..)?)?),
        "MatMul"
        | "MatMulInteger"
        | "QLinearMatMul"
        | "FusedMatMul"
        | "MatMulIntegerToFloat"
        | "DynamicQuantizeMatMul"
        | "MatMulNBits"
        | "Gemm"
        | "FusedGemm"
        | "QGemm" => product(&at.output()?)?.checked_mul(*inner(&at.input(0)?, at.node, "transA")?),
        "Einsum" => at.einsum(),
        "LSTM" | "GRU" | "RNN" | "DynamicQuantizeLSTM" => {
            let steps = product(at.input(0)?.get(..2)?)?;
            let weights = product(&at.input(1)?)?.checked_add(product(&at.input(2)?)?)?;
            steps.checked_mul(weights)
        }
        "Attention" if at.node.domain == "com.microsoft" => at.projected_attention(4),
        "QAttention" => at.projected_attention(8),
        "Attention" | "FlexAttention" => at.attention(4),
        "MultiHeadAttention" => at.attention(6),
        "If" => {
            let branches = at.node.attributes.graphs();
            branches
                .map(|branch| graph_macs(branch, symbols))
                .try_fold(0, |most, macs| Some(most.max(macs?)))
        }
        "Loop" => at.repeated(|| at.trips()),
        "Scan" => at.repeated(|| at.scan_length()),
        _ => Some(0),
    }
}

/// The multiply-accumulates of all nodes of a graph, as [`macs`] counts them.
pub fn graph_macs(graph: &Graph, symbols: &dyn Fn(&str) -> Option<i64>) -> Option<u64> {
    let mut nodes = graph.nodes().map(|(id, _)| macs(graph, id, symbols));
    nodes.try_fold(0u64, |sum, n| sum.checked_add(n?))
}

/// A node whose work is counted.
struct At<'a> {
    graph: &'a Graph,
    node: &'a Node,
    symbols: &'a dyn Fn(&str) -> Option<i64>,
}

impl At<'_> {
    fn input(&self, index: usize) -> Option<Vec<u64>> {
        sizes(self.graph, self.node.input(index)?, self.symbols)
    }

    fn output(&self) -> Option<Vec<u64>> {
        sizes(self.graph, self.node.output(0)?, self.symbols)
    }

    fn int(&self, attribute: &str) -> Option<u64> {
        match self.node.attributes.get(attribute)? {
            Attribute::Int(n) => u64::try_from(*n).ok(),
            _ => None,
        }
    }

    fn convolution(&self, weights: usize) -> Option<u64> {
        product(&self.output()?)?.checked_mul(product(self.input(weights)?.get(1..)?)?)
    }

    fn einsum(&self) -> Option<u64> {
        let Some(Attribute::String(equation)) = self.node.attributes.get("equation") else {
            return None;
        };
        let shapes: Vec<Vec<u64>> = (0..self.node.inputs().len())
            .map(|i| self.input(i))
            .collect::<Option<_>>()?;
        let ranks: Vec<usize> = shapes.iter().map(Vec::len).collect();
        let equation = Equation::parse(std::str::from_utf8(equation).ok()?).ok()?;
        let resolved = equation.resolve(&ranks).ok()?;
        let mut extents = BTreeMap::new();
        for (indices, shape) in resolved.operands.iter().zip(&shapes) {
            for (&index, &size) in indices.iter().zip(shape) {
                let extent = extents.entry(index).or_insert(size);
                *extent = (*extent).max(size);
            }
        }
        let extents: Vec<u64> = extents.into_values().collect();
        product(&extents)?.checked_mul(shapes.len() as u64 - 1)
    }

    /// Queries, keys and values as inputs 0 to 2, or packed in input 0; past keys as input `past`.
    fn attention(&self, past: usize) -> Option<u64> {
        let (query, value) = (self.input(0)?, self.output()?);
        // [N, S, H·d] or [N, H, S, d]; packed [N, S, H, 3, d].
        let (batch, length, width) = match query[..] {
            [n, s, width] => (n, s, width),
            [n, h, s, d] => (n, s, h.checked_mul(d)?),
            [n, s, h, _, d] => (n, s, h.checked_mul(d)?),
            _ => return None,
        };
        let keys = match self.node.input(1) {
            None => length,
            Some(_) => match self.input(1)?[..] {
                // Keys and values packed are [N, L, H, 2, d].
                [_, keys, _] | [_, _, keys, _] | [_, keys, _, _, _] => keys,
                _ => return None,
            },
        };
        let past = match self.node.input(past) {
            None => 0,
            Some(_) => *self.input(past)?.get(2)?,
        };
        let value_width = match value[..] {
            [_, _, width] => width,
            [_, h, _, d] => h.checked_mul(d)?,
            _ => return None,
        };
        let scores = product(&[batch, length, keys.checked_add(past)?])?;
        scores.checked_mul(width.checked_add(value_width)?)
    }

    /// Input `[N, S, I]`, weights `[I, D_q + D_k + D_v]`; past keys and values `[2, N, H, P, d]` as input `past`.
    fn projected_attention(&self, past: usize) -> Option<u64> {
        let ([batch, length, _], [_, columns], [.., value_width]) = (
            &self.input(0)?[..],
            &self.input(1)?[..],
            &self.output()?[..],
        ) else {
            return None;
        };
        let past = match self.node.input(past) {
            None => 0,
            Some(_) => *self.input(past)?.get(3)?,
        };
        let tokens = batch.checked_mul(*length)?;
        let projection = tokens.checked_mul(product(&self.input(1)?)?)?;
        let query_width = columns.checked_sub(*value_width)? / 2;
        let scores = tokens.checked_mul(length.checked_add(past)?)?;
        projection.checked_add(scores.checked_mul(query_width.checked_add(*value_width)?)?)
    }

    /// The work of the body, `times` over; a body without any needs no count.
    fn repeated(&self, times: impl Fn() -> Option<u64>) -> Option<u64> {
        let body = self.node.attributes.graphs().next()?;
        match graph_macs(body, self.symbols)? {
            0 => Some(0),
            once => once.checked_mul(times()?),
        }
    }

    fn trips(&self) -> Option<u64> {
        let count = self.node.input(0)?;
        let fact = self.graph.value(count).fact.as_tensor();
        let known = fact.and_then(TensorFact::as_const);
        let count = self.graph.constant(count).or(known)?;
        u64::try_from(*count.data::<i64>().ok()?.first()?).ok()
    }

    fn scan_length(&self) -> Option<u64> {
        let scanned = usize::try_from(self.int("num_scan_inputs")?).ok()?;
        let first = self.node.inputs().len().checked_sub(scanned)?;
        let shape = self.input(first)?;
        let axis = match self.node.attributes.get("scan_input_axes") {
            Some(Attribute::Ints(axes)) => *axes.first()?,
            _ => 0,
        };
        let axis = if axis < 0 {
            axis + shape.len() as i64
        } else {
            axis
        };
        shape.get(usize::try_from(axis).ok()?).copied()
    }
}

fn product(dims: &[u64]) -> Option<u64> {
    dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d))
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

    /// A model of one node over inputs of these shapes.
    fn counted(
        node: impl Fn(Vec<Option<ValueId>>, ValueId) -> Node,
        shapes: &[&[i64]],
    ) -> Option<u64> {
        let mut graph = Graph::new("one");
        let mut inputs = Vec::new();
        for (i, shape) in shapes.iter().enumerate() {
            let fact = Fact::tensor(DType::F32, shape.to_vec());
            let id = graph.add_value(format!("x{i}"), fact).unwrap();
            graph.add_input(id);
            inputs.push(Some(id));
        }
        let y = graph.add_value("y", Fact::Unknown).unwrap();
        let id = graph.add_node(node(inputs, y)).unwrap();
        graph.add_output(y);
        let mut model = Model::new(graph, 23);
        model.opsets.set("com.microsoft", 1);
        crate::infer::infer_shapes_within(&mut model, Catalog::standard()).unwrap();
        macs(&model.graph, id, &|_| None)
    }

    #[test]
    fn sums_of_products_and_recurrent_layers_count_every_index() {
        let einsum = |x, y| Node::new("Einsum", x, [y]).with("equation", "bij,bjk->bik");
        assert_eq!(
            counted(einsum, &[&[2, 3, 4], &[2, 4, 5]]),
            Some(2 * 3 * 4 * 5)
        );
        // 7 steps of 2 sequences: 4 gates of 6 units, from 5 inputs and 6 states.
        let lstm = |x, y| Node::new("LSTM", x, [y]).with("hidden_size", 6i64);
        let shapes: &[&[i64]] = &[&[7, 2, 5], &[1, 24, 5], &[1, 24, 6]];
        assert_eq!(counted(lstm, shapes), Some(7 * 2 * 24 * (5 + 6)));
    }

    #[test]
    fn attention_counts_scores_and_what_they_weigh() {
        let heads = |x, y| Node::new("Attention", x, [y]);
        let shapes: &[&[i64]] = &[&[2, 3, 5, 8], &[2, 3, 7, 8], &[2, 3, 7, 4]];
        assert_eq!(counted(heads, shapes), Some(2 * 3 * 5 * 7 * (8 + 4)));
        let packed = |x, y| {
            let mut node = Node::new("Attention", x, [y]).with("num_heads", 2i64);
            node.domain = "com.microsoft".to_owned();
            node
        };
        let shapes: &[&[i64]] = &[&[2, 5, 8], &[8, 24], &[24]];
        assert_eq!(
            counted(packed, shapes),
            Some(2 * 5 * 8 * 24 + 2 * 5 * 5 * (8 + 8))
        );
    }

    #[test]
    fn control_flow_counts_what_its_subgraphs_do() {
        let body = |name: &str| {
            let mut g = Graph::new(name);
            let i = g
                .add_value("i", Fact::tensor(DType::I64, [0i64; 0]))
                .unwrap();
            let c = g
                .add_value("c", Fact::tensor(DType::Bool, [0i64; 0]))
                .unwrap();
            let s = g.add_value("s", Fact::Unknown).unwrap();
            for input in [i, c, s] {
                g.add_input(input);
            }
            let t = g.add_value("t", Fact::Unknown).unwrap();
            g.add_node(Node::new("MatMul", [s, s], [t])).unwrap();
            g.add_output(c);
            g.add_output(t);
            g
        };
        let mut graph = Graph::new("g");
        let x = graph
            .add_value("x", Fact::tensor(DType::F32, [4i64, 4]))
            .unwrap();
        graph.add_input(x);
        let trips = graph
            .add_initializer("trips", Tensor::scalar(10i64))
            .unwrap();
        let y = graph.add_value("y", Fact::Unknown).unwrap();
        let node = Node::new("Loop", [Some(trips), None, Some(x)], [y]);
        let node = node.with("body", Attribute::Graph(body("body").into()));
        let id = graph.add_node(node).unwrap();
        graph.add_output(y);
        let mut model = Model::new(graph, 17);
        crate::infer::infer_shapes_within(&mut model, Catalog::standard()).unwrap();
        assert_eq!(macs(&model.graph, id, &|_| None), Some(10 * 4 * 4 * 4));
    }
}
