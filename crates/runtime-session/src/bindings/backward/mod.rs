//! The operators of the private domain: gradients, and quantization as it is trained.

mod activation;
mod conv;
mod gather;
mod learned;
mod pool;
mod rows;

use crate::bindings::batch_norm;
use crate::error::SessionError;
use crate::plan::{Bound, Selector};
use onnx_ir::NodeId;
use onnx_ir::operator::PRIVATE_DOMAIN;

/// Binds a node of the private domain; `None` for nodes of others and for those without a kernel.
///
/// # Errors
/// [`SessionError::Operator`] where the catalog does not hold the operator.
pub(crate) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Result<Option<Bound>, SessionError> {
    let node = selector.graph.node(id);
    if node.domain != PRIVATE_DOMAIN {
        return Ok(None);
    }
    match node.op_type.as_str() {
        "ConvInputGrad" => Ok(conv::bind_input_grad(selector, id)),
        "ConvWeightGrad" => Ok(conv::bind_weight_grad(selector, id)),
        "ReluGrad" | "GeluGrad" => activation::bind(selector, id),
        "GatherGrad" => gather::bind(selector, id),
        "LearnedFakeQuantize" | "LearnedFakeQuantizeGrad" => learned::bind(selector, id),
        "AveragePoolGrad" | "MaxPoolGrad" => pool::bind(selector, id),
        "BatchNormalizationGrad" => batch_norm::bind_grad(selector, id),
        _ => rows::bind(selector, id),
    }
}
