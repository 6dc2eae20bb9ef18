//! Pooling: `MaxPool` (f32 and 8-bit), `AveragePool`, `GlobalAveragePool`, `GlobalMaxPool` (f32).

use super::guarded::{self, Partial};
use super::window::Window;
use crate::error::{SessionError, StepError};
use crate::memory::Pooled;
use crate::plan::{Bound, Selector};
use crate::step::{ImageOrder, Inputs, Step, StepContext};
use compress_tensor::{DType, Shape, Tensor, element_count};
use onnx_ir::operator::{Attrs, EvalError};
use onnx_ir::{Node, NodeId};
use runtime_kernels::pool::{
    Pool, PoolShape, global_pool, max_pool_int8, max_pool_int8_channels_last, pool,
    pool_channels_last,
};
use runtime_kernels::quantized::QuantByte;
use std::sync::Arc;

/// Binds a pooling node; `None` for forms that the kernels do not have.
///
/// # Errors
/// As [`guarded::bind`].
pub(crate) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Result<Option<Bound>, SessionError> {
    let node = selector.graph.node(id);
    let global = match node.op_type.as_str() {
        "GlobalAveragePool" => Some(Pool::Average),
        "GlobalMaxPool" => Some(Pool::Max),
        _ => None,
    };
    if let Some(op) = global {
        return guarded::bind(selector, id, Global { op }).map(Some);
    }
    match Windows::of(node) {
        Some(windows) if node.output(1).is_none() => guarded::bind(selector, id, windows).map(Some),
        _ => Ok(None),
    }
}

/// A pooling over windows.
#[derive(Clone)]
pub(crate) struct Windows {
    op: Pool,
    kernel: Vec<usize>,
    window: Window,
    /// Whether the last window may reach past the padding.
    ceil: bool,
}

impl Windows {
    /// The attributes of `MaxPool` or `AveragePool`; `None` where the kernels do not take them.
    pub(crate) fn of(node: &Node) -> Option<Self> {
        let mut attrs = Attrs::new(&node.attributes, 1, 0, 0);
        let padding = attrs.flag_or("count_include_pad", false).ok()?;
        let op = match node.op_type.as_str() {
            "MaxPool" if node.is("MaxPool") => Pool::Max,
            "AveragePool" if node.is("AveragePool") && padding => Pool::AverageWithPadding,
            "AveragePool" if node.is("AveragePool") => Pool::Average,
            _ => return None,
        };
        Self::with_op(node, op)
    }

    /// The attributes of a node that goes with such a pooling.
    pub(crate) fn with_op(node: &Node, op: Pool) -> Option<Self> {
        let mut attrs = Attrs::new(&node.attributes, 1, 0, 0);
        let padding = op == Pool::AverageWithPadding;
        let kernel = attrs.ints("kernel_shape").ok()?;
        let kernel: Vec<usize> = kernel
            .into_iter()
            .map(|k| usize::try_from(k).ok())
            .collect::<Option<_>>()?;
        let ceil = attrs.flag_or("ceil_mode", false).ok()?;
        // There the divisor counts padding that only the rounding adds in some runtimes.
        if (ceil && padding) || !(1..=3).contains(&kernel.len()) {
            return None;
        }
        Some(Self {
            op,
            window: Window::of(node, kernel.len())?,
            kernel,
            ceil,
        })
    }

    /// The number of spatial axes.
    pub(crate) fn axes(&self) -> usize {
        self.kernel.len()
    }

    /// Whether this is a mean of the elements inside the image.
    pub(crate) fn is_plain_average(&self) -> bool {
        self.op == Pool::Average
    }

