//! A value of the graph that is being built, with arithmetic.

use super::builder::GraphBuilder;
use crate::fact::{Fact, TensorFact};
use crate::graph::{Attribute, ValueId};
use crate::ops::axis;
use crate::rewrite::NewNode;
use crate::symbolic::Dim;
use compress_tensor::DType;
use std::ops::{Add, Div, Mul, Neg, Sub};

/// A value of the graph that is being built. Arithmetic on it adds nodes; operands broadcast.
#[derive(Clone, Copy, Debug)]
pub struct Var<'g> {
    pub(super) builder: &'g GraphBuilder<'g>,
    pub(super) id: ValueId,
}

/// A value, or a number of the type of the value that it meets.
#[derive(Clone, Copy, Debug)]
pub enum Operand<'g> {
    /// A value.
    Var(Var<'g>),
    /// A number.
    Number(f64),
}

impl<'g> From<Var<'g>> for Operand<'g> {
    fn from(var: Var<'g>) -> Self {
        Self::Var(var)
    }
}

impl From<f64> for Operand<'_> {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl<'g> Var<'g> {
    /// The value's id in the graph.
    pub fn id(self) -> ValueId {
        self.id
    }

    /// What is known of the value.
    pub fn fact(self) -> TensorFact {
        match self.builder.fact(self.id) {
            Fact::Tensor(fact) => fact,
            _ => TensorFact::default(),
        }
    }

    /// The element type; f32 where it is not known.
    pub fn dtype(self) -> DType {
        self.fact().dtype.unwrap_or(DType::F32)
    }

    /// The number of axes, where it is known.
    pub fn rank(self) -> Option<usize> {
        self.fact().rank()
    }

    /// The dimensions, where the rank is known.
    pub fn dims(self) -> Option<Vec<Dim>> {
        self.fact().shape
    }

    /// The elements, where they are known integers.
    pub fn const_ints(self) -> Option<Vec<i64>> {
        self.fact().const_ints()
    }

    /// The result of an operator of one output on these inputs.
    pub fn apply(self, node: NewNode, others: &[Var<'g>]) -> Var<'g> {
        let inputs = [&[self], others].concat();
        let inputs = inputs.iter().map(|v| Some(v.id)).collect();
        let output = self.builder.node(node, inputs, &[true]);
        self.builder
            .var(output.into_iter().flatten().next().unwrap_or(self.id))
    }

    fn op(self, op: &str) -> Var<'g> {
        self.apply(NewNode::new(op), &[])
    }

    fn with(self, op: &str, other: impl Into<Operand<'g>>) -> Var<'g> {
        let other = self.operand(other);
        self.apply(NewNode::new(op), &[other])
    }

    /// The operand as a value, a number in this value's type.
    pub fn operand(self, operand: impl Into<Operand<'g>>) -> Var<'g> {
        match operand.into() {
            Operand::Var(var) => var,
            Operand::Number(number) => self.number(number),
        }
    }

    /// A scalar of this value's type.
    pub fn number(self, number: f64) -> Var<'g> {
        self.builder.var(self.builder.number(number, self.dtype()))
    }

    /// The type in which elements of this value are counted: f32 for the half types, in which large counts are not exact or infinite.
    fn count_dtype(self) -> DType {
        match self.dtype() {
            DType::F16 | DType::BF16 => DType::F32,
            dtype => dtype,
        }
    }

    /// A number of elements of this value, as a scalar that [`Var::over`] divides by.
    pub fn count(self, count: f64) -> Var<'g> {
        let dtype = self.count_dtype();
        self.builder.var(self.builder.number(count, dtype))
    }

    /// As [`Var::count`], of an i64 scalar.
    pub fn count_of(self, count: Var<'g>) -> Var<'g> {
        count.cast(self.count_dtype())
    }

    /// This value divided by a number of elements.
    pub fn over(self, count: Var<'g>) -> Var<'g> {
        (self.cast_like(count) / count).cast_like(self)
    }

    /// An i64 vector.
    pub fn ints(self, values: &[i64]) -> Var<'g> {
        self.builder.var(self.builder.ints(values, false))
    }

    /// `e^x`.
    pub fn exp(self) -> Var<'g> {
        self.op("Exp")
    }
    /// The natural logarithm.
    pub fn log(self) -> Var<'g> {
        self.op("Log")
    }
    /// The square root.
    pub fn sqrt(self) -> Var<'g> {
        self.op("Sqrt")
    }
    /// The hyperbolic tangent.
    pub fn tanh(self) -> Var<'g> {
        self.op("Tanh")
    }
    /// `1 / (1 + e^-x)`.
    pub fn sigmoid(self) -> Var<'g> {
        self.op("Sigmoid")
    }
    /// -1, 0 or 1.
    pub fn sign(self) -> Var<'g> {
        self.op("Sign")
    }
    /// `|x|`.
    pub fn abs(self) -> Var<'g> {
        self.op("Abs")
    }
    /// `1 / x`.
    pub fn reciprocal(self) -> Var<'g> {
        self.op("Reciprocal")
    }
    /// Another operator of one input without attributes.
    pub fn unary(self, op: &str) -> Var<'g> {
        self.op(op)
    }
    /// `x^y`.
    pub fn pow(self, exponent: impl Into<Operand<'g>>) -> Var<'g> {
        self.with("Pow", exponent)
    }
    /// `x < y`.
    pub fn less(self, other: impl Into<Operand<'g>>) -> Var<'g> {
        self.with("Less", other)
    }
    /// `x > y`.
    pub fn greater(self, other: impl Into<Operand<'g>>) -> Var<'g> {
        self.with("Greater", other)
    }
    /// `x == y`.
    pub fn equals(self, other: impl Into<Operand<'g>>) -> Var<'g> {
        self.with("Equal", other)
    }
    /// Both truth values.
    pub fn and(self, other: Var<'g>) -> Var<'g> {
        self.with("And", other)
    }
    /// Either truth value.
    pub fn or(self, other: Var<'g>) -> Var<'g> {
        self.with("Or", other)
    }
    /// The opposite truth value.
    pub fn negated(self) -> Var<'g> {
        self.op("Not")
    }
    /// `yes` where this condition holds, else `no`; numbers have the type of the other one.
    pub fn choose(self, yes: impl Into<Operand<'g>>, no: impl Into<Operand<'g>>) -> Var<'g> {
        let (yes, no) = match (yes.into(), no.into()) {
            (Operand::Var(yes), no) => (yes, yes.operand(no)),
            (yes, Operand::Var(no)) => (no.operand(yes), no),
            (yes, no) => (self.operand(yes), self.operand(no)),
        };
        self.apply(NewNode::new("Where"), &[yes, no])
    }
    /// The matrix product.
    pub fn matmul(self, other: Var<'g>) -> Var<'g> {
        self.with("MatMul", other)
    }
    /// This value in another element type.
    pub fn cast(self, to: DType) -> Var<'g> {
        if self.fact().dtype == Some(to) {
            return self;
        }
        let code = i64::from(crate::io::code_of_dtype(to).unwrap_or(0));
        self.apply(NewNode::new("Cast").with("to", code), &[])
    }
    /// This value in the element type of another one.
    pub fn cast_like(self, other: Var<'g>) -> Var<'g> {
        match other.fact().dtype {
            Some(dtype) => self.cast(dtype),
            None => self,
        }
    }

    /// The shape, as an i64 vector: a constant where all of it is known.
    pub fn shape(self) -> Var<'g> {
        self.op("Shape")
    }
    /// The number of elements as an i64 scalar.
    pub fn size(self) -> Var<'g> {
        self.op("Size")
    }
    /// The axes in another order; axis `i` of the result is axis `axes[i]`.
    pub fn transpose(self, axes: &[usize]) -> Var<'g> {
        if axes.iter().enumerate().all(|(i, &a)| i == a) {
            return self;
        }
        let axes: Vec<i64> = axes.iter().map(|&a| a as i64).collect();
        self.apply(NewNode::new("Transpose").with("perm", axes), &[])
    }
    /// The last two axes swapped; the rank must be known.
    pub fn swap_last(self) -> Var<'g> {
        let rank = self.rank().unwrap_or(2).max(2);
        let mut axes: Vec<usize> = (0..rank).collect();
        axes.swap(rank - 1, rank - 2);
        self.transpose(&axes)
    }
    /// The elements in the shape that the vector `shape` says; a 0 in it is a size.
    pub fn reshape(self, shape: Var<'g>) -> Var<'g> {
        let mut node = NewNode::new("Reshape");
        if shape.may_hold_zero() {
            node = node.with("allowzero", 1i64);
        }
        self.apply(node, &[shape])
    }
    /// The elements in the shape of another value.
    pub fn reshape_like(self, other: Var<'g>) -> Var<'g> {
        if self.has_shape_of(other) {
            return self;
        }
        self.reshape(other.shape())
    }
    /// The elements in this shape, where -1 is what is left over and 0 the size that is there.
    pub fn reshape_to(self, shape: &[i64]) -> Var<'g> {
        self.with("Reshape", self.ints(shape))
    }
    fn may_hold_zero(self) -> bool {
        // Before opset 14 there is no such attribute, and a 0 copies what is there: 0, for a tensor without elements.
        let known = self.const_ints();
        self.builder.allows_zero() && known.is_none_or(|sizes| sizes.contains(&0))
    }
    /// Axes of size 1 put in; the axes are those of the result.
    pub fn unsqueeze(self, axes: &[i64]) -> Var<'g> {
        if axes.is_empty() {
            return self;
        }
        self.with("Unsqueeze", self.ints(axes))
    }
    /// Axes of size 1 taken out.
    pub fn squeeze(self, axes: &[i64]) -> Var<'g> {
        if axes.is_empty() {
            return self;
        }
        self.with("Squeeze", self.ints(axes))
    }
    /// Broadcast to the shape that the vector says.
    pub fn expand(self, shape: Var<'g>) -> Var<'g> {
        self.with("Expand", shape)
    }
    /// Broadcast to the shape of another value.
    pub fn expand_like(self, other: Var<'g>) -> Var<'g> {
        if self.has_shape_of(other) {
            return self;
        }
        self.expand(other.shape())
    }
    /// Elements `begin..end` along an axis.
    pub fn slice(self, axis: i64, begin: i64, end: i64) -> Var<'g> {
        let others = [[begin], [end], [axis]].map(|v| self.ints(&v));
        self.apply(NewNode::new("Slice"), &others)
    }
    /// The sum over axes; over none where the list is empty.
    pub fn sum(self, axes: &[i64], keep: bool) -> Var<'g> {
        if axes.is_empty() {
            return self;
        }
        let node = NewNode::new("ReduceSum").with("keepdims", i64::from(keep));
        self.apply(node, &[self.ints(axes)])
    }
    /// The sum of all elements, a scalar.
    pub fn sum_all(self) -> Var<'g> {
        if self.rank() == Some(0) {
            return self;
        }
        self.apply(NewNode::new("ReduceSum").with("keepdims", 0i64), &[])
    }
    /// This value joined with others along an axis.
    pub fn concat(self, others: &[Var<'g>], axis: i64) -> Var<'g> {
        self.apply(NewNode::new("Concat").with("axis", axis), others)
    }
    /// Elements picked along an axis by an i64 vector or scalar.
    pub fn gather(self, indices: Var<'g>, axis: i64) -> Var<'g> {
        self.apply(NewNode::new("Gather").with("axis", axis), &[indices])
    }
    /// A tensor of zeros of the type of this value in the shape that the vector says.
    pub fn zeros(self, shape: Var<'g>) -> Var<'g> {
        self.filled(shape, 0.0)
    }
    /// A tensor of one number, of the type of this value, in the shape that the vector says.
    pub fn filled(self, shape: Var<'g>, number: f64) -> Var<'g> {
        let value = compress_tensor::Tensor::vector(vec![number]);
        let value = value.cast(self.dtype(), compress_tensor::CastOptions::default());
        let mut node = NewNode::new("ConstantOfShape");
        if let Ok(value) = value {
            node = node.with("value", Attribute::Tensor(value));
        }
        shape.apply(node, &[])
    }

    /// Whether both are known to have the same shape.
    pub fn has_shape_of(self, other: Var<'g>) -> bool {
        match (self.dims(), other.dims()) {
            (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.is_same(b)),
            _ => self.id == other.id,
        }
    }

    /// The sum over the axes along which `target` was broadcast to this value's shape: the adjoint of broadcasting.
    pub fn reduce_to(self, target: Var<'g>) -> Var<'g> {
        if self.has_shape_of(target) {
            return self;
        }
        let axes = match (self.dims(), target.dims()) {
            (Some(from), Some(to)) => reduced_axes(&from, &to),
            _ => None,
        };
        match axes {
            Some((leading, ones)) => {
                let leading: Vec<i64> = (0..leading as i64).collect();
                self.sum(&leading, false).sum(&ones, true)
            }
            None => self.apply(NewNode::private("ReduceToShape"), &[target.shape()]),
        }
    }

    /// The axis counted from the front, where the rank is known.
    pub fn axis(self, axis: i64) -> Option<usize> {
        axis::resolve(axis, self.rank()?)
    }
}

/// How many leading axes, and which of the others, are summed where a tensor of shape `to` was broadcast to `from`;
/// `None` where it depends on sizes that are not known.
fn reduced_axes(from: &[Dim], to: &[Dim]) -> Option<(usize, Vec<i64>)> {
    let leading = from.len().checked_sub(to.len())?;
    let mut ones = Vec::new();
    for (axis, (f, t)) in from[leading..].iter().zip(to).enumerate() {
        match (f.as_known(), t.as_known()) {
            (Some(1), Some(1)) => {}
            (_, Some(1)) => ones.push(axis as i64),
            (Some(f), Some(t)) if f == t => {}
            // A size above 1 broadcasts to itself only.
            (_, Some(t)) if t > 1 => {}
            _ if f.is_same(t) => {}
            _ => return None,
        }
    }
    Some((leading, ones))
}

macro_rules! arithmetic {
    ($($trait:ident, $method:ident, $op:literal;)*) => {$(
        impl<'g, R: Into<Operand<'g>>> $trait<R> for Var<'g> {
            type Output = Var<'g>;
            fn $method(self, other: R) -> Var<'g> {
                self.with($op, other)
            }
        }
        impl<'g> $trait<Var<'g>> for f64 {
            type Output = Var<'g>;
            fn $method(self, other: Var<'g>) -> Var<'g> {
                other.number(self).with($op, other)
            }
        }
    )*};
}

arithmetic! {
    Add, add, "Add";
    Sub, sub, "Sub";
    Mul, mul, "Mul";
    Div, div, "Div";
}

impl<'g> Neg for Var<'g> {
    type Output = Var<'g>;
    fn neg(self) -> Var<'g> {
        self.op("Neg")
    }
}
