//! `ConvTranspose`: the gradient of `Conv` with respect to its input: each input element adds its
//! multiple of the kernel to the output, `y[n, m, i * s + k * d - p] += w[c, m, k] * x[n, c, i]`.
//!
//! The output size is `s * (n - 1) + output_padding + extent - pads`, or is given by `output_shape`
//! (or `auto_pad`: `n * s`, or less where the kernel does not reach that far), from which then the padding follows.
//! <https://onnx.ai/onnx/operators/onnx__ConvTranspose.html>. Opset 22 adds bfloat16.

use super::grouped;
use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::dispatch::dispatch;
use crate::ops::window::{AutoPad, Window, WindowAxis, split_padding};

/// The attributes of `ConvTranspose`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvTranspose {
    /// Strides, dilations and padding; the kernel is that of the weight.
    pub window: Window,
    /// Groups of channels that are convolved on their own.
    pub group: usize,
    /// Sizes added behind the output; empty for none.
    pub output_padding: Vec<i64>,
    /// The spatial sizes of the output, where they are given.
    pub output_shape: Option<Vec<i64>>,
}

const X_RULE: &str = "the input must have the axes batch, channel and spatial ones";
const W_RULE: &str = "the weight must have the axes input channel, output channel and spatial ones";

impl ConvTranspose {
    /// The output size along spatial axis `i`, and the padding that is cut off in front of it.
    fn output_dim(&self, i: usize, n: &Dim, kernel: &Dim) -> (Dim, i64) {
        let stride = Dim::from(self.window.stride(i));
        let added = self.output_padding.get(i).copied().unwrap_or(0);
        let full = stride.clone() * (n.clone() - Dim::Known(1))
            + added.into()
            + self.window.extent(i, kernel);
        let given = match (&self.output_shape, self.window.auto_pad) {
            (Some(shape), _) => shape.get(i).map(|&o| o.into()),
            // Nothing is added where the kernel does not reach that far: pads are never negative.
            (None, AutoPad::SameUpper | AutoPad::SameLower) => {
                Some((n.clone() * stride).min(&full))
            }
            (None, AutoPad::Valid) => return (full, 0),
            (None, AutoPad::NotSet) => None,
        };
        let Some(output) = given else {
            let (begin, end) = self.window.pads_of(i);
            return (full - begin.into() - end.into(), begin);
        };
        let total = (full - output.clone()).as_known().unwrap_or(0);
        (output, split_padding(self.window.auto_pad, total).0)
    }

    fn ranks_fit(&self, spatial: usize, kernel: usize) -> bool {
        let fits = |len: usize, rank: usize| len == 0 || len == rank;
        kernel == spatial
            && fits(self.window.strides.len(), spatial)
            && fits(self.window.dilations.len(), spatial)
            && fits(self.window.pads.len(), 2 * spatial)
            && fits(self.output_padding.len(), spatial)
            && self
                .output_shape
                .as_ref()
                .is_none_or(|s| s.len() == spatial)
    }

    /// The window whose input is this operator's output.
    pub(in crate::ops) fn axes(
        &self,
        spatial: &[usize],
        kernel: &[usize],
    ) -> Result<Vec<WindowAxis>, EvalError> {
        if !self.ranks_fit(spatial.len(), kernel.len()) {
            return Err(EvalError::rule(RANK_RULE, format_args!("{self:?}")));
        }
        let axes = spatial.iter().zip(kernel).enumerate();
        axes.map(|(i, (&n, &k))| {
            let (output, begin) = self.output_dim(i, &n.into(), &k.into());
            let size = |n: i64| usize::try_from(n).ok();
            let axis = || {
                Some(WindowAxis {
                    input: output.as_size()?,
                    output: n,
                    kernel: k,
                    stride: size(self.window.stride(i))?,
                    dilation: size(self.window.dilation(i))?,
                    pad_begin: size(begin)?,
                    pad_end: 0,
                })
            };
            axis().ok_or_else(|| EvalError::rule(SIZE_RULE, &output))
        })
        .collect()
    }
}

const RANK_RULE: &str =
    "kernel, strides, dilations, pads, output_padding and output_shape must fit the spatial axes";
const SIZE_RULE: &str = "the output size must not be negative";

