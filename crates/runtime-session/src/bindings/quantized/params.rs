//! Constant scales and zero points of Q/DQ nodes.

use crate::plan::Selector;
use compress_tensor::{DType, Tensor};
use onnx_ir::operator::Attrs;
use onnx_ir::{Node, NodeId, ValueId};
use runtime_kernels::quantized::ScaleZero;

/// An 8-bit element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Byte {
    U8,
    I8,
}

impl Byte {
    pub(crate) fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::U8 => Some(Self::U8),
            DType::I8 => Some(Self::I8),
            _ => None,
        }
    }

    /// The least and the greatest value.
    pub(crate) fn range(self) -> (i32, i32) {
        match self {
            Self::U8 => (0, 255),
            Self::I8 => (-128, 127),
        }
    }
}

/// An 8-bit value with one constant scale.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantized {
    /// The 8-bit value.
    pub(crate) value: ValueId,
    pub(crate) byte: Byte,
    pub(crate) params: ScaleZero,
}

/// Constant 8-bit weights, one scale or one per channel.
pub(crate) struct QuantizedWeight {
    pub(crate) id: ValueId,
    pub(crate) tensor: Tensor,
    pub(crate) scales: Vec<f32>,
    pub(crate) zero_points: Vec<i32>,
    /// The channel axis, where there is a scale per channel.
    pub(crate) axis: Option<usize>,
}

/// Where a float value comes from, if it is an 8-bit value times a constant scale.
pub(crate) fn dequantized(selector: &mut Selector<'_>, v: ValueId) -> Option<Quantized> {
    let (id, node) = selector.producer(v)?;
    if !is_linear(node, "DequantizeLinear") {
        return None;
    }
    let value = node.input(0)?;
    let (params, byte) = scale_zero(selector, id)?;
    let byte = byte.or_else(|| Byte::of(selector.dtype(value)?))?;
    Some(Quantized {
        value,
        byte,
        params,
    })
}

/// What a `QuantizeLinear` gives, if it is an 8-bit value with one constant scale.
pub(crate) fn quantizer(selector: &mut Selector<'_>, id: NodeId) -> Option<Quantized> {
    let node = selector.graph.node(id);
    if !is_linear(node, "QuantizeLinear") {
        return None;
    }
    let value = node.output(0)?;
    let (params, byte) = scale_zero(selector, id)?;
    let byte = byte.or_else(|| match selector.dtype(value) {
        Some(dtype) => Byte::of(dtype),
        None => None,
    })?;
    Some(Quantized {
        value,
        byte,
        params,
    })
}

/// Constant 8-bit weights behind a `DequantizeLinear`.
pub(crate) fn weight(selector: &mut Selector<'_>, v: ValueId) -> Option<QuantizedWeight> {
    let (_, node) = selector.producer(v)?;
    if !is_linear(node, "DequantizeLinear") || !is_plain(node) {
        return None;
    }
    let axis = Attrs::new(&node.attributes, 1, 0, 0)
        .int_or("axis", 1)
        .ok()?;
    let id_of = |i| node.input(i);
    weight_of(selector, [id_of(0), id_of(1), id_of(2)], Some(axis))
}

/// Constant 8-bit weights of an operator that takes scale and zero point as inputs.
pub(crate) fn weight_of(
    selector: &mut Selector<'_>,
    [value, scale, zero_point]: [Option<ValueId>; 3],
    axis: Option<i64>,
) -> Option<QuantizedWeight> {
    let id = value?;
    let tensor = selector.constant(id)?;
    Byte::of(tensor.dtype())?;
    let scale = selector
        .constant(scale?)
        .filter(|s| s.dtype() == DType::F32 && s.rank() <= 1)?;
    let scales = scale.data::<f32>().ok()?.into_owned();
    let zero_points = match zero_point {
        None => vec![0; scales.len()],
        Some(z) => integers(&selector.constant(z)?)?,
    };
    if zero_points.len() != scales.len() && zero_points.len() != 1 {
        return None;
    }
    let axis = match (scales.len(), axis) {
        (1, _) => None,
        (n, Some(axis)) => {
            let axis = if axis < 0 {
                axis.checked_add(i64::try_from(tensor.rank()).ok()?)?
            } else {
                axis
            };
            let axis = usize::try_from(axis).ok()?;
            (tensor.shape().get(axis) == Some(&n)).then_some(Some(axis))?
        }
        (_, None) => return None,
    };
    Some(QuantizedWeight {
        id,
        tensor,
        scales,
        zero_points,
        axis,
    })
}

