//! The adjoints of `Conv` and `ConvTranspose`, in groups, over any number of spatial axes.
//!
//! With `y[n, m, o] = sum w[m, c, k] * x[n, c, i]`, `i = o * stride + k * dilation - pad`:
//! * `ConvInputGrad`: `dx[n, c, i] = sum over m, k, o of w[m, c, k] * dy[n, m, o]`; inputs `dy`, `w`, `shape` (i64, of `x`);
//! * `ConvWeightGrad`: `dw[m, c, k] = sum over n, o of dy[n, m, o] * x[n, c, i]`; inputs `dy`, `x`, `shape` (i64, of `w`).
//!
//! `ConvTransposeInputGrad` and `ConvTransposeWeightGrad` are the same for `ConvTranspose`, in which `x` and `y` have
//! changed places. Attributes as of the forward operators, the padding as it came out there.

use super::scatter_add::SECOND_ORDER;
use super::shaped;
use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::convolution::conv::{self, convolve};
use crate::ops::convolution::conv_transpose::scatter;
use crate::ops::convolution::grouped::{self, for_each_row};
use crate::ops::convolution::{Conv, ConvTranspose};
use crate::ops::dispatch::dispatch;
use crate::ops::window::WindowAxis;

/// The attributes of `ConvInputGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvInputGrad(pub Conv);

/// The attributes of `ConvWeightGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvWeightGrad(pub Conv);

/// The attributes of `ConvTransposeInputGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvTransposeInputGrad(pub ConvTranspose);

/// The attributes of `ConvTransposeWeightGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvTransposeWeightGrad(pub ConvTranspose);

fn infer(cx: &InferContext<'_>) -> Result<Vec<Fact>, InferError> {
    cx.tensor(1)?;
    Ok(vec![shaped::infer(cx, 0, 2)?.into()])
}

/// The axes of a convolution of an image with a weight, both by their shapes; channels and groups fit.
fn conv_axes(conv: &Conv, x: &[usize], w: &[usize]) -> Result<Vec<WindowAxis>, EvalError> {
    let ([_, c, spatial @ ..], [m, c_per_group, kernel @ ..]) = (x, w) else {
        return Err(EvalError::rule(SHAPES, format_args!("{x:?} and {w:?}")));
    };
    grouped::per_group(*m, conv.group)?;
    if c_per_group.checked_mul(conv.group) != Some(*c) {
        return Err(EvalError::rule(SHAPES, format_args!("{x:?} and {w:?}")));
    }
    Ok(conv.window.axes(spatial, kernel)?)
}

/// As [`conv_axes`], of a transposed convolution: the axes of the window whose input is its output.
fn transpose_axes(
    op: &ConvTranspose,
    x: &[usize],
    w: &[usize],
) -> Result<Vec<WindowAxis>, EvalError> {
    let ([_, c, spatial @ ..], [wc, _, kernel @ ..]) = (x, w) else {
        return Err(EvalError::rule(SHAPES, format_args!("{x:?} and {w:?}")));
    };
    grouped::per_group(*c, op.group)?;
    if c != wc {
        return Err(EvalError::rule(SHAPES, format_args!("{x:?} and {w:?}")));
    }
    op.axes(spatial, kernel)
}

const SHAPES: &str = "the shapes of image and weight must fit each other and the groups";

/// The shape on the side of the windows: `[n, channels, outputs..]`.
fn windows(n: usize, channels: usize, axes: &[WindowAxis]) -> Vec<usize> {
    [n, channels]
        .into_iter()
        .chain(axes.iter().map(|a| a.output))
        .collect()
}

/// The shape on the side of the image: `[n, channels, inputs..]`.
fn image(n: usize, channels: usize, axes: &[WindowAxis]) -> Vec<usize> {
    [n, channels]
        .into_iter()
        .chain(axes.iter().map(|a| a.input))
        .collect()
}

