//! Shape inference: facts flow from the inputs and constants through the graph.
//!
//! Element types, symbolic shapes and partially known integer values are inferred in one pass in
//! topological order, so that `Shape -> Gather -> Concat -> Reshape` chains resolve. An operator that the
//! catalog does not hold, or whose rule its inputs break, leaves its outputs as declared and is reported.

mod merge;
mod symbols;

use crate::eval::{self, NoSubgraphs};
use crate::fact::{Fact, KnownValue, TensorFact};
use crate::graph::GraphError;
use crate::graph::{Graph, Node, NodeId, ValueId};
use crate::model::{Model, OpsetImports};
use crate::operator::{
    Catalog, DynOperator, InferContext, InferError, Limits, ParseError, SubgraphInferrer,
};
use crate::value::Value;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

pub use merge::{Conflict, refine};

/// Depth of subgraphs beyond which inference stops.
const MAX_DEPTH: usize = 64;
/// Bytes of a constant that inference computes; larger ones are left to constant folding.
const MAX_CONST_BYTES: usize = 64 << 10;

/// Why the facts of one node's outputs are not known.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeInferError {
    /// The catalog cannot give the operator.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The inputs break the operator's rule.
    #[error(transparent)]
    Rule(#[from] InferError),
    /// An inferred fact contradicts the declared one.
    #[error("output `{value}` is declared as {}, inferred as {}", .conflict.declared, .conflict.inferred)]
    Conflict {
        /// The output's name.
        value: String,
        /// Both facts.
        conflict: Conflict,
    },
}

/// What inference could not do, by node.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("node {label} ({op}): {error}")]
pub struct InferIssue {
    /// The graph that holds the node.
    pub graph: String,
    /// The node, as [`Graph::label`] names it.
    pub label: String,
    /// Its operator.
    pub op: String,
    /// The reason.
    pub error: NodeInferError,
}

impl InferIssue {
    fn of(graph: &Graph, id: NodeId, error: NodeInferError) -> Self {
        Self {
            graph: graph.name.clone(),
            label: graph.label(id).to_owned(),
            op: graph.node(id).qualified_op(),
            error,
        }
    }

    /// Whether a rule is broken, and not merely an operator unknown.
    pub fn is_error(&self) -> bool {
        !matches!(
            self.error,
            NodeInferError::Parse(
                ParseError::UnknownOperator { .. } | ParseError::NotInOpset { .. }
            )
        )
    }
}

/// What inference did.
#[derive(Clone, Debug, Default)]
pub struct InferReport {
    /// Nodes without facts, with the reason.
    pub issues: Vec<InferIssue>,
}

impl InferReport {
    /// The first issue that is a broken rule, not merely an unknown operator.
    pub fn first_error(&self) -> Option<&InferIssue> {
        self.issues.iter().find(|issue| issue.is_error())
    }
}

/// Infers the facts of every value of the model's graph and stores them in it.
///
/// # Errors
/// [`GraphError::Cycle`]. What goes wrong with single nodes is in the report.
pub fn infer_shapes(model: &mut Model, catalog: &Catalog) -> Result<InferReport, GraphError> {
    let mut inferrer = Inferrer::new(catalog, &model.opsets);
    inferrer.enter(&model.graph);
    let facts = inferrer.graph(&model.graph, None, None)?;
    let ids: Vec<ValueId> = model.graph.values().map(|(id, _)| id).collect();
    let mut facts = facts;
    for id in ids {
        model.graph.value_mut(id).fact = std::mem::take(&mut facts[id.index()]);
    }
    Ok(InferReport {
        issues: inferrer.issues,
    })
}

/// As [`infer_shapes`], and stores in the subgraphs of control flow what holds for every one of their runs.
///
/// # Errors
/// As [`infer_shapes`].
pub fn infer_shapes_within(
    model: &mut Model,
    catalog: &Catalog,
) -> Result<InferReport, GraphError> {
    unshare(&mut model.graph);
    let mut inferrer = Inferrer::new(catalog, &model.opsets);
    inferrer.enter(&model.graph);
    inferrer.subgraphs = Some(HashMap::new());
    let facts = inferrer.graph(&model.graph, None, None)?;
    let (issues, subgraphs) = (inferrer.issues, inferrer.subgraphs.unwrap_or_default());
    store(&mut model.graph, facts, &subgraphs);
    Ok(InferReport { issues })
}

