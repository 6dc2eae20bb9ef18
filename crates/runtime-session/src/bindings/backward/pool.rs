//! `AveragePoolGrad` and `MaxPoolGrad` in f32.

use super::conv::{check_adjoint, sizes};
use crate::bindings::guarded::{self, Partial, is_f32};
use crate::bindings::pool::Windows;
use crate::error::{SessionError, StepError};
use crate::plan::{Bound, Selector};
use crate::step::{ImageOrder, Inputs, Step, StepContext};
use compress_tensor::{DType, Shape};
use onnx_ir::{Attribute, NodeId};
use runtime_kernels::pool::{Pool, average_pool_grad, max_pool_grad};
use std::sync::Arc;

/// Binds a pooling's adjoint; `None` for forms that the kernels do not have.
///
/// # Errors
/// As [`guarded::bind`].
pub(super) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Result<Option<Bound>, SessionError> {
    let node = selector.graph.node(id);
    let padding = node.attributes.get("count_include_pad");
    let padding = padding.is_some_and(|a| matches!(a, Attribute::Int(1)));
    let op = match node.op_type.as_str() {
        "MaxPoolGrad" => Pool::Max,
        "AveragePoolGrad" if padding => Pool::AverageWithPadding,
        "AveragePoolGrad" => Pool::Average,
        _ => return Ok(None),
    };
    let Some(windows) = Windows::with_op(node, op) else {
        return Ok(None);
    };
    guarded::bind(selector, id, PoolGrad { windows, op }).map(Some)
}

/// Inputs are the adjoint of the result and, of a mean, the shape of the image in the model's order, else the image.
#[derive(Clone)]
struct PoolGrad {
    windows: Windows,
    op: Pool,
}

impl PoolGrad {
    /// Whether input 1 is the image.
    fn reads_both(&self) -> bool {
        self.op == Pool::Max
    }

    /// The adjoint of images of these sizes, `[batch, channels, spatial…]`, or with the channels last.
    fn spread(
        &self,
        cx: &mut StepContext<'_>,
        image: &[usize],
        last: bool,
    ) -> Result<(), StepError> {
        let (shape, channels, result) = match last {
            true => self.windows.shape_last(image)?,
            false => {
                let (shape, result) = self.windows.shape(image)?;
                (shape, 1, result)
            }
        };
        let dy = cx.inputs.tensor(0)?;
        check_adjoint(dy.shape(), &result)?;
        let mut dx = cx.state.memory.tensor::<f32>(image)?;
        let (context, dy, out) = (&cx.state.context, dy.data::<f32>()?, dx.data_mut::<f32>()?);
        match self.reads_both() {
            false => average_pool_grad(context, self.op, &shape, channels, &dy, out)?,
            true => {
                let x = cx.inputs.tensor(1)?.data::<f32>()?;
                max_pool_grad(context, &shape, channels, (&dy, &x), out)?;
            }
        }
        cx.outputs.set(0, dx);
        Ok(())
    }

    /// The sizes of the image as input 1 gives them.
    fn image(&self, inputs: Inputs<'_>) -> Result<Shape, StepError> {
        let second = inputs.tensor(1)?;
        match self.reads_both() {
            true => Ok(second.shape().into()),
            false => sizes(second),
        }
    }
}

impl Partial for PoolGrad {
    fn kernel(&self) -> &'static str {
        "pool"
    }
    fn image_order(&self) -> ImageOrder {
        match self.windows.axes() {
            2 => ImageOrder::LastBy(Arc::new(Last(self.clone()))),
            _ => ImageOrder::Model,
        }
    }
    fn reads_image(&self, index: usize) -> bool {
        index == 0 || self.reads_both()
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        let second = match self.reads_both() {
            true => DType::F32,
            false => DType::I64,
        };
        is_f32(inputs, 0)
            && inputs.tensor(1).is_ok_and(|t| t.dtype() == second)
            && self
                .image(inputs)
                .is_ok_and(|image| image.len() == self.windows.axes() + 2)
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let image = self.image(cx.inputs)?;
        self.spread(cx, &image, false)
    }
}

/// The same of images with their channels last.
struct Last(PoolGrad);

impl Step for Last {
    fn kernel(&self) -> &'static str {
        "pool"
    }
    fn reads_image(&self, index: usize) -> bool {
        self.0.reads_image(index)
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let mut image = self.0.image(cx.inputs)?;
        if !self.0.reads_both() && image.len() > 1 {
            image[1..].rotate_left(1);
        }
        self.0.spread(cx, &image, true)
    }
}
