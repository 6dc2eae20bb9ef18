//! Reading a tensor lane by lane: the elements along one axis, or along several neighbouring ones.

use crate::operator::EvalError;
use compress_tensor::{CastOptions, DType, Tensor};

/// How the elements of a C-order tensor fall into lanes: element `k` of lane `(o, i)` lies at
/// `(o * len + k) * inner + i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    /// Elements before the lanes' axes.
    pub outer: usize,
    /// Elements of a lane.
    pub len: usize,
    /// Elements after the lanes' axes.
    pub inner: usize,
}

impl Lanes {
    /// The lanes over the axes `first..end` of a shape. `first <= end <= rank` must hold.
    pub fn new(shape: &[usize], first: usize, end: usize) -> Self {
        Self {
            outer: shape[..first].iter().product(),
            len: shape[first..end].iter().product(),
            inner: shape[end..].iter().product(),
        }
    }

    /// Lane by lane, in the order of `o`, then `i`, the positions of its elements.
    pub fn iter(self) -> impl Iterator<Item = impl Iterator<Item = usize> + Clone> {
        let Self { outer, len, inner } = self;
        (0..outer).flat_map(move |o| {
            (0..inner).map(move |i| (0..len).map(move |k| (o * len + k) * inner + i))
        })
    }

    /// `f` applied to each lane of a float tensor, in f64; the result is rounded to the tensor's type.
    ///
    /// # Errors
    /// [`EvalError::DType`] for what is no float.
    pub fn map(self, x: &Tensor, mut f: impl FnMut(&mut [f64])) -> Result<Tensor, EvalError> {
        let mut values = floats(x)?;
        let mut lane = Vec::with_capacity(self.len);
        for positions in self.iter() {
            lane.clear();
            lane.extend(positions.clone().map(|p| values[p]));
            f(&mut lane);
            for (p, &v) in positions.zip(&lane) {
                values[p] = v;
            }
        }
        rounded(x.dtype(), x.shape(), values)
    }
}

/// The elements of a float tensor as f64.
///
/// # Errors
/// [`EvalError::DType`] for what is no float.
pub fn floats(x: &Tensor) -> Result<Vec<f64>, EvalError> {
    if !x.dtype().is_float() {
        return Err(EvalError::DType { dtype: x.dtype() });
    }
    Ok(x.to_f64_vec()?)
}

/// A tensor of the float type `dtype`, each value rounded once.
///
/// # Errors
/// [`EvalError::Tensor`] where there are not as many values as the shape says.
pub fn rounded(dtype: DType, shape: &[usize], values: Vec<f64>) -> Result<Tensor, EvalError> {
    Ok(Tensor::from_vec(shape, values)?.cast(dtype, CastOptions::default())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_run_along_their_axes() {
        let x = Tensor::from_vec(&[2, 3, 2], (0..12).map(f64::from).collect()).unwrap();
        let mut sums = Vec::new();
        Lanes::new(x.shape(), 1, 2)
            .map(&x, |lane| sums.push(lane.iter().sum::<f64>()))
            .unwrap();
        assert_eq!(sums, [6.0, 9.0, 24.0, 27.0]);
        let last = Lanes::new(x.shape(), 1, 3);
        assert_eq!((last.outer, last.len, last.inner), (2, 6, 1));
    }
}
