//! `ConvInputGrad` and `ConvWeightGrad` in f32.

use crate::bindings::conv::{Filter, Turned, check_weight, known_shape, sums};
use crate::error::StepError;
use crate::plan::{Bound, Selector};
use crate::step::{ImageOrder, Step, StepContext};
use compress_tensor::{DType, Shape, Tensor};
use onnx_ir::operator::EvalError;
use onnx_ir::{Node, NodeId};
use runtime_kernels::conv::{ConvSums, conv_input_grad, conv_weight_grad};
use std::sync::Arc;

/// Binds the adjoint with respect to the image; `None` where the extents of the weights are not known, or it is not in f32.
pub(crate) fn bind_input_grad(selector: &mut Selector<'_>, id: NodeId) -> Option<Bound> {
    let node = selector.graph.node(id);
    let weight = known_shape(selector, node.input(1)?)?;
    let operands = Operands::of(selector, id, node, &weight)?;
    let sums = sums(selector);
    Some(bound(node, Arc::new(InputGrad { operands, sums })))
}

/// Binds the adjoint with respect to the weights; `None` where their extents are not known, or it is not in f32.
pub(crate) fn bind_weight_grad(selector: &mut Selector<'_>, id: NodeId) -> Option<Bound> {
    let node = selector.graph.node(id);
    if selector.dtype(node.input(1)?) != Some(DType::F32) {
        return None;
    }
    let weight = known_shape(selector, node.output(0)?)?;
    let operands = Operands::of(selector, id, node, &weight)?;
    Some(bound(node, Arc::new(WeightGrad { operands })))
}

fn bound(node: &Node, step: Arc<dyn Step>) -> Bound {
    Bound {
        step,
        inputs: node.inputs().to_vec(),
        outputs: node.outputs().to_vec(),
    }
}

/// The convolution that an adjoint is of.
struct Operands {
    filter: Filter,
    /// The extents of the weights.
    weight: Shape,
    turned: Turned,
}

impl Operands {
    fn of(selector: &Selector<'_>, id: NodeId, node: &Node, weight: &[usize]) -> Option<Self> {
        if selector.dtype(node.input(0)?) != Some(DType::F32) || weight.contains(&0) {
            return None;
        }
        Some(Self {
            filter: Filter::last(node, weight)?,
            weight: weight.into(),
            turned: Turned::of(selector, id, weight.len()),
        })
    }
}

/// An i64 vector of sizes.
///
/// # Errors
/// [`EvalError::Rule`] for negative ones.
pub(super) fn sizes(tensor: &Tensor) -> Result<Shape, StepError> {
    let sizes = tensor.data::<i64>()?;
    let sizes: Option<Shape> = sizes.iter().map(|&n| usize::try_from(n).ok()).collect();
    Ok(sizes.ok_or_else(|| EvalError::rule("sizes must not be negative", "one below 0"))?)
}

/// Refuses an adjoint that has not the shape of its value.
///
/// # Errors
/// [`EvalError::Rule`].
pub(super) fn check_adjoint(found: &[usize], expected: &[usize]) -> Result<(), EvalError> {
    if found == expected {
        return Ok(());
    }
    let rule = "an adjoint must have the shape of its value";
    Err(EvalError::rule(
        rule,
        format_args!("{found:?} and {expected:?}"),
    ))
}

/// The adjoint of the image; inputs are the adjoint of the result, the weights, and the shape of the image in the model's order.
struct InputGrad {
    operands: Operands,
    sums: ConvSums,
}

impl Step for InputGrad {
    fn kernel(&self) -> &'static str {
        "conv.f32.input-grad"
    }

    fn image_order(&self) -> ImageOrder {
        self.operands.turned.image_order()
    }

    fn reads_image(&self, index: usize) -> bool {
        index == 0
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let Operands {
            filter,
            weight,
            turned,
        } = &self.operands;
        let (dy, w) = (cx.inputs.tensor(0)?, cx.inputs.tensor(1)?);
        check_weight(w.shape(), weight)?;
        let mut image = sizes(cx.inputs.tensor(2)?)?;
        if image.len() > 1 {
            image[1..].rotate_left(1);
        }
        let dy = turned.last(cx, dy)?;
        let (shape, result) = filter.shape(&image)?;
        check_adjoint(dy.shape(), &result)?;
        let mut dx = cx.state.memory.tensor::<f32>(&image)?;
        conv_input_grad(
            &cx.state.context,
            &mut cx.state.scratch,
            &shape,
            &dy.data::<f32>()?,
            &w.data::<f32>()?,
            self.sums,
            dx.data_mut::<f32>()?,
        )?;
        cx.state.memory.recycle(dy.into());
        let dx = turned.back(cx, dx)?;
        cx.outputs.set(0, dx);
        Ok(())
    }
}

/// The adjoint of the weights; inputs are the adjoint of the result, the image, and the shape of the weights.
struct WeightGrad {
    operands: Operands,
}

impl Step for WeightGrad {
    fn kernel(&self) -> &'static str {
        "conv.f32.weight-grad"
    }

    fn image_order(&self) -> ImageOrder {
        self.operands.turned.image_order()
    }

    fn reads_image(&self, index: usize) -> bool {
        index < 2
    }

    fn writes_image(&self) -> bool {
        false
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let Operands {
            filter,
            weight,
            turned,
        } = &self.operands;
        let (dy, x) = (cx.inputs.tensor(0)?, cx.inputs.tensor(1)?);
        check_weight(&sizes(cx.inputs.tensor(2)?)?, weight)?;
        let (dy, x) = (turned.last(cx, dy)?, turned.last(cx, x)?);
        let (shape, result) = filter.shape(x.shape())?;
        check_adjoint(dy.shape(), &result)?;
        let mut dw = cx.state.memory.tensor::<f32>(weight)?;
        conv_weight_grad(
            &cx.state.context,
            &mut cx.state.scratch,
            &shape,
            &dy.data::<f32>()?,
            &x.data::<f32>()?,
            dw.data_mut::<f32>()?,
        )?;
        for done in [dy, x] {
            cx.state.memory.recycle(done.into());
        }
        cx.outputs.set(0, dw);
        Ok(())
    }
}
