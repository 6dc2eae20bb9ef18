//! Multidirectional (NumPy) broadcasting: <https://onnx.ai/onnx/repo-docs/Broadcasting.html>.

use crate::operator::{EvalContext, EvalError, InferError};
use crate::symbolic::Dim;
use compress_tensor::{DType, Element, Tensor};

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
/// size above 1 give the size, a size and what a slice leaves of it (`min(n, 512)`) the size.
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
                // They fit only where they are equal, or one of them is 1.
                (o, d) if d.is_capped(o) => o.clone(),
                (o, d) if o.is_capped(d) => d.clone(),
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

/// The rows of a target shape, in C order: where each operand's row starts. It does not know what is done with the
/// elements, so that the code per element type and operation is one small loop.
struct Rows<'a, const N: usize> {
    target: &'a [usize],
    strides: [&'a [usize]; N],
    index: Vec<usize>,
    next: Option<[usize; N]>,
}

impl<'a, const N: usize> Rows<'a, N> {
    fn new(target: &'a [usize], strides: [&'a [usize]; N]) -> Self {
        Self {
            target,
            strides,
            index: vec![0; target.len().saturating_sub(1)],
            next: (!target.contains(&0)).then_some([0; N]),
        }
    }

    /// Elements of a row, and each operand's step from one to the next.
    fn row(&self) -> (usize, [usize; N]) {
        match self.target.split_last() {
            Some((&len, outer)) => (len, self.strides.map(|s| s[outer.len()])),
            None => (1, [0; N]),
        }
    }

    /// The offsets of the next row.
    fn advance(&mut self) -> Option<[usize; N]> {
        let offsets = self.next?;
        let mut next = offsets;
        self.next = None;
        for axis in (0..self.index.len()).rev() {
            self.index[axis] += 1;
            let carry = self.index[axis] == self.target[axis];
            for (o, s) in next.iter_mut().zip(self.strides) {
                *o += s[axis];
                if carry {
                    *o -= s[axis] * self.target[axis];
                }
            }
            if !carry {
                self.next = Some(next);
                break;
            }
            self.index[axis] = 0;
        }
        Some(offsets)
    }
}

/// Calls `visit` with the linear offsets into each operand, for every index of `target` in C order.
pub fn for_each<const N: usize>(
    target: &[usize],
    strides: [&[usize]; N],
    mut visit: impl FnMut([usize; N]),
) {
    let mut rows = Rows::new(target, strides);
    let (len, steps) = rows.row();
    while let Some(mut at) = rows.advance() {
        for _ in 0..len {
            visit(at);
            for (o, s) in at.iter_mut().zip(steps) {
                *o += s;
            }
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
    let meeting = Meeting::of(cx, a.shape(), b.shape(), R::DTYPE)?;
    let mut out = Vec::with_capacity(meeting.count);
    let (x, y) = (a.data::<A>()?, b.data::<B>()?);
    let mut rows = Rows::new(&meeting.walked, [&meeting.strides[0], &meeting.strides[1]]);
    let (len, [step_x, step_y]) = rows.row();
    while let Some([mut i, mut j]) = rows.advance() {
        for _ in 0..len {
            out.push(f(x[i], y[j])?);
            i += step_x;
            j += step_y;
        }
    }
    Ok(Tensor::from_vec(&meeting.target, out)?)
}

/// How two shapes meet.
struct Meeting {
    target: Vec<usize>,
    /// Elements of `target`.
    count: usize,
    /// The shape to go through: `target`, or all elements as one row where both shapes are equal.
    walked: Vec<usize>,
    strides: [Vec<usize>; 2],
}

impl Meeting {
    fn of(
        cx: &EvalContext<'_>,
        a: &[usize],
        b: &[usize],
        result: DType,
    ) -> Result<Self, EvalError> {
        let target = shape(&[a, b])?;
        let count = cx.check_size(&target, result)?;
        let (walked, strides) = if a == b {
            (vec![count], [vec![1], vec![1]])
        } else {
            (target.clone(), [strides(a, &target), strides(b, &target)])
        };
        Ok(Self {
            target,
            count,
            walked,
            strides,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visited(target: &[usize], strides: &[usize]) -> Vec<usize> {
        let mut seen = Vec::new();
        for_each(target, [strides], |[at]| seen.push(at));
        seen
    }

    #[test]
    fn every_index_is_visited_in_c_order() {
        assert_eq!(visited(&[2, 3], &[3, 1]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(visited(&[2, 3], &[0, 1]), [0, 1, 2, 0, 1, 2]);
        assert_eq!(visited(&[2, 2, 2], &[0, 1, 0]), [0, 0, 1, 1, 0, 0, 1, 1]);
    }

    #[test]
    fn a_scalar_is_one_index_and_an_empty_shape_none() {
        assert_eq!(visited(&[], &[]), [0]);
        assert!(visited(&[3, 0], &[0, 1]).is_empty());
        assert!(visited(&[0, 3], &[3, 1]).is_empty());
    }
}