    /// The extents for an image of shape `[batch, channels, spatial…]`, and the shape of the result.
    ///
    /// # Errors
    /// [`StepError`] where they do not fit.
    pub(crate) fn shape(&self, image: &[usize]) -> Result<(PoolShape, Shape), StepError> {
        let spatial = match image.split_first_chunk::<2>() {
            Some((_, spatial)) if spatial.len() == self.kernel.len() => spatial,
            _ => {
                return Err(EvalError::rule(
                    "an image has the axes of the window",
                    format_args!("{image:?}"),
                )
                .into());
            }
        };
        let (before, after) = self.window.pads(spatial, &self.kernel)?;
        let (strides, dilations) = (&self.window.strides, &self.window.dilations);
        let mut result = Shape::from(&image[..2]);
        for (axis, &size) in spatial.iter().enumerate() {
            // An empty image has no windows, however it is padded.
            if size == 0 {
                result.push(0);
                continue;
            }
            let reach = |taps: usize| {
                taps.checked_sub(1)?
                    .checked_mul(dilations[axis])?
                    .checked_add(1)
            };
            let window = reach(self.kernel[axis]);
            let padded = size
                .checked_add(before[axis])
                .and_then(|n| n.checked_add(after[axis]));
            let room = window
                .zip(padded)
                .and_then(|(window, padded)| padded.checked_sub(window));
            let (Some(room), true) = (room, strides[axis] > 0) else {
                let rule = "the window must fit the padded image, and strides be positive";
                return Err(
                    EvalError::rule(rule, format_args!("{spatial:?}, {:?}", self.kernel)).into(),
                );
            };
            let steps = if self.ceil {
                room.div_ceil(strides[axis])
            } else {
                room / strides[axis]
            };
            // A window that would start in the padding behind the image is left out.
            let beyond = self.ceil && steps * strides[axis] >= size + before[axis];
            result.push(steps + 1 - usize::from(beyond));
        }
        let planes = image[0].saturating_mul(image[1]);
        let extents = (spatial, &result[2..]);
        let shape = PoolShape::new(
            planes,
            extents,
            &self.kernel,
            strides,
            dilations,
            (&before, &after),
        )?;
        Ok((shape, result))
    }

    /// As [`Windows::shape`], for images of shape `[batch, spatial…, channels]`, with the number of channels.
    ///
    /// # Errors
    /// [`StepError`] where they do not fit.
    pub(crate) fn shape_last(
        &self,
        image: &[usize],
    ) -> Result<(PoolShape, usize, Shape), StepError> {
        let &[batch, ref spatial @ .., channels] = image else {
            let rule = "an image has a batch and channels";
            return Err(EvalError::rule(rule, format_args!("{image:?}")).into());
        };
        let one_channel: Shape = [batch, 1]
            .into_iter()
            .chain(spatial.iter().copied())
            .collect();
        let (shape, planes) = self.shape(&one_channel)?;
        let spatial = planes.iter().skip(2).copied();
        let result = [batch].into_iter().chain(spatial).chain([channels]);
        Ok((shape, channels, result.collect()))
    }

    fn max_of_bytes<T: QuantByte + Pooled>(
        &self,
        cx: &mut StepContext<'_>,
    ) -> Result<Tensor, StepError> {
        let x = cx.inputs.tensor(0)?;
        let (shape, result) = self.shape(x.shape())?;
        let mut out = cx.state.memory.tensor::<T>(&result)?;
        max_pool_int8(
            &cx.state.context,
            &shape,
            &x.data::<T>()?,
            out.data_mut::<T>()?,
        )?;
        Ok(out)
    }
}

impl Partial for Windows {
    fn kernel(&self) -> &'static str {
        "pool"
    }
    fn image_order(&self) -> ImageOrder {
        match self.kernel.len() {
            2 => ImageOrder::LastBy(Arc::new(Last(Some(self.clone()), self.op))),
            _ => ImageOrder::Model,
        }
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        let Ok(x) = inputs.tensor(0) else {
            return false;
        };
        let byte = matches!(x.dtype(), DType::U8 | DType::I8);
        x.rank() == self.kernel.len() + 2
            && (x.dtype() == DType::F32 || (byte && self.op == Pool::Max))
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let x = cx.inputs.tensor(0)?;
        let out = match x.dtype() {
            DType::U8 => self.max_of_bytes::<u8>(cx)?,
            DType::I8 => self.max_of_bytes::<i8>(cx)?,
            _ => {
                let (shape, result) = self.shape(x.shape())?;
                let mut out = cx.state.memory.tensor::<f32>(&result)?;
                pool(
                    &cx.state.context,
                    self.op,
                    &shape,
                    &x.data::<f32>()?,
                    out.data_mut::<f32>()?,
                )?;
                out
            }
        };
        cx.outputs.set(0, out);
        Ok(())
    }
}