impl Operator for ConvTranspose {
    const SIGNATURE: Signature = Signature::onnx("ConvTranspose", &[1, 11, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let (x, w, dy) = (cx.input(0), cx.input(1), cx.dy());
        cx.give(
            0,
            dy.apply(cx.private_like("ConvTransposeInputGrad"), &[w, x.shape()]),
        );
        cx.give(
            1,
            dy.apply(cx.private_like("ConvTransposeWeightGrad"), &[x, w.shape()]),
        );
        grouped::give_bias(cx, 2)?;
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let window = Window::parse(attrs)?;
        let output_padding = attrs.ints_or("output_padding", Vec::new())?;
        let mut output_shape = attrs.ints_opt("output_shape")?.filter(|s| !s.is_empty());
        let negative = |v: &Vec<i64>| v.iter().any(|&n| !(0..1 << 40).contains(&n));
        for (name, values) in [
            ("output_padding", Some(&output_padding)),
            ("output_shape", output_shape.as_ref()),
        ] {
            if let Some(values) = values.filter(|v| negative(v)) {
                return Err(AttrError::Invalid {
                    name,
                    found: format!("{values:?}"),
                    rule: "sizes must not be negative (nor above 2^40)",
                });
            }
        }
        // Some exporters write batch and channels too.
        let spatial = window.kernel_shape.as_ref().map(Vec::len);
        if let (Some(shape), Some(spatial)) = (&mut output_shape, spatial)
            && shape.len() == spatial + 2
        {
            shape.drain(..2);
        }
        Ok(Self {
            window,
            group: grouped::parse_group(attrs)?,
            output_padding,
            output_shape,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (x, w) = (cx.tensor(0)?, cx.tensor(1)?);
        let dtype = x.dtype.or(w.dtype);
        let (Some(x), Some(w)) = (&x.shape, &w.shape) else {
            return Ok(vec![TensorFact::of_dtype(dtype).into()]);
        };
        let (n, c, spatial) = grouped::split_dims(X_RULE, x)?;
        let (wc, m_per_group, kernel) = grouped::split_dims(W_RULE, w)?;
        if c.contradicts(wc) {
            return Err(InferError::rule(
                "the input's channels must be the weight's",
                format_args!("{c} and {wc}"),
            ));
        }
        let kernel = grouped::infer_kernel_shape(self.window.kernel_shape.as_deref(), kernel)?;
        if !self.ranks_fit(spatial.len(), kernel.len()) {
            return Err(InferError::rule(RANK_RULE, format_args!("{self:?}")));
        }
        let mut shape = vec![n.clone(), m_per_group.clone() * self.group.into()];
        for (i, (n, k)) in spatial.iter().zip(&kernel).enumerate() {
            let (output, _) = self.output_dim(i, n, k);
            if output.as_known().is_some_and(|o| o < 0) {
                return Err(InferError::rule(SIZE_RULE, output));
            }
            shape.push(output);
        }
        Ok(vec![TensorFact::with_shape(dtype, Some(shape)).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, w, b) = (cx.tensor(0)?, cx.tensor(1)?, cx.optional_tensor(2)?);
        let (_, c, spatial) = grouped::split_shape(X_RULE, x)?;
        let (wc, m_per_group, kernel) = grouped::split_shape(W_RULE, w)?;
        grouped::check_kernel_shape(self.window.kernel_shape.as_deref(), kernel)?;
        grouped::per_group(c, self.group)?;
        let m = m_per_group.checked_mul(self.group);
        let m = m.filter(|_| c == wc).ok_or_else(|| {
            EvalError::rule(
                "the input's channels must be the weight's",
                format_args!("{c} and {wc}"),
            )
        })?;
        grouped::check_bias(b, m)?;
        let axes = self.axes(spatial, kernel)?;
        let y = dispatch!(x.dtype(), T in floats => scatter::<T>(cx, [x, w], b, &axes, self.group));
        Ok(vec![y?.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::Weighted {
            weight: 1,
            channel_axis: 1,
            bias: Some(2),
        }
    }
}

/// The transposed convolution over these axes, whose input is its output: `x` and `w` must fit them and the groups.
pub(in crate::ops) fn scatter<T: Accumulate>(
    cx: &EvalContext<'_>,
    [x, w]: [&Tensor; 2],
    b: Option<&Tensor>,
    axes: &[WindowAxis],
    group: usize,
) -> Result<Tensor, EvalError> {
    let (n, c, _) = grouped::split_shape(X_RULE, x)?;
    let (_, m_per_group, _) = grouped::split_shape(W_RULE, w)?;
    let (m, c_per_group) = (m_per_group * group, c / group);
    let mut shape = vec![n, m];
    shape.extend(axes.iter().map(|a| a.input));
    let count = cx.check_size(&shape, T::DTYPE)?;
    let mut y = Vec::with_capacity(count);
    if count == 0 {
        return Ok(Tensor::from_vec(&shape, y)?);
    }
    let (x, w) = (x.data::<T>()?, w.data::<T>()?);
    let b = b.map(Tensor::data::<T>).transpose()?;
    let plane = grouped::volume(axes.iter().map(|a| a.output))?;
    let taps = grouped::volume(axes.iter().map(|a| a.kernel))?;
    let positions = grouped::volume(axes.iter().map(|a| a.input))?;
    let mut sums = vec![T::Wide::default(); positions];
    for image in 0..n {
        for filter in 0..m {
            let bias = b.as_ref().map_or(T::Wide::default(), |b| b[filter].widen());
            sums.fill(bias);
            for channel in 0..c_per_group {
                let channel = filter / m_per_group * c_per_group + channel;
                let x = &x[(image * c + channel) * plane..][..plane];
                let w = &w[(channel * m_per_group + filter % m_per_group) * taps..][..taps];
                for (tap, w) in w.iter().enumerate() {
                    let w = w.widen();
                    grouped::for_each_row(axes, tap, |window, position, count, step| {
                        let x = &x[window..window + count];
                        let sums = sums[position..].iter_mut().step_by(step);
                        for (sum, x) in sums.zip(x) {
                            *sum += w * x.widen();
                        }
                    });
                }
            }
            y.extend(sums.iter().map(|&s| T::narrow(s)));
        }
    }
    Ok(Tensor::from_vec(&shape, y)?)
}
