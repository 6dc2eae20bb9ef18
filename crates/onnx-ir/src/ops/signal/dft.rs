//! `DFT`: the discrete Fourier transform along one axis. The last axis holds real and imaginary part
//! (2) or the real part only (1).
//!
//! `onesided` leaves out what symmetry gives: the forward transform keeps `n / 2 + 1` frequencies of
//! a real signal, the inverse makes a real signal of them.
//! <https://onnx.ai/onnx/operators/onnx__DFT.html>. Opset 20 makes `axis` an input whose default is -2
//! (before: the attribute, 1).

use super::fourier::{Complex, Transform, transform};
use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::axis;
use crate::ops::dispatch::dispatch;

/// The attributes of `DFT`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dft {
    /// The axis, where it is an attribute.
    pub axis: Option<i64>,
    /// Whether frequencies become a signal.
    pub inverse: bool,
    /// Whether only one half of the symmetric spectrum is there.
    pub onesided: bool,
}

const SHAPE_RULE: &str = "the last axis must be 1 (real) or 2 (complex), after the signal's";

impl Operator for Dft {
    const SIGNATURE: Signature = Signature::onnx("DFT", &[17, 20]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axis: if attrs.version() < 20 {
                Some(attrs.int_or("axis", 1)?)
            } else {
                None
            },
            inverse: attrs.flag_or("inverse", false)?,
            onesided: attrs.flag_or("onesided", false)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let Some(mut shape) = x.shape else {
            return Ok(vec![TensorFact::of_dtype(x.dtype).into()]);
        };
        let axis = match (self.axis, cx.fact(2)) {
            (Some(axis), _) => Some(axis),
            (None, None) => Some(-2),
            (None, Some(_)) => cx.const_ints(2).and_then(|a| a.first().copied()),
        };
        let Some(last) = shape.len().checked_sub(1).filter(|&l| l > 0) else {
            return Err(InferError::rule(
                SHAPE_RULE,
                format_args!("rank {}", shape.len()),
            ));
        };
        let axis = match axis {
            Some(axis) => Some(
                signal_axis(axis::infer(axis, shape.len())?, last)
                    .ok_or_else(|| InferError::rule(SHAPE_RULE, format_args!("axis {axis}")))?,
            ),
            None => None,
        };
        let given = cx.fact(1).map(|_| {
            let elements = cx.elements(1).and_then(|l| l.first().cloned());
            elements.unwrap_or(Dim::Unknown)
        });
        match axis {
            Some(axis) => shape[axis] = self.output_length(given, &shape[axis]),
            // Whichever axis it is, it keeps its size.
            None if given.is_none() && !self.onesided => {}
            None => shape[..last].fill(Dim::Unknown),
        }
        shape[last] = Dim::Known(if self.is_real_result() { 1 } else { 2 });
        Ok(vec![TensorFact::with_shape(x.dtype, Some(shape)).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dtype = cx.tensor(0)?.dtype();
        let y = dispatch!(dtype, T in floats => self.run::<T>(cx))?;
        Ok(vec![y.into()])
    }
}

/// The axis, unless it is the last, which holds the parts of complex numbers.
fn signal_axis(axis: usize, last: usize) -> Option<usize> {
    (axis < last).then_some(axis)
}

impl Dft {
    fn is_real_result(&self) -> bool {
        self.inverse && self.onesided
    }

    /// The size of the transformed axis: of a given length, or of the input's size.
    fn output_length(&self, given: Option<Dim>, size: &Dim) -> Dim {
        let length = match given {
            Some(length) => length,
            None if self.is_real_result() => (size.clone() - Dim::Known(1)) * Dim::Known(2),
            None => size.clone(),
        };
        if self.onesided && !self.inverse {
            length.floor_div(&Dim::Known(2)) + Dim::Known(1)
        } else {
            length
        }
    }

    fn run<T: Accumulate<Wide = f64>>(&self, cx: &EvalContext<'_>) -> Result<Tensor, EvalError> {
        let x = cx.tensor(0)?;
        let found = || format!("{:?}", x.shape());
        let Some((&parts, signal)) = x.shape().split_last().filter(|(p, _)| matches!(p, 1 | 2))
        else {
            return Err(EvalError::rule(SHAPE_RULE, found()));
        };
        let axis = match self.axis {
            Some(axis) => axis,
            None => cx.ints(2)?.and_then(|a| a.first().copied()).unwrap_or(-2),
        };
        let axis = axis::eval(axis, x.rank())?;
        let axis = signal_axis(axis, signal.len())
            .ok_or_else(|| EvalError::rule(SHAPE_RULE, format_args!("axis {axis}")))?;
        let given = cx.ints(1)?.and_then(|l| l.first().copied());
        let length = given.unwrap_or(match (self.is_real_result(), signal[axis] as i64) {
            (true, size) => 2 * (size - 1),
            (false, size) => size,
        });
        let length = usize::try_from(length)
            .ok()
            .filter(|&l| l > 0)
            .ok_or_else(|| EvalError::rule("the length must be positive", length))?;
        let kept = if self.onesided && !self.inverse {
            length / 2 + 1
        } else {
            length
        };
        let parts_out = if self.is_real_result() { 1 } else { 2 };
        let mut shape = signal.to_vec();
        shape[axis] = kept;
        shape.push(parts_out);
        let count = cx.check_size(&shape, T::DTYPE)?;
        cx.check_size(&[length, 2], DType::F64)?;
        let mut y = vec![T::default(); count];
        if count == 0 {
            return Ok(Tensor::from_vec(&shape, y)?);
        }
        let (outer, size, inner) = axis::split(signal, axis);
        let x = x.data::<T>()?;
        let mut row: Vec<Complex> = Vec::with_capacity(length);
        for line in 0..outer * inner {
            let (o, i) = (line / inner, line % inner);
            row.clear();
            row.extend((0..size.min(length)).map(|n| {
                let at = ((o * size + n) * inner + i) * parts;
                let imaginary = if parts == 2 { x[at + 1].widen() } else { 0.0 };
                (x[at].widen(), imaginary)
            }));
            row.resize(length, (0.0, 0.0));
            if self.is_real_result() {
                complete_spectrum(&mut row);
            }
            let kind = if self.inverse {
                Transform::Inverse
            } else {
                Transform::Forward
            };
            for (k, (re, im)) in transform(&row, kind).into_iter().take(kept).enumerate() {
                let at = ((o * kept + k) * inner + i) * parts_out;
                y[at] = T::narrow(re);
                if parts_out == 2 {
                    y[at + 1] = T::narrow(im);
                }
            }
        }
        Ok(Tensor::from_vec(&shape, y)?)
    }
}

/// The second half of a real signal's spectrum is the first, mirrored and conjugated.
fn complete_spectrum(spectrum: &mut [Complex]) {
    let n = spectrum.len();
    spectrum[0].1 = 0.0;
    if n.is_multiple_of(2) {
        spectrum[n / 2].1 = 0.0;
    }
    for k in n / 2 + 1..n {
        let (re, im) = spectrum[n - k];
        spectrum[k] = (re, -im);
    }
}
