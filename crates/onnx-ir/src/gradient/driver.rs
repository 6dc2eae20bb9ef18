//! The driver: from losses back to what gradients are asked of.

use super::activity::{self, Step};
use super::builder::GraphBuilder;
use super::context::GradientContext;
use super::error::GradientError;
use crate::fact::{Fact, TensorFact};
use crate::functions::inline_functions;
use crate::graph::{Graph, Node, NodeId, ValueId};
use crate::infer::infer_shapes;
use crate::model::Model;
use crate::operator::Catalog;
use crate::opset;
use std::collections::HashMap;

/// The oldest opset that gradients are built for: the first in which the axes of sums and squeezes are inputs.
const LEAST_OPSET: i64 = 13;

/// What a gradient is of, and with respect to what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GradientRequest {
    /// The losses; the gradient is that of their sum.
    pub losses: Vec<Loss>,
    /// Names of the values whose gradients are asked for: initializers, inputs, or values between.
    pub with_respect_to: Vec<String>,
    /// What to do about a value that no loss depends on.
    pub unreached: Unreached,
}

/// One loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The name of the value; it becomes an output of the model if it is none.
    pub name: String,
    /// Where its adjoint comes from.
    pub seed: Seed,
}

/// Where the adjoint of a loss comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seed {
    /// It is 1 for every element: the gradient is that of the sum of the elements.
    #[default]
    Ones,
    /// The caller feeds it, as input `adjoint/NAME` of the loss's type and shape: for losses that are computed outside
    /// of the graph from the model's outputs.
    Input,
}

/// What to do about a value that no loss depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unreached {
    /// It is an error: most likely a mistake.
    #[default]
    Error,
    /// Its gradient is zeros.
    Zeros,
}

impl GradientRequest {
    /// The gradients of the sum of `losses` with respect to the named values.
    pub fn of(
        losses: impl IntoIterator<Item = impl Into<String>>,
        with_respect_to: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let losses = losses.into_iter().map(|name| Loss {
            name: name.into(),
            seed: Seed::Ones,
        });
        Self {
            losses: losses.collect(),
            with_respect_to: with_respect_to.into_iter().map(Into::into).collect(),
            unreached: Unreached::Error,
        }
    }

    /// The same with the adjoints of all losses as inputs.
    #[must_use]
    pub fn seeded_by_inputs(mut self) -> Self {
        for loss in &mut self.losses {
            loss.seed = Seed::Input;
        }
        self
    }

    /// The same with zeros for values that no loss depends on.
    #[must_use]
    pub fn with_zeros(mut self) -> Self {
        self.unreached = Unreached::Zeros;
        self
    }
}

/// What was added to the model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GradientReport {
    /// The gradients, in the order in which they were asked for.
    pub gradients: Vec<GradientOutput>,
    /// The inputs that take the losses' adjoints: name of the loss, name of the input.
    pub seeds: Vec<(String, String)>,
    /// Nodes of the forward graph that gradients flow through.
    pub differentiated: usize,
    /// Nodes that were added.
    pub added: usize,
    /// Nodes whose index is below are those of the forward graph.
    pub forward_bound: usize,
}

/// One gradient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GradientOutput {
    /// The value that it is of.
    pub of: String,
    /// The output that holds it: `grad/NAME`, with a number behind it where that name was taken.
    pub output: String,
}

/// The model with the nodes that compute the gradients of the sum of the losses, and with outputs for them.
///
/// The forward graph stays as it is, but for outputs that gradients need and nodes did not name. A model of an opset below
/// 13 is converted, and functions are expanded. The gradient of value `w` is output `grad/w`, of the
/// type and shape of `w`.
///
/// # Errors
/// [`GradientError`] names the node that is not differentiable (only nodes between a loss and a named value count), or
/// the value that does not exist or that no loss depends on.
pub fn gradient(
    model: &Model,
    request: &GradientRequest,
    catalog: &Catalog,
) -> Result<(Model, GradientReport), GradientError> {
    let mut model = prepared(model, catalog)?;
    let losses = find(&model.graph, request.losses.iter().map(|l| &l.name))?;
    let sources = find(&model.graph, request.with_respect_to.iter())?;
    if losses.is_empty() {
        return Err(GradientError::NoLoss);
    }
    let steps = steps(&model, catalog)?;
    let active = activity::active(&model.graph, &steps, &sources);
    let graph = std::mem::take(&mut model.graph);
    let nodes_before = graph.node_bound();
    let values_before = graph.value_bound();
    let builder = GraphBuilder::new(graph, model.opsets.clone(), catalog);
    let mut backward = Backward {
        builder: &builder,
        active: &active,
        steps: &steps,
        losses: &losses,
        adjoints: HashMap::new(),
        report: GradientReport::default(),
    };
    for (loss, &id) in request.losses.iter().zip(&losses) {
        backward.seed(loss, id)?;
    }
    for step in steps.iter().rev() {
        backward.step(step)?;
    }
    for (name, &id) in request.with_respect_to.iter().zip(&sources) {
        backward.output(name, id, request.unreached, values_before)?;
    }
    let mut report = backward.report;
    report.forward_bound = nodes_before;
    let (mut graph, opsets) = builder.finish()?;
    clean(&mut graph, nodes_before, values_before);
    report.added = (nodes_before..graph.node_bound())
        .filter(|&i| graph.get_node(NodeId(i as u32)).is_some())
        .count();
    model.graph = graph;
    model.opsets = opsets;
    model.raise_ir_version();
    Ok((model, report))
}

