//! `STFT`: the Fourier transform of windows of a signal, `frame_step` apart.
//! <https://onnx.ai/onnx/operators/onnx__STFT.html>

use super::fourier::{Complex, Transform, transform};
use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::dispatch::dispatch;

/// The attributes of `STFT`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stft {
    /// Whether only the `n / 2 + 1` frequencies are kept that a real signal needs.
    pub onesided: bool,
}

const SHAPE_RULE: &str = "the signal must be [batch, length, 1 or 2]";

impl Operator for Stft {
    const SIGNATURE: Signature = Signature::onnx("STFT", &[17]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            onesided: attrs.flag_or("onesided", true)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let (batch, length) = match x.shape.as_deref() {
            None => (Dim::Unknown, Dim::Unknown),
            Some([batch, length, _]) => (batch.clone(), length.clone()),
            Some(other) => {
                return Err(InferError::rule(
                    SHAPE_RULE,
                    format_args!("rank {}", other.len()),
                ));
            }
        };
        let first = |i: usize| cx.elements(i).and_then(|e| e.first().cloned());
        let frame = match (cx.fact(3), cx.fact(2)) {
            (Some(_), _) => first(3).unwrap_or(Dim::Unknown),
            (None, Some(_)) => match cx.shape(2) {
                Some([n]) => n.clone(),
                _ => Dim::Unknown,
            },
            (None, None) => length.clone(),
        };
        let frames = match first(1) {
            Some(Dim::Known(step)) if step > 0 => {
                (length - frame.clone()).floor_div(&Dim::Known(step)) + Dim::Known(1)
            }
            _ => Dim::Unknown,
        };
        let bins = match self.onesided {
            true => frame.floor_div(&Dim::Known(2)) + Dim::Known(1),
            false => frame,
        };
        let shape = vec![batch, frames, bins, Dim::Known(2)];
        Ok(vec![TensorFact::with_shape(x.dtype, Some(shape)).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dtype = cx.tensor(0)?.dtype();
        let y = dispatch!(dtype, T in floats => self.run::<T>(cx))?;
        Ok(vec![y.into()])
    }
}

impl Stft {
    fn run<T: Accumulate<Wide = f64>>(&self, cx: &EvalContext<'_>) -> Result<Tensor, EvalError> {
        let (x, window) = (cx.tensor(0)?, cx.optional_tensor(2)?);
        let &[batch, length, parts @ (1 | 2)] = x.shape() else {
            return Err(EvalError::rule(SHAPE_RULE, format_args!("{:?}", x.shape())));
        };
        let positive = |what: &'static str, n: i64| {
            let size = usize::try_from(n).ok().filter(|&n| n > 0);
            size.ok_or_else(|| EvalError::rule(what, n))
        };
        let first = |i: usize| Ok::<_, EvalError>(cx.ints(i)?.and_then(|v| v.first().copied()));
        let step = first(1)?.ok_or(EvalError::MissingInput { index: 1 })?;
        let step = positive("frame_step must be positive", step)?;
        let frame = match (first(3)?, window) {
            (Some(frame), _) => positive("frame_length must be positive", frame)?,
            (None, Some(window)) => window.len(),
            (None, None) => length,
        };
        if window.is_some_and(|w| w.shape() != [frame]) || frame == 0 || frame > length {
            return Err(EvalError::rule(
                "a frame must be as long as the window and fit into the signal",
                format_args!("frame of {frame}, signal of {length}"),
            ));
        }
        let frames = (length - frame) / step + 1;
        let bins = if self.onesided { frame / 2 + 1 } else { frame };
        let shape = [batch, frames, bins, 2];
        let mut y: Vec<T> = Vec::with_capacity(cx.check_size(&shape, T::DTYPE)?);
        let x = x.data::<T>()?;
        let window = window.map(Tensor::data::<T>).transpose()?;
        let weight = |n: usize| window.as_ref().map_or(1.0, |w| w[n].widen());
        let mut row: Vec<Complex> = Vec::with_capacity(frame);
        for signal in x.chunks_exact(length * parts) {
            for f in 0..frames {
                row.clear();
                row.extend((0..frame).map(|n| {
                    let at = (f * step + n) * parts;
                    let imaginary = if parts == 2 {
                        signal[at + 1].widen()
                    } else {
                        0.0
                    };
                    (signal[at].widen() * weight(n), imaginary * weight(n))
                }));
                let spectrum = transform(&row, Transform::Forward);
                for (re, im) in spectrum.into_iter().take(bins) {
                    y.extend([T::narrow(re), T::narrow(im)]);
                }
            }
        }
        Ok(Tensor::from_vec(&shape, y)?)
    }
}
