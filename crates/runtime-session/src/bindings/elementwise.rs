//! Functions of one or two f32 tensors, element by element; an activation after two is taken along.

use super::activation::activation_of;
use super::compare::{MAX_RANK, zip};
use super::gelu::Gelu;
use super::guarded::{self, Partial, is_f32};
use super::matmul::broadcast;
use crate::error::{SessionError, StepError};
use crate::plan::{Bound, Selector};
use crate::step::{ImageOrder, Inputs, Step, StepContext};
use compress_tensor::{DType, Shape, element_count};
use onnx_ir::operator::EvalError;
use onnx_ir::{Node, NodeId, Value};
use runtime_kernels::elementwise::{
    Activation, Binary, Broadcast, Order, Unary, binary, unary, unary_in_place,
};
use std::sync::Arc;

/// Binds a node that is a function of one or two tensors; `None` where the kernels do not have it.
///
/// # Errors
/// As [`guarded::bind`].
pub(crate) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Result<Option<Bound>, SessionError> {
    if let Some(function) = unary_of(selector, id) {
        if let Some(bound) = bind_activated(selector, id, function) {
            return Ok(Some(bound));
        }
        return guarded::bind(selector, id, Map { function }).map(Some);
    }
    if let Some(gelu) =
        Gelu::ending_in(selector, id).filter(|g| selector.dtype(g.x) == Some(DType::F32))
    {
        let function = Unary::Activation(gelu.activation);
        return Ok(Some(Bound {
            step: Arc::new(Map { function }),
            inputs: vec![Some(gelu.x)],
            outputs: selector.graph.node(id).outputs().to_vec(),
        }));
    }
    let node = selector.graph.node(id);
    match binary_of(node) {
        Some(function) if node.inputs().len() == 2 => {
            let zip = Zip {
                function,
                activation: Activation::None,
            };
            guarded::bind(selector, id, zip).map(Some)
        }
        _ => Ok(None),
    }
}

/// An activation of a sum, product, … of two f32 tensors that nobody else reads.
fn bind_activated(selector: &mut Selector<'_>, id: NodeId, function: Unary) -> Option<Bound> {
    let Unary::Activation(activation) = function else {
        return None;
    };
    let node = selector.graph.node(id);
    if !selector.fuses() {
        return None;
    }
    let (_, inner) = selector.interior(node.input(0)?)?;
    let function = binary_of(inner).filter(|_| inner.is(&inner.op_type))?;
    let (&[Some(a), Some(b)], Some(DType::F32)) = (inner.inputs(), selector.dtype(node.input(0)?))
    else {
        return None;
    };
    let fact = |v| {
        selector
            .graph
            .value(v)
            .fact
            .as_tensor()
            .and_then(|f| f.shape.as_ref())
    };
    let (known_a, known_b) = (fact(a)?, fact(b)?);
    let same =
        known_a.len() == known_b.len() && known_a.iter().zip(known_b).all(|(x, y)| x.is_same(y));
    same.then(|| Bound {
        step: Arc::new(Zip {
            function,
            activation,
        }),
        inputs: vec![Some(a), Some(b)],
        outputs: node.outputs().to_vec(),
    })
}

fn unary_of(selector: &mut Selector<'_>, id: NodeId) -> Option<Unary> {
    if let Some(activation) = activation_of(selector, id) {
        return Some(Unary::Activation(activation));
    }
    Some(match selector.graph.node(id).op_type.as_str() {
        "Exp" => Unary::Exp,
        "Log" => Unary::Log,
        "Sqrt" => Unary::Sqrt,
        "Reciprocal" => Unary::Reciprocal,
        "Neg" => Unary::Neg,
        "Abs" => Unary::Abs,
        "Erf" => Unary::Erf,
        "Round" => Unary::Round,
        "Floor" => Unary::Floor,
        "Ceil" => Unary::Ceil,
        "Pow" if squares(selector, id) => Unary::Square,
        _ => return None,
    })
}

/// Whether a `Pow` has the exponent 2 and the shape of its base.
fn squares(selector: &mut Selector<'_>, id: NodeId) -> bool {
    let base = selector.graph.node(id).input(0);
    let rank = base.and_then(|x| selector.rank(x)).unwrap_or(0);
    let exponent = selector.constant_input(id, 1);
    exponent.is_some_and(|e| e.rank() <= rank && e.to_f64_vec().is_ok_and(|e| e == [2.0]))
}

