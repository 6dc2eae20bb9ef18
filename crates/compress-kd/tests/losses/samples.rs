//! Arrays of made-up numbers, the same in every run.

use ndarray::{Array, Array1, Array2, Dimension, ShapeBuilder};

/// A stream of numbers uniform in [-1, 1).
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    pub(crate) fn next(&mut self) -> f64 {
        // Knuth's MMIX constants; the high bits are the good ones.
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    /// Numbers in ±`size`.
    pub(crate) fn array<D: Dimension, Sh: ShapeBuilder<Dim = D>>(
        &mut self,
        shape: Sh,
        size: f64,
    ) -> Array<f64, D> {
        Array::from_shape_simple_fn(shape, || size * self.next())
    }

    /// Rows in (0, 1) that sum to 1.
    pub(crate) fn distributions(&mut self, n: usize, c: usize) -> Array2<f64> {
        let mut rows = self.array((n, c), 2.0).mapv(f64::exp);
        for mut row in rows.rows_mut() {
            let sum = row.sum();
            row /= sum;
        }
        rows
    }

    /// Labels below `c`.
    pub(crate) fn labels(&mut self, n: usize, c: usize) -> Array1<i64> {
        Array1::from_shape_simple_fn(n, || ((self.next() + 1.0) / 2.0 * c as f64) as i64)
    }
}
