//! `LearnedFakeQuantize` and `LearnedFakeQuantizeGrad` in f32.

use super::conv::check_adjoint;
use crate::bindings::guarded::{self, Partial, is_f32};
use crate::error::{SessionError, StepError};
use crate::plan::{Bound, Selector};
use crate::step::{ImageOrder, Inputs, StepContext};
use compress_tensor::Tensor;
use onnx_ir::NodeId;
use onnx_ir::operator::{Attrs, Operator};
use onnx_ir::ops::quantization::{LearnedFakeQuantize, LearnedGrids, LearnedMethod};
use runtime_kernels::quantized::{Estimator, Grid, fake_quantize, fake_quantize_grad};

/// Binds the forward operator or its gradient; `None` where its attributes cannot be read.
///
/// # Errors
/// As [`guarded::bind`].
pub(super) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Result<Option<Bound>, SessionError> {
    let node = selector.graph.node(id);
    let mut attrs = Attrs::new(
        &node.attributes,
        1,
        node.inputs().len(),
        node.outputs().len(),
    );
    let Ok(operator) = LearnedFakeQuantize::parse(&mut attrs) else {
        return Ok(None);
    };
    if node.op_type == "LearnedFakeQuantize" {
        return guarded::bind(selector, id, Forward(operator)).map(Some);
    }
    guarded::bind(selector, id, Backward(operator)).map(Some)
}

/// Activations have one step, for which the order of axes is all the same; weights are no images.
fn order(operator: &LearnedFakeQuantize) -> ImageOrder {
    match operator.batched {
        true => ImageOrder::Either,
        false => ImageOrder::Model,
    }
}

/// Whether the step, input `index`, and the offset behind it go with the kernel: one step where axes may stand in either order.
fn accepts(operator: &LearnedFakeQuantize, inputs: Inputs<'_>, index: usize) -> bool {
    let has_offset = matches!(inputs.optional(index + 1), Ok(Some(_)));
    (0..=index).all(|i| is_f32(inputs, i))
        && (!has_offset || is_f32(inputs, index + 1))
        && (!operator.batched || inputs.tensor(index).is_ok_and(|step| step.len() == 1))
}

fn grids(
    operator: &LearnedFakeQuantize,
    inputs: Inputs<'_>,
    index: usize,
    x: &Tensor,
) -> Result<LearnedGrids, StepError> {
    let offset = inputs.optional(index + 1)?;
    Ok(operator.grids(x.shape(), inputs.tensor(index)?, offset)?)
}

fn of_kernel(operator: &LearnedFakeQuantize, grids: &LearnedGrids) -> Vec<Grid> {
    let grids = grids.grids.iter().map(|grid| Grid {
        step: grid.step as f32,
        low: (operator.q_min - grid.zero_point) as f32,
        high: (operator.q_max - grid.zero_point) as f32,
    });
    grids.collect()
}

/// Inputs are `x`, the step and the offset.
struct Forward(LearnedFakeQuantize);

impl Partial for Forward {
    fn kernel(&self) -> &'static str {
        "quantized.fake"
    }
    fn image_order(&self) -> ImageOrder {
        order(&self.0)
    }
    fn reads_image(&self, index: usize) -> bool {
        index == 0
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        accepts(&self.0, inputs, 1)
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let x = cx.inputs.tensor(0)?;
        let grids = grids(&self.0, cx.inputs, 1, x)?;
        let mut y = cx.state.memory.tensor::<f32>(x.shape())?;
        fake_quantize(
            &cx.state.context,
            &of_kernel(&self.0, &grids),
            grids.inner,
            &x.data::<f32>()?,
            y.data_mut::<f32>()?,
        )?;
        cx.outputs.set(0, y);
        Ok(())
    }
}

/// Inputs are the adjoint of the result, `x`, the step and the offset.
struct Backward(LearnedFakeQuantize);

impl Backward {
    fn estimator(&self) -> Estimator {
        match self.0.method {
            LearnedMethod::Ste | LearnedMethod::Lsq | LearnedMethod::LsqPlus => {
                Estimator::StraightThrough
            }
            LearnedMethod::Pact => Estimator::Clipping,
            LearnedMethod::Ewgs => Estimator::Scaled {
                strength: self.0.delta / (self.0.q_max - self.0.q_min) as f32,
            },
            LearnedMethod::Dsq => Estimator::Soft {
                alpha: self.0.alpha,
            },
        }
    }
}

impl Partial for Backward {
    fn kernel(&self) -> &'static str {
        "quantized.fake"
    }
    fn image_order(&self) -> ImageOrder {
        order(&self.0)
    }
    fn reads_image(&self, index: usize) -> bool {
        index < 2
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        accepts(&self.0, inputs, 2)
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let (dy, x) = (cx.inputs.tensor(0)?, cx.inputs.tensor(1)?);
        check_adjoint(dy.shape(), x.shape())?;
        let step = cx.inputs.tensor(2)?;
        let has_offset = cx.inputs.optional(3)?.is_some();
        let grids = grids(&self.0, cx.inputs, 2, x)?;
        let mut dx = cx.state.memory.tensor::<f32>(x.shape())?;
        let mut dstep = cx.state.memory.tensor::<f32>(step.shape())?;
        let mut rest = cx.state.memory.tensor::<f32>(step.shape())?;
        fake_quantize_grad(
            &cx.state.context,
            &mut cx.state.scratch,
            self.estimator(),
            &of_kernel(&self.0, &grids),
            grids.inner,
            (&dy.data::<f32>()?, &x.data::<f32>()?),
            (
                dx.data_mut::<f32>()?,
                dstep.data_mut::<f32>()?,
                rest.data_mut::<f32>()?,
            ),
        )?;
        let pairs = dstep.data_mut::<f32>()?.iter_mut();
        let pairs = pairs.zip(rest.data_mut::<f32>()?);
        for (grid, (dstep, rest)) in grids.grids.iter().zip(pairs) {
            let count = grids.grids.len();
            let scale = self.0.gradient_scale(x.shape(), count, grid.zero_point);
            let whole = f64::from(*dstep) + grid.offset * f64::from(*rest);
            *dstep = grid.kept(scale * whole) as f32;
            *rest = (scale * f64::from(*rest)) as f32;
        }
        cx.outputs.set(0, dx);
        cx.outputs.set(1, dstep);
        if has_offset {
            cx.outputs.set(2, rest);
        }
        Ok(())
    }
}
