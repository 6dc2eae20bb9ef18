//! How operators carry widths: the equations that each states between the axes of what it reads and writes.

use super::axes::{Axes, Axis, Fixed, refused};
use onnx_ir::{Attribute, Dim, Graph, Node, NodeId, ValueId};
use std::collections::HashMap;

/// The axes of all values of a graph whose facts are known.
pub(super) struct Follower<'g> {
    pub(super) graph: &'g Graph,
    pub(super) axes: Axes,
    of: HashMap<ValueId, Vec<Option<Axis>>>,
    /// Depthwise convolutions, whose groups are as many as their channels.
    pub(super) depthwise: Vec<NodeId>,
    /// Nodes that write an axis as a number: `Reshape`.
    pub(super) reshapes: Vec<NodeId>,
    /// Nodes that divide an axis into parts: `Split`.
    pub(super) splits: Vec<NodeId>,
}

/// Why a node cannot be followed.
type Reason = String;

impl<'g> Follower<'g> {
    /// States the equations of all nodes.
    pub(super) fn new(graph: &'g Graph, order: &[NodeId]) -> Self {
        let mut follower = Self {
            graph,
            axes: Axes::default(),
            of: HashMap::new(),
            depthwise: Vec::new(),
            reshapes: Vec::new(),
            splits: Vec::new(),
        };
        for (id, value) in graph.values() {
            let declared = value.fact.as_tensor().and_then(|f| f.shape.as_ref());
            let sizes: Option<Vec<Option<usize>>> = match graph.constant(id) {
                Some(tensor) => Some(tensor.shape().iter().copied().map(Some).collect()),
                None => declared.map(|dims| dims.iter().map(Dim::as_size).collect()),
            };
            if let Some(sizes) = sizes {
                let axes = sizes.into_iter();
                let axes = axes.map(|size| size.map(|size| follower.axes.atom(size)));
                let axes = axes.collect();
                follower.of.insert(id, axes);
            }
        }
        for &id in order {
            if let Err(reason) = follower.follow(id) {
                follower.refuse(id, &reason);
            }
        }
        for &id in graph.inputs().iter().chain(graph.outputs()) {
            if graph.initializer(id).is_none() {
                follower.fix_all(id, &Fixed::Boundary);
            }
        }
        follower
    }

    /// The axes of a value; none where its rank is not known.
    pub(super) fn axes_of(&self, value: ValueId) -> Option<&[Option<Axis>]> {
        self.of.get(&value).map(Vec::as_slice)
    }

    fn fix_all(&mut self, value: ValueId, why: &Fixed) {
        for axis in self.of.get(&value).into_iter().flatten().flatten() {
            self.axes.fix(axis, why);
        }
    }

    fn refuse(&mut self, id: NodeId, reason: &str) {
        let why = refused(&self.graph.describe(id), reason);
        let node = self.graph.node(id);
        let values: Vec<ValueId> = node
            .inputs()
            .iter()
            .chain(node.outputs())
            .flatten()
            .copied()
            .collect();
        for value in values {
            self.fix_all(value, &why);
        }
    }

    fn follow(&mut self, id: NodeId) -> Result<(), Reason> {
        let graph = self.graph;
        let node = graph.node(id);
        if node.attributes.graphs().next().is_some() {
            return Err("it holds a subgraph".into());
        }
        let op = node.op_type.as_str();
        if reads_sizes(op) || !self.concerns_floats(node) {
            return Ok(());
        }
        if !node.domain.is_empty() {
            return Err("its domain is not followed".into());
        }
        match op {
            "Constant" | "ConstantOfShape" | "Range" | "RandomNormal" | "RandomUniform" => Ok(()),
            _ if ELEMENTWISE.contains(&op) => self.broadcast(id),
            "LayerNormalization" | "RMSNormalization" => self.broadcast_first(id),
            "BatchNormalization" | "InstanceNormalization" => self.channelwise(id),
            "Conv" => self.conv(id),
            "ConvTranspose" => self.conv_transpose(id),
            _ if POOLING.contains(&op) => self.pooling(id),
            "Gemm" => self.gemm(id),
            "MatMul" => self.matmul(id),
            "Gather" => self.gather(id),
            "Concat" => self.concat(id),
            "Split" => self.split(id),
            "Flatten" => self.flatten(id),
            "Reshape" => self.reshape(id),
            "Transpose" => self.transpose(id),
            "Squeeze" | "Unsqueeze" => self.view(id),
            _ if op.starts_with("Reduce") => self.reduce(id),
            "Slice" | "Pad" | "Resize" | "Upsample" | "Expand" | "Tile" => self.same_sizes(id),
            _ => Err("the operator is not followed".into()),
        }
    }

