//! Regions between `DequantizeLinear` and `QuantizeLinear`, and the operators on 8-bit values, as integers.
//!
//! The results are those of ONNX Runtime bit for bit: products are exact sums that are requantized once, sums of two
//! tensors follow `QLinearAdd`, functions of one value are tables.

mod conv;
mod elementwise;
pub(crate) mod linear;
mod matmul;
mod moves;
mod output;
mod params;
mod pool;
mod stages;
mod table;

use super::activation::activation_of;
use super::chain::{Chain, Product};
use crate::error::SessionError;
use crate::plan::{Bound, Selector};
use onnx_ir::NodeId;
use params::Quantized;
use runtime_kernels::elementwise::Activation;

/// Binds a `QuantizeLinear` together with what computes its input, where that can run on integers.
///
/// # Errors
/// [`SessionError`].
pub(crate) fn bind_region(
    selector: &mut Selector<'_>,
    id: NodeId,
) -> Result<Option<Bound>, SessionError> {
    if !selector.fuses() {
        return Ok(None);
    }
    let Some(Region {
        y,
        last,
        inner,
        bounds,
    }) = Region::ending_in(selector, id)
    else {
        return Ok(None);
    };
    let node = selector.graph.node(inner);
    if node.is("Conv") {
        let stage = conv::region(selector, inner, &y, bounds)?;
        return stage.map(|s| stages::bind(selector, id, s)).transpose();
    }
    if let Some(layer) = matmul::IntegerLayer::of(selector, inner) {
        return layer.bind_bytes(selector, id, &y, bounds).map(Some);
    }
    // These kernels have no bounds but those of the type.
    if bounds == y.byte.range() {
        if let Some(bound) = elementwise::bind_region(selector, id, inner, &y) {
            return Ok(Some(bound));
        }
        if let Some(bound) = pool::bind_region(selector, id, inner, &y) {
            return Ok(Some(bound));
        }
    }
    if let Some(bound) = table::bind_region(selector, id, last, &y) {
        return Ok(Some(bound));
    }
    moves::bind_region(selector, id, last, &y)
}

/// Binds an operator on 8-bit values, or a product of dequantized values whose result stays float.
///
/// # Errors
/// [`SessionError`].
pub(crate) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Result<Option<Bound>, SessionError> {
    let node = selector.graph.node(id);
    if node.is("QLinearConv") {
        let stage = conv::qlinear(selector, id)?;
        return stage.map(|s| stages::bind(selector, id, s)).transpose();
    }
    if node.is("QLinearMatMul") {
        let Some((layer, y)) = matmul::IntegerLayer::of_qlinear(selector, id) else {
            return Ok(None);
        };
        let bounds = y.byte.range();
        return layer.bind_bytes(selector, id, &y, bounds).map(Some);
    }
    if node.is("MatMulInteger") {
        return matmul::bind_sums(selector, id);
    }
    if node.domain == "com.microsoft" {
        let pair = elementwise::bind_qlinear(selector, id);
        return Ok(pair.or_else(|| table::bind_qlinear(selector, id)));
    }
    if !selector.fuses() {
        return Ok(None);
    }
    let Some(chain) = Chain::ending_in(selector, id, &product) else {
        return Ok(None);
    };
    if chain.residual.is_some() {
        return Ok(None);
    }
    let bias = chain.bias.and_then(|b| selector.constant(b));
    let bias = bias
        .and_then(|b| Some(b.data::<f32>().ok()?.into_owned()))
        .unwrap_or_default();
    if selector.graph.node(chain.product).is("Mul") {
        return matmul::bind_dynamic(selector, id, chain.product, bias, chain.activation);
    }
    let Some(layer) = matmul::IntegerLayer::of(selector, chain.product) else {
        return Ok(None);
    };
    layer
        .bind_floats(selector, id, bias, chain.activation)
        .map(Some)
}

/// Whether a node is a product of an 8-bit activation and constant 8-bit weights that will run on integers.
pub(crate) fn is_layer(selector: &mut Selector<'_>, id: NodeId) -> bool {
    selector.fuses() && matmul::IntegerLayer::of(selector, id).is_some()
}

/// Whether a node is an integer product whose result is float.
fn product(selector: &mut Selector<'_>, id: NodeId) -> Option<Product> {
    let channels = match matmul::IntegerLayer::of(selector, id) {
        Some(layer) => layer.channels(),
        None => matmul::dynamic_channels(selector, id)?,
    };
    Some(Product {
        channels,
        axis_from_end: 0,
    })
}

/// What a `QuantizeLinear` quantizes.
struct Region {
    y: Quantized,
    /// The node before the quantizer, and that before an activation which its range can express.
    last: NodeId,
    inner: NodeId,
    bounds: (i32, i32),
}

impl Region {
    fn ending_in(selector: &mut Selector<'_>, id: NodeId) -> Option<Self> {
        let y = params::quantizer(selector, id)?;
        let (last, _) = selector.interior(selector.graph.node(id).input(0)?)?;
        let (inner, bounds) = clamped(selector, last, &y).unwrap_or_else(|| (last, y.byte.range()));
        Some(Self {
            y,
            last,
            inner,
            bounds,
        })
    }
}

/// The node before a `Relu` or `Clip` that the range of `y` can express, and that range.
fn clamped(selector: &mut Selector<'_>, id: NodeId, y: &Quantized) -> Option<(NodeId, (i32, i32))> {
    let (min, max) = match activation_of(selector, id)? {
        Activation::Relu => (0.0, f32::INFINITY),
        Activation::Clip { min, max } => (min, max),
        _ => return None,
    };
    let (inner, _) = selector.interior(selector.graph.node(id).input(0)?)?;
    let (low, high) = y.byte.range();
    let step = |real: f32| {
        let q = (real / y.params.scale).round_ties_even() as i32;
        q.saturating_add(y.params.zero_point).clamp(low, high)
    };
    Some((inner, (step(min), step(max))))
}
