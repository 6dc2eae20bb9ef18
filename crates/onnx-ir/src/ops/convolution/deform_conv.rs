//! `DeformConv`: convolution whose taps are moved by learned offsets and weighted by a mask:
//! `y[m, o] = b[m] + sum over c, k of w[m, c, k] * mask[k, o] * x(c, o * s + k * d - p + offset[k, o])`,
//! with `x` between its elements by linear interpolation and zero outside.
//! <https://onnx.ai/onnx/operators/onnx__DeformConv.html>; Dai et al., arXiv:1703.06211; Zhu et al.,
//! arXiv:1811.11168. Opset 22 adds bfloat16.

use super::grouped;
use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::dispatch::dispatch;
use crate::ops::window::{Window, WindowAxis};

/// The attributes of `DeformConv`.
#[derive(Clone, Debug, PartialEq)]
pub struct DeformConv {
    /// Strides, dilations and padding; the kernel is that of the weight.
    pub window: Window,
    /// Groups of channels that are convolved on their own.
    pub group: usize,
    /// Groups of input channels that share offsets and mask.
    pub offset_group: usize,
}

const X_RULE: &str = "the input must have the axes batch, channel and spatial ones";
const W_RULE: &str = "the weight must have the axes output channel, input channel and spatial ones";

impl Operator for DeformConv {
    const SIGNATURE: Signature = Signature::onnx("DeformConv", &[19, 22]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let offset_group = attrs.size_or("offset_group", 1)?;
        if offset_group == 0 {
            return Err(AttrError::Invalid {
                name: "offset_group",
                found: "0".to_owned(),
                rule: "it must be positive",
            });
        }
        Ok(Self {
            window: Window::parse(attrs)?,
            group: grouped::parse_group(attrs)?,
            offset_group,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (x, w) = (cx.tensor(0)?, cx.tensor(1)?);
        let dtype = x.dtype.or(w.dtype);
        let (Some(x), Some(w)) = (&x.shape, &w.shape) else {
            return Ok(vec![TensorFact::of_dtype(dtype).into()]);
        };
        let (n, _, spatial) = grouped::split_dims(X_RULE, x)?;
        let (m, _, kernel) = grouped::split_dims(W_RULE, w)?;
        let mut shape = vec![n.clone(), m.clone()];
        shape.extend(self.window.output_dims(spatial, kernel)?);
        Ok(vec![TensorFact::with_shape(dtype, Some(shape)).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dtype = cx.tensor(0)?.dtype();
        let y = dispatch!(dtype, T in floats => self.run::<T>(cx))?;
        Ok(vec![y.into()])
    }
}

impl DeformConv {
    fn run<T: Accumulate>(&self, cx: &EvalContext<'_>) -> Result<Tensor, EvalError> {
        let (x, w, offset) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        let (b, mask) = (cx.optional_tensor(3)?, cx.optional_tensor(4)?);
        let (n, c, spatial) = grouped::split_shape(X_RULE, x)?;
        let (m, c_per_group, kernel) = grouped::split_shape(W_RULE, w)?;
        grouped::check_kernel_shape(self.window.kernel_shape.as_deref(), kernel)?;
        grouped::check_bias(b, m)?;
        let m_per_group = grouped::per_group(m, self.group)?;
        let per_offset_group = grouped::per_group(c, self.offset_group)?;
        let axes = self.window.axes(spatial, kernel)?;
        let rank = axes.len();
        let taps = grouped::volume(kernel.iter().copied())?;
        let outputs: Vec<usize> = axes.iter().map(|a| a.output).collect();
        let plane = |channels: usize| [&[n, channels], outputs.as_slice()].concat();
        let offsets = self.offset_group.saturating_mul(taps);
        let fits = c_per_group.checked_mul(self.group) == Some(c)
            && offset.shape() == plane(offsets.saturating_mul(rank))
            && mask.is_none_or(|m| m.shape() == plane(offsets));
        if !fits {
            return Err(EvalError::rule(
                "weight, offset and mask must fit the input",
                format_args!(
                    "input {:?}, weight {:?}, offset {:?}, mask {:?}",
                    x.shape(),
                    w.shape(),
                    offset.shape(),
                    mask.map(Tensor::shape)
                ),
            ));
        }
        let shape = plane(m);
        let count = cx.check_size(&shape, T::DTYPE)?;
        let mut y = Vec::with_capacity(count);
        if count == 0 {
            return Ok(Tensor::from_vec(&shape, y)?);
        }
        let real = |t: &Tensor| -> Result<Vec<f64>, EvalError> {
            Ok(t.data::<T>()?
                .iter()
                .map(|v| T::to_real(v.widen()))
                .collect())
        };
        let (x, w, offset) = (real(x)?, real(w)?, real(offset)?);
        let (b, mask) = (b.map(real).transpose()?, mask.map(real).transpose()?);
        let input_plane = grouped::volume(spatial.iter().copied())?;
        let windows = grouped::volume(outputs.iter().copied())?;
        let mut position = vec![0f64; rank];
        for image in 0..n {
            for filter in 0..m {
                for window in 0..windows {
                    let mut sum = b.as_ref().map_or(0.0, |b| b[filter]);
                    for channel in 0..c_per_group {
                        let source = filter / m_per_group * c_per_group + channel;
                        let group = image * self.offset_group + source / per_offset_group;
                        let x = &x[(image * c + source) * input_plane..][..input_plane];
                        for tap in 0..taps {
                            let at = group * taps + tap;
                            place(&axes, window, tap, &mut position);
                            for (i, p) in position.iter_mut().enumerate() {
                                *p += offset[(at * rank + i) * windows + window];
                            }
                            let weight = w[(filter * c_per_group + channel) * taps + tap];
                            let mask = mask.as_ref().map_or(1.0, |m| m[at * windows + window]);
                            sum += weight * mask * interpolate(x, spatial, &position);
                        }
                    }
                    y.push(T::narrow(T::from_real(sum)));
                }
            }
        }
        Ok(Tensor::from_vec(&shape, y)?)
    }
}

/// The position of a tap of a window in the input, before its offset.
fn place(axes: &[WindowAxis], window: usize, tap: usize, position: &mut [f64]) {
    let (mut window, mut tap) = (window, tap);
    for (axis, p) in axes.iter().zip(position).rev() {
        let at = (window % axis.output) * axis.stride + (tap % axis.kernel) * axis.dilation;
        *p = at as f64 - axis.pad_begin as f64;
        window /= axis.output;
        tap /= axis.kernel;
    }
}

/// The plane `x` at a real position: multilinear between the elements, zero outside.
fn interpolate(x: &[f64], sizes: &[usize], position: &[f64]) -> f64 {
    let corners = 1usize << sizes.len().min(16);
    let mut sum = 0.0;
    'corner: for corner in 0..corners {
        let (mut weight, mut at) = (1.0, 0usize);
        for (i, (&size, &p)) in sizes.iter().zip(position).enumerate() {
            let low = p.floor();
            let upper = corner >> i & 1 == 1;
            let index = if upper { low + 1.0 } else { low };
            weight *= if upper { p - low } else { 1.0 - (p - low) };
            if !(index >= 0.0 && index < size as f64) || weight == 0.0 {
                continue 'corner;
            }
            at = at * size + index as usize;
        }
        sum += weight * x[at];
    }
    sum
}