    /// Whether a node writes floats, or reads what could be wide.
    fn concerns_floats(&self, node: &Node) -> bool {
        let is_float = |id: &ValueId| {
            let fact = self.graph.value(*id).fact.as_tensor();
            fact.and_then(|f| f.dtype).is_none_or(|d| d.is_float())
        };
        let values = node.inputs().iter().chain(node.outputs()).flatten();
        values.into_iter().any(is_float)
    }

    /// The axes of an input or output that must be known.
    pub(super) fn known(&self, value: Option<ValueId>) -> Result<Vec<Option<Axis>>, Reason> {
        let value = value.ok_or("an input is missing")?;
        self.of
            .get(&value)
            .cloned()
            .ok_or_else(|| format!("the rank of `{}` is not known", self.graph.name_of(value)))
    }

    pub(super) fn input(&self, id: NodeId, index: usize) -> Result<Vec<Option<Axis>>, Reason> {
        self.known(self.graph.node(id).input(index))
    }

    pub(super) fn output(&self, id: NodeId) -> Result<Vec<Option<Axis>>, Reason> {
        self.known(self.graph.node(id).output(0))
    }

    /// States that two axes are the same; open ones say nothing.
    pub(super) fn same(&mut self, id: NodeId, a: Option<&Option<Axis>>, b: Option<&Option<Axis>>) {
        if let (Some(Some(a)), Some(Some(b))) = (a, b) {
            let node = self.graph.describe(id);
            self.axes.unify(a, b, &node);
        }
    }

    pub(super) fn hide(&mut self, axis: Option<&Option<Axis>>, weight: ValueId) {
        if let Some(Some(axis)) = axis {
            self.axes.hide(axis, self.graph.name_of(weight));
        }
    }

    pub(super) fn size(&self, axis: Option<&Option<Axis>>) -> Option<usize> {
        axis?.as_ref().map(|axis| self.axes.size(axis))
    }

    /// Aligned at the last axis; an axis of 1 stretches.
    pub(super) fn broadcast_to(&mut self, id: NodeId, from: &[Option<Axis>], to: &[Option<Axis>]) {
        for (a, b) in from.iter().rev().zip(to.iter().rev()) {
            if self.size(Some(a)) == self.size(Some(b)) {
                self.same(id, Some(a), Some(b));
            }
        }
    }

    fn broadcast(&mut self, id: NodeId) -> Result<(), Reason> {
        let node = self.graph.node(id);
        let y = self.output(id)?;
        // `Clip` and `Dropout` read single numbers beside.
        for input in node.inputs().iter().flatten() {
            let x = self.known(Some(*input))?;
            self.broadcast_to(id, &x, &y);
        }
        for output in node.outputs().iter().skip(1).flatten() {
            let other = self.known(Some(*output))?;
            self.broadcast_to(id, &other, &y);
        }
        Ok(())
    }

    /// As [`Self::broadcast`], of which further outputs are reduced.
    fn broadcast_first(&mut self, id: NodeId) -> Result<(), Reason> {
        let y = self.output(id)?;
        for input in self.graph.node(id).inputs().iter().flatten() {
            let x = self.known(Some(*input))?;
            self.broadcast_to(id, &x, &y);
        }
        Ok(())
    }

    fn channelwise(&mut self, id: NodeId) -> Result<(), Reason> {
        let (x, y) = (self.input(id, 0)?, self.output(id)?);
        self.broadcast_to(id, &x, &y);
        for index in 1..self.graph.node(id).inputs().len() {
            let weight = self.input(id, index)?;
            self.same(id, weight.first(), x.get(1));
        }
        Ok(())
    }

