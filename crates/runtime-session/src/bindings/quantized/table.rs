//! Functions of one 8-bit value as tables of 256 entries, made by reference evaluation.

use super::params::{self, Byte, Quantized};
use crate::bindings::activation::activation_of;
use crate::error::StepError;
use crate::memory::Pooled;
use crate::plan::{Bound, Selector};
use crate::step::{ImageOrder, Step, StepContext};
use compress_tensor::Tensor;
use onnx_ir::eval::{NoSubgraphs, eval_operator};
use onnx_ir::operator::Limits;
use onnx_ir::{Node, NodeId, Value, ValueId};
use runtime_kernels::quantized::{QuantByte, lookup};
use std::sync::Arc;

/// Binds a function of one tensor between a `DequantizeLinear` and the quantizer `y`, whose node is `root`.
pub(crate) fn bind_region(
    selector: &mut Selector<'_>,
    root: NodeId,
    inner: NodeId,
    y: &Quantized,
) -> Option<Bound> {
    if activation_of(selector, inner).is_none() && !is_function(selector.graph.node(inner)) {
        return None;
    }
    let node = selector.graph.node(inner);
    let real = node.input(0)?;
    let x = params::dequantized(selector, real)?;
    let (_, dequantizer) = selector.producer(real)?;
    let quantizer = selector.graph.node(root);
    // ONNX Runtime computes these two from the scales at once.
    let table = if node.is("Sigmoid") || node.is("LeakyRelu") {
        let mut fused = Node::new(
            format!("QLinear{}", node.op_type),
            [None::<ValueId>; 0],
            [Some(y.value)],
        );
        fused.domain = "com.microsoft".to_owned();
        fused.attributes = node.attributes.clone();
        let operands = [
            dequantizer.input(1),
            dequantizer.input(2),
            quantizer.input(1),
            quantizer.input(2),
        ];
        evaluate(selector, &fused, codes(x.byte)?, &operands)?
    } else {
        let reals = evaluate(
            selector,
            dequantizer,
            codes(x.byte)?,
            dequantizer.inputs().get(1..)?,
        )?;
        let mapped = evaluate(selector, node, reals, node.inputs().get(1..)?)?;
        evaluate(selector, quantizer, mapped, quantizer.inputs().get(1..)?)?
    };
    bind(selector, root, &x, y.byte, &table)
}

/// Binds a `QLinearSigmoid` or `QLinearLeakyRelu` node with constant parameters.
pub(crate) fn bind_qlinear(selector: &mut Selector<'_>, id: NodeId) -> Option<Bound> {
    let node = selector.graph.node(id);
    if !matches!(node.op_type.as_str(), "QLinearSigmoid" | "QLinearLeakyRelu") {
        return None;
    }
    let (x_params, byte) = params::scale_zero_of(selector, node.input(1)?, node.input(2))?;
    let x = Quantized {
        value: node.input(0)?,
        byte: byte?,
        params: x_params,
    };
    let table = evaluate(selector, node, codes(x.byte)?, node.inputs().get(1..)?)?;
    bind(selector, id, &x, x.byte, &table)
}

/// Whether a node maps each element of its one input by itself, beside the activations.
fn is_function(node: &Node) -> bool {
    let named = matches!(
        node.op_type.as_str(),
        "Exp"
            | "Log"
            | "Sqrt"
            | "Reciprocal"
            | "Neg"
            | "Abs"
            | "Erf"
            | "Round"
            | "Floor"
            | "Ceil"
            | "Sin"
            | "Cos"
    );
    named && node.is(&node.op_type)
}

/// All 256 codes from the least on.
fn codes(byte: Byte) -> Option<Tensor> {
    Some(match byte {
        Byte::U8 => Tensor::vector((0..=u8::MAX).collect::<Vec<_>>()),
        Byte::I8 => Tensor::vector((i8::MIN..=i8::MAX).collect::<Vec<_>>()),
    })
}

/// The first output of a node for `first` as its first input, the others constant.
fn evaluate(
    selector: &mut Selector<'_>,
    node: &Node,
    first: Tensor,
    others: &[Option<ValueId>],
) -> Option<Tensor> {
    let mut inputs = vec![Some(Value::Tensor(first))];
    for other in others {
        inputs.push(match other {
            None => None,
            Some(v) => Some(Value::Tensor(selector.constant(*v)?)),
        });
    }
    let operator = selector
        .scope
        .catalog
        .parse(node, selector.scope.opsets)
        .ok()?;
    let version = operator
        .signature()
        .since(selector.opset(node))
        .unwrap_or(1);
    let inputs: Vec<Option<&Value>> = inputs.iter().map(Option::as_ref).collect();
    let outputs = eval_operator(
        operator.as_ref(),
        node,
        version,
        &inputs,
        Limits::folding(),
        &mut NoSubgraphs,
    );
    outputs.ok()?.into_iter().next()?.into_tensor()
}

fn bind(
    selector: &Selector<'_>,
    root: NodeId,
    x: &Quantized,
    y: Byte,
    table: &Tensor,
) -> Option<Bound> {
    // The kernel reads and writes one type.
    if x.byte != y {
        return None;
    }
    let step: Arc<dyn Step> = match y {
        Byte::U8 => Arc::new(Table::<u8>(
            table.data::<u8>().ok()?.as_ref().try_into().ok()?,
        )),
        Byte::I8 => Arc::new(Table::<i8>(
            table.data::<i8>().ok()?.as_ref().try_into().ok()?,
        )),
    };
    Some(Bound {
        step,
        inputs: vec![Some(x.value)],
        outputs: selector.graph.node(root).outputs().to_vec(),
    })
}

struct Table<T>([T; 256]);

impl<T: QuantByte + Pooled> Step for Table<T> {
    fn kernel(&self) -> &'static str {
        "table.int8"
    }
    fn image_order(&self) -> ImageOrder {
        ImageOrder::Either
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let x = cx.inputs.tensor(0)?;
        let mut out = cx.state.memory.tensor::<T>(x.shape())?;
        lookup(
            &cx.state.context,
            &self.0,
            &x.data::<T>()?,
            out.data_mut::<T>()?,
        )?;
        cx.outputs.set(0, out);
        Ok(())
    }
}
