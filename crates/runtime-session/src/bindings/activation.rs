//! Activations that a kernel applies to its result.

use crate::plan::Selector;
use compress_tensor::{DType, Tensor};
use onnx_ir::operator::Attrs;
use onnx_ir::{Node, NodeId};
use runtime_kernels::elementwise::Activation;

/// The activation that a node computes of its first input; `None` where it is none that the kernels have.
pub(crate) fn activation_of(selector: &mut Selector<'_>, id: NodeId) -> Option<Activation> {
    let node = selector.graph.node(id);
    let microsoft = node.domain == "com.microsoft";
    let float = |name: &'static str, default: f32| attribute(node, name, default);
    Some(match node.op_type.as_str() {
        "Gelu" if microsoft => Activation::Gelu,
        "QuickGelu" if microsoft => Activation::Swish {
            beta: float("alpha", 1.702)?,
        },
        _ if microsoft => return None,
        "Relu" => Activation::Relu,
        "Clip" => return clip(selector, id),
        "LeakyRelu" => Activation::LeakyRelu {
            alpha: float("alpha", 0.01)?,
        },
        "Sigmoid" => Activation::Sigmoid,
        "Tanh" => Activation::Tanh,
        "Gelu" => match node.attributes.get("approximate") {
            Some(onnx_ir::Attribute::String(s)) if s.as_slice() == b"tanh" => Activation::GeluTanh,
            _ => Activation::Gelu,
        },
        "Swish" => Activation::Swish {
            beta: float("alpha", 1.0)?,
        },
        "HardSwish" => Activation::HardSwish,
        "HardSigmoid" => Activation::HardSigmoid {
            alpha: float("alpha", 0.2)?,
            beta: float("beta", 0.5)?,
        },
        "Elu" => Activation::Elu {
            alpha: float("alpha", 1.0)?,
        },
        "Selu" => Activation::Selu {
            alpha: float("alpha", 1.673_263_2)?,
            gamma: float("gamma", 1.050_701)?,
        },
        "Softplus" => Activation::Softplus,
        "Softsign" => Activation::Softsign,
        "Mish" => Activation::Mish,
        _ => return None,
    })
}

/// `Clip`: bounds are attributes up to opset 10, inputs since.
fn clip(selector: &mut Selector<'_>, id: NodeId) -> Option<Activation> {
    let node = selector.graph.node(id);
    let mut bounds = [f32::MIN, f32::MAX];
    for (i, (bound, name)) in bounds.iter_mut().zip(["min", "max"]).enumerate() {
        if node.input(i + 1).is_some() {
            *bound = scalar(&selector.constant_input(id, i + 1)?)?;
        } else {
            *bound = attribute(node, name, *bound)?;
        }
    }
    let [min, max] = bounds;
    Some(Activation::Clip { min, max })
}

/// A FLOAT attribute, or its default; `None` where it is of another kind.
fn attribute(node: &Node, name: &'static str, default: f32) -> Option<f32> {
    Attrs::new(&node.attributes, 1, 0, 0)
        .f32_or(name, default)
        .ok()
}

/// The number in an f32 tensor of one element.
pub(crate) fn scalar(tensor: &Tensor) -> Option<f32> {
    if tensor.len() != 1 || tensor.dtype() != DType::F32 {
        return None;
    }
    tensor.data::<f32>().ok()?.first().copied()
}
