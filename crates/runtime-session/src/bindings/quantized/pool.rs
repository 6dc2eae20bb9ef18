//! Means of 8-bit images: `DQ -> AveragePool | GlobalAveragePool -> Q`.

use super::params::{self, Byte, Quantized};
use crate::bindings::pool::{Windows, planes, shape_last};
use crate::error::StepError;
use crate::memory::Pooled;
use crate::plan::{Bound, Selector};
use crate::step::{ImageOrder, Step, StepContext};
use onnx_ir::NodeId;
use runtime_kernels::pool::{
    PoolScales, average_pool_int8, average_pool_int8_channels_last, global_average_pool_int8,
};
use runtime_kernels::quantized::QuantByte;
use std::sync::Arc;

/// Binds the pooling node `inner` between a `DequantizeLinear` and the quantizer `y`, whose node is `root`.
pub(crate) fn bind_region(
    selector: &mut Selector<'_>,
    root: NodeId,
    inner: NodeId,
    y: &Quantized,
) -> Option<Bound> {
    let node = selector.graph.node(inner);
    let windows = match node.is("GlobalAveragePool") {
        true => None,
        false => Some(Windows::of(node).filter(Windows::is_plain_average)?),
    };
    let x = params::dequantized(selector, node.input(0)?)?;
    if x.byte != y.byte {
        return None;
    }
    let step = Mean {
        channels_last: false,
        windows,
        byte: y.byte,
        scales: PoolScales {
            x_scale: x.params.scale,
            x_zero_point: x.params.zero_point,
            y_scale: y.params.scale,
            y_zero_point: y.params.zero_point,
        },
    };
    Some(Bound {
        step: Arc::new(step),
        inputs: vec![Some(x.value)],
        outputs: selector.graph.node(root).outputs().to_vec(),
    })
}

#[derive(Clone)]
struct Mean {
    /// Whether the image has its channels last.
    channels_last: bool,
    /// The windows; none for whole planes.
    windows: Option<Windows>,
    byte: Byte,
    scales: PoolScales,
}

impl Mean {
    fn run_as<T: QuantByte + Pooled>(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let x = cx.inputs.tensor(0)?;
        let data = x.data::<T>()?;
        let context = &cx.state.context;
        if self.channels_last {
            let (shape, channels, result) = shape_last(self.windows.as_ref(), x.shape())?;
            let mut out = cx.state.memory.tensor::<T>(&result)?;
            let scales = self.scales;
            average_pool_int8_channels_last(
                context,
                &shape,
                scales,
                channels,
                &data,
                out.data_mut::<T>()?,
            )?;
            cx.outputs.set(0, out);
            return Ok(());
        }
        let out = match &self.windows {
            Some(windows) => {
                let (shape, result) = windows.shape(x.shape())?;
                let mut out = cx.state.memory.tensor::<T>(&result)?;
                average_pool_int8(context, &shape, self.scales, &data, out.data_mut::<T>()?)?;
                out
            }
            None => {
                let (planes, inner, result) = planes(x.shape());
                let mut out = cx.state.memory.tensor::<T>(&result)?;
                global_average_pool_int8(
                    context,
                    (planes, inner),
                    self.scales,
                    &data,
                    out.data_mut::<T>()?,
                )?;
                out
            }
        };
        cx.outputs.set(0, out);
        Ok(())
    }
}

impl Step for Mean {
    fn kernel(&self) -> &'static str {
        "pool.int8"
    }
    fn image_order(&self) -> ImageOrder {
        if self.windows.as_ref().is_some_and(|w| w.axes() != 2) {
            return ImageOrder::Model;
        }
        ImageOrder::LastBy(Arc::new(Self {
            channels_last: true,
            ..self.clone()
        }))
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        match self.byte {
            Byte::U8 => self.run_as::<u8>(cx),
            Byte::I8 => self.run_as::<i8>(cx),
        }
    }
}