/// The model with functions expanded, at an opset that gradients can be built for, and with facts.
fn prepared(model: &Model, catalog: &Catalog) -> Result<Model, GradientError> {
    let mut model = model.clone();
    inline_functions(&mut model)?;
    if model.opset() < LEAST_OPSET {
        opset::convert(&mut model, LEAST_OPSET, catalog).map_err(|error| GradientError::Opset {
            least: LEAST_OPSET,
            error: Box::new(error),
        })?;
    }
    infer_shapes(&mut model, catalog)?;
    Ok(model)
}

fn find<'n>(
    graph: &Graph,
    names: impl Iterator<Item = &'n String>,
) -> Result<Vec<ValueId>, GradientError> {
    names
        .map(|name| {
            let missing = || GradientError::NoSuchValue { name: name.clone() };
            graph.value_by_name(name).ok_or_else(missing)
        })
        .collect()
}

fn steps(model: &Model, catalog: &Catalog) -> Result<Vec<Step>, GradientError> {
    let graph = &model.graph;
    let order = graph.topological_order()?;
    let step = |id: NodeId| {
        let node = graph.node(id);
        let operator = catalog.parse(node, &model.opsets);
        let opset = model.opsets.get(&node.domain).unwrap_or(1);
        let version = operator
            .as_ref()
            .ok()
            .and_then(|o| o.signature().since(opset));
        Step {
            id,
            operator: operator.map_err(|error| error.to_string()),
            version: version.unwrap_or(1),
        }
    };
    Ok(order.into_iter().map(step).collect())
}

struct Backward<'g> {
    builder: &'g GraphBuilder<'g>,
    active: &'g [bool],
    steps: &'g [Step],
    losses: &'g [ValueId],
    /// The summands of each value's adjoint.
    adjoints: HashMap<ValueId, Vec<ValueId>>,
    report: GradientReport,
}

impl<'g> Backward<'g> {
    fn is_active(&self, id: ValueId) -> bool {
        self.active.get(id.index()).copied().unwrap_or(false)
    }

    fn seed(&mut self, loss: &Loss, id: ValueId) -> Result<(), GradientError> {
        let fact = self.builder.look(|g| g.value(id).fact.clone());
        let tensor = fact
            .as_tensor()
            .filter(|t| t.dtype.is_some_and(|d| d.is_float()));
        let Some(TensorFact { dtype, shape, .. }) = tensor.cloned() else {
            return Err(GradientError::LossType {
                name: loss.name.clone(),
                found: fact.to_string(),
            });
        };
        let adjoint = match loss.seed {
            Seed::Ones if shape.as_ref().is_some_and(Vec::is_empty) => {
                self.builder.var(id).number(1.0).id
            }
            Seed::Ones => {
                let loss = self.builder.var(id);
                loss.filled(loss.shape(), 1.0).id
            }
            Seed::Input => {
                let name = format!("adjoint/{}", loss.name);
                let fact = Fact::Tensor(TensorFact::with_shape(dtype, shape));
                let input = self.builder.change(|graph| {
                    let input = graph.fresh_value(&name, fact)?;
                    graph.add_input(input);
                    Ok::<_, GradientError>(input)
                })?;
                let name = self.builder.look(|g| g.name_of(input).to_owned());
                self.report.seeds.push((loss.name.clone(), name));
                input
            }
        };
        self.builder.change(|graph| {
            if !graph.is_output(id) {
                graph.add_output(id);
            }
        });
        if self.is_active(id) {
            self.adjoints.entry(id).or_default().push(adjoint);
        }
        Ok(())
    }

