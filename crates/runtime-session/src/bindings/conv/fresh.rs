//! `Conv` in f32 with weights that are no constants, as while they are trained: `activation(W * x + bias + residual)`, packed anew in
//! each run.

use super::{Filter, MAX_SPATIAL};
use crate::bindings::chain::{self, Chain, Product};
use crate::error::StepError;
use crate::plan::{Bound, Selector};
use crate::step::{ImageOrder, Step, StepContext};
use compress_tensor::{DType, Shape, Tensor};
use onnx_ir::operator::EvalError;
use onnx_ir::{NodeId, ValueId};
use runtime_kernels::conv::{ConvEpilogue, ConvSums, conv_packing_weights};
use runtime_kernels::elementwise::Activation;
use runtime_kernels::layout::permute;
use std::sync::Arc;

/// The extents of an f32 value, where all of them are known.
pub(crate) fn known_shape(selector: &Selector<'_>, v: ValueId) -> Option<Vec<usize>> {
    let fact = selector.graph.value(v).fact.as_tensor()?;
    if fact.dtype != Some(DType::F32) {
        return None;
    }
    let sizes = fact.shape.as_ref()?.iter();
    sizes
        .map(|size| usize::try_from(size.as_known()?).ok())
        .collect()
}

/// How the sums of convolutions in training may be taken.
pub(crate) fn sums(selector: &Selector<'_>) -> ConvSums {
    match selector.scope.options.winograd && selector.fuses() {
        true => ConvSums::Fastest,
        false => ConvSums::Direct,
    }
}

/// Whether a node is a `Conv` in f32 whose weights, of known extents, are no constants.
pub(crate) fn fresh_product(selector: &mut Selector<'_>, id: NodeId) -> Option<Product> {
    let node = selector.graph.node(id);
    if !node.is("Conv") || selector.dtype(node.input(0)?) != Some(DType::F32) {
        return None;
    }
    let w = node.input(1)?;
    if selector.constant(w).is_some() {
        return None;
    }
    let weight = known_shape(selector, w)?;
    let spatial = weight.len().checked_sub(2)?;
    if !(1..=MAX_SPATIAL).contains(&spatial) || weight.contains(&0) {
        return None;
    }
    Filter::of(node, &weight)?;
    if let Some(bias) = node.input(2)
        && known_shape(selector, bias)? != weight[..1]
    {
        return None;
    }
    Some(Product {
        channels: weight[0],
        axis_from_end: spatial,
    })
}

/// Binds a chain whose product is a [`fresh_product`]; `None` where it adds two biases.
pub(crate) fn bind_fresh_chain(
    selector: &mut Selector<'_>,
    id: NodeId,
    chain: &Chain,
) -> Option<Bound> {
    let graph = selector.graph;
    let node = graph.node(chain.product);
    let weight = known_shape(selector, node.input(1)?)?;
    let filter = Filter::last(node, &weight)?;
    let bias = match (node.input(2), chain.bias) {
        (Some(_), Some(_)) => return None,
        (own, extra) => own.or(extra),
    };
    let step = FreshConv {
        turned: Turned::of(selector, chain.product, weight.len()),
        filter,
        weight: weight.as_slice().into(),
        sums: sums(selector),
        activation: chain.activation,
    };
    Some(Bound {
        step: Arc::new(step),
        inputs: vec![node.input(0), node.input(1), bias, chain.residual],
        outputs: graph.node(id).outputs().to_vec(),
    })
}

/// Who sees to it that images have their channels last.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turned {
    /// The plan.
    ByPlan,
    /// The step, of images in the model's order.
    ByStep,
}

impl Turned {
    /// Of a convolution with weights of `rank` axes.
    pub(crate) fn of(selector: &Selector<'_>, id: NodeId, rank: usize) -> Self {
        match rank == 4 && selector.fuses() && !selector.stays_in_planes(id) {
            true => Self::ByPlan,
            false => Self::ByStep,
        }
    }

    pub(crate) fn image_order(self) -> ImageOrder {
        match self {
            Self::ByPlan => ImageOrder::Last,
            Self::ByStep => ImageOrder::Model,
        }
    }