/// Gives every node its own copy of the subgraphs that several share: what holds in them differs by node.
fn unshare(graph: &mut Graph) {
    let holders = graph
        .nodes()
        .filter(|(_, node)| node.attributes.graphs().next().is_some());
    let holders: Vec<NodeId> = holders.map(|(id, _)| id).collect();
    for id in holders {
        graph.edit_node(id, |node| {
            for nested in node.attributes.values_mut().flat_map(|a| a.graphs_mut()) {
                unshare(Arc::make_mut(nested));
            }
        });
    }
}

fn store(graph: &mut Graph, mut facts: Vec<Fact>, subgraphs: &HashMap<*const Graph, Vec<Fact>>) {
    let values: Vec<ValueId> = graph.values().map(|(id, _)| id).collect();
    for id in values {
        graph.value_mut(id).fact = std::mem::take(&mut facts[id.index()]);
    }
    let nodes: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    for id in nodes {
        graph.edit_node(id, |node| {
            for nested in node.attributes.values_mut().flat_map(|a| a.graphs_mut()) {
                if let Some(facts) = subgraphs.get(&Arc::as_ptr(nested)) {
                    store(Arc::make_mut(nested), facts.clone(), subgraphs);
                }
            }
        });
    }
}

/// The facts of a single node's outputs from the facts of its inputs; for patches and builders.
/// Subgraphs may not capture values.
///
/// # Errors
/// [`NodeInferError`].
pub fn infer_node(
    catalog: &Catalog,
    opsets: &OpsetImports,
    node: &Node,
    inputs: &[Option<Fact>],
) -> Result<Vec<Fact>, NodeInferError> {
    let operator = catalog.parse(node, opsets)?;
    let mut inferrer = Inferrer::new(catalog, opsets);
    inferrer.taken = Arc::new(symbols::of_facts(inputs.iter().flatten()));
    inferrer.operator(operator.as_ref(), node, inputs, None)
}

/// The facts that are known in a graph, and those of the graphs around it.
struct Scope<'a> {
    graph: &'a Graph,
    facts: &'a [Fact],
    parent: Option<&'a Scope<'a>>,
}

impl Scope<'_> {
    fn lookup(&self, name: &str) -> Option<Fact> {
        match self.graph.value_by_name(name) {
            Some(id) if !matches!(self.facts[id.index()], Fact::Unknown) => {
                Some(self.facts[id.index()].clone())
            }
            _ => self.parent?.lookup(name),
        }
    }
}

struct Inferrer<'a> {
    catalog: &'a Catalog,
    opsets: &'a OpsetImports,
    issues: Vec<InferIssue>,
    depth: usize,
    /// The last fresh symbol; shared with the inference of subgraphs, which an operator may ask for in between.
    symbols: Rc<Cell<usize>>,
    /// Names that look like fresh symbols and stand for declared sizes.
    taken: Arc<HashSet<String>>,
    /// Where they are asked for, the facts of subgraphs from the last, widest pass over each. By address: the
    /// model holds its subgraphs meanwhile, each under one node.
    subgraphs: Option<HashMap<*const Graph, Vec<Fact>>>,
    /// Nodes inferred so far, those in subgraphs each time, and how many there may be.
    work: usize,
    most_work: usize,
}

/// Times that each node of a model may be inferred on average, beside [`FREE_WORK`]: loops within loops, whose bodies are gone
/// through until what is known of their states holds, multiply.
const WORK_PER_NODE: usize = 64;
/// Nodes that may be inferred in any model.
const FREE_WORK: usize = 100_000;

impl<'a> Inferrer<'a> {
    fn new(catalog: &'a Catalog, opsets: &'a OpsetImports) -> Self {
        Self {
            catalog,
            opsets,
            issues: Vec::new(),
            depth: 0,
            symbols: Rc::default(),
            work: 0,
            most_work: usize::MAX,
            taken: Arc::default(),
            subgraphs: None,
        }
    }

    /// Prepares for a whole model.
    fn enter(&mut self, graph: &Graph) {
        self.taken = Arc::new(symbols::of_graph(graph));
        self.most_work = WORK_PER_NODE
            .saturating_mul(graph.node_count())
            .saturating_add(FREE_WORK);
    }