/// The function of a node; `None` for others and for those of old opsets that broadcast from an `axis` on.
fn binary_of(node: &Node) -> Option<Binary> {
    if node.attributes.get("axis").is_some() {
        return None;
    }
    Some(match node.op_type.as_str() {
        "Add" => Binary::Add,
        "Sub" => Binary::Sub,
        "Mul" => Binary::Mul,
        "Div" => Binary::Div,
        "Min" => Binary::Min,
        "Max" => Binary::Max,
        _ => return None,
    })
}

/// A function of one f32 tensor.
struct Map {
    function: Unary,
}

impl Partial for Map {
    fn kernel(&self) -> &'static str {
        "elementwise.f32"
    }
    fn image_order(&self) -> ImageOrder {
        ImageOrder::Either
    }
    fn in_place(&self) -> Option<usize> {
        Some(0)
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        is_f32(inputs, 0)
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        Step::run(self, cx)
    }
}

impl Step for Map {
    fn kernel(&self) -> &'static str {
        "elementwise.f32"
    }
    fn image_order(&self) -> ImageOrder {
        ImageOrder::Either
    }
    fn in_place(&self) -> Option<usize> {
        Some(0)
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let out = match cx.reuse.take() {
            Some(Value::Tensor(mut x)) if x.is_unique() => {
                unary_in_place(&cx.state.context, self.function, x.data_mut::<f32>()?);
                x
            }
            reused => {
                let x = match &reused {
                    Some(Value::Tensor(x)) => x,
                    _ => cx.inputs.tensor(0)?,
                };
                let mut out = cx.state.memory.tensor::<f32>(x.shape())?;
                unary(
                    &cx.state.context,
                    self.function,
                    &x.data::<f32>()?,
                    out.data_mut::<f32>()?,
                )?;
                out
            }
        };
        cx.outputs.set(0, out);
        Ok(())
    }
}

/// A function of two f32 tensors and an activation of its result.
struct Zip {
    function: Binary,
    activation: Activation,
}

impl Zip {
    /// Whether two tensors that are both spread have a kernel.
    fn is_arithmetic(&self) -> bool {
        use Binary::{Add, Div, Mul, Sub};
        self.activation == Activation::None && matches!(self.function, Add | Sub | Mul | Div)
    }
}

impl Partial for Zip {
    fn kernel(&self) -> &'static str {
        "elementwise.f32"
    }
    fn image_order(&self) -> ImageOrder {
        ImageOrder::Either
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        let (Ok(a), Ok(b)) = (inputs.tensor(0), inputs.tensor(1)) else {
            return false;
        };
        let fits = Spread::of(a.shape(), b.shape()).is_some()
            || (a.rank().max(b.rank()) <= MAX_RANK && self.is_arithmetic());
        is_f32(inputs, 0) && is_f32(inputs, 1) && fits
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        Step::run(self, cx)
    }
}

impl Step for Zip {
    fn kernel(&self) -> &'static str {
        "elementwise.f32"
    }
    fn image_order(&self) -> ImageOrder {
        ImageOrder::Either
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let (a, b) = (cx.inputs.tensor(0)?, cx.inputs.tensor(1)?);
        let Some(spread) = Spread::of(a.shape(), b.shape()) else {
            return match self.function {
                Binary::Add => zip::<f32, f32>(cx, |a, b| a + b),
                Binary::Sub => zip::<f32, f32>(cx, |a, b| a - b),
                Binary::Mul => zip::<f32, f32>(cx, |a, b| a * b),
                Binary::Div => zip::<f32, f32>(cx, |a, b| a / b),
                _ => {
                    let found = format_args!("{:?} and {:?}", a.shape(), b.shape());
                    Err(EvalError::rule("shapes must broadcast", found).into())
                }
            };
        };
        let (large, small) = match spread.order {
            Order::Forward => (a, b),
            Order::Reversed => (b, a),
        };
        let mut out = cx.state.memory.tensor::<f32>(&spread.shape)?;
        let (x, y) = (large.data::<f32>()?, small.data::<f32>()?);
        let parts = spread.parts.max(1);
        let (part, each) = (out.len() / parts, y.len() / parts);
        if part > 0 {
            let pieces = x
                .chunks_exact(part)
                .zip(y.chunks_exact(each))
                .zip(out.data_mut::<f32>()?.chunks_exact_mut(part));
            for ((x, y), out) in pieces {
                let (order, activation) = (spread.order, self.activation);
                binary(
                    &cx.state.context,
                    self.function,
                    spread.broadcast,
                    order,
                    activation,
                    x,
                    y,
                    out,
                )?;
            }
        }
        cx.outputs.set(0, out);
        Ok(())
    }
}

