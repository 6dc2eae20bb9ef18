//! `QuantizeLinear`, `DequantizeLinear` (one scale, 8 bits) and `DynamicQuantizeLinear`.

use super::params::{Byte, integer};
use crate::bindings::activation::scalar;
use crate::bindings::guarded::{self, Partial, is_f32};
use crate::error::{SessionError, StepError};
use crate::memory::Pooled;
use crate::plan::{Bound, Selector};
use crate::step::{ImageOrder, Inputs, StepContext};
use compress_tensor::DType;
use onnx_ir::NodeId;
use runtime_kernels::quantized::{QuantByte, ScaleZero, dequantize, dynamic_scale, quantize};

/// Binds a node that quantizes or dequantizes; `None` for others.
///
/// # Errors
/// As [`guarded::bind`].
pub(crate) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Result<Option<Bound>, SessionError> {
    let node = selector.graph.node(id);
    let plain = ["block_size", "precision", "output_dtype"]
        .iter()
        .all(|a| node.attributes.get(a).is_none());
    let result = node.output(0).and_then(|y| selector.dtype(y));
    let on_images = matches!(result, Some(DType::F32 | DType::U8 | DType::I8));
    match node.op_type.as_str() {
        "QuantizeLinear" if plain => guarded::bind(selector, id, Quantize { on_images }).map(Some),
        "DequantizeLinear" if plain => {
            guarded::bind(selector, id, Dequantize { on_images }).map(Some)
        }
        "DynamicQuantizeLinear" => guarded::bind(selector, id, DynamicQuantize).map(Some),
        _ => Ok(None),
    }
}

/// Scale (input 1) and zero point (input 2), one of each.
fn params(inputs: Inputs<'_>, default: Byte) -> Option<(ScaleZero, Byte)> {
    let scale = scalar(inputs.tensor(1).ok()?)?;
    let (zero_point, byte) = match inputs.optional(2).ok()? {
        None => (0, default),
        Some(z) => (integer(z)?, Byte::of(z.dtype())?),
    };
    Some((ScaleZero { scale, zero_point }, byte))
}

struct Quantize {
    /// Whether the result is of a type that kernels on images read.
    on_images: bool,
}

impl Quantize {
    fn to<T: QuantByte + Pooled>(
        cx: &mut StepContext<'_>,
        params: ScaleZero,
    ) -> Result<(), StepError> {
        let x = cx.inputs.tensor(0)?;
        let mut out = cx.state.memory.tensor::<T>(x.shape())?;
        quantize(
            &cx.state.context,
            params,
            &x.data::<f32>()?,
            out.data_mut::<T>()?,
        )?;
        cx.outputs.set(0, out);
        Ok(())
    }
}

impl Partial for Quantize {
    fn kernel(&self) -> &'static str {
        "quantize"
    }
    fn image_order(&self) -> ImageOrder {
        match self.on_images {
            true => ImageOrder::Either,
            false => ImageOrder::Model,
        }
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        is_f32(inputs, 0) && params(inputs, Byte::U8).is_some()
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        match params(cx.inputs, Byte::U8) {
            Some((params, Byte::I8)) => Self::to::<i8>(cx, params),
            Some((params, Byte::U8)) => Self::to::<u8>(cx, params),
            None => Ok(()),
        }
    }
}

struct Dequantize {
    /// Whether the result is of a type that kernels on images read.
    on_images: bool,
}

impl Dequantize {
    fn from<T: QuantByte + Pooled>(
        cx: &mut StepContext<'_>,
        params: ScaleZero,
    ) -> Result<(), StepError> {
        let q = cx.inputs.tensor(0)?;
        let mut out = cx.state.memory.tensor::<f32>(q.shape())?;
        dequantize(
            &cx.state.context,
            params,
            &q.data::<T>()?,
            out.data_mut::<f32>()?,
        )?;
        cx.outputs.set(0, out);
        Ok(())
    }
}

impl Partial for Dequantize {
    fn kernel(&self) -> &'static str {
        "dequantize"
    }
    fn image_order(&self) -> ImageOrder {
        match self.on_images {
            true => ImageOrder::Either,
            false => ImageOrder::Model,
        }
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        let byte = inputs.tensor(0).ok().and_then(|q| Byte::of(q.dtype()));
        byte.is_some_and(|byte| params(inputs, byte).is_some_and(|(_, found)| found == byte))
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let byte = Byte::of(cx.inputs.tensor(0)?.dtype()).unwrap_or(Byte::U8);
        match (params(cx.inputs, byte), byte) {
            (Some((params, _)), Byte::U8) => Self::from::<u8>(cx, params),
            (Some((params, _)), Byte::I8) => Self::from::<i8>(cx, params),
            (None, _) => Ok(()),
        }
    }
}

/// Gives the bytes, their scale and their zero point.
struct DynamicQuantize;

impl Partial for DynamicQuantize {
    fn kernel(&self) -> &'static str {
        "quantize"
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        // Of no elements, or of equal ones at zero, the formula has no scale.
        let data = inputs.tensor(0).ok().filter(|x| x.dtype() == DType::F32);
        data.is_some_and(|x| x.data::<f32>().is_ok_and(|x| x.iter().any(|&x| x != 0.0)))
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let x = cx.inputs.tensor(0)?;
        let data = x.data::<f32>()?;
        let params = dynamic_scale(&cx.state.context, &data);
        let mut out = cx.state.memory.tensor::<u8>(x.shape())?;
        quantize(&cx.state.context, params, &data, out.data_mut::<u8>()?)?;
        cx.outputs.set(0, out);
        let zero_point = u8::try_from(params.zero_point).unwrap_or_default();
        cx.outputs.set(1, cx.state.memory.scalar(params.scale)?);
        cx.outputs.set(2, cx.state.memory.scalar(zero_point)?);
        Ok(())
    }
}
