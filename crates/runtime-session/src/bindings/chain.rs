//! What comes after a product: `activation(product + bias + residual)` as one step.
//!
//! From the last node backwards: an activation, at most two `Add`, and the product (`Conv`, `Gemm`, `MatMul`,
//! `MatMulNBits`).
//! Nobody else may read the values in between.

use super::activation::activation_of;
use super::gelu::Gelu;
use crate::error::StepError;
use crate::plan::Selector;
use compress_tensor::{DType, Tensor};
use onnx_ir::operator::EvalError;
use onnx_ir::{NodeId, ValueId};
use runtime_kernels::elementwise::Activation;
use std::borrow::Cow;

/// A product and what is done to its result.
pub(crate) struct Chain {
    /// The node that computes the product.
    pub(crate) product: NodeId,
    /// A constant summand per output channel, beside a bias of the product itself.
    pub(crate) bias: Option<ValueId>,
    /// A summand of the shape of the result.
    pub(crate) residual: Option<ValueId>,
    pub(crate) activation: Activation,
}

/// How a product lies in its result, and whether it can be the start of a chain.
pub(crate) struct Product {
    /// The number of output channels.
    pub(crate) channels: usize,
    /// The channel axis of the result counted from its end: 0 for the last axis.
    pub(crate) axis_from_end: usize,
}

impl Chain {
    /// The chain that ends in node `id`. `product` says whether a node is a product with constant weights.
    pub(crate) fn ending_in(
        selector: &mut Selector<'_>,
        id: NodeId,
        product: &dyn Fn(&mut Selector<'_>, NodeId) -> Option<Product>,
    ) -> Option<Self> {
        if let Some(chain) = Self::sums(selector, id, product, 0) {
            return Some(chain);
        }
        if !selector.fuses() {
            return None;
        }
        let (activation, inner) = match activation_of(selector, id) {
            Some(activation) => {
                let (inner, _) = selector.interior(selector.graph.node(id).input(0)?)?;
                (activation, inner)
            }
            None => {
                let gelu = Gelu::ending_in(selector, id).filter(|g| g.is_sole_reader)?;
                let (inner, _) = selector.producer(gelu.x)?;
                (gelu.activation, inner)
            }
        };
        let chain = Self::sums(selector, inner, product, 0)?;
        Some(Self {
            activation,
            ..chain
        })
    }

    /// A product, or sums of one with a bias and a residual.
    fn sums(
        selector: &mut Selector<'_>,
        id: NodeId,
        product: &dyn Fn(&mut Selector<'_>, NodeId) -> Option<Product>,
        depth: usize,
    ) -> Option<Self> {
        let node = selector.graph.node(id);
        if product(selector, id).is_some() {
            return Some(Self {
                product: id,
                bias: None,
                residual: None,
                activation: Activation::None,
            });
        }
        // In old opsets an `axis` says where broadcasting starts.
        let adds = node.is("Add") && node.attributes.get("axis").is_none();
        if !adds || depth == 2 || !selector.fuses() {
            return None;
        }
        let (a, b) = (node.input(0)?, node.input(1)?);
        for (inner, other) in [(a, b), (b, a)] {
            if a == b {
                return None;
            }
            let Some((inner_id, _)) = selector.interior(inner) else {
                continue;
            };
            let Some(mut chain) = Self::sums(selector, inner_id, product, depth + 1) else {
                continue;
            };
            let start = product(selector, chain.product)?;
            let constant = selector.constant(other);
            // A constant of a higher rank would give the sum its rank.
            let rank = selector.rank(inner).unwrap_or(1 + start.axis_from_end);
            let per_channel =
                constant.is_some_and(|t| t.rank() <= rank && is_per_channel(&t, &start));
            if per_channel && chain.bias.is_none() && chain.residual.is_none() {
                chain.bias = Some(other);
                return Some(chain);
            }
            if !per_channel && chain.residual.is_none() && same_shape(selector, inner, other) {
                chain.residual = Some(other);
                return Some(chain);
            }
        }
        None
    }
}

/// The data of a residual for a result of this shape.
///
/// # Errors
/// [`EvalError`] for a residual of another shape, which symbols that are equal in the file need not keep out.
pub(crate) fn residual<'a>(
    residual: Option<&'a Tensor>,
    result: &[usize],
) -> Result<Option<Cow<'a, [f32]>>, StepError> {
    let Some(residual) = residual else {
        return Ok(None);
    };
    if residual.shape() != result {
        let rule = "what is added to a product must have its shape";
        let found = format_args!("{:?} and {result:?}", residual.shape());
        return Err(EvalError::rule(rule, found).into());
    }
    Ok(Some(residual.data::<f32>()?))
}

/// Whether an f32 constant holds one number per channel, broadcast over everything else.
fn is_per_channel(tensor: &Tensor, product: &Product) -> bool {
    let shape = tensor.shape();
    let axis = shape.len().checked_sub(1 + product.axis_from_end);
    let others = |axis: usize| shape.iter().enumerate().all(|(i, &n)| i == axis || n == 1);
    tensor.dtype() == DType::F32
        && axis.is_some_and(|axis| shape[axis] == product.channels && others(axis))
}

/// Whether two values are known to have the same shape and to be f32.
fn same_shape(selector: &Selector<'_>, a: ValueId, b: ValueId) -> bool {
    let fact = |v: ValueId| selector.graph.value(v).fact.as_tensor();
    let (Some(a), Some(b)) = (fact(a), fact(b)) else {
        return false;
    };
    let (Some(dims), Some(others)) = (&a.shape, &b.shape) else {
        return false;
    };
    b.dtype == Some(DType::F32)
        && dims.len() == others.len()
        && dims.iter().zip(others).all(|(x, y)| x.is_same(y))
}
