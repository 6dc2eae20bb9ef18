//! Queries, keys and values by head: `[batch, heads, sequence, size]` in f64.

use crate::operator::prelude::*;

/// A tensor split into heads.
#[derive(Clone, Debug, PartialEq)]
pub struct Heads {
    /// Independent samples.
    pub batch: usize,
    /// Heads of each sample.
    pub heads: usize,
    /// Positions of each head.
    pub sequence: usize,
    /// Numbers of each position.
    pub size: usize,
    /// The numbers in C order.
    pub data: Vec<f64>,
}

impl Heads {
    /// From `[batch, heads, sequence, size]`.
    ///
    /// # Errors
    /// [`EvalError::Rule`] for another rank; [`EvalError::Tensor`] for a type that is not numeric.
    pub fn from_4d(x: &Tensor) -> Result<Self, EvalError> {
        match *x.shape() {
            [batch, heads, sequence, size] => {
                check_empty([batch, heads, sequence, size])?;
                Ok(Self {
                    batch,
                    heads,
                    sequence,
                    size,
                    data: x.to_f64_vec()?,
                })
            }
            _ => Err(EvalError::rule("the rank must be 4", format_args!("{x:?}"))),
        }
    }

    /// From `[batch, sequence, heads * size]`.
    ///
    /// # Errors
    /// [`EvalError::Rule`] for another rank or a last axis that does not split into `heads`.
    pub fn from_3d(x: &Tensor, heads: usize) -> Result<Self, EvalError> {
        let &[batch, sequence, hidden] = x.shape() else {
            return Err(EvalError::rule("the rank must be 3", format_args!("{x:?}")));
        };
        Self::from_packed(batch, sequence, heads, hidden, &x.to_f64_vec()?)
    }

    /// From numbers in the order `[batch, sequence, heads, size]`, `hidden` of them for all heads.
    ///
    /// # Errors
    /// [`EvalError::Rule`] where `hidden` does not split into `heads`.
    pub fn from_packed(
        batch: usize,
        sequence: usize,
        heads: usize,
        hidden: usize,
        data: &[f64],
    ) -> Result<Self, EvalError> {
        if heads == 0 || !hidden.is_multiple_of(heads) {
            return Err(EvalError::rule(
                "the hidden size must be a multiple of the number of heads",
                format_args!("{hidden} and {heads}"),
            ));
        }
        check_empty([batch, heads, sequence, hidden / heads])?;
        let mut split = Self {
            batch,
            heads,
            sequence,
            size: hidden / heads,
            data: Vec::with_capacity(data.len()),
        };
        for (b, h, s) in split.positions() {
            let start = ((b * sequence + s) * heads + h) * split.size;
            split
                .data
                .extend_from_slice(&data[start..start + split.size]);
        }
        Ok(split)
    }

    /// `past` and then this along the sequence.
    ///
    /// # Errors
    /// [`EvalError::Rule`] where the other sizes differ.
    pub fn after(self, past: &Heads) -> Result<Self, EvalError> {
        if (past.batch, past.heads, past.size) != (self.batch, self.heads, self.size) {
            return Err(EvalError::rule(
                "past and present must have the same batch, heads and size",
                format_args!("{:?} and {:?}", past.shape(), self.shape()),
            ));
        }
        let mut data = Vec::with_capacity(past.data.len() + self.data.len());
        for i in 0..self.batch * self.heads {
            data.extend_from_slice(past.head(i));
            data.extend_from_slice(self.head(i));
        }
        Ok(Self {
            sequence: past.sequence + self.sequence,
            data,
            ..self
        })
    }

    /// The numbers of head `index`, counted through all samples.
    pub fn head(&self, index: usize) -> &[f64] {
        let length = self.sequence * self.size;
        &self.data[index * length..(index + 1) * length]
    }

    /// `[batch, heads, sequence, size]`.
    pub fn shape(&self) -> [usize; 4] {
        [self.batch, self.heads, self.sequence, self.size]
    }

    /// As a tensor `[batch, heads, sequence, size]`.
    ///
    /// # Errors
    /// [`EvalError::Tensor`] for a type that is not numeric.
    pub fn to_4d(&self, dtype: DType) -> Result<Tensor, EvalError> {
        real_tensor(dtype, &self.shape(), self.data.clone())
    }

    /// As a tensor `[batch, sequence, heads * size]`.
    ///
    /// # Errors
    /// [`EvalError::Tensor`] for a type that is not numeric.
    pub fn to_3d(&self, dtype: DType) -> Result<Tensor, EvalError> {
        let mut data = Vec::with_capacity(self.data.len());
        for b in 0..self.batch {
            for s in 0..self.sequence {
                for h in 0..self.heads {
                    let head = self.head(b * self.heads + h);
                    data.extend_from_slice(&head[s * self.size..(s + 1) * self.size]);
                }
            }
        }
        let shape = [self.batch, self.sequence, self.heads * self.size];
        real_tensor(dtype, &shape, data)
    }

    fn positions(&self) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        let (heads, sequence) = (self.heads, self.sequence);
        (0..self.batch)
            .flat_map(move |b| (0..heads).flat_map(move |h| (0..sequence).map(move |s| (b, h, s))))
    }
}

/// Bounds the sizes of what holds no numbers at all, since the walks over heads and positions do not see that.
pub(super) fn check_empty(sizes: [usize; 4]) -> Result<(), EvalError> {
    const MOST: usize = 1 << 24;
    let positions = sizes
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d.max(1)));
    if sizes.contains(&0) && positions.is_none_or(|n| n > MOST) {
        return Err(EvalError::rule(
            "empty heads must not be large",
            format_args!("{sizes:?}"),
        ));
    }
    Ok(())
}

/// A tensor of a float type from f64 numbers, each rounded once.
///
/// # Errors
/// [`EvalError::Tensor`] where the numbers are not as many as `shape` says or `dtype` is not numeric.
pub fn real_tensor(dtype: DType, shape: &[usize], data: Vec<f64>) -> Result<Tensor, EvalError> {
    Ok(Tensor::from_vec(shape, data)?.cast(dtype, compress_tensor::CastOptions::default())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_heads_split_and_join_again() {
        let x = Tensor::from_vec(&[1, 2, 4], vec![0f32, 1., 2., 3., 4., 5., 6., 7.]).unwrap();
        let heads = Heads::from_3d(&x, 2).unwrap();
        assert_eq!(heads.head(1), [2., 3., 6., 7.]);
        assert_eq!(heads.to_3d(DType::F32).unwrap().bytes(), x.bytes());
        let twice = heads.clone().after(&heads).unwrap();
        assert_eq!(twice.shape(), [1, 2, 4, 2]);
        assert_eq!(twice.head(0), [0., 1., 4., 5., 0., 1., 4., 5.]);
    }

    #[test]
    fn a_hidden_size_that_does_not_split_is_an_error() {
        let x = Tensor::from_vec(&[1, 1, 3], vec![0f32; 3]).unwrap();
        assert!(Heads::from_3d(&x, 2).is_err());
        assert!(Heads::from_3d(&x, 0).is_err());
        let x = Tensor::from_vec(&[1 << 40, 1 << 40, 0, 1], Vec::<f32>::new()).unwrap();
        assert!(Heads::from_4d(&x).is_err());
    }
}