    /// The facts of all values of a graph, by value index.
    fn graph(
        &mut self,
        graph: &Graph,
        inputs: Option<&[Fact]>,
        parent: Option<&Scope<'_>>,
    ) -> Result<Vec<Fact>, GraphError> {
        let mut facts = vec![Fact::Unknown; graph.value_bound()];
        for (i, &id) in graph.inputs().iter().enumerate() {
            let declared = graph.value(id).fact.clone();
            facts[id.index()] = match inputs.and_then(|f| f.get(i)) {
                Some(given) => refine(given, &declared).unwrap_or_else(|_| given.clone()),
                None => declared,
            };
        }
        for (id, tensor) in graph.initializers() {
            if !graph.is_input(id) {
                facts[id.index()] = TensorFact::constant(tensor.clone()).into();
            }
        }
        if let Some(parent) = parent {
            for (id, name) in graph.captured() {
                facts[id.index()] = parent.lookup(name).unwrap_or_default();
            }
        }
        for id in graph.topological_order()? {
            self.work = self.work.saturating_add(1);
            self.node(graph, id, &mut facts, parent);
        }
        if let Some(subgraphs) = self.subgraphs.as_mut().filter(|_| parent.is_some()) {
            subgraphs.insert(graph, facts.clone());
        }
        Ok(facts)
    }

    fn node(&mut self, graph: &Graph, id: NodeId, facts: &mut [Fact], parent: Option<&Scope<'_>>) {
        let node = graph.node(id);
        let inputs: Vec<Option<Fact>> = node
            .inputs()
            .iter()
            .map(|v| v.map(|v| facts[v.index()].clone()))
            .collect();
        let scope = Scope {
            graph,
            facts,
            parent,
        };
        let inferred = self
            .catalog
            .parse(node, self.opsets)
            .map_err(NodeInferError::from)
            .and_then(|operator| self.operator(operator.as_ref(), node, &inputs, Some(&scope)));
        let inferred = inferred.unwrap_or_else(|error| {
            self.issues.push(InferIssue::of(graph, id, error));
            Vec::new()
        });
        for (i, &output) in node.outputs().iter().enumerate() {
            let Some(output) = output else { continue };
            let declared = &graph.value(output).fact;
            facts[output.index()] = match inferred.get(i) {
                None => declared.clone(),
                Some(fact) => refine(fact, declared).unwrap_or_else(|conflict| {
                    let value = graph.name_of(output).to_owned();
                    let error = NodeInferError::Conflict { value, conflict };
                    self.issues.push(InferIssue::of(graph, id, error));
                    fact.clone()
                }),
            };
        }
    }

    fn operator(
        &mut self,
        operator: &dyn DynOperator,
        node: &Node,
        inputs: &[Option<Fact>],
        scope: Option<&Scope<'_>>,
    ) -> Result<Vec<Fact>, NodeInferError> {
        let opset = self.opsets.get(&node.domain).unwrap_or(1);
        let version = operator.signature().since(opset).unwrap_or(1);
        let (symbols, taken) = (self.symbols.clone(), self.taken.clone());
        let mut fresh = || {
            let mut last = symbols.get();
            let symbol = symbols::fresh(&mut last, &taken);
            symbols.set(last);
            symbol
        };
        let mut subgraphs = Nested {
            inferrer: self,
            scope,
        };
        let mut cx = InferContext::new(
            inputs,
            node.outputs().len(),
            version,
            &mut subgraphs,
            &mut fresh,
        );
        let mut facts = operator.infer(&mut cx)?;
        if let Some(values) = constant_outputs(operator, node, version, inputs, &facts) {
            for (fact, value) in facts.iter_mut().zip(values) {
                if let (Fact::Tensor(fact), Value::Tensor(tensor)) = (fact, value) {
                    *fact = TensorFact::constant(tensor);
                }
            }
        }
        Ok(facts)
    }
}

