//! How scales and zero points lie over the elements of a tensor: one for all, one per index of an
//! axis, one per block along an axis, or broadcast.

use crate::operator::EvalError;
use crate::ops::{axis, broadcast};

/// Which parameter (scale, zero point) belongs to which element of a tensor in C order.
///
/// Element `(outer, d, inner)` around the quantization axis has parameter
/// `outer * steps.0 + d / block * steps.1 + inner * steps.2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    size: usize,
    inner: usize,
    block: usize,
    steps: (usize, usize, usize),
}

impl Spread {
    /// One parameter for the whole tensor.
    pub const WHOLE: Self = Self {
        size: 1,
        inner: 1,
        block: 1,
        steps: (0, 0, 0),
    };

    /// The parameters of `QuantizeLinear` and `DequantizeLinear`: a single one is for the whole tensor, a
    /// vector goes along `axis`, a tensor of the same rank has one per `block` elements along `axis`.
    ///
    /// # Errors
    /// [`EvalError::Rule`] where the shapes, the axis or the block size do not fit.
    pub fn of_linear(
        shape: &[usize],
        parameters: &[usize],
        along: i64,
        block: usize,
    ) -> Result<Self, EvalError> {
        if parameters.iter().all(|&d| d == 1) && (block == 0 || parameters.len() != shape.len()) {
            return Ok(Self::WHOLE);
        }
        let along = axis::eval(along, shape.len())?;
        let (_, size, inner) = axis::split(shape, along);
        if block == 0 {
            return match parameters {
                &[n] if n == size => Ok(Self {
                    size,
                    inner,
                    block: 1,
                    steps: (0, 1, 0),
                }),
                _ => Err(EvalError::rule(
                    "the scale must be one number or as long as the axis",
                    format_args!("scale {parameters:?}, tensor {shape:?}, axis {along}"),
                )),
            };
        }
        let blocks = size.div_ceil(block);
        let fits = parameters.len() == shape.len()
            && parameters
                .iter()
                .zip(shape)
                .enumerate()
                .all(|(i, (&p, &d))| p == if i == along { blocks } else { d });
        if !fits {
            return Err(EvalError::rule(
                "a blocked scale has the tensor's shape with ceil(size / block) along the axis",
                format_args!(
                    "scale {parameters:?}, tensor {shape:?}, axis {along}, block size {block}"
                ),
            ));
        }
        Ok(Self {
            size,
            inner,
            block,
            steps: (blocks * inner, inner, 1),
        })
    }

    /// The parameter of element `element`.
    pub fn index(&self, element: usize) -> usize {
        let (row, inner) = (element / self.inner, element % self.inner);
        let (outer, d) = (row / self.size, row % self.size);
        outer * self.steps.0 + d / self.block * self.steps.1 + inner * self.steps.2
    }
}

/// Strides with which the parameters of a matrix or kernel operand are read over its `shape`: a single
/// one is for the whole tensor, a vector as long as axis `along` goes along that axis, anything else
/// must broadcast.
///
/// # Errors
/// [`EvalError::Rule`] where the parameters fit in none of these ways.
pub fn operand_strides(
    shape: &[usize],
    parameters: &[usize],
    along: Option<usize>,
) -> Result<Vec<usize>, EvalError> {
    if parameters.iter().all(|&d| d == 1) {
        return Ok(vec![0; shape.len()]);
    }
    if let (&[n], Some(along)) = (parameters, along)
        && shape.get(along) == Some(&n)
    {
        let mut strides = vec![0; shape.len()];
        strides[along] = 1;
        return Ok(strides);
    }
    let offset = shape.len().checked_sub(parameters.len());
    let fits = offset.is_some_and(|o| {
        parameters
            .iter()
            .zip(&shape[o..])
            .all(|(&p, &d)| p == d || p == 1)
    });
    if fits && parameters.len() > 1 {
        return Ok(broadcast::strides(parameters, shape));
    }
    Err(EvalError::rule(
        "scales and zero points are one for all, one per row or column, or broadcast",
        format_args!("parameters {parameters:?}, tensor {shape:?}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indices(spread: Spread, n: usize) -> Vec<usize> {
        (0..n).map(|i| spread.index(i)).collect()
    }

    #[test]
    fn a_vector_goes_along_the_axis() {
        let spread = Spread::of_linear(&[2, 3, 2], &[3], -2, 0).unwrap();
        assert_eq!(indices(spread, 12), [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2]);
    }

    #[test]
    fn the_last_block_may_be_shorter() {
        let spread = Spread::of_linear(&[2, 3], &[2, 2], 1, 2).unwrap();
        assert_eq!(indices(spread, 6), [0, 0, 1, 2, 2, 3]);
        let spread = Spread::of_linear(&[3, 2], &[2, 2], 0, 2).unwrap();
        assert_eq!(indices(spread, 6), [0, 1, 0, 1, 2, 3]);
    }

    #[test]
    fn scales_that_do_not_fit_are_errors() {
        assert!(Spread::of_linear(&[2, 3], &[2], 1, 0).is_err());
        assert!(Spread::of_linear(&[2, 3], &[3], 2, 0).is_err());
        assert!(Spread::of_linear(&[2, 3], &[2, 3], 1, 2).is_err());
        assert!(operand_strides(&[2, 3], &[2], Some(1)).is_err());
        assert_eq!(operand_strides(&[2, 3], &[3], Some(1)).unwrap(), [0, 1]);
        assert_eq!(operand_strides(&[2, 3], &[2, 1], Some(1)).unwrap(), [1, 0]);
    }
}
