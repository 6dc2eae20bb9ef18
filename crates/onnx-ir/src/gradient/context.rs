//! What an operator sees while its gradient is built.

use super::builder::GraphBuilder;
use super::error::GradientError;
use super::var::{Operand, Var};
use crate::fact::Fact;
use crate::graph::{Node, NodeId, ValueId};
use crate::infer::refine;
use crate::rewrite::NewNode;
use compress_tensor::Tensor;
use std::cell::RefCell;

/// One node of the forward graph, the adjoints of its outputs, and a place to give those of its inputs to.
///
/// Formulas in operator files are written with [`Var`]s: `cx.give(0, cx.dy() * cx.output(0))`.
#[derive(Debug)]
pub struct GradientContext<'g> {
    builder: &'g GraphBuilder<'g>,
    id: NodeId,
    node: Node,
    version: u32,
    adjoints: Vec<Option<ValueId>>,
    wanted: Vec<bool>,
    given: RefCell<Vec<(ValueId, ValueId)>>,
}

impl<'g> GradientContext<'g> {
    pub(super) fn new(
        builder: &'g GraphBuilder<'g>,
        id: NodeId,
        version: u32,
        adjoints: Vec<Option<ValueId>>,
        wanted: Vec<bool>,
    ) -> Self {
        builder.enter(id);
        Self {
            builder,
            id,
            node: builder.look(|graph| graph.node(id).clone()),
            version,
            adjoints,
            wanted,
            given: RefCell::default(),
        }
    }

    /// The adjoints that were given: value, adjoint.
    pub(super) fn into_given(self) -> Vec<(ValueId, ValueId)> {
        self.given.into_inner()
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The version of the operator: the opset in which it last changed.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Whether the adjoint of input `index` is asked for; the others need not be computed.
    pub fn wants(&self, index: usize) -> bool {
        self.wanted.get(index).copied().unwrap_or(false)
    }

    /// Input `index`. One that is left out is an error of the model, reported when the gradient is done.
    pub fn input(&self, index: usize) -> Var<'g> {
        match self.node.input(index) {
            Some(id) => self.builder.var(id),
            None => {
                self.builder.fail(GradientError::NotDifferentiable {
                    node: self.builder.place(),
                    reason: format!("input {index} is required"),
                });
                self.builder.var(self.builder.unknown())
            }
        }
    }