/// `dw[m, c, k] = sum over n, o of windows[n, m, o] * image[n, g * C/G + c, o * s + k * d - p]`; the shapes fit.
fn weight_adjoint<T: Accumulate>(
    [windows, image]: [&Tensor; 2],
    shape: &[usize],
    axes: &[WindowAxis],
    group: usize,
) -> Result<Tensor, EvalError> {
    let (n, c, _) = grouped::split_shape(conv::X_RULE, image)?;
    let &[m, c_per_group, ..] = shape else {
        return Err(EvalError::rule(conv::W_RULE, format_args!("{shape:?}")));
    };
    let m_per_group = m / group;
    let plane = grouped::volume(axes.iter().map(|a| a.input))?;
    let places = grouped::volume(axes.iter().map(|a| a.output))?;
    let taps = grouped::volume(axes.iter().map(|a| a.kernel))?;
    let (y, x) = (windows.data::<T>()?, image.data::<T>()?);
    let mut dw = vec![T::Wide::default(); element_count(shape).unwrap_or(0)];
    for sample in 0..n {
        for filter in 0..m {
            let y = &y[(sample * m + filter) * places..][..places];
            for channel in 0..c_per_group {
                let source = sample * c + filter / m_per_group * c_per_group + channel;
                let x = &x[source * plane..][..plane];
                let dw = &mut dw[(filter * c_per_group + channel) * taps..][..taps];
                for (tap, sum) in dw.iter_mut().enumerate() {
                    for_each_row(axes, tap, |window, position, count, step| {
                        let x = x[position..].iter().step_by(step);
                        for (y, x) in y[window..window + count].iter().zip(x) {
                            *sum += y.widen() * x.widen();
                        }
                    });
                }
            }
        }
    }
    let dw = dw.into_iter().map(T::narrow).collect();
    Ok(Tensor::from_vec(shape, dw)?)
}

impl Operator for ConvInputGrad {
    const SIGNATURE: Signature = Signature::private("ConvInputGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Conv::parse(attrs).map(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (dy, w) = (cx.tensor(0)?, cx.tensor(1)?);
        let x = shaped::sizes(cx, 2, dy.dtype())?;
        let axes = conv_axes(&self.0, &x, w.shape())?;
        shaped::expect(dy, &windows(x[0], w.shape()[0], &axes))?;
        let group = self.0.group;
        let dx =
            dispatch!(dy.dtype(), T in floats => scatter::<T>(cx, [dy, w], None, &axes, group));
        Ok(vec![dx?.into()])
    }
}

impl Operator for ConvWeightGrad {
    const SIGNATURE: Signature = Signature::private("ConvWeightGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Conv::parse(attrs).map(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (dy, x) = (cx.tensor(0)?, cx.tensor(1)?);
        let w = shaped::sizes(cx, 2, dy.dtype())?;
        let axes = conv_axes(&self.0, x.shape(), &w)?;
        shaped::expect(dy, &windows(x.shape()[0], w[0], &axes))?;
        let group = self.0.group;
        let dw =
            dispatch!(dy.dtype(), T in floats => weight_adjoint::<T>([dy, x], &w, &axes, group));
        Ok(vec![dw?.into()])
    }
}

impl Operator for ConvTransposeInputGrad {
    const SIGNATURE: Signature = Signature::private("ConvTransposeInputGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        ConvTranspose::parse(attrs).map(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (dy, w) = (cx.tensor(0)?, cx.tensor(1)?);
        let x = shaped::sizes(cx, 2, dy.dtype())?;
        let axes = transpose_axes(&self.0, &x, w.shape())?;
        let group = self.0.group;
        shaped::expect(dy, &image(x[0], w.shape()[1] * group, &axes))?;
        let dx =
            dispatch!(dy.dtype(), T in floats => convolve::<T>(cx, [dy, w], None, &axes, group));
        Ok(vec![dx?.into()])
    }
}

impl Operator for ConvTransposeWeightGrad {
    const SIGNATURE: Signature = Signature::private("ConvTransposeWeightGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        ConvTranspose::parse(attrs).map(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (dy, x) = (cx.tensor(0)?, cx.tensor(1)?);
        let w = shaped::sizes(cx, 2, dy.dtype())?;
        let axes = transpose_axes(&self.0, x.shape(), &w)?;
        let group = self.0.group;
        shaped::expect(dy, &image(x.shape()[0], w[1] * group, &axes))?;
        let dw =
            dispatch!(dy.dtype(), T in floats => weight_adjoint::<T>([x, dy], &w, &axes, group));
        Ok(vec![dw?.into()])
    }
}
