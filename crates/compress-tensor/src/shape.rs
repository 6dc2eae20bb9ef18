//! The sizes of a tensor, kept in place while there are few.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// Axes that are kept in place.
const INLINE: usize = 6;

/// The sizes of a tensor along its axes, or any other short list with one entry per axis. Up to six axes take no memory
/// of their own, so that tensors of common ranks are made and cloned without the allocator.
///
/// ```
/// use compress_tensor::Shape;
///
/// let mut shape = Shape::from(&[2, 3][..]);
/// shape.push(4);
/// assert_eq!(*shape, [2, 3, 4]);
/// assert_eq!(shape.iter().map(|n| n + 1).collect::<Shape>()[..], [3, 4, 5]);
/// ```
#[derive(Clone)]
pub struct Shape(Sizes);

#[derive(Clone)]
enum Sizes {
    Few([usize; INLINE], usize),
    Many(Vec<usize>),
}

impl Shape {
    /// No axes: the shape of a scalar.
    pub const fn new() -> Self {
        Self(Sizes::Few([0; INLINE], 0))
    }

    /// `rank` axes of size `size`.
    pub fn filled(rank: usize, size: usize) -> Self {
        if rank <= INLINE {
            Self(Sizes::Few([size; INLINE], rank))
        } else {
            Self(Sizes::Many(vec![size; rank]))
        }
    }

    /// Adds an axis behind the others.
    pub fn push(&mut self, size: usize) {
        match &mut self.0 {
            Sizes::Few(sizes, rank) if *rank < INLINE => {
                sizes[*rank] = size;
                *rank += 1;
            }
            Sizes::Few(sizes, _) => {
                let mut many = sizes.to_vec();
                many.push(size);
                self.0 = Sizes::Many(many);
            }
            Sizes::Many(sizes) => sizes.push(size),
        }
    }
}

impl Default for Shape {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for Shape {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        match &self.0 {
            Sizes::Few(sizes, rank) => &sizes[..*rank],
            Sizes::Many(sizes) => sizes,
        }
    }
}

impl DerefMut for Shape {
    fn deref_mut(&mut self) -> &mut [usize] {
        match &mut self.0 {
            Sizes::Few(sizes, rank) => &mut sizes[..*rank],
            Sizes::Many(sizes) => sizes,
        }
    }
}

impl From<&[usize]> for Shape {
    fn from(sizes: &[usize]) -> Self {
        let mut shape = Self::filled(sizes.len(), 0);
        shape.copy_from_slice(sizes);
        shape
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(sizes: [usize; N]) -> Self {
        Self::from(&sizes[..])
    }
}

impl Extend<usize> for Shape {
    fn extend<I: IntoIterator<Item = usize>>(&mut self, sizes: I) {
        sizes.into_iter().for_each(|size| self.push(size));
    }
}

impl FromIterator<usize> for Shape {
    fn from_iter<I: IntoIterator<Item = usize>>(sizes: I) -> Self {
        let mut shape = Self::new();
        shape.extend(sizes);
        shape
    }
}

impl PartialEq for Shape {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Shape {}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_the_same_list_on_both_sides_of_the_inline_limit() {
        for rank in 0..2 * INLINE {
            let sizes: Vec<usize> = (1..=rank).collect();
            let copied = Shape::from(&sizes[..]);
            let pushed: Shape = sizes.iter().copied().collect();
            assert_eq!((&copied[..], &pushed[..]), (&sizes[..], &sizes[..]));
            assert_eq!(copied, pushed);
            assert_eq!(Shape::filled(rank, 7)[..], vec![7; rank][..]);
            let mut doubled = copied.clone();
            doubled.iter_mut().for_each(|n| *n *= 2);
            assert_eq!(doubled.iter().sum::<usize>(), rank * (rank + 1));
        }
    }
}
