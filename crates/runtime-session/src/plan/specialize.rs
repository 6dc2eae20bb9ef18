//! What becomes constant once the shapes of the inputs are known.
//!
//! Exported transformers compute their reshapes from the shapes of their inputs (`Shape`, `Gather`, `Concat`, …). The
//! plan for one set of input shapes holds the results as constants. They are found in two ways:
//!
//! - By *substitution*: inference over symbolic shapes already wrote most elements of such values as polynomials over
//!   the symbols of the input shapes. Sizes are put in for the symbols, and nodes that read only values known so
//!   are evaluated. This takes microseconds.
//! - By *inference* with the concrete shapes, over a copy of the graph without its weights, for what symbols cannot
//!   say. This takes milliseconds.
//!
//! The first set of input shapes is resolved both ways. If inference found no more than substitution did,
//! substitution is all that later ones need. A value that is not found is computed as the plan runs: slower, not
//! different.

use compress_tensor::{DType, Shape, Tensor};
use onnx_ir::eval::{NoSubgraphs, eval_operator};
use onnx_ir::fact::{KnownValue, TensorFact};
use onnx_ir::infer::{infer_shapes, infer_shapes_within};
use onnx_ir::operator::{Catalog, DynOperator, Limits};
use onnx_ir::{Dim, Fact, Graph, Model, NodeId, OpsetImports, Value, ValueId};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

/// Bytes beyond which an initializer is known by type and shape only.
const MAX_KEPT_BYTES: usize = 4096;
/// Bytes of a value that substitution computes, as of one that inference computes.
const MAX_COMPUTED_BYTES: usize = 64 << 10;

/// Types and shapes of inputs; `None` for an input that was not fed or is no tensor.
type Shapes = [Option<(DType, Shape)>];

/// A graph without its weights, for shape inference.
pub(crate) struct ShapeGraph {
    model: Model,
    /// Inputs that a run feeds, in the order of the shapes in [`ShapeGraph::known_values`].
    fed: Vec<ValueId>,
    /// Values that inference wrote with symbols.
    symbolic: Vec<Symbolic>,
    /// Nodes that read only constants, symbolic values and results of nodes before them.
    computed: Vec<Computed>,
    /// Whether substitution finds as much as inference; set by the first set of input shapes.
    substitution_suffices: OnceLock<bool>,
}

/// An integer tensor whose elements are known but for the symbols.
struct Symbolic {
    value: ValueId,
    dtype: DType,
    shape: Vec<Dim>,
    elements: Vec<Dim>,
    /// Whether the elements are sizes, which are never negative.
    are_sizes: bool,
}

/// A node to evaluate.
struct Computed {
    node: NodeId,
    operator: Arc<dyn DynOperator>,
    version: u32,
}

impl ShapeGraph {
    /// Of a graph in which shapes were inferred.
    pub(crate) fn new(graph: &Graph, opsets: &OpsetImports, catalog: &Catalog) -> Self {
        let mut graph = graph.clone();
        let fed = graph.inputs().to_vec();
        let large: Vec<ValueId> = graph
            .initializers()
            .filter(|(_, tensor)| tensor.byte_len() > MAX_KEPT_BYTES)
            .map(|(id, _)| id)
            .collect();
        for id in large {
            if let Some(tensor) = graph.remove_initializer(id) {
                let shape = tensor.shape().to_vec();
                graph.value_mut(id).fact = Fact::tensor(tensor.dtype(), shape);
                if !graph.is_input(id) {
                    graph.add_input(id);
                }
            }
        }
        let symbolic: Vec<Symbolic> = graph
            .values()
            .filter(|(id, _)| graph.producer(*id).is_some())
            .filter_map(|(id, info)| {
                let producer = graph.producer(id).map(|node| graph.node(node));
                let are_sizes = producer.is_some_and(|node| node.is("Shape") || node.is("Size"));
                Symbolic::of(id, &info.fact, are_sizes)
            })
            .collect();
        let mut model = Model::new(graph, 1);
        model.opsets = opsets.clone();
        let computed = computed_nodes(&model, catalog, &symbolic);
        Self {
            model,
            fed,
            symbolic,
            computed,
            substitution_suffices: OnceLock::new(),
        }
    }

