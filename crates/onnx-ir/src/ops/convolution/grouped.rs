//! What the grouped convolutions share: checked channel counts and the walk over a kernel.

use crate::gradient::GradientContext;
use crate::operator::{AttrError, Attrs, EvalError, InferError, Unsupported};
use crate::ops::window::WindowAxis;
use crate::symbolic::Dim;
use compress_tensor::Tensor;

/// Reads `group`.
pub(in crate::ops) fn parse_group(attrs: &mut Attrs<'_>) -> Result<usize, AttrError> {
    let group = attrs.size_or("group", 1)?;
    if group == 0 {
        return Err(AttrError::Invalid {
            name: "group",
            found: "0".to_owned(),
            rule: "it must be positive",
        });
    }
    Ok(group)
}

/// The channels of one group.
pub(in crate::ops) fn per_group(channels: usize, group: usize) -> Result<usize, EvalError> {
    if channels.is_multiple_of(group) {
        return Ok(channels / group);
    }
    Err(EvalError::rule(
        "channels must be a multiple of group",
        format_args!("{channels} channels, {group} groups"),
    ))
}

/// Splits a shape into batch, channels and the spatial sizes.
pub(in crate::ops) fn split_shape<'t>(
    what: &'static str,
    tensor: &'t Tensor,
) -> Result<(usize, usize, &'t [usize]), EvalError> {
    match tensor.shape() {
        [n, c, spatial @ ..] => Ok((*n, *c, spatial)),
        other => Err(EvalError::rule(what, format_args!("{other:?}"))),
    }
}

/// As [`split_shape`], while inferring.
pub(in crate::ops) fn split_dims<'d>(
    what: &'static str,
    dims: &'d [Dim],
) -> Result<(&'d Dim, &'d Dim, &'d [Dim]), InferError> {
    match dims {
        [n, c, spatial @ ..] => Ok((n, c, spatial)),
        other => Err(InferError::rule(what, format_args!("rank {}", other.len()))),
    }
}

/// The number of elements of a part of a shape. A whole tensor's count is known to fit; that of a
/// part may not, where another part is zero.
pub(in crate::ops) fn volume(sizes: impl IntoIterator<Item = usize>) -> Result<usize, EvalError> {
    let mut sizes = sizes.into_iter();
    sizes
        .try_fold(1usize, usize::checked_mul)
        .ok_or_else(|| EvalError::rule("sizes must not overflow", "the product of the sizes does"))
}

/// The bias has one value per output channel.
pub(in crate::ops) fn check_bias(bias: Option<&Tensor>, channels: usize) -> Result<(), EvalError> {
    match bias {
        Some(b) if b.shape() != [channels] => Err(EvalError::rule(
            "the bias must have one value per output channel",
            format_args!("bias {:?}, {channels} channels", b.shape()),
        )),
        _ => Ok(()),
    }
}

const KERNEL_RULE: &str = "kernel_shape must be that of the weight";

/// The sizes of the kernel: those of the weight, and where they are not known those that `kernel_shape` gives.
pub(in crate::ops) fn infer_kernel_shape(
    attribute: Option<&[i64]>,
    kernel: &[Dim],
) -> Result<Vec<Dim>, InferError> {
    let Some(given) = attribute else {
        return Ok(kernel.to_vec());
    };
    let pairs = || given.iter().map(|&size| Dim::Known(size)).zip(kernel);
    if given.len() != kernel.len() || pairs().any(|(given, size)| size.contradicts(&given)) {
        return Err(InferError::rule(
            KERNEL_RULE,
            format_args!("{given:?}, weight {kernel:?}"),
        ));
    }
    Ok(pairs().map(|(given, _)| given).collect())
}

/// `kernel_shape`, where it is given, must be the weight's.
pub(in crate::ops) fn check_kernel_shape(
    attribute: Option<&[i64]>,
    kernel: &[usize],
) -> Result<(), EvalError> {
    let same = |given: &[i64]| {
        given.len() == kernel.len()
            && given
                .iter()
                .zip(kernel)
                .all(|(&g, &k)| usize::try_from(g) == Ok(k))
    };
    match attribute {
        Some(given) if !same(given) => Err(EvalError::rule(
            KERNEL_RULE,
            format_args!("{given:?}, weight {kernel:?}"),
        )),
        _ => Ok(()),
    }
}

/// Runs of equal steps: for tap `k` of one kernel, every row of windows (along the last axis) whose
/// tap falls into the input, as `(window, position, count, step)` with `window` and `position`
/// offsets into the planes of windows and positions. The row's `j`-th window is `window + j`, its
/// position `position + j * step`.
pub(in crate::ops) fn for_each_row(
    axes: &[WindowAxis],
    tap: usize,
    mut visit: impl FnMut(usize, usize, usize, usize),
) {
    let Some((last, outer)) = axes.split_last() else {
        visit(0, 0, 1, 1);
        return;
    };
    let row_tap = tap % last.kernel;
    let (row, row_start) = last.windows(row_tap);
    if row.is_empty() {
        return;
    }
    // Per outer axis: the windows of this tap, the position of the first.
    let mut ranges = Vec::with_capacity(outer.len());
    let mut rest = tap / last.kernel;
    for axis in outer.iter().rev() {
        let (windows, first) = axis.windows(rest % axis.kernel);
        rest /= axis.kernel;
        if windows.is_empty() {
            return;
        }
        ranges.push((windows, first));
    }
    ranges.reverse();
    let mut index = vec![0usize; outer.len()];
    loop {
        let (mut window, mut position) = (0, 0);
        for ((axis, (windows, first)), i) in outer.iter().zip(&ranges).zip(&index) {
            window = window * axis.output + windows.start + i;
            position = position * axis.input + first + i * axis.stride;
        }
        visit(
            window * last.output + row.start,
            position * last.input + row_start,
            row.len(),
            last.stride,
        );
        let mut axis = outer.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            if index[axis] < ranges[axis].0.len() {
                break;
            }
            index[axis] = 0;
        }
    }
}

/// Gives input `index`, a bias per channel, the sum of the adjoint over all other axes.
pub(in crate::ops) fn give_bias(cx: &GradientContext<'_>, index: usize) -> Result<(), Unsupported> {
    if cx.wants(index) {
        let rank = cx.dy().rank().or(cx.input(0).rank());
        let rank = rank.ok_or(Unsupported("the rank of its input is not known"))? as i64;
        let axes: Vec<i64> = (0..rank).filter(|&axis| axis != 1).collect();
        cx.give(index, cx.dy().sum(&axes, false));
    }
    Ok(())
}