    /// The sum of what was given for a value.
    fn adjoint_of(&mut self, id: ValueId) -> Option<ValueId> {
        let summands = self.adjoints.get(&id)?.clone();
        let (&first, rest) = summands.split_first()?;
        let first = self.builder.var(first);
        let sum = match rest {
            [] => return Some(first.id),
            [second] => first + self.builder.var(*second),
            rest => {
                let rest: Vec<_> = rest.iter().map(|&id| self.builder.var(id)).collect();
                first.apply(crate::rewrite::NewNode::new("Sum"), &rest)
            }
        };
        self.adjoints.insert(id, vec![sum.id]);
        Some(sum.id)
    }

    fn step(&mut self, step: &Step) -> Result<(), GradientError> {
        let node = self.builder.look(|g| g.node(step.id).clone());
        if !node
            .outputs()
            .iter()
            .flatten()
            .any(|v| self.is_active(*v) && self.adjoints.contains_key(v))
        {
            return Ok(());
        }
        let reads = self.builder.look(|g| activity::reads(g, step.id, &node));
        if !reads.iter().any(|&v| self.is_active(v)) {
            return Ok(()); // Asked of itself, not of what it is computed from.
        }
        self.builder.enter(step.id);
        let adjoints = node.outputs().iter().map(|output| {
            let output = output.filter(|&v| self.is_active(v))?;
            self.adjoint_of(output)
        });
        let adjoints: Vec<Option<ValueId>> = adjoints.collect();
        let refuse = |reason: String| GradientError::NotDifferentiable {
            node: self.builder.place(),
            reason,
        };
        let operator = step.operator.as_ref().map_err(|e| refuse(e.clone()))?;
        let wanted = wanted(&node, |v| self.is_active(v));
        let cx = GradientContext::new(self.builder, step.id, step.version, adjoints, wanted);
        operator
            .gradient(&cx)
            .map_err(|unsupported| refuse(unsupported.to_string()))?;
        for (value, adjoint) in cx.into_given() {
            if self.is_active(value) {
                self.adjoints.entry(value).or_default().push(adjoint);
            }
        }
        if let Some(error) = self.builder.take_error() {
            return Err(error);
        }
        self.report.differentiated += 1;
        Ok(())
    }

    /// Makes the adjoint of a value an output.
    fn output(
        &mut self,
        name: &str,
        id: ValueId,
        unreached: Unreached,
        values_before: usize,
    ) -> Result<(), GradientError> {
        let value = self.builder.var(id);
        let adjoint = match (self.adjoint_of(id), unreached) {
            (Some(adjoint), _) => adjoint,
            (None, Unreached::Zeros) => value.zeros(value.shape()).id,
            (None, Unreached::Error) => {
                let by = self.builder.look(|g| {
                    let node = activity::blocking(g, self.steps, id, self.losses)?;
                    Some(g.describe(node))
                });
                return Err(GradientError::Unreached {
                    name: name.to_owned(),
                    by,
                });
            }
        };
        let output = self
            .builder
            .change(|graph| name_output(graph, name, adjoint, values_before))?;
        let output = self.builder.look(|g| g.name_of(output).to_owned());
        self.report.gradients.push(GradientOutput {
            of: name.to_owned(),
            output,
        });
        Ok(())
    }
}

fn wanted(node: &Node, is_active: impl Fn(ValueId) -> bool) -> Vec<bool> {
    let inputs = node.inputs().iter();
    inputs.map(|v| v.is_some_and(&is_active)).collect()
}

/// Makes `adjoint` an output called `grad/NAME`: by its name where a new node writes it, else by a copy.
fn name_output(
    graph: &mut Graph,
    name: &str,
    adjoint: ValueId,
    values_before: usize,
) -> Result<ValueId, GradientError> {
    let fact = graph.value(adjoint).fact.clone();
    let named = graph.fresh_value(&format!("grad/{name}"), fact)?;
    let is_ours = adjoint.index() >= values_before
        && graph.producer(adjoint).is_some()
        && !graph.is_output(adjoint);
    if is_ours {
        // Others may share the adjoint: it keeps its id.
        let free = graph.name_of(named).to_owned();
        graph.remove_value_if_unused(named);
        graph.rename_value(adjoint, &free);
        graph.add_output(adjoint);
        return Ok(adjoint);
    }
    let copy = Node::new("Identity", [adjoint], [named]);
    graph.add_node(copy.named(format!("grad/{name}")))?;
    graph.add_output(named);
    Ok(named)
}

/// Takes out new nodes and constants that nothing reads.
fn clean(graph: &mut Graph, nodes_before: usize, values_before: usize) {
    let new = (nodes_before..graph.node_bound()).map(|i| NodeId(i as u32));
    let new: Vec<NodeId> = new.collect();
    graph.remove_dead(new);
    let new: Vec<ValueId> = (values_before..graph.value_bound())
        .map(ValueId::from_index)
        .filter(|&id| graph.has_value(id))
        .collect();
    for id in new {
        graph.remove_value_if_unused(id);
    }
}