    /// The values that are constant for inputs of these types and shapes, in the order of the graph's inputs.
    pub(crate) fn known_values(
        &self,
        inputs: &Shapes,
        catalog: &Catalog,
    ) -> HashMap<ValueId, Tensor> {
        let substituted = self.substitute(inputs);
        if let (Some(known), Some(true)) = (&substituted, self.substitution_suffices.get()) {
            return known.clone();
        }
        let mut inferred = self.infer(inputs, catalog);
        let Some(substituted) = substituted else {
            return inferred;
        };
        let suffices = inferred.keys().all(|v| substituted.contains_key(v));
        self.substitution_suffices.get_or_init(|| suffices);
        for (value, tensor) in substituted {
            inferred.entry(value).or_insert(tensor);
        }
        inferred
    }

    /// The graph with the shapes that its values, and those of its subgraphs, have for these inputs, as far as they can be
    /// known before it runs. It holds no large weights.
    pub(crate) fn shaped(&self, inputs: &Shapes, catalog: &Catalog) -> Graph {
        let mut model = self.model.clone();
        self.feed(&mut model, inputs);
        match infer_shapes_within(&mut model, catalog) {
            Ok(_) => model.graph,
            Err(_) => self.model.graph.clone(),
        }
    }

    fn feed(&self, model: &mut Model, inputs: &Shapes) {
        for (&id, input) in self.fed.iter().zip(inputs) {
            if let Some((dtype, shape)) = input {
                model.graph.value_mut(id).fact = Fact::tensor(*dtype, shape.iter().copied());
            }
        }
    }

    /// The constants by substitution; `None` where two inputs give one symbol different sizes, or some shape would have
    /// a negative one.
    fn substitute(&self, inputs: &Shapes) -> Option<HashMap<ValueId, Tensor>> {
        let graph = &self.model.graph;
        let mut sizes: HashMap<&str, i64> = HashMap::new();
        for (&id, input) in self.fed.iter().zip(inputs) {
            let declared = graph.value(id).fact.as_tensor();
            let declared = declared.and_then(|fact| fact.shape.as_ref());
            let (Some(dims), Some((_, shape))) = (declared, input) else {
                continue;
            };
            for (dim, &size) in dims.iter().zip(shape.iter()) {
                let Some(symbol) = dim.as_symbol() else {
                    continue;
                };
                let size = i64::try_from(size).ok()?;
                if *sizes.entry(symbol).or_insert(size) != size {
                    return None;
                }
            }
        }
        if self.symbolic.iter().any(|s| s.is_contradicted(&sizes)) {
            return None;
        }
        let mut known = HashMap::new();
        for symbolic in &self.symbolic {
            if let Some(tensor) = symbolic.at(&sizes) {
                known.insert(symbolic.value, tensor);
            }
        }
        for computed in &self.computed {
            let outputs = computed.evaluate(&self.model, &known).unwrap_or_default();
            let ids = graph.node(computed.node).outputs().iter();
            for (id, value) in ids.zip(outputs) {
                if let (Some(id), Some(tensor)) = (*id, value.into_tensor()) {
                    known.insert(id, tensor);
                }
            }
        }
        Some(known)
    }

    /// The constants by inference.
    fn infer(&self, inputs: &Shapes, catalog: &Catalog) -> HashMap<ValueId, Tensor> {
        let mut model = self.model.clone();
        self.feed(&mut model, inputs);
        if infer_shapes(&mut model, catalog).is_err() {
            return HashMap::new();
        }
        let graph = &model.graph;
        let computed = graph
            .values()
            .filter(|(id, _)| graph.producer(*id).is_some());
        computed
            .filter_map(|(id, info)| Some((id, constant(&info.fact)?.clone())))
            .collect()
    }
}

impl Symbolic {
    fn of(value: ValueId, fact: &Fact, are_sizes: bool) -> Option<Self> {
        let fact = fact.as_tensor()?;
        let Some(KnownValue::Elements(elements)) = &fact.value else {
            return None;
        };
        if elements.iter().any(Dim::is_unknown) {
            return None;
        }
        Some(Self {
            value,
            dtype: fact.dtype?,
            shape: fact.shape.clone()?,
            elements: elements.clone(),
            are_sizes,
        })
    }

    /// Whether a size would be negative: what the symbols say does not hold for inputs of these sizes.
    fn is_contradicted(&self, sizes: &HashMap<&str, i64>) -> bool {
        let eval = |dim: &Dim| dim.eval(&|symbol| sizes.get(symbol).copied());
        self.are_sizes && self.elements.iter().filter_map(eval).any(|n| n < 0)
    }

