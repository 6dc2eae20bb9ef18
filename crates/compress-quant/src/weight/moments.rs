//! Means and products of a layer's inputs, from which the error of its outputs follows for any weights.

/// Sums of products `Σ x·xᵀ` and sums `Σ x` over rows of inputs: of fixed size, whatever the number of rows.
///
/// For an error `d` of a row of weights the mean squared error of the product is `dᵀ·H·d` with `H = Σ x·xᵀ / rows`.
#[derive(Clone, Debug, PartialEq)]
pub struct InputMoments {
    width: usize,
    rows: u64,
    sums: Vec<f64>,
    /// Upper triangle of a square matrix.
    products: Vec<f32>,
}

/// Rows whose products are added in one pass over the matrix.
const TOGETHER: usize = 4;

impl InputMoments {
    /// Moments of inputs of `width` numbers, before the first row.
    pub fn new(width: usize) -> Self {
        Self {
            width,
            rows: 0,
            sums: vec![0.0; width],
            products: vec![0.0; width * width],
        }
    }

    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds rows, one after the other in `rows`; what is left over at the end is no row and not looked at.
    pub fn add(&mut self, rows: &[f32]) {
        let k = self.width.max(1);
        let whole = rows.len() / k;
        self.rows += whole as u64;
        let zeros = vec![0f32; k];
        for block in rows[..whole * k].chunks(TOGETHER * k) {
            let row = |r: usize| block.get(r * k..(r + 1) * k).unwrap_or(&zeros);
            let [a, b, c, d] = [row(0), row(1), row(2), row(3)];
            for i in 0..self.width {
                let (ai, bi, ci, di) = (a[i], b[i], c[i], d[i]);
                self.sums[i] += f64::from(ai) + f64::from(bi) + f64::from(ci) + f64::from(di);
                // Behind a ReLU many inputs are zero in all of them.
                if ai == 0.0 && bi == 0.0 && ci == 0.0 && di == 0.0 {
                    continue;
                }
                let out = &mut self.products[i * k + i..(i + 1) * k];
                let behind = out.iter_mut().zip(&a[i..]).zip(&b[i..]).zip(&c[i..]);
                for ((((out, &a), &b), &c), &d) in behind.zip(&d[i..]) {
                    *out += ai * a + bi * b + ci * c + di * d;
                }
            }
        }
    }

    /// Adds the rows of another shard.
    pub fn merge(&mut self, other: &InputMoments) {
        self.rows += other.rows;
        for (mine, theirs) in self.sums.iter_mut().zip(&other.sums) {
            *mine += theirs;
        }
        for (mine, theirs) in self.products.iter_mut().zip(&other.products) {
            *mine += theirs;
        }
    }

    /// The mean of each input.
    pub fn means(&self) -> Vec<f64> {
        let n = self.rows.max(1) as f64;
        self.sums.iter().map(|s| s / n).collect()
    }

    /// `H`, all of it: mean products, or covariances where the means are to be taken off.
    pub(super) fn matrix(&self, about: About) -> Vec<f32> {
        let (k, n) = (self.width, self.rows.max(1) as f64);
        let means = self.means();
        let mut h = vec![0f32; k * k];
        for i in 0..k {
            for j in i..k {
                let mean = f64::from(self.products[i * k + j]) / n;
                let value = match about {
                    About::Zero => mean,
                    About::Mean => mean - means[i] * means[j],
                } as f32;
                h[i * k + j] = value;
                h[j * k + i] = value;
            }
        }
        h
    }
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

    #[test]
    fn moments_of_a_small_table() {
        // Five rows, so that the last block is not full.
        let rows = [1.0, 2.0, 0.0, 0.0, 3.0, -1.0, 2.0, 2.0, -1.0, 0.0f32];
        let mut whole = InputMoments::new(2);
        whole.add(&rows);
        assert_eq!((whole.rows(), whole.means()), (5, vec![1.0, 0.6]));
        // Σ x0² = 15, Σ x0·x1 = 3, Σ x1² = 9.
        assert_eq!(whole.matrix(About::Zero), [3.0, 0.6, 0.6, 1.8]);
        let about_mean = whole.matrix(About::Mean);
        let expected = [2.0, 0.0, 0.0, 1.44];
        for (found, expected) in about_mean.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{about_mean:?}");
        }
        let mut parts = InputMoments::new(2);
        parts.add(&rows[..4]);
        let mut rest = InputMoments::new(2);
        rest.add(&rows[4..]);
        parts.merge(&rest);
        assert_eq!(parts, whole);
    }
}