/// The outputs of a node of which all inputs are small constants.
fn constant_outputs(
    operator: &dyn DynOperator,
    node: &Node,
    version: u32,
    inputs: &[Option<Fact>],
    facts: &[Fact],
) -> Option<Vec<Value>> {
    let known = |f: &Fact| {
        matches!(
            f,
            Fact::Tensor(TensorFact {
                value: Some(KnownValue::Const(_)),
                ..
            })
        )
    };
    if operator.is_random() || facts.iter().all(known) || node.attributes.graphs().next().is_some()
    {
        return None;
    }
    let small = |f: &Fact| {
        let fact = f.as_tensor()?;
        let bytes = fact
            .dtype?
            .byte_len(compress_tensor::element_count(&fact.sizes()?)?)?;
        (bytes <= MAX_CONST_BYTES).then_some(())
    };
    facts.iter().map(small).collect::<Option<()>>()?;
    let values = inputs
        .iter()
        .map(|input| match input {
            None => Some(None),
            Some(fact) => {
                let tensor = fact.as_tensor()?.as_const()?;
                (tensor.byte_len() <= MAX_CONST_BYTES).then(|| Some(Value::Tensor(tensor.clone())))
            }
        })
        .collect::<Option<Vec<Option<Value>>>>()?;
    let values: Vec<Option<&Value>> = values.iter().map(Option::as_ref).collect();
    let limits = Limits::folding().with_max_tensor_bytes(MAX_CONST_BYTES);
    eval::eval_operator(operator, node, version, &values, limits, &mut NoSubgraphs).ok()
}

/// Inference in a subgraph of the node at hand.
struct Nested<'b, 'a, 's> {
    inferrer: &'b mut Inferrer<'a>,
    scope: Option<&'s Scope<'s>>,
}

impl SubgraphInferrer for Nested<'_, '_, '_> {
    fn infer_subgraph(&mut self, graph: &Graph, inputs: &[Fact]) -> Result<Vec<Fact>, String> {
        if self.inferrer.depth >= MAX_DEPTH {
            return Err(format!("subgraphs are nested more than {MAX_DEPTH} deep"));
        }
        if self.inferrer.work > self.inferrer.most_work {
            let most = self.inferrer.most_work;
            return Err(format!(
                "its subgraphs take more than {most} steps to infer"
            ));
        }
        self.inferrer.depth += 1;
        let facts = self.inferrer.graph(graph, Some(inputs), self.scope);
        self.inferrer.depth -= 1;
        let facts = facts.map_err(|e| e.to_string())?;
        Ok(graph
            .outputs()
            .iter()
            .map(|id| facts[id.index()].clone())
            .collect())
    }

    fn infer_unreached(&mut self, graph: &Graph) {
        if self.inferrer.subgraphs.is_some() {
            let issues = self.inferrer.issues.len();
            // Nothing depends on what it finds.
            let _ = self.infer_subgraph(graph, &[]);
            let found = self.inferrer.issues.split_off(issues);
            let of_attributes =
                |issue: &InferIssue| matches!(issue.error, NodeInferError::Parse(_));
            self.inferrer
                .issues
                .extend(found.into_iter().filter(of_attributes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symbolic::Dim;
    use compress_tensor::{DType, Tensor};

    #[test]
    fn a_shape_gather_concat_reshape_chain_resolves() {
        let mut g = Graph::new("g");
        let x = g.add_value("x", Fact::Unknown).unwrap();
        g.value_mut(x).fact = TensorFact::with_shape(
            Some(DType::F32),
            Some(vec![
                Dim::symbol("batch"),
                Dim::symbol("seq"),
                384i64.into(),
            ]),
        )
        .into();
        g.add_input(x);
        let zero = g
            .add_initializer("zero", Tensor::vector(vec![0i64]))
            .unwrap();
        let tail = g
            .add_initializer("tail", Tensor::vector(vec![-1i64, 12, 32]))
            .unwrap();
        let s = g.add_value("s", Fact::Unknown).unwrap();
        let b = g.add_value("b", Fact::Unknown).unwrap();
        let c = g.add_value("c", Fact::Unknown).unwrap();
        let y = g.add_value("y", Fact::Unknown).unwrap();
        g.add_node(Node::new("Shape", [x], [s])).unwrap();
        g.add_node(Node::new("Gather", [s, zero], [b])).unwrap();
        g.add_node(Node::new("Concat", [b, tail], [c]).with("axis", 0i64))
            .unwrap();
        g.add_node(Node::new("Reshape", [x, c], [y])).unwrap();
        g.add_output(y);
        let mut model = Model::new(g, 17);
        let report = infer_shapes(&mut model, Catalog::standard()).unwrap();
        assert_eq!(report.issues, []);
        assert_eq!(
            model.fact("y").unwrap().to_string(),
            "f32[batch, seq, 12, 32]"
        );
    }
}
