//! `NhwcMaxPool`: the greatest code of each window of an 8-bit tensor with the channels last.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.NhwcMaxPool>

use crate::operator::prelude::*;
use crate::ops::permute::{channels_first, channels_last};
use crate::ops::pooling::sliding;
use crate::ops::quantization::rounding::{integers, small_range, small_tensor};
use crate::ops::window::Window;

/// The attributes of `NhwcMaxPool`.
#[derive(Clone, Debug, PartialEq)]
pub struct NhwcMaxPool {
    /// Kernel, strides, dilations, padding and rounding.
    pub window: Window,
}

impl Operator for NhwcMaxPool {
    const SIGNATURE: Signature = Signature::microsoft("NhwcMaxPool");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            window: Window::parse_pooling(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let mut x = cx.tensor(0)?;
        if let Some(shape) = x.shape.as_mut().filter(|s| s.len() >= 2) {
            shape[1..].rotate_right(1);
        }
        let mut y = sliding::infer_from(&self.window, x)?;
        if let Some(shape) = &mut y.shape {
            shape[1..].rotate_left(1);
        }
        Ok(vec![y.into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = channels_first(cx.tensor(0)?)?;
        let (least, _) = small_range(x.dtype())?;
        let (shape, axes) = sliding::axes(&self.window, &x)?;
        let count = cx.check_size(&shape, x.dtype())?;
        let codes = integers(&x)?;
        let mut y = Vec::with_capacity(count);
        if count > 0 {
            sliding::for_each_window(shape[0] * shape[1], &axes, |plane, taps| {
                let mut greatest = least;
                taps.for_each(|i| greatest = greatest.max(codes[plane + i]));
                y.push(greatest);
            });
        }
        let y = small_tensor(x.dtype(), &shape, y.into_iter())?;
        Ok(vec![channels_last(&y)?.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}
