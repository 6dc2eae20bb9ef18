//! What the pooling operators with sliding windows share.

use crate::operator::prelude::*;
use crate::ops::window::{Window, WindowAxis};

const RULE: &str = "the input must have the axes batch, channel and spatial ones";

/// The fact of the pooled tensor.
pub(super) fn infer(window: &Window, cx: &InferContext<'_>) -> Result<TensorFact, InferError> {
    infer_from(window, cx.tensor(0)?)
}

/// The fact of the pooled tensor for a given input.
pub(crate) fn infer_from(window: &Window, x: TensorFact) -> Result<TensorFact, InferError> {
    let shape = match x.shape.as_deref() {
        None => None,
        Some([n, c, spatial @ ..]) => {
            let mut shape = vec![n.clone(), c.clone()];
            shape.extend(window.output_dims(spatial, &window.pooling_kernel())?);
            Some(shape)
        }
        Some(other) => return Err(InferError::rule(RULE, format_args!("rank {}", other.len()))),
    };
    Ok(TensorFact::with_shape(x.dtype, shape))
}

/// The taps of one window.
pub(crate) struct Taps<'a> {
    axes: &'a [WindowAxis],
    /// Per axis: how many taps fall into the input, the position of the first.
    ranges: Vec<(usize, usize)>,
    /// Number of taps in the input or its padding.
    pub(crate) padded: usize,
}

impl Taps<'_> {
    /// Calls `visit` with the position, within its plane, of each tap that falls into the input.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(usize)) {
        if self.ranges.iter().any(|r| r.0 == 0) {
            return;
        }
        let mut index = vec![0usize; self.ranges.len()];
        loop {
            let mut position = 0;
            for ((axis, (_, first)), i) in self.axes.iter().zip(&self.ranges).zip(&index) {
                position = position * axis.input + first + i * axis.dilation;
            }
            visit(position);
            let mut axis = index.len();
            loop {
                if axis == 0 {
                    return;
                }
                axis -= 1;
                index[axis] += 1;
                if index[axis] < self.ranges[axis].0 {
                    break;
                }
                index[axis] = 0;
            }
        }
    }
}

/// The shape of the pooled tensor, and the spatial axes of the window.
pub(crate) fn axes(
    window: &Window,
    x: &Tensor,
) -> Result<(Vec<usize>, Vec<WindowAxis>), EvalError> {
    axes_of(window, x.shape())
}

/// As [`axes`], for an input of a given shape.
pub(crate) fn axes_of(
    window: &Window,
    shape: &[usize],
) -> Result<(Vec<usize>, Vec<WindowAxis>), EvalError> {
    let [n, c, spatial @ ..] = shape else {
        return Err(EvalError::rule(RULE, format_args!("{shape:?}")));
    };
    let kernel = window.kernel_shape.as_deref().unwrap_or(&[]);
    // Kernel sizes are at most 2^31 once parsed.
    let kernel: Vec<usize> = kernel
        .iter()
        .map(|&k| usize::try_from(k).unwrap_or(0))
        .collect();
    let axes = window.axes(spatial, &kernel)?;
    let mut shape = vec![*n, *c];
    shape.extend(axes.iter().map(|a| a.output));
    Ok((shape, axes))
}

/// Calls `pool` with the offset of the plane and the taps, for every window of every plane in C
/// order. There must be at least one window.
pub(crate) fn for_each_window(
    planes: usize,
    axes: &[WindowAxis],
    mut pool: impl FnMut(usize, &Taps<'_>),
) {
    let plane: usize = axes.iter().map(|a| a.input).product();
    let windows: usize = axes.iter().map(|a| a.output).product();
    for p in 0..planes {
        for window in 0..windows {
            let mut taps = Taps {
                axes,
                ranges: vec![(0, 0); axes.len()],
                padded: 1,
            };
            let mut rest = window;
            for (axis, range) in axes.iter().zip(&mut taps.ranges).rev() {
                let o = rest % axis.output;
                rest /= axis.output;
                let (inside, first) = axis.taps(o);
                *range = (inside.len(), first);
                taps.padded = taps.padded.saturating_mul(axis.padded_taps(o));
            }
            pool(p * plane, &taps);
        }
    }
}

/// `pool` of every window: it gets the elements of the plane and the taps.
pub(super) fn pool<T: Element, R: Element>(
    cx: &EvalContext<'_>,
    window: &Window,
    mut pool: impl FnMut(&[T], &Taps<'_>) -> R,
) -> Result<Tensor, EvalError> {
    let x = cx.tensor(0)?;
    let (shape, axes) = axes(window, x)?;
    let count = cx.check_size(&shape, R::DTYPE)?;
    let mut y = Vec::with_capacity(count);
    if count > 0 {
        let x = x.data::<T>()?;
        for_each_window(shape[0] * shape[1], &axes, |plane, taps| {
            y.push(pool(&x[plane..], taps));
        });
    }
    Ok(Tensor::from_vec(&shape, y)?)
}
