//! Sums and products of two 8-bit tensors: `DQ, DQ -> Add | Mul -> Q`, `QLinearAdd`, `QLinearMul`.

use super::params::{self, Byte, Quantized};
use crate::bindings::elementwise::Spread;
use crate::error::StepError;
use crate::memory::Pooled;
use crate::plan::{Bound, Selector};
use crate::step::{ImageOrder, Step, StepContext};
use onnx_ir::operator::EvalError;
use onnx_ir::{NodeId, ValueId};
use runtime_kernels::elementwise::{Broadcast, Order};
use runtime_kernels::quantized::{BinaryScales, QuantByte, add_int8, mul_int8};
use std::sync::Arc;

/// Binds the `Add` or `Mul` node `inner` between `DequantizeLinear` inputs and the quantizer `y`, whose node is `root`.
pub(crate) fn bind_region(
    selector: &mut Selector<'_>,
    root: NodeId,
    inner: NodeId,
    y: &Quantized,
) -> Option<Bound> {
    let node = selector.graph.node(inner);
    let function = match node.op_type.as_str() {
        "Add" => Function::Add,
        "Mul" => Function::Mul,
        _ => return None,
    };
    let (a, b) = (node.input(0)?, node.input(1)?);
    if !fits(selector, a, b) {
        return None;
    }
    let (a, b) = (
        params::dequantized(selector, a)?,
        params::dequantized(selector, b)?,
    );
    bind(selector, root, function, &a, &b, y)
}

/// Binds a `QLinearAdd` or `QLinearMul` node with constant parameters.
pub(crate) fn bind_qlinear(selector: &mut Selector<'_>, id: NodeId) -> Option<Bound> {
    let node = selector.graph.node(id);
    let function = match node.op_type.as_str() {
        "QLinearAdd" => Function::Add,
        "QLinearMul" => Function::Mul,
        _ => return None,
    };
    let (a, b) = (node.input(0)?, node.input(3)?);
    if !fits(selector, a, b) {
        return None;
    }
    let mut quantized = |value: ValueId, at: usize| {
        let (params, byte) = params::scale_zero_of(selector, node.input(at)?, node.input(at + 1))?;
        let byte = byte?;
        Some(Quantized {
            value,
            byte,
            params,
        })
    };
    let (a, b) = (quantized(a, 1)?, quantized(b, 4)?);
    let y = quantized(node.output(0)?, 6)?;
    bind(selector, id, function, &a, &b, &y)
}

/// Whether two values are known to have the same shape, or one of them is known to be one element.
fn fits(selector: &Selector<'_>, a: ValueId, b: ValueId) -> bool {
    let fact = |v: ValueId| {
        selector
            .graph
            .value(v)
            .fact
            .as_tensor()
            .and_then(|f| f.shape.as_ref())
    };
    let (Some(a), Some(b)) = (fact(a), fact(b)) else {
        return false;
    };
    let single = |dims: &[onnx_ir::Dim]| dims.iter().all(|d| d.as_known() == Some(1));
    let same = a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.is_same(y));
    same || (single(a) && a.len() <= b.len()) || (single(b) && b.len() <= a.len())
}

fn bind(
    selector: &Selector<'_>,
    root: NodeId,
    function: Function,
    a: &Quantized,
    b: &Quantized,
    y: &Quantized,
) -> Option<Bound> {
    if a.byte != y.byte || b.byte != y.byte {
        return None;
    }
    let step = Pair {
        function,
        byte: y.byte,
        scales: BinaryScales {
            a: a.params,
            b: b.params,
            y: y.params,
        },
    };
    Some(Bound {
        step: Arc::new(step),
        inputs: vec![Some(a.value), Some(b.value)],
        outputs: selector.graph.node(root).outputs().to_vec(),
    })
}

#[derive(Clone, Copy)]
enum Function {
    Add,
    Mul,
}

struct Pair {
    function: Function,
    byte: Byte,
    scales: BinaryScales,
}

impl Pair {
    fn run_as<T: QuantByte + Pooled>(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let (a, b) = (cx.inputs.tensor(0)?, cx.inputs.tensor(1)?);
        let refused = || {
            let rule = "quantized operands have the same shape, or one is a single element";
            StepError::from(EvalError::rule(
                rule,
                format_args!("{:?} and {:?}", a.shape(), b.shape()),
            ))
        };
        let spread = Spread::of(a.shape(), b.shape()).ok_or_else(refused)?;
        if !matches!(spread.broadcast, Broadcast::Same | Broadcast::Scalar) {
            return Err(refused());
        }
        let (x, z) = (a.data::<T>()?, b.data::<T>()?);
        let BinaryScales { a, b, y } = self.scales;
        let (large, small, scales) = match spread.order {
            Order::Forward => (&x, &z, self.scales),
            Order::Reversed => (&z, &x, BinaryScales { a: b, b: a, y }),
        };
        let mut out = cx.state.memory.tensor::<T>(&spread.shape)?;
        let context = &cx.state.context;
        match self.function {
            Function::Add => add_int8(context, scales, large, small, out.data_mut::<T>()?)?,
            Function::Mul => mul_int8(context, scales, large, small, out.data_mut::<T>()?)?,
        }
        cx.outputs.set(0, out);
        Ok(())
    }
}

impl Step for Pair {
    fn kernel(&self) -> &'static str {
        "elementwise.int8"
    }
    fn image_order(&self) -> ImageOrder {
        ImageOrder::Either
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        match self.byte {
            Byte::U8 => self.run_as::<u8>(cx),
            Byte::I8 => self.run_as::<i8>(cx),
        }
    }
}