    /// An image with its channels last.
    ///
    /// # Errors
    /// [`StepError`].
    pub(crate) fn last(self, cx: &mut StepContext<'_>, x: &Tensor) -> Result<Tensor, StepError> {
        let axes = (0..1).chain(2..x.rank()).chain(1..2.min(x.rank()));
        self.moved(cx, x, axes.collect())
    }

    /// An image with its channels last, as the step gives it.
    ///
    /// # Errors
    /// [`StepError`].
    pub(crate) fn back(self, cx: &mut StepContext<'_>, x: Tensor) -> Result<Tensor, StepError> {
        let channels = x.rank().saturating_sub(1);
        let axes = (0..1).chain(channels..x.rank()).chain(1..channels);
        let y = self.moved(cx, &x, axes.collect())?;
        cx.state.memory.recycle(x.into());
        Ok(y)
    }

    fn moved(self, cx: &mut StepContext<'_>, x: &Tensor, axes: Shape) -> Result<Tensor, StepError> {
        if self == Self::ByPlan {
            return Ok(x.clone());
        }
        let sizes: Shape = axes.iter().map(|&axis| x.shape()[axis]).collect();
        // Axes of size 1 may stand anywhere.
        let mut long = axes.iter().filter(|&&axis| x.shape()[axis] != 1);
        if x.is_empty() || long.by_ref().is_sorted() {
            return Ok(x.reshape(&sizes)?);
        }
        let mut out = cx.state.memory.tensor::<f32>(&sizes)?;
        let (from, to) = (x.data::<f32>()?, out.data_mut::<f32>()?);
        permute(&cx.state.context, x.shape(), &axes, &from, to)?;
        Ok(out)
    }
}

/// Refuses weights of other extents than those that the step was bound for.
///
/// # Errors
/// [`EvalError::Rule`].
pub(crate) fn check_weight(found: &[usize], expected: &[usize]) -> Result<(), EvalError> {
    if found == expected {
        return Ok(());
    }
    let rule = "weights must have the extents that the model declares";
    Err(EvalError::rule(
        rule,
        format_args!("{found:?} and {expected:?}"),
    ))
}

/// A convolution; inputs are the image, the weights, the bias and the residual.
struct FreshConv {
    filter: Filter,
    /// The extents of the weights.
    weight: Shape,
    turned: Turned,
    sums: ConvSums,
    activation: Activation,
}

impl Step for FreshConv {
    fn kernel(&self) -> &'static str {
        "conv.f32.fresh"
    }

    fn image_order(&self) -> ImageOrder {
        self.turned.image_order()
    }

    fn reads_image(&self, index: usize) -> bool {
        matches!(index, 0 | 3)
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let (x, w) = (cx.inputs.tensor(0)?, cx.inputs.tensor(1)?);
        check_weight(w.shape(), &self.weight)?;
        let bias = cx.inputs.optional(2)?;
        let residual = cx.inputs.optional(3)?;
        let image = self.turned.last(cx, x)?;
        let residual = residual.map(|r| self.turned.last(cx, r)).transpose()?;
        let (shape, result) = self.filter.shape(image.shape())?;
        let mut out = cx.state.memory.tensor::<f32>(&result)?;
        let bias = bias.map(Tensor::data::<f32>).transpose()?;
        let mut epilogue = ConvEpilogue::default();
        let summand = chain::residual(residual.as_ref(), &result)?;
        epilogue.bias = bias.as_deref();
        epilogue.residual = summand.as_deref();
        epilogue.activation = self.activation;
        conv_packing_weights(
            &cx.state.context,
            &mut cx.state.scratch,
            &shape,
            &image.data::<f32>()?,
            &w.data::<f32>()?,
            self.sums,
            &epilogue,
            out.data_mut::<f32>()?,
        )?;
        drop(summand);
        for done in [Some(image), residual].into_iter().flatten() {
            cx.state.memory.recycle(done.into());
        }
        let y = self.turned.back(cx, out)?;
        cx.outputs.set(0, y);
        Ok(())
    }
}
