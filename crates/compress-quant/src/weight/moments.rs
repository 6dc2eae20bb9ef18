//! Means and products of a layer's inputs, from which the error of its outputs follows for any weights.

use super::product::{Part, Turned, multiply};
use crate::QuantError;
use runtime_kernels::Scratch;

/// Sums of products `Σ x·xᵀ` and sums `Σ x` over rows of inputs: of fixed size, whatever the number of rows.
///
/// For an error `d` of a row of weights the mean squared error of the product is `dᵀ·H·d` with `H = Σ x·xᵀ / rows`.
///
/// Sums are kept in f64: a covariance is the small difference of two of them where the inputs' mean is many times
/// their deviation. Within a block of rows products are taken about the block's mean, for which f32 is enough.
#[derive(Clone, Debug, PartialEq)]
pub struct InputMoments {
    width: usize,
    rows: u64,
    sums: Vec<f64>,
    /// Upper triangle of a symmetric matrix, row after row.
    products: Vec<f64>,
}

/// Rows that are taken about their mean together.
const BLOCK: usize = 256;
/// Rows of the matrix that are computed at once.
const PANEL: usize = 128;

impl InputMoments {
    /// Moments of inputs of `width` numbers, before the first row: [`InputMoments::bytes`] of memory.
    pub fn new(width: usize) -> Self {
        Self {
            width,
            rows: 0,
            sums: vec![0.0; width],
            products: vec![0.0; triangle(width)],
        }
    }

    /// Bytes that moments of `width` numbers take: `4·width² + 12·width`.
    pub fn bytes(width: usize) -> u64 {
        let width = width as u64;
        width
            .saturating_mul(width)
            .saturating_mul(4)
            .saturating_add(width.saturating_mul(12))
    }

    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether weights can be rounded to these: there are at least as many rows as numbers in a row, and mean squares are
    /// within f32. Fewer rows leave directions of which nothing is known, and errors would gather there.
    pub fn suffice(&self) -> bool {
        let within = |square: f64| square < f64::from(f32::MAX);
        self.width > 0 && self.rows >= self.width as u64 && self.squares().into_iter().all(within)
    }

    /// Adds rows, one after the other in `rows`; what is left over at the end is no row and not looked at.
    pub fn add(&mut self, rows: &[f32]) {
        let k = self.width.max(1);
        let whole = rows.len() / k;
        self.rows += whole as u64;
        let (mut centred, mut scratch) = (Vec::new(), Scratch::new());
        for block in rows[..whole * k].chunks(BLOCK * k) {
            self.add_block(block, &mut centred, &mut scratch);
        }
    }

    /// `Σ x·xᵀ = Σ y·yᵀ + m·sᵀ + s·mᵀ + n·m·mᵀ` with `y = x - m` and `s = Σ y`, for any `m`: here the mean, rounded to
    /// f32, so that `s` is nearly zero.
    fn add_block(&mut self, block: &[f32], centred: &mut Vec<f32>, scratch: &mut Scratch) {
        let k = self.width;
        let rows = block.len() / k.max(1);
        let n = rows as f64;
        let mut sums = vec![0f64; k];
        for row in block.chunks_exact(k.max(1)) {
            for (sum, &x) in sums.iter_mut().zip(row) {
                *sum += f64::from(x);
            }
        }
        let mean: Vec<f32> = sums.iter().map(|s| (s / n) as f32).collect();
        centred.clear();
        for row in block.chunks_exact(k.max(1)) {
            centred.extend(row.iter().zip(&mean).map(|(x, m)| x - m));
        }
        let rest: Vec<f64> = sums
            .iter()
            .zip(&mean)
            .map(|(s, &m)| s - n * f64::from(m))
            .collect();
        let mut panel = vec![0f32; PANEL.min(k) * k];
        let mut out = self.products.as_mut_slice();
        for start in (0..k).step_by(PANEL) {
            let (height, width) = (PANEL.min(k - start), k - start);
            let part = |cols: usize| Part {
                data: &centred[start..],
                rows,
                cols,
                stride: k,
            };
            let panel = &mut panel[..height * width];
            multiply(part(height), part(width), Turned::Left, scratch, panel);
            for (i, line) in (start..).zip(panel.chunks_exact(width)) {
                let (mi, si) = (f64::from(mean[i]), rest[i]);
                let (sums, behind) = out.split_at_mut(k - i);
                out = behind;
                let others = mean[i..].iter().zip(&rest[i..]);
                for ((sum, &y), (&m, &s)) in sums.iter_mut().zip(&line[i - start..]).zip(others) {
                    *sum += f64::from(y) + mi * s + (si + n * mi) * f64::from(m);
                }
            }
        }
        for (total, sum) in self.sums.iter_mut().zip(sums) {
            *total += sum;
        }
    }