    fn pooling(&mut self, id: NodeId) -> Result<(), Reason> {
        let (x, y) = (self.input(id, 0)?, self.output(id)?);
        self.same(id, x.first(), y.first());
        self.same(id, x.get(1), y.get(1));
        Ok(())
    }

    fn gemm(&mut self, id: NodeId) -> Result<(), Reason> {
        let node = self.graph.node(id);
        let turned = |name| matches!(node.attributes.get(name), Some(Attribute::Int(v)) if *v != 0);
        let order = |axes: &[Option<Axis>], is_turned: bool| match axes {
            [rows, columns] if is_turned => Ok([columns.clone(), rows.clone()]),
            [rows, columns] => Ok([rows.clone(), columns.clone()]),
            _ => Err("its inputs are no matrices".to_owned()),
        };
        let a = order(&self.input(id, 0)?, turned("transA"))?;
        let b = order(&self.input(id, 1)?, turned("transB"))?;
        let y = self.output(id)?;
        self.product(id, &a, &b, &y);
        if node.input(2).is_some() {
            let c = self.input(id, 2)?;
            self.broadcast_to(id, &c, &y);
        }
        Ok(())
    }

    fn matmul(&mut self, id: NodeId) -> Result<(), Reason> {
        let (a, b, y) = (self.input(id, 0)?, self.input(id, 1)?, self.output(id)?);
        if a.len() < 2 || b.len() < 2 {
            return Err("one of its inputs is a vector".into());
        }
        let matrix = |axes: &[Option<Axis>]| axes[axes.len() - 2..].to_vec();
        self.product(id, &matrix(&a), &matrix(&b), &y);
        let batch = |axes: &[Option<Axis>]| axes[..axes.len() - 2].to_vec();
        for side in [&a, &b] {
            self.broadcast_to(id, &batch(side), &batch(&y));
        }
        Ok(())
    }

    /// `[m, k] · [k, n] = [.., m, n]`; the outer axis of a weight is a width that the network chooses.
    fn product(&mut self, id: NodeId, a: &[Option<Axis>], b: &[Option<Axis>], y: &[Option<Axis>]) {
        self.same(id, a.get(1), b.first());
        self.same(id, a.first(), y.len().checked_sub(2).and_then(|i| y.get(i)));
        self.same(id, b.get(1), y.last());
        let node = self.graph.node(id);
        for (index, outer) in [(0, a.first()), (1, b.get(1))] {
            if let Some(weight) = node.input(index).filter(|&v| self.is_weight(v)) {
                self.hide(outer, weight);
            }
        }
    }

    /// Whether a value is an initializer of floats, or a view of one.
    pub(super) fn is_weight(&self, value: ValueId) -> bool {
        if let Some(tensor) = self.graph.constant(value) {
            return tensor.dtype().is_float();
        }
        let Some(node) = self.graph.producer(value).map(|id| self.graph.node(id)) else {
            return false;
        };
        let is_view = ["Transpose", "Identity"].contains(&node.op_type.as_str());
        let source = node.input(0).filter(|_| is_view);
        source.is_some_and(|v| self.graph.constant(v).is_some_and(|t| t.dtype().is_float()))
    }

    /// Rows of a table, or places of what was computed.
    fn gather(&mut self, id: NodeId) -> Result<(), Reason> {
        let node = self.graph.node(id);
        let (x, places, y) = (self.input(id, 0)?, self.input(id, 1)?, self.output(id)?);
        let axis = self.axis_attribute(node, 0, x.len())?;
        for (at, of_x) in x.iter().enumerate() {
            match at.cmp(&axis) {
                std::cmp::Ordering::Less => self.same(id, Some(of_x), y.get(at)),
                std::cmp::Ordering::Greater => {
                    let of_y = (at + places.len()).checked_sub(1);
                    self.same(id, Some(of_x), of_y.and_then(|i| y.get(i)));
                }
                std::cmp::Ordering::Equal => {
                    if let Some(of_x) = of_x {
                        let why =
                            refused(&self.graph.describe(id), "it picks places of this width");
                        self.axes.fix(of_x, &why);
                    }
                }
            }
        }
        for (at, of_places) in places.iter().enumerate() {
            self.same(id, Some(of_places), y.get(axis + at));
        }
        if let Some(table) = node.input(0).filter(|&v| axis == 0 && self.is_weight(v)) {
            self.hide(x.last().filter(|_| x.len() > 1), table);
        }
        Ok(())
    }

