//! Bindings: which step computes a node, one file per family.

mod activation;
mod attention;
mod backward;
mod batch_norm;
mod chain;
mod choose;
mod compare;
mod conv;
mod elementwise;
mod gelu;
mod gemm;
mod guarded;
mod layout;
mod matmul;
mod nbits;
mod normalize;
mod one_hot;
mod pad;
mod pool;
mod quantized;
mod recurrent;
mod reduce;
mod reference;
mod reorder;
mod stages;
mod view;
mod window;

use crate::error::SessionError;
use crate::plan::{Bound, Selector};

pub(crate) use reorder::{is_read_in_images, reorder, reordered};
pub(crate) use view::identity;

use chain::{Chain, Product};
use onnx_ir::NodeId;

/// Binds the node `id`, whose outputs are wanted, to a step; the step may take nodes before it along.
///
/// # Errors
/// [`SessionError::Operator`] where the catalog does not hold the operator, [`SessionError::Weights`] where weights
/// cannot be packed.
pub(crate) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Result<Bound, SessionError> {
    let node = selector.graph.node(id);
    if node.op_type == "QuantizeLinear"
        && let Some(bound) = quantized::bind_region(selector, id)?
    {
        return Ok(bound);
    }
    if let Some(bound) = quantized::bind(selector, id)? {
        return Ok(bound);
    }
    if let Some(chain) = Chain::ending_in(selector, id, &product) {
        let bound = match selector.graph.node(chain.product).op_type.as_str() {
            "Conv" => match conv::bind_chain(selector, id, &chain)? {
                None => conv::bind_fresh_chain(selector, id, &chain),
                bound => bound,
            },
            "MatMulNBits" => nbits::bind_chain(selector, id, &chain)?,
            _ => matmul::bind_chain(selector, id, &chain)?,
        };
        if let Some(bound) = bound {
            return Ok(bound);
        }
    }
    if let Some(bound) = backward::bind(selector, id)? {
        return Ok(bound);
    }
    if let Some(bound) = attention::bind_pattern(selector, id) {
        return Ok(bound);
    }
    if let Some(bound) = elementwise::bind(selector, id)? {
        return Ok(bound);
    }
    if !node.is(&node.op_type) {
        return reference::bind(selector, id);
    }
    let bound = match node.op_type.as_str() {
        "Gemm" => gemm::bind(selector, id)?,
        "MatMul" => Some(matmul::bind_dynamic(selector, id)?),
        "Identity" => Some(view::bind_identity(selector, id)),
        "Reshape" if node.input(1).is_some() => Some(view::bind_reshape(selector, id)?),
        "Squeeze" | "Unsqueeze" | "Flatten" => view::bind_axes(selector, id)?,
        "Transpose" | "Concat" | "Gather" | "Slice" => layout::bind(selector, id)?,
        "MaxPool" | "AveragePool" | "GlobalAveragePool" | "GlobalMaxPool" => {
            pool::bind(selector, id)?
        }
        "QuantizeLinear" | "DequantizeLinear" | "DynamicQuantizeLinear" => {
            quantized::linear::bind(selector, id)?
        }
        "Attention" => attention::bind(selector, id)?,
        "Where" => Some(choose::bind(selector, id)?),
        "Pad" => pad::bind(selector, id)?,
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or" | "Xor"
        | "Cast" => compare::bind(selector, id)?,
        "LSTM" | "GRU" | "RNN" => recurrent::bind(selector, id)?,
        op if op.starts_with("Reduce") => reduce::bind(selector, id)?,
        _ => match batch_norm::bind(selector, id)? {
            None => normalize::bind(selector, id)?,
            bound => bound,
        },
    };
    match bound {
        Some(bound) => Ok(bound),
        None => reference::bind(selector, id),
    }
}

/// Whether a node is a product in f32 with constant weights, or a convolution with others. One that can run on integers is not, though its
/// dequantized weights are constant too: a residual behind it is a step of its own.
fn product(selector: &mut Selector<'_>, id: NodeId) -> Option<Product> {
    if quantized::is_layer(selector, id) {
        return None;
    }
    conv::product(selector, id)
        .or_else(|| matmul::product(selector, id))
        .or_else(|| nbits::product(selector, id))
        .or_else(|| conv::fresh_product(selector, id))
}