    /// The tensor for these sizes of the symbols; `None` where one is missing.
    fn at(&self, sizes: &HashMap<&str, i64>) -> Option<Tensor> {
        let eval = |dim: &Dim| dim.eval(&|symbol| sizes.get(symbol).copied());
        let elements: Vec<i64> = self.elements.iter().map(eval).collect::<Option<_>>()?;
        let size = |dim: &Dim| usize::try_from(eval(dim)?).ok();
        let shape: Vec<usize> = self.shape.iter().map(size).collect::<Option<_>>()?;
        match self.dtype {
            DType::I64 => Tensor::from_vec(&shape, elements).ok(),
            DType::I32 => {
                let narrow = elements.into_iter().map(|n| i32::try_from(n).ok());
                Tensor::from_vec(&shape, narrow.collect::<Option<Vec<_>>>()?).ok()
            }
            _ => None,
        }
    }
}

impl Computed {
    fn evaluate(&self, model: &Model, known: &HashMap<ValueId, Tensor>) -> Option<Vec<Value>> {
        let node = model.graph.node(self.node);
        let input = |v: &Option<ValueId>| match v {
            None => Some(None),
            Some(v) => {
                let stored = || stored(&model.graph, *v).cloned();
                let tensor = known.get(v).cloned().or_else(stored)?;
                Some(Some(Value::Tensor(tensor)))
            }
        };
        let inputs: Vec<Option<Value>> = node.inputs().iter().map(input).collect::<Option<_>>()?;
        let inputs: Vec<Option<&Value>> = inputs.iter().map(Option::as_ref).collect();
        let limits = Limits::folding().with_max_tensor_bytes(MAX_COMPUTED_BYTES);
        let operator = self.operator.as_ref();
        eval_operator(
            operator,
            node,
            self.version,
            &inputs,
            limits,
            &mut NoSubgraphs,
        )
        .ok()
    }
}

/// The nodes whose results are known once the symbols are, in topological order, without those whose results are
/// symbolic or constant already.
fn computed_nodes(model: &Model, catalog: &Catalog, symbolic: &[Symbolic]) -> Vec<Computed> {
    let graph = &model.graph;
    let mut known: HashSet<ValueId> = symbolic.iter().map(|s| s.value).collect();
    let mut computed = Vec::new();
    for id in graph.topological_order().unwrap_or_default() {
        let node = graph.node(id);
        let mut inputs = node.inputs().iter().flatten();
        let mut outputs = node.outputs().iter().flatten();
        let follows = inputs.clone().any(|v| known.contains(v))
            && inputs.all(|&v| known.contains(&v) || stored(graph, v).is_some())
            && !outputs.all(|&v| known.contains(&v) || stored(graph, v).is_some())
            && node.attributes.graphs().next().is_none();
        if !follows {
            continue;
        }
        let Ok(operator) = catalog.parse(node, &model.opsets) else {
            continue;
        };
        if operator.is_random() {
            continue;
        }
        let opset = model.opsets.get(&node.domain).unwrap_or(1);
        let version = operator.signature().since(opset).unwrap_or(1);
        known.extend(node.outputs().iter().flatten());
        computed.push(Computed {
            node: id,
            operator,
            version,
        });
    }
    computed
}

/// What the graph holds or inference found for all input shapes.
fn stored(graph: &Graph, v: ValueId) -> Option<&Tensor> {
    graph
        .constant(v)
        .or_else(|| constant(&graph.value(v).fact))
        .filter(|tensor| tensor.byte_len() <= MAX_COMPUTED_BYTES)
}