    /// Adds the rows of another shard.
    ///
    /// # Errors
    /// [`QuantError::Length`] if its rows have another width; nothing is added then.
    pub fn merge(&mut self, other: &InputMoments) -> Result<(), QuantError> {
        if other.width != self.width {
            return Err(QuantError::Length {
                what: "inputs in a row",
                found: other.width,
                expected: self.width,
            });
        }
        self.rows = self.rows.saturating_add(other.rows);
        for (mine, theirs) in self.sums.iter_mut().zip(&other.sums) {
            *mine += theirs;
        }
        for (mine, theirs) in self.products.iter_mut().zip(&other.products) {
            *mine += theirs;
        }
        Ok(())
    }

    /// The mean of each input.
    pub fn means(&self) -> Vec<f64> {
        let n = self.rows.max(1) as f64;
        self.sums.iter().map(|s| s / n).collect()
    }

    /// The mean square of each input.
    pub(super) fn squares(&self) -> Vec<f64> {
        let n = self.rows.max(1) as f64;
        let places = (0..self.width).map(|i| at(self.width, i));
        places.map(|i| self.products[i] / n).collect()
    }

    /// `H`, all of it: mean products, or covariances where the means are to be taken off.
    pub(super) fn matrix(&self, about: About) -> Vec<f32> {
        let (k, n) = (self.width, self.rows.max(1) as f64);
        let means = self.means();
        let mut h = vec![0f32; k * k];
        let mut products = self.products.iter();
        for i in 0..k {
            for (j, product) in (i..k).zip(&mut products) {
                let mean = product / n;
                let value = match about {
                    About::Zero => mean,
                    About::Mean => mean - means[i] * means[j],
                };
                let value = if i == j { value.max(0.0) } else { value } as f32;
                h[i * k + j] = value;
                h[j * k + i] = value;
            }
        }
        h
    }
}

/// The length of the upper triangle.
fn triangle(width: usize) -> usize {
    width * (width + 1) / 2
}

/// Where row `i` of the upper triangle starts, with the element of the diagonal.
fn at(width: usize, i: usize) -> usize {
    triangle(width) - triangle(width - i)
}

/// What second moments are taken about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Zero,
    Mean,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: &[f32], expected: &[f32]) {
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() < 1e-6, "{found:?} {expected:?}");
        }
        assert_eq!(found.len(), expected.len());
    }

    #[test]
    fn moments_of_a_small_table() {
        // Five rows, so that the last pass is not full.
        let rows = [1.0, 2.0, 0.0, 0.0, 3.0, -1.0, 2.0, 2.0, -1.0, 0.0f32];
        let mut whole = InputMoments::new(2);
        whole.add(&rows);
        assert_eq!((whole.rows(), whole.means()), (5, vec![1.0, 0.6]));
        // Σ x0² = 15, Σ x0·x1 = 3, Σ x1² = 9.
        close(&whole.matrix(About::Zero), &[3.0, 0.6, 0.6, 1.8]);
        close(&whole.matrix(About::Mean), &[2.0, 0.0, 0.0, 1.44]);
        close(
            &whole
                .squares()
                .iter()
                .map(|&s| s as f32)
                .collect::<Vec<_>>(),
            &[3.0, 1.8],
        );
        let mut parts = InputMoments::new(2);
        parts.add(&rows[..4]);
        let mut rest = InputMoments::new(2);
        rest.add(&rows[4..]);
        parts.merge(&rest).unwrap();
        assert_eq!((parts.rows(), parts.means()), (whole.rows(), whole.means()));
        close(&parts.matrix(About::Mean), &whole.matrix(About::Mean));
    }

    #[test]
    fn covariances_do_not_drown_in_the_mean() {
        // Deviations of ±1 and ±2 about a mean of 4096, and of an input that is constant.
        let row = |i: usize| {
            let (a, b) = ([1.0, -1.0][i % 2], [2.0, 2.0, -2.0, -2.0][i % 4]);
            [4096.0 + a, b - 4096.0, 4096.1f32]
        };
        let rows: Vec<f32> = (0..8192).flat_map(row).collect();
        let mut moments = InputMoments::new(3);
        for sample in rows.chunks(3 * 100) {
            moments.add(sample);
        }
        close(
            &moments.matrix(About::Mean),
            &[1.0, 0.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0, 0.0],
        );
    }

    #[test]
    fn moments_suffice_with_a_row_for_each_number_and_take_the_bytes_stated() {
        let mut moments = InputMoments::new(3);
        moments.add(&[1.0; 6]);
        assert!(!moments.suffice());
        moments.add(&[1.0; 3]);
        assert!(moments.suffice());
        assert_eq!(
            InputMoments::bytes(3),
            (moments.products.len() * 8 + 3 * 8) as u64
        );
        moments.add(&[f32::MAX, 0.0, 0.0]);
        moments.add(&[-f32::MAX, 0.0, 0.0]);
        assert!(!moments.suffice());
        assert!(!InputMoments::new(0).suffice());
    }

    #[test]
    fn rows_of_another_width_are_refused_and_change_nothing() {
        let mut two = InputMoments::new(2);
        let before = two.clone();
        assert!(two.merge(&InputMoments::new(3)).is_err());
        assert_eq!(two, before);
    }
}
