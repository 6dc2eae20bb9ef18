//! Nodes without a kernel: the operator's reference evaluation, its subgraphs as plans of their own.

use crate::error::{SessionError, StepError};
use crate::execute::{RunState, execute};
use crate::plan::{Bound, Plan, Scope, Selector};
use crate::step::{Body, Inputs, Step, StepContext};
use onnx_ir::eval::eval_operator;
use onnx_ir::operator::{DynOperator, EvalError, SubgraphRunner};
use onnx_ir::{Graph, Node, NodeId, Value, ValueId};
use std::collections::HashMap;
use std::sync::Arc;

/// Binds a node to its operator's reference evaluation.
///
/// # Errors
/// [`SessionError::Operator`]; those of the subgraphs.
pub(crate) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Result<Bound, SessionError> {
    let node = selector.graph.node(id);
    let (step, captured) = Reference::new(selector, id)?;
    let mut inputs = node.inputs().to_vec();
    inputs.extend(captured.into_iter().map(Some));
    Ok(Bound {
        step: Arc::new(step),
        inputs,
        outputs: node.outputs().to_vec(),
    })
}

/// Reference evaluation of one node.
pub(crate) struct Reference {
    operator: Arc<dyn DynOperator>,
    node: Node,
    version: u32,
    bodies: Vec<Body>,
}

impl Reference {
    /// The step, and what the node's subgraphs capture: inputs of the step after those of the node.
    ///
    /// # Errors
    /// As [`bind`].
    pub(crate) fn new(
        selector: &mut Selector<'_>,
        id: NodeId,
    ) -> Result<(Self, Vec<ValueId>), SessionError> {
        let graph = selector.graph;
        let node = graph.node(id);
        let scope = selector.scope;
        let operator =
            scope
                .catalog
                .parse(node, scope.opsets)
                .map_err(|error| SessionError::Operator {
                    node: graph.describe(id),
                    error,
                })?;
        let version = operator
            .signature()
            .since(selector.opset(node))
            .unwrap_or(1);
        let mut captured = Vec::new();
        let mut bodies = Vec::new();
        for body in node.attributes.graphs() {
            bodies.push(bind_body(selector, node, body, &mut captured)?);
        }
        let step = Self {
            operator,
            node: node.clone(),
            version,
            bodies,
        };
        Ok((step, captured))
    }
}

/// Binds `node`, which is not in the graph, in the place of node `id`: an operator that stands for several nodes.
///
/// # Errors
/// [`SessionError::Operator`].
pub(crate) fn bind_instead(
    selector: &Selector<'_>,
    id: NodeId,
    node: Node,
    inputs: Vec<Option<ValueId>>,
) -> Result<Bound, SessionError> {
    let scope = selector.scope;
    let operator =
        scope
            .catalog
            .parse(&node, scope.opsets)
            .map_err(|error| SessionError::Operator {
                node: selector.graph.describe(id),
                error,
            })?;
    let version = operator
        .signature()
        .since(selector.opset(&node))
        .unwrap_or(1);
    let step = Reference {
        operator,
        node,
        version,
        bodies: Vec::new(),
    };
    Ok(Bound {
        step: Arc::new(step),
        inputs,
        outputs: selector.graph.node(id).outputs().to_vec(),
    })
}

/// Binds the nodes of a subgraph of `node`; what it captures goes to `captured`.
fn bind_body(
    selector: &mut Selector<'_>,
    node: &Node,
    graph: &Arc<Graph>,
    captured: &mut Vec<ValueId>,
) -> Result<Body, SessionError> {
    let mut constants = HashMap::new();
    let mut inputs = Vec::new();
    for (inner, name) in graph.captured() {
        let Some(outer) = selector.graph.value_by_name(name) else {
            return Err(SessionError::UndefinedValue {
                name: name.to_owned(),
            });
        };
        if let Some(tensor) = selector.constant(outer) {
            constants.insert(inner, tensor);
            continue;
        }
        let known = captured.iter().position(|&v| v == outer);
        let at = known.unwrap_or_else(|| {
            captured.push(outer);
            captured.len() - 1
        });
        inputs.push(node.inputs().len() + at);
    }
    let scope = Scope {
        depth: selector.scope.depth + 1,
        planes: None,
        ..selector.scope
    };
    let draft = Selector::draft(graph, scope, constants, &[])?;
    Ok(Body {
        graph: graph.clone(),
        plan: Plan::lower(&draft, &HashMap::new()),
        captured: inputs,
    })
}

impl Step for Reference {
    fn kernel(&self) -> &'static str {
        "reference"
    }

    fn bodies(&self) -> &[Body] {
        &self.bodies
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let inputs = cx
            .inputs
            .values
            .get(..self.node.inputs().len())
            .unwrap_or_default();
        let limits = cx.state.memory.limits();
        let mut bodies = Bodies {
            bodies: &self.bodies,
            inputs: cx.inputs,
            state: cx.state,
            exhausted: None,
        };
        let operator = self.operator.as_ref();
        let outputs = eval_operator(
            operator,
            &self.node,
            self.version,
            inputs,
            limits,
            &mut bodies,
        );
        let exhausted = bodies.exhausted.take();
        let outputs = outputs.map_err(|error| exhausted.unwrap_or(error))?;
        for (index, value) in outputs.into_iter().enumerate() {
            cx.outputs.set(index, value);
        }
        Ok(())
    }
}

/// Runs the subgraphs of the node at hand by their plans.
struct Bodies<'b, 'a, 's> {
    bodies: &'b [Body],
    inputs: Inputs<'a>,
    state: &'s mut RunState,
    /// A limit that ended a subgraph: operators hand errors of their subgraphs on as text, and who set the limit
    /// must be able to tell it from a failure.
    exhausted: Option<EvalError>,
}

impl SubgraphRunner for Bodies<'_, '_, '_> {
    fn run_subgraph(&mut self, graph: &Graph, inputs: Vec<Value>) -> Result<Vec<Value>, String> {
        let body = self
            .bodies
            .iter()
            .find(|b| std::ptr::eq(b.graph.as_ref(), graph));
        let body =
            body.ok_or_else(|| format!("subgraph `{}` is not one of the node's", graph.name))?;
        // An iteration costs something even where the body holds no node.
        self.state.memory.count_step().map_err(|limit| {
            let text = limit.to_string();
            self.exhausted = Some(limit);
            text
        })?;
        let mut feeds: Vec<Option<Value>> = inputs.into_iter().map(Some).collect();
        feeds.resize(graph.inputs().len(), None);
        for (feed, &id) in feeds.iter_mut().zip(graph.inputs()) {
            if feed.is_none() {
                *feed = graph.initializer(id).cloned().map(Value::Tensor);
            }
        }
        feeds.extend(body.captured.iter().map(|&i| self.inputs.value(i).cloned()));
        let mut outputs = Vec::with_capacity(graph.outputs().len());
        let mut take = |value| {
            outputs.push(value);
            Ok(())
        };
        let done = execute(&body.plan, feeds.into_iter(), self.state, None, &mut take);
        done.map(|()| outputs).map_err(|e| {
            let text = e.to_string();
            if let SessionError::Step {
                error:
                    StepError::Eval(
                        limit @ (EvalError::StepLimit { .. } | EvalError::IterationLimit { .. }),
                    ),
                ..
            } = e
            {
                self.exhausted = Some(limit);
            }
            text
        })
    }
}