fn constant(fact: &Fact) -> Option<&Tensor> {
    match fact {
        Fact::Tensor(TensorFact {
            value: Some(KnownValue::Const(tensor)),
            ..
        }) => Some(tensor),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onnx_ir::Node;

    /// `y = Reshape(x, [batch, -1])`, and `batch mod 3`, which symbols cannot say, beside it.
    fn model() -> (Model, [ValueId; 2]) {
        let mut g = Graph::new("reshape");
        let dims = [Dim::symbol("batch"), Dim::symbol("length"), 4usize.into()];
        let x = g.add_value("x", Fact::tensor(DType::F32, dims)).unwrap();
        g.add_input(x);
        let constant = |g: &mut Graph, name: &str, n: i64| {
            g.add_initializer(name, Tensor::vector(vec![n])).unwrap()
        };
        let (first, rest) = (constant(&mut g, "first", 0), constant(&mut g, "rest", -1));
        let three = constant(&mut g, "three", 3);
        let [shape, batch, wanted, y, left] = ["shape", "batch", "wanted", "y", "left"]
            .map(|name| g.add_value(name, Fact::Unknown).unwrap());
        for node in [
            Node::new("Shape", [x], [shape]),
            Node::new("Gather", [shape, first], [batch]),
            Node::new("Concat", [batch, rest], [wanted]).with("axis", 0i64),
            Node::new("Reshape", [x, wanted], [y]),
            Node::new("Mod", [batch, three], [left]),
        ] {
            g.add_node(node).unwrap();
        }
        g.add_output(y);
        g.add_output(left);
        let mut model = Model::new(g, 17);
        infer_shapes(&mut model, Catalog::standard()).unwrap();
        (model, [wanted, left])
    }

    #[test]
    fn substitution_finds_what_inference_finds() {
        let (model, [wanted, left]) = model();
        let catalog = Catalog::standard();
        let shapes = ShapeGraph::new(&model.graph, &model.opsets, catalog);
        for (batch, length) in [(1usize, 2), (5, 7), (8, 1)] {
            let inputs = [Some((DType::F32, [batch, length, 4].into()))];
            let substituted = shapes.substitute(&inputs).unwrap();
            let ints = |v| substituted[&v].data::<i64>().unwrap().into_owned();
            let n = i64::try_from(batch).unwrap();
            assert_eq!(ints(wanted), [n, -1]);
            assert_eq!(ints(left), [n % 3]);
            let inferred = shapes.infer(&inputs, catalog);
            assert!(inferred.contains_key(&wanted));
            for (v, tensor) in inferred {
                assert_eq!(ints(v), tensor.data::<i64>().unwrap().into_owned());
            }
        }
    }

    #[test]
    fn sizes_do_not_depend_on_the_inputs_before() {
        for (start, sizes) in [(-3i64, [8usize, 2]), (1, [4, 0])] {
            let mut g = Graph::new("tail");
            let dims = [Dim::symbol("n")];
            let x = g.add_value("x", Fact::tensor(DType::F32, dims)).unwrap();
            g.add_input(x);
            let mut constant =
                |name: &str, n: i64| g.add_initializer(name, Tensor::vector(vec![n])).unwrap();
            // From the front to the third from the end, or from the second on.
            let bounds = if start < 0 {
                [0, start]
            } else {
                [start, i64::MAX]
            };
            let (from, to) = (constant("from", bounds[0]), constant("to", bounds[1]));
            let one = constant("one", 1);
            let [y, shape, more] =
                ["y", "shape", "more"].map(|name| g.add_value(name, Fact::Unknown).unwrap());
            g.add_node(Node::new("Slice", [x, from, to], [y])).unwrap();
            g.add_node(Node::new("Shape", [y], [shape])).unwrap();
            g.add_node(Node::new("Add", [shape, one], [more])).unwrap();
            g.add_output(more);
            let mut model = Model::new(g, 17);
            let catalog = Catalog::standard();
            infer_shapes(&mut model, catalog).unwrap();
            let shapes = ShapeGraph::new(&model.graph, &model.opsets, catalog);
            for n in sizes {
                let known = shapes.known_values(&[Some((DType::F32, [n].into()))], catalog);
                let left = if start < 0 {
                    n.saturating_sub(3)
                } else {
                    n.saturating_sub(1)
                };
                let left = i64::try_from(left).unwrap();
                for (v, expected) in [(shape, left), (more, left + 1)] {
                    let found = known[&v].as_slice::<i64>().unwrap();
                    assert_eq!(found, [expected], "{start} {n}");
                }
            }
        }
    }

    #[test]
    fn a_symbol_of_two_sizes_is_not_substituted() {
        let mut g = Graph::new("sum");
        let dims = || [Dim::symbol("n")];
        let a = g.add_value("a", Fact::tensor(DType::F32, dims())).unwrap();
        let b = g.add_value("b", Fact::tensor(DType::F32, dims())).unwrap();
        g.add_input(a);
        g.add_input(b);
        let model = Model::new(g, 17);
        let shapes = ShapeGraph::new(&model.graph, &model.opsets, Catalog::standard());
        let inputs = |n: usize, m: usize| [n, m].map(|n| Some((DType::F32, [n].into())));
        assert!(shapes.substitute(&inputs(2, 2)).is_some());
        assert!(shapes.substitute(&inputs(2, 1)).is_none());
    }
}