    /// Input `index`, where it is there.
    pub fn optional_input(&self, index: usize) -> Option<Var<'g>> {
        self.node.input(index).map(|id| self.builder.var(id))
    }

    /// The constant that is input `index`, where it is one.
    pub fn constant(&self, index: usize) -> Option<Tensor> {
        let id = self.node.input(index)?;
        self.builder.look(|graph| graph.constant(id).cloned())
    }

    /// Output `index`; the forward node comes to name it where it did not.
    pub fn output(&self, index: usize) -> Var<'g> {
        let named = self.builder.look(|g| g.node(self.id).output(index));
        let id = named.unwrap_or_else(|| self.name_output(index));
        self.builder.var(id)
    }

    fn name_output(&self, index: usize) -> ValueId {
        let builder = self.builder;
        let added = builder.change(|graph| {
            let node = graph.node(self.id).clone();
            let base = format!("{}/{index}", graph.label(self.id));
            let id = graph.fresh_value(&base, Fact::Unknown)?;
            let mut outputs = node.outputs().to_vec();
            outputs.resize(outputs.len().max(index + 1), None);
            outputs[index] = Some(id);
            graph.replace_node(self.id, node.with_outputs(outputs))?;
            Ok(id)
        });
        match added {
            Ok(id) => {
                builder.infer_outputs(self.id);
                id
            }
            Err(error) => {
                builder.fail(GradientError::Graph(error));
                builder.unknown()
            }
        }
    }

    /// The adjoint of output `index`; `None` where no loss depends on it.
    pub fn adjoint(&self, index: usize) -> Option<Var<'g>> {
        let id = self.adjoints.get(index).copied().flatten()?;
        Some(self.builder.var(id))
    }

    /// The adjoint of output `index`, zeros where no loss depends on it.
    pub fn adjoint_or_zeros(&self, index: usize) -> Var<'g> {
        self.adjoint(index).unwrap_or_else(|| {
            let y = self.output(index);
            y.zeros(y.shape())
        })
    }

    /// The adjoint of output 0.
    pub fn dy(&self) -> Var<'g> {
        self.adjoint_or_zeros(0)
    }

    /// Gives an adjoint of input `index`, of its shape. Where several are given, they add up.
    pub fn give(&self, index: usize, adjoint: Var<'g>) {
        if let Some(input) = self.node.input(index).filter(|_| self.wants(index)) {
            self.give_value(self.builder.var(input), adjoint);
        }
    }

    /// As [`GradientContext::give`], of an input that was broadcast to the adjoint's shape.
    pub fn give_broadcast(&self, index: usize, adjoint: Var<'g>) {
        if self.wants(index) {
            self.give(index, adjoint.reduce_to(self.input(index)));
        }
    }

    /// Gives an adjoint of any value that the node depends on.
    pub fn give_value(&self, value: Var<'g>, adjoint: Var<'g>) {
        let integer = value.fact().dtype.is_some_and(|d| !d.is_float());
        let adjoint = match integer {
            true => adjoint,
            false => adjoint.cast_like(value),
        };
        let shape_of = |v: Var<'g>| {
            let mut fact = v.fact();
            (fact.dtype, fact.value) = (None, None);
            Fact::Tensor(fact)
        };
        if let Err(conflict) = refine(&shape_of(adjoint), &shape_of(value)) {
            let builder = self.builder;
            builder.fail(GradientError::AdjointShape {
                node: builder.place(),
                value: builder.look(|g| g.name_of(value.id).to_owned()),
                found: conflict.inferred,
                expected: conflict.declared,
            });
        }
        // What is known of the value holds for its adjoint.
        builder_refine(self.builder, adjoint.id, &shape_of(value));
        self.given.borrow_mut().push((value.id, adjoint.id));
    }

    /// A new node; bit by bit, which of its outputs are wanted.
    pub fn nodes(
        &self,
        node: NewNode,
        inputs: &[Option<Var<'g>>],
        wanted: &[bool],
    ) -> Vec<Option<Var<'g>>> {
        let inputs = inputs.iter().map(|v| v.map(|v| v.id)).collect();
        let outputs = self.builder.node(node, inputs, wanted);
        let outputs = outputs.into_iter();
        outputs
            .map(|id| id.map(|id| self.builder.var(id)))
            .collect()
    }

    /// A new node of one output.
    pub fn apply(&self, node: NewNode, inputs: &[Option<Var<'g>>]) -> Var<'g> {
        let outputs = self.nodes(node, inputs, &[true]);
        let output = outputs.into_iter().flatten().next();
        output.unwrap_or_else(|| self.builder.var(self.builder.unknown()))
    }

    /// Gives the outputs of a new node as the adjoints of these inputs, as far as they are wanted.
    pub fn give_outputs(&self, node: NewNode, inputs: &[Option<Var<'g>>], of: &[usize]) {
        let wanted: Vec<bool> = of.iter().map(|&i| self.wants(i)).collect();
        let Some(last) = wanted.iter().rposition(|&w| w) else {
            return;
        };
        let outputs = self.nodes(node, inputs, &wanted[..=last]);
        for (&index, output) in of.iter().zip(outputs) {
            if let Some(adjoint) = output {
                self.give(index, adjoint);
            }
        }
    }

    /// The node's operator and attributes on other inputs.
    pub fn again(&self, inputs: &[Option<Var<'g>>]) -> Var<'g> {
        self.apply(NewNode::like(&self.node).named(""), inputs)
    }

    /// The node's attributes, for an operator of this project's domain that has the same ones.
    pub fn private_like(&self, op_type: &str) -> NewNode {
        let node = NewNode::like(&self.node).named("").of(op_type);
        node.in_domain(crate::operator::PRIVATE_DOMAIN)
    }

    /// A scalar constant of the type of output 0's adjoint.
    pub fn number(&self, number: f64) -> Var<'g> {
        self.dy().number(number)
    }

    /// An i64 vector.
    pub fn ints(&self, values: &[i64]) -> Var<'g> {
        self.builder.var(self.builder.ints(values, false))
    }

    /// An i64 scalar.
    pub fn int(&self, value: i64) -> Var<'g> {
        self.builder.var(self.builder.ints(&[value], true))
    }

    /// A constant tensor.
    pub fn tensor(&self, tensor: Tensor) -> Var<'g> {
        self.builder
            .var(self.builder.constant("grad/constant", tensor))
    }

    /// The node that writes a value.
    pub fn producer(&self, value: Var<'g>) -> Option<Node> {
        let builder = self.builder;
        builder.look(|g| g.producer(value.id).map(|id| g.node(id).clone()))
    }

    /// A value of the forward graph.
    pub fn var(&self, id: ValueId) -> Var<'g> {
        self.builder.var(id)
    }

    /// Gives the adjoints of `f(x)` for an elementwise `f` with the derivative `slope`.
    pub fn give_slope(&self, slope: impl Into<Operand<'g>>) {
        self.give(0, self.dy() * slope.into());
    }

    /// The adjoint of an operator that only moves elements of input 0: it is run again on the elements' positions, which
    /// say where each element of the output came from. Positions below 0 come from nowhere; `others` are the
    /// node's other inputs, of which what fills empty places must be -1.
    pub fn give_moved(&self, others: &[Option<Var<'g>>]) {
        let x = self.input(0);
        let positions = self.positions(x);
        let moved = self.again(&[&[Some(positions)], others].concat());
        self.give_scattered(moved);
    }

    /// As [`GradientContext::give_moved`], for an operator that fills empty places with zeros.
    pub fn give_moved_beside_zeros(&self, others: &[Option<Var<'g>>]) {
        let counted = self.positions(self.input(0)) + self.int(1);
        let moved = self.again(&[&[Some(counted)], others].concat());
        self.give_scattered(moved - self.int(1));
    }

    /// Gives input 0 the elements of output 0's adjoint at these positions of the flattened input, summed.
    pub fn give_scattered(&self, positions: Var<'g>) {
        let shape = self.input(0).shape();
        let node = NewNode::private("ScatterAdd");
        self.give(0, self.dy().apply(node, &[positions, shape]));
    }

    /// For every element of a value its number in C order.
    pub fn positions(&self, x: Var<'g>) -> Var<'g> {
        let count = self
            .int(0)
            .apply(NewNode::new("Range"), &[x.size(), self.int(1)]);
        count.reshape_like(x)
    }

    /// The number of elements of `x` along axes, as a scalar that [`Var::over`] divides by.
    pub fn count(&self, x: Var<'g>, axes: &[usize]) -> Var<'g> {
        let known = x.dims().and_then(|dims| {
            let sizes = axes.iter().map(|&a| dims.get(a)?.as_known());
            sizes.collect::<Option<Vec<i64>>>()
        });
        if let Some(sizes) = known {
            return x.count(sizes.into_iter().map(|n| n as f64).product());
        }
        let axes: Vec<i64> = axes.iter().map(|&a| a as i64).collect();
        let sizes = x.shape().gather(self.ints(&axes), 0);
        let node = NewNode::new("ReduceProd").with("keepdims", 0i64);
        x.count_of(sizes.apply(node, &[]))
    }
}

fn builder_refine(builder: &GraphBuilder<'_>, id: ValueId, known: &Fact) {
    builder.change(|graph| {
        let fact = &graph.value(id).fact;
        if let Ok(refined) = refine(fact, known) {
            graph.value_mut(id).fact = refined;
        }
    });
}