/// A bias that is stored as `round(b / (s_x s_w))` in 32 bits behind a `DequantizeLinear` of just these scales.
pub(crate) fn integer_bias(
    selector: &mut Selector<'_>,
    v: ValueId,
    x_scale: f32,
    w_scales: &[f32],
) -> Option<Vec<i32>> {
    let (_, node) = selector.producer(v)?;
    if !is_linear(node, "DequantizeLinear") || !is_plain(node) {
        return None;
    }
    let bias = selector
        .constant(node.input(0)?)
        .filter(|b| b.dtype() == DType::I32)?;
    let scale = selector
        .constant(node.input(1)?)
        .filter(|s| s.dtype() == DType::F32)?;
    if let Some(z) = node.input(2)
        && integers(&selector.constant(z)?)?.iter().any(|&z| z != 0)
    {
        return None;
    }
    let scales = scale.data::<f32>().ok()?;
    let count = scales.len().max(w_scales.len());
    let at = |list: &[f32], i: usize| list.get(if list.len() == 1 { 0 } else { i }).copied();
    for i in 0..count {
        let (found, expected) = (at(&scales, i)?, x_scale * at(w_scales, i)?);
        // Up to the rounding of the product by whoever wrote the file.
        if (found - expected).abs() > 1e-5 * expected.abs() {
            return None;
        }
    }
    Some(bias.data::<i32>().ok()?.into_owned())
}

/// Constant scale and zero point (one each) of a Q/DQ node, and the type of the zero point.
fn scale_zero(selector: &mut Selector<'_>, id: NodeId) -> Option<(ScaleZero, Option<Byte>)> {
    let node = selector.graph.node(id);
    if !is_plain(node) {
        return None;
    }
    scale_zero_of(selector, node.input(1)?, node.input(2))
}

/// A constant scale and zero point, one each, and the type of the zero point.
pub(crate) fn scale_zero_of(
    selector: &mut Selector<'_>,
    scale: ValueId,
    zero_point: Option<ValueId>,
) -> Option<(ScaleZero, Option<Byte>)> {
    let scale = super::super::activation::scalar(&selector.constant(scale)?)?;
    if !scale.is_finite() || scale <= 0.0 {
        return None;
    }
    let (zero_point, byte) = match zero_point {
        None => (0, None),
        Some(z) => {
            let tensor = selector.constant(z).filter(|z| z.len() == 1)?;
            let byte = Byte::of(tensor.dtype())?;
            (*integers(&tensor)?.first()?, Some(byte))
        }
    };
    Some((ScaleZero { scale, zero_point }, byte))
}

/// The elements of an 8- or 32-bit integer tensor.
pub(crate) fn integers(tensor: &Tensor) -> Option<Vec<i32>> {
    Some(match tensor.dtype() {
        DType::U8 => tensor
            .data::<u8>()
            .ok()?
            .iter()
            .map(|&z| z.into())
            .collect(),
        DType::I8 => tensor
            .data::<i8>()
            .ok()?
            .iter()
            .map(|&z| z.into())
            .collect(),
        DType::I32 => tensor.data::<i32>().ok()?.into_owned(),
        _ => return None,
    })
}

/// The only element of an 8- or 32-bit integer tensor.
pub(crate) fn integer(tensor: &Tensor) -> Option<i32> {
    if tensor.len() != 1 {
        return None;
    }
    match tensor.dtype() {
        DType::U8 => tensor.data::<u8>().ok()?.first().map(|&z| z.into()),
        DType::I8 => tensor.data::<i8>().ok()?.first().map(|&z| z.into()),
        DType::I32 => tensor.data::<i32>().ok()?.first().copied(),
        _ => None,
    }
}

/// Whether a node is the operator of the default domain or of ONNX Runtime's.
fn is_linear(node: &Node, op_type: &str) -> bool {
    node.op_type == op_type && (node.is(op_type) || node.domain == "com.microsoft")
}

/// Whether a Q/DQ node has no form that the integer kernels do not take: blocks, other output types.
fn is_plain(node: &Node) -> bool {
    let mut attrs = Attrs::new(&node.attributes, 1, 0, 0);
    let plain = |n: i64| n == 0;
    attrs.int_or("block_size", 0).is_ok_and(plain) && attrs.int_or("precision", 0).is_ok_and(plain)
}
