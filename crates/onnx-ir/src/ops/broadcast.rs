//! Multidirectional (NumPy) broadcasting: <https://onnx.ai/onnx/repo-docs/Broadcasting.html>.

use crate::operator::{EvalContext, EvalError, InferError};
use crate::symbolic::Dim;
use compress_tensor::{Element, Tensor};

/// The shape that all shapes broadcast to.
///
/// # Errors
/// [`EvalError::Rule`].
pub fn shape(shapes: &[&[usize]]) -> Result<Vec<usize>, EvalError> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut out = vec![1usize; rank];
    for s in shapes {
        for (o, &d) in out[rank - s.len()..].iter_mut().zip(*s) {
            if *o == 1 {
                *o = d;
            } else if d != 1 && d != *o {
                return Err(EvalError::rule(
                    "shapes must broadcast",
                    format_args!("{shapes:?}"),
                ));
            }
        }
    }
    Ok(out)
}

/// [`shape`] of symbolic shapes. Two different symbols give an unknown dimension; a symbol and a known
/// size above 1 give the size.
///
/// # Errors
/// [`InferError::Rule`] where two known sizes do not fit.
pub fn infer(shapes: &[&[Dim]]) -> Result<Vec<Dim>, InferError> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut out = vec![Dim::Known(1); rank];
    for s in shapes {
        for (o, d) in out[rank - s.len()..].iter_mut().zip(*s) {
            *o = match (&*o, d) {
                (Dim::Known(1), d) => d.clone(),
                (o, Dim::Known(1)) => o.clone(),
                (o, d) if o.is_same(d) => o.clone(),
                (Dim::Known(a), Dim::Known(b)) => {
                    return Err(InferError::rule(
                        "shapes must broadcast",
                        format_args!("{a} and {b}"),
                    ));
                }
                (Dim::Known(a), _) | (_, Dim::Known(a)) => Dim::Known(*a),
                _ => Dim::Unknown,
            };
        }
    }
    Ok(out)
}

/// Strides (in elements) with which a tensor of `shape` is read at every index of `target`; 0 along
/// broadcast axes. `shape` must broadcast to `target`.
pub fn strides(shape: &[usize], target: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; target.len()];
    let mut step = 1;
    for (i, &d) in shape.iter().enumerate().rev() {
        let at = target.len() - shape.len() + i;
        strides[at] = if d == 1 { 0 } else { step };
        step *= d;
    }
    strides
}

/// Calls `visit` with the linear offsets into each operand, for every index of `target` in C order.
pub fn for_each<const N: usize>(
    target: &[usize],
    strides: [&[usize]; N],
    mut visit: impl FnMut([usize; N]),
) {
    if target.contains(&0) {
        return;
    }
    let mut index = vec![0usize; target.len()];
    let mut offsets = [0usize; N];
    loop {
        visit(offsets);
        let mut axis = target.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            for (o, s) in offsets.iter_mut().zip(strides) {
                *o += s[axis];
            }
            if index[axis] < target[axis] {
                break;
            }
            for (o, s) in offsets.iter_mut().zip(strides) {
                *o -= s[axis] * target[axis];
            }
            index[axis] = 0;
        }
    }
}

/// `f` of two tensors, element by element, broadcast.
///
/// # Errors
/// Those of [`shape`], of the limits and of the element types.
pub fn binary<A: Element, B: Element, R: Element>(
    cx: &EvalContext<'_>,
    a: &Tensor,
    b: &Tensor,
    mut f: impl FnMut(A, B) -> Result<R, EvalError>,
) -> Result<Tensor, EvalError> {
    let target = shape(&[a.shape(), b.shape()])?;
    let mut out = Vec::with_capacity(cx.check_size(&target, R::DTYPE)?);
    let (x, y) = (a.data::<A>()?, b.data::<B>()?);
    if a.shape() == b.shape() {
        for (&x, &y) in x.iter().zip(y.iter()) {
            out.push(f(x, y)?);
        }
        return Ok(Tensor::from_vec(&target, out)?);
    }
    let (sx, sy) = (strides(a.shape(), &target), strides(b.shape(), &target));
    let mut failed = None;
    for_each(&target, [&sx, &sy], |[i, j]| match f(x[i], y[j]) {
        Ok(r) => out.push(r),
        Err(e) => failed = failed.take().or(Some(e)),
    });
    match failed {
        Some(e) => Err(e),
        None => Ok(Tensor::from_vec(&target, out)?),
    }
}