/// A pooling over whole planes.
struct Global {
    op: Pool,
}

impl Partial for Global {
    fn kernel(&self) -> &'static str {
        "pool"
    }
    fn image_order(&self) -> ImageOrder {
        ImageOrder::LastBy(Arc::new(Last(None, self.op)))
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        guarded::is_f32(inputs, 0)
            && inputs
                .tensor(0)
                .is_ok_and(|x| x.rank() >= 2 && !x.is_empty())
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let x = cx.inputs.tensor(0)?;
        let (planes, inner, result) = planes(x.shape());
        let mut out = cx.state.memory.tensor::<f32>(&result)?;
        global_pool(
            &cx.state.context,
            self.op,
            (planes, inner),
            &x.data::<f32>()?,
            out.data_mut::<f32>()?,
        )?;
        cx.outputs.set(0, out);
        Ok(())
    }
}

/// A pooling of images with their channels last, over windows or over whole planes.
struct Last(Option<Windows>, Pool);

impl Last {
    fn max_of_bytes<T: QuantByte + Pooled>(
        &self,
        cx: &mut StepContext<'_>,
    ) -> Result<Tensor, StepError> {
        let x = cx.inputs.tensor(0)?;
        let (shape, channels, result) = shape_last(self.0.as_ref(), x.shape())?;
        let mut out = cx.state.memory.tensor::<T>(&result)?;
        let (context, data) = (&cx.state.context, x.data::<T>()?);
        max_pool_int8_channels_last(context, &shape, channels, &data, out.data_mut::<T>()?)?;
        Ok(out)
    }
}

impl Step for Last {
    fn kernel(&self) -> &'static str {
        "pool"
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let x = cx.inputs.tensor(0)?;
        let out = match x.dtype() {
            DType::U8 if self.1 == Pool::Max => self.max_of_bytes::<u8>(cx)?,
            DType::I8 if self.1 == Pool::Max => self.max_of_bytes::<i8>(cx)?,
            _ => {
                let (shape, channels, result) = shape_last(self.0.as_ref(), x.shape())?;
                let mut out = cx.state.memory.tensor::<f32>(&result)?;
                let (context, data) = (&cx.state.context, x.data::<f32>()?);
                pool_channels_last(
                    context,
                    self.1,
                    &shape,
                    channels,
                    &data,
                    out.data_mut::<f32>()?,
                )?;
                out
            }
        };
        cx.outputs.set(0, out);
        Ok(())
    }
}

/// The extents of a pooling over windows, or over whole planes, of images of shape `[batch, height, width, channels]`:
/// for the kernels, the number of channels, and the shape of the result.
///
/// # Errors
/// [`StepError`] where they do not fit.
pub(crate) fn shape_last(
    windows: Option<&Windows>,
    image: &[usize],
) -> Result<(PoolShape, usize, Shape), StepError> {
    if let Some(windows) = windows {
        return windows.shape_last(image);
    }
    let &[batch, height, width, channels] = image else {
        let rule = "an image has a batch, two spatial axes and channels";
        return Err(EvalError::rule(rule, format_args!("{image:?}")).into());
    };
    let whole = [height, width];
    let shape = PoolShape::new(batch, (&whole, &[1, 1]), &whole, &[], &[], (&[], &[]))?;
    Ok((shape, channels, [batch, 1, 1, channels].into()))
}

/// Planes, elements of each, and the shape with all spatial sizes 1, of `[batch, channels, spatial…]`.
pub(crate) fn planes(shape: &[usize]) -> (usize, usize, Shape) {
    let (outer, spatial) = shape.split_at(shape.len().min(2));
    let mut result = Shape::from(outer);
    result.extend(spatial.iter().map(|_| 1));
    let count = |sizes| element_count(sizes).unwrap_or(0);
    (count(outer), count(spatial), result)
}
