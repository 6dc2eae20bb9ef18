//! Exchanging the axes of a tensor of any type.

use crate::operator::EvalError;
use crate::ops::broadcast;
use crate::ops::select::select;
use compress_tensor::Tensor;

/// The tensor whose axis `i` is axis `order[i]` of `x`. `order` must hold each axis of `x` once.
///
/// # Errors
/// [`EvalError::Rule`] where `order` does not.
pub fn permute(x: &Tensor, order: &[usize]) -> Result<Tensor, EvalError> {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..x.rank()) {
        return Err(EvalError::rule(
            "a permutation must hold every axis once",
            format_args!("{order:?} of rank {}", x.rank()),
        ));
    }
    let mut steps = vec![1usize; x.rank()];
    for axis in (1..x.rank()).rev() {
        // Saturates only where there are no elements.
        steps[axis - 1] = steps[axis].saturating_mul(x.shape()[axis]);
    }
    let shape: Vec<usize> = order.iter().map(|&axis| x.shape()[axis]).collect();
    let strides: Vec<usize> = order.iter().map(|&axis| steps[axis]).collect();
    let mut sources = Vec::with_capacity(x.len());
    broadcast::for_each(&shape, [&strides], |[i]| sources.push(i));
    select(x, &shape, sources.into_iter())
}

/// `[batch, spatial…, channels]` as `[batch, channels, spatial…]`.
///
/// # Errors
/// [`EvalError::Rule`] for a rank below 2.
pub fn channels_first(x: &Tensor) -> Result<Tensor, EvalError> {
    let last = channel_rank(x)? - 1;
    permute(x, &[&[0, last], &Vec::from_iter(1..last)[..]].concat())
}

/// `[batch, channels, spatial…]` as `[batch, spatial…, channels]`.
///
/// # Errors
/// [`EvalError::Rule`] for a rank below 2.
pub fn channels_last(x: &Tensor) -> Result<Tensor, EvalError> {
    let rank = channel_rank(x)?;
    permute(x, &[&[0], &Vec::from_iter(2..rank)[..], &[1]].concat())
}

fn channel_rank(x: &Tensor) -> Result<usize, EvalError> {
    match x.rank() {
        rank @ 0..2 => Err(EvalError::rule("the rank must be at least 2", rank)),
        rank => Ok(rank),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_move_to_the_end_and_back() {
        let x = Tensor::from_vec(&[1, 2, 3], vec![0i32, 1, 2, 3, 4, 5]).unwrap();
        let y = channels_last(&x).unwrap();
        assert_eq!(y.shape(), [1, 3, 2]);
        assert_eq!(y.as_slice::<i32>().unwrap(), [0, 3, 1, 4, 2, 5]);
        let back = channels_first(&y).unwrap();
        assert_eq!(back.bytes(), x.bytes());
    }

    #[test]
    fn an_order_that_repeats_an_axis_is_an_error() {
        let x = Tensor::vector(vec![1f32]).reshape(&[1, 1]).unwrap();
        assert!(permute(&x, &[0, 0]).is_err());
        assert!(permute(&x, &[0]).is_err());
    }
}