/// The product of sizes; 0 where it overflows, which only sizes of a tensor without elements do.
fn count(sizes: &[usize]) -> usize {
    element_count(sizes).unwrap_or(0)
}

/// How one of two tensors is spread over the other, which has the shape of the result.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Spread {
    pub(crate) shape: Shape,
    /// Leading parts of both that go together, each by `broadcast`.
    pub(crate) parts: usize,
    pub(crate) broadcast: Broadcast,
    pub(crate) order: Order,
}

impl Spread {
    /// `None` where the shapes do not broadcast, both are spread, or in a way that the kernels do not have.
    pub(crate) fn of(a: &[usize], b: &[usize]) -> Option<Self> {
        let shape = broadcast(a, b)?;
        let (small, order) = if *a == *shape {
            (b, Order::Forward)
        } else {
            (a, Order::Reversed)
        };
        if *a != *shape && *b != *shape {
            return None;
        }
        let mut padded = Shape::filled(shape.len() - small.len(), 1);
        padded.extend(small.iter().copied());
        let lead = padded
            .iter()
            .zip(shape.iter())
            .take_while(|(s, n)| s == n)
            .count();
        if lead == shape.len() {
            return Some(Self {
                shape,
                parts: 1,
                broadcast: Broadcast::Same,
                order,
            });
        }
        // The axes behind the leading ones: ones, then a block of whole axes, then ones.
        let plan = |lead: usize| {
            let (small, large) = (&padded[lead..], &shape[lead..]);
            let from = small.iter().position(|&n| n != 1).unwrap_or(small.len());
            let to = small.iter().rposition(|&n| n != 1).map_or(from, |i| i + 1);
            if small[from..to] != large[from..to] {
                return None;
            }
            let (channels, inner) = (count(&large[from..to]), count(&large[to..]));
            Some(match channels {
                1 => Broadcast::Scalar,
                channels => Broadcast::Channels { channels, inner },
            })
        };
        let (lead, broadcast) = match plan(0) {
            Some(whole) => (0, whole),
            None => (lead, plan(lead)?),
        };
        let parts = count(&shape[..lead]);
        Some(Self {
            shape,
            parts,
            broadcast,
            order,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(a: &[usize], b: &[usize]) -> Option<(usize, Broadcast, Order)> {
        Spread::of(a, b).map(|s| (s.parts, s.broadcast, s.order))
    }

    #[test]
    fn broadcasts_become_blocks() {
        let channels = |channels, inner| Broadcast::Channels { channels, inner };
        assert_eq!(
            spread(&[2, 3], &[2, 3]),
            Some((1, Broadcast::Same, Order::Forward))
        );
        assert_eq!(
            spread(&[2, 3], &[]),
            Some((1, Broadcast::Scalar, Order::Forward))
        );
        assert_eq!(
            spread(&[3], &[2, 3]),
            Some((1, channels(3, 1), Order::Reversed))
        );
        assert_eq!(
            spread(&[2, 3, 4, 5], &[3, 1, 1]),
            Some((1, channels(3, 20), Order::Forward))
        );
        assert_eq!(
            spread(&[2, 3, 4, 5], &[1, 3, 4, 1]),
            Some((1, channels(12, 5), Order::Forward))
        );
        assert_eq!(
            spread(&[2, 3, 4, 5], &[2, 1, 1, 5]),
            Some((2, channels(5, 1), Order::Forward))
        );
        assert_eq!(spread(&[2, 3, 1], &[2, 1, 4]), None);
        assert_eq!(spread(&[2], &[3]), None);
    }
}
