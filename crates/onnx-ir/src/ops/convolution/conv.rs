//! `Conv`: `y[n, m, o] = b[m] + sum over c, k of w[m, c, k] * x[n, g * C/G + c, o * s + k * d - p]`,
//! cross-correlation in groups `g`, over any number of spatial axes (see [`crate::ops::window`]).
//! <https://onnx.ai/onnx/operators/onnx__Conv.html>. Opset 22 adds bfloat16.

use super::grouped;
use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::dispatch::dispatch;
use crate::ops::window::{Window, WindowAxis};

/// The attributes of `Conv`.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Strides, dilations and padding; the kernel is that of the weight.
    pub window: Window,
    /// Groups of channels that are convolved on their own.
    pub group: usize,
}

pub(in crate::ops) const X_RULE: &str =
    "the input must have the axes batch, channel and spatial ones";
pub(in crate::ops) const W_RULE: &str =
    "the weight must have the axes output channel, input channel and spatial ones";

impl Operator for Conv {
    const SIGNATURE: Signature = Signature::onnx("Conv", &[1, 11, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let (x, w, dy) = (cx.input(0), cx.input(1), cx.dy());
        cx.give(
            0,
            dy.apply(cx.private_like("ConvInputGrad"), &[w, x.shape()]),
        );
        cx.give(
            1,
            dy.apply(cx.private_like("ConvWeightGrad"), &[x, w.shape()]),
        );
        grouped::give_bias(cx, 2)?;
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            window: Window::parse(attrs)?,
            group: grouped::parse_group(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (x, w) = (cx.tensor(0)?, cx.tensor(1)?);
        let shape = self.output_dims(&x, &w)?;
        Ok(vec![
            TensorFact::with_shape(x.dtype.or(w.dtype), shape).into(),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let y = self.convolve(cx, cx.tensor(0)?, cx.tensor(1)?, cx.optional_tensor(2)?)?;
        Ok(vec![y.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::Weighted {
            weight: 1,
            channel_axis: 0,
            bias: Some(2),
        }
    }
}

impl Conv {
    /// The shape of the result for an input and a weight; `None` where the rank is not known.
    ///
    /// # Errors
    /// [`InferError::Rule`] where the two do not fit.
    pub fn output_dims(
        &self,
        x: &TensorFact,
        w: &TensorFact,
    ) -> Result<Option<Vec<Dim>>, InferError> {
        let Some(x) = &x.shape else {
            return Ok(None);
        };
        let (n, c, spatial) = grouped::split_dims(X_RULE, x)?;
        let (m, kernel) = match &w.shape {
            Some(w) => {
                let (m, c_per_group, kernel) = grouped::split_dims(W_RULE, w)?;
                let weight_channels = c_per_group.clone() * self.group.into();
                if c.contradicts(&weight_channels) {
                    return Err(InferError::rule(
                        "the input's channels must be the weight's times group",
                        format_args!("{c} and {c_per_group} times {}", self.group),
                    ));
                }
                let given = self.window.kernel_shape.as_deref();
                (m.clone(), grouped::infer_kernel_shape(given, kernel)?)
            }
            None if self.window.kernel_shape.is_some() => {
                (Dim::Unknown, self.window.pooling_kernel())
            }
            None => (Dim::Unknown, vec![Dim::Unknown; spatial.len()]),
        };
        let mut shape = vec![n.clone(), m];
        shape.extend(self.window.output_dims(spatial, &kernel)?);
        Ok(Some(shape))
    }

    /// The convolution of `x` with the weight `w` and the bias `b`, all of one numeric type; integers wrap
    /// around.
    ///
    /// # Errors
    /// [`EvalError::Rule`] where the shapes do not fit; [`EvalError::TooLarge`]; [`EvalError::DType`].
    pub fn convolve(
        &self,
        cx: &EvalContext<'_>,
        x: &Tensor,
        w: &Tensor,
        b: Option<&Tensor>,
    ) -> Result<Tensor, EvalError> {
        let (_, c, spatial) = grouped::split_shape(X_RULE, x)?;
        let (m, c_per_group, kernel) = grouped::split_shape(W_RULE, w)?;
        grouped::check_kernel_shape(self.window.kernel_shape.as_deref(), kernel)?;
        grouped::check_bias(b, m)?;
        grouped::per_group(m, self.group)?;
        if c_per_group.checked_mul(self.group) != Some(c) {
            return Err(EvalError::rule(
                "the input's channels must be the weight's times group",
                format_args!("{c} and {c_per_group} times {}", self.group),
            ));
        }
        let axes = self.window.axes(spatial, kernel)?;
        dispatch!(x.dtype(), T in numbers => convolve::<T>(cx, [x, w], b, &axes, self.group))
    }
}

/// The convolution over these axes: `x` and `w` must fit them and the groups.
pub(in crate::ops) fn convolve<T: Accumulate>(
    cx: &EvalContext<'_>,
    [x, w]: [&Tensor; 2],
    b: Option<&Tensor>,
    axes: &[WindowAxis],
    group: usize,
) -> Result<Tensor, EvalError> {
    let (n, c, _) = grouped::split_shape(X_RULE, x)?;
    let (m, c_per_group, _) = grouped::split_shape(W_RULE, w)?;
    let m_per_group = m / group;
    let mut shape = vec![n, m];
    shape.extend(axes.iter().map(|a| a.output));
    let count = cx.check_size(&shape, T::DTYPE)?;
    let mut y = Vec::with_capacity(count);
    if count == 0 {
        return Ok(Tensor::from_vec(&shape, y)?);
    }
    let (x, w) = (x.data::<T>()?, w.data::<T>()?);
    let b = b.map(Tensor::data::<T>).transpose()?;
    let plane = grouped::volume(axes.iter().map(|a| a.input))?;
    let taps = grouped::volume(axes.iter().map(|a| a.kernel))?;
    let windows = grouped::volume(axes.iter().map(|a| a.output))?;
    let mut sums = vec![T::Wide::default(); windows];
    for image in 0..n {
        for filter in 0..m {
            let bias = b.as_ref().map_or(T::Wide::default(), |b| b[filter].widen());
            sums.fill(bias);
            for channel in 0..c_per_group {
                let source = image * c + filter / m_per_group * c_per_group + channel;
                let x = &x[source * plane..(source + 1) * plane];
                let w = &w[(filter * c_per_group + channel) * taps..][..taps];
                for (tap, w) in w.iter().enumerate() {
                    let w = w.widen();
                    grouped::for_each_row(axes, tap, |window, position, count, step| {
                        let sums = &mut sums[window..window + count];
                        let x = x[position..].iter().step_by(step);
                        for (sum, x) in sums.iter_mut().zip(x) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{NoSubgraphs, eval_operator};
    use crate::graph::Node;
    use crate::operator::Limits;

    fn run(conv: &Conv, x: &Tensor, w: &Tensor, limits: Limits) -> Result<Tensor, EvalError> {
        let none: [Option<crate::ValueId>; 0] = [];
        let (x, w) = (Value::from(x.clone()), Value::from(w.clone()));
        let inputs = [Some(&x), Some(&w)];
        let node = Node::new("Conv", none, [None]);
        let y = eval_operator(conv, &node, 11, &inputs, limits, &mut NoSubgraphs)?;
        Ok(y[0].as_tensor().unwrap().clone())
    }

    fn conv(group: usize, pads: [i64; 4]) -> Conv {
        let window = Window {
            pads: pads.to_vec(),
            ..Window::default()
        };
        Conv { window, group }
    }

    #[test]
    fn a_box_filter_counts_the_neighbours_within_the_input() {
        let ones = |shape: &[usize]| Tensor::full(shape, 1f32).unwrap();
        let conv = conv(1, [1, 1, 1, 1]);
        let y = run(
            &conv,
            &ones(&[1, 1, 3, 3]),
            &ones(&[1, 1, 3, 3]),
            Limits::default(),
        );
        let y = y.unwrap().into_vec::<f32>().unwrap();
        assert_eq!(y, [4.0, 6.0, 4.0, 6.0, 9.0, 6.0, 4.0, 6.0, 4.0]);
    }

    #[test]
    fn an_empty_batch_of_any_declared_size_is_done_at_once() {
        let x = Tensor::from_vec::<f32>(&[1 << 40, 1, 1 << 20, 0], vec![]).unwrap();
        let w = Tensor::full(&[1, 1, 1, 1], 1f32).unwrap();
        let y = run(&conv(1, [0; 4]), &x, &w, Limits::default()).unwrap();
        assert_eq!(y.shape(), [1 << 40, 1, 1 << 20, 0]);
    }

    #[test]
    fn padding_that_a_file_asks_for_is_bounded_by_the_limits() {
        let x = Tensor::full(&[1, 1, 1, 1], 1f32).unwrap();
        let conv = conv(1, [1 << 30, 1 << 30, 0, 0]);
        let limits = Limits::default().with_max_tensor_bytes(1 << 20);
        let error = run(&conv, &x, &x, limits).unwrap_err();
        assert!(matches!(error, EvalError::TooLarge { .. }));
    }

    #[test]
    fn channels_that_do_not_fit_the_groups_are_an_error() {
        let x = Tensor::full(&[1, 3, 1, 1], 1f32).unwrap();
        let w = Tensor::full(&[2, 1, 1, 1], 1f32).unwrap();
        let error = run(&conv(2, [0; 4]), &x, &w, Limits::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the input's channels must be the weight's times group: 3 and 1 times 2"
        );
    }
}
