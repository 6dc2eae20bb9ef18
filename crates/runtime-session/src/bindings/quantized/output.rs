//! What becomes of the exact sums of an integer product.

use super::params::{Byte, Quantized};
use crate::error::StepError;
use crate::execute::RunState;
use compress_tensor::Tensor;
use runtime_kernels::KernelError;
use runtime_kernels::elementwise::Activation;
use runtime_kernels::quantized::{
    Dequantize, IntegerEpilogue, RawOutput, RequantRule, Requantization,
};

/// What becomes of the exact sums of an integer product.
#[derive(Clone, Debug)]
pub(crate) enum Output {
    /// Given out as they are, in 32 bits.
    Sums,
    /// Brought to another scale, as ONNX Runtime rounds.
    Bytes(Requantization, Byte),
    /// `activation(sum * scale + bias)` in float.
    Floats {
        scales: Vec<f32>,
        bias: Vec<f32>,
        activation: Activation,
    },
}

/// A product that can be stored in any way.
pub(crate) trait IntegerProduct {
    /// # Errors
    /// [`KernelError`].
    fn compute<T: Send, E: IntegerEpilogue<T>>(
        &self,
        state: &mut RunState,
        epilogue: &E,
        out: &mut [T],
    ) -> Result<(), KernelError>;
}

impl Output {
    /// Bytes of the quantizer `y`, within the bounds that a fused activation leaves.
    ///
    /// # Errors
    /// [`KernelError::Invalid`] for no scales.
    pub(crate) fn bytes(
        x_scale: f32,
        w_scales: &[f32],
        y: &Quantized,
        bounds: (i32, i32),
    ) -> Result<Self, KernelError> {
        let rule = RequantRule::OnnxRuntime;
        let (scale, zero_point) = (y.params.scale, y.params.zero_point);
        let requantization =
            Requantization::new(rule, x_scale, w_scales, scale, zero_point, bounds)?;
        Ok(Self::Bytes(requantization, y.byte))
    }

    /// Computes `product` into a tensor of this shape.
    ///
    /// # Errors
    /// [`StepError`].
    pub(crate) fn store(
        &self,
        product: &impl IntegerProduct,
        shape: &[usize],
        state: &mut RunState,
    ) -> Result<Tensor, StepError> {
        Ok(match self {
            Self::Sums => {
                let mut out = state.memory.tensor::<i32>(shape)?;
                product.compute(state, &RawOutput, out.data_mut::<i32>()?)?;
                out
            }
            Self::Bytes(requantization, Byte::U8) => {
                let mut out = state.memory.tensor::<u8>(shape)?;
                product.compute(state, requantization, out.data_mut::<u8>()?)?;
                out
            }
            Self::Bytes(requantization, Byte::I8) => {
                let mut out = state.memory.tensor::<i8>(shape)?;
                product.compute(state, requantization, out.data_mut::<i8>()?)?;
                out
            }
            Self::Floats {
                scales,
                bias,
                activation,
            } => {
                let epilogue = Dequantize::new(scales)
                    .with_bias(bias)
                    .with_activation(*activation);
                store_floats(product, &epilogue, shape, state)?
            }
        })
    }
}

/// Computes `product` into a float tensor of this shape.
///
/// # Errors
/// [`StepError`].
pub(crate) fn store_floats(
    product: &impl IntegerProduct,
    epilogue: &Dequantize<'_>,
    shape: &[usize],
    state: &mut RunState,
) -> Result<Tensor, StepError> {
    let mut out = state.memory.tensor::<f32>(shape)?;
    product.compute(state, epilogue, out.data_mut::<f32>()?)?;
    Ok(out)
}