    /// The axis that an attribute names, counted from the first.
    pub(super) fn axis_attribute(
        &self,
        node: &Node,
        default: i64,
        rank: usize,
    ) -> Result<usize, Reason> {
        let axis = match node.attributes.get("axis") {
            Some(Attribute::Int(axis)) => *axis,
            _ => default,
        };
        let axis = if axis < 0 { axis + rank as i64 } else { axis };
        usize::try_from(axis)
            .ok()
            .filter(|&a| a <= rank)
            .ok_or_else(|| "its axis is beyond the rank".into())
    }

    /// Axes of one size are the same; one that changes is not followed.
    fn same_sizes(&mut self, id: NodeId) -> Result<(), Reason> {
        let (x, y) = (self.input(id, 0)?, self.output(id)?);
        let why = refused(&self.graph.describe(id), "it changes this width");
        for (a, b) in x.iter().rev().zip(y.iter().rev()) {
            if self.size(Some(a)) == self.size(Some(b)) {
                self.same(id, Some(a), Some(b));
            } else if self.size(Some(a)) != Some(1) {
                for axis in [a, b].into_iter().flatten() {
                    self.axes.fix(axis, &why);
                }
            }
        }
        Ok(())
    }

    fn reduce(&mut self, id: NodeId) -> Result<(), Reason> {
        let node = self.graph.node(id);
        let (x, y) = (self.input(id, 0)?, self.output(id)?);
        if x.len() == y.len() {
            self.broadcast_to(id, &x, &y);
            return Ok(());
        }
        let axes = self.ints(node, "axes", 1);
        let Some(axes) = axes.filter(|axes| x.len() == y.len() + axes.len()) else {
            return if y.is_empty() {
                Ok(())
            } else {
                Err("the axes that it reduces are not known".into())
            };
        };
        let rank = x.len() as i64;
        let gone = |at: usize| axes.iter().any(|a| a.rem_euclid(rank) == at as i64);
        let stay = (0..x.len()).filter(|&at| !gone(at));
        for (at, to) in stay.zip(&y) {
            self.same(id, x.get(at), Some(to));
        }
        Ok(())
    }

    /// Integers of an attribute, or of a constant input as newer versions have them.
    pub(super) fn ints(&self, node: &Node, name: &str, input: usize) -> Option<Vec<i64>> {
        match node.attributes.get(name) {
            Some(Attribute::Ints(ints)) => Some(ints.clone()),
            _ => {
                let value = node.input(input)?;
                self.graph.constant(value)?.to_i64_vec().ok()
            }
        }
    }
}

/// Operators that read how large a tensor is, not what it holds.
fn reads_sizes(op: &str) -> bool {
    matches!(op, "Shape" | "Size")
}

/// Each element by itself, of inputs that are stretched to one shape; functions along an axis that keep the shape.
const ELEMENTWISE: &[&str] = &[
    "Abs",
    "Acos",
    "Add",
    "And",
    "Asin",
    "Atan",
    "Cast",
    "Ceil",
    "Celu",
    "Clip",
    "Cos",
    "CumSum",
    "Div",
    "Dropout",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "Greater",
    "GreaterOrEqual",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "IsInf",
    "IsNaN",
    "LRN",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "LpNormalization",
    "Max",
    "Mean",
    "Min",
    "Mish",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "PRelu",
    "Pow",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Sigmoid",
    "Sign",
    "Sin",
    "Softmax",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Sub",
    "Sum",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
    "Where",
    "Xor",
];

const POOLING: &[&str] = &[
    "AveragePool",
    "GlobalAveragePool",
    "GlobalLpPool",
    "GlobalMaxPool",
    "LpPool",
    "MaxPool",
];
