//! Which scale an element has.

use super::Granularity;

/// Maps positions of the data, in C order, to positions of its scales.
///
/// The data is seen as `[outer, along, inner]`, `along` the axis of the granularity.
pub(super) struct Layout {
    along: usize,
    inner: usize,
    granularity: Granularity,
}

impl Layout {
    /// For data of `shape`, whose axes the granularity has been checked against.
    pub(super) fn new(shape: &[usize], granularity: Granularity) -> Self {
        let (along, inner) = match granularity {
            Granularity::PerTensor => (1, 1),
            Granularity::PerChannel { axis } | Granularity::PerBlock { axis, .. } => {
                (shape[axis], shape[axis + 1..].iter().product())
            }
        };
        Self {
            along,
            inner,
            granularity,
        }
    }

    /// The position of the scale of element `i`.
    pub(super) fn position(&self, i: usize) -> usize {
        let along = i / self.inner % self.along;
        match self.granularity {
            Granularity::PerTensor => 0,
            Granularity::PerChannel { .. } => along,
            Granularity::PerBlock { block, .. } => {
                let outer = i / self.inner / self.along;
                let blocks = self.along.div_ceil(block);
                (outer * blocks + along / block) * self.inner + i % self.inner
            }
        }
    }
}
