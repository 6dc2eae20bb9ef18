//! The matrix `H` of the error `dᵀ·H·d`, and its triangular factor.

use crate::weight::moments::{About, InputMoments};

/// Share of each input's mean square that is added: what a covariance owes to the rounding of sums decides nothing.
const NOISE: f64 = 1e-8;
/// Pivots that fewer than this share of the diagonal is left of are taken to be it.
const LEAST_PIVOT: f64 = 1e-10;

/// Second moments of the inputs with more on the diagonal, `H + λ·I`.
pub(super) struct Hessian {
    pub width: usize,
    /// All of it, row after row.
    pub values: Vec<f32>,
    /// What was added to the diagonal.
    pub added: Vec<f64>,
}

impl Hessian {
    /// With `damping` times the mean of the diagonal added to it.
    pub(super) fn of(moments: &InputMoments, about: About, damping: f64) -> Self {
        let (width, mut values) = (moments.width(), moments.matrix(about));
        let trace: f64 = (0..width).map(|i| f64::from(values[i * width + i])).sum();
        let mean = trace / width.max(1) as f64;
        let mut added = Vec::with_capacity(width);
        for (i, square) in moments.squares().iter().enumerate() {
            let extra = (damping * mean + NOISE * square).max(f64::from(f32::MIN_POSITIVE));
            let at = i * width + i;
            values[at] = (f64::from(values[at]) + extra) as f32;
            added.push(extra);
        }
        Self {
            width,
            values,
            added,
        }
    }

    pub(super) fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.width..][..self.width]
    }

    pub(super) fn diagonal(&self) -> impl Iterator<Item = f32> + '_ {
        (0..self.width).map(|i| self.values[i * self.width + i])
    }

    /// The factor for weights that are rounded from the last to the first of an order, the inputs of greatest mean
    /// square first.
    pub(super) fn factor(&self) -> Factor {
        let k = self.width;
        let mut order: Vec<usize> = (0..k).collect();
        let diagonal: Vec<f32> = self.diagonal().collect();
        order.sort_by(|&a, &b| diagonal[a].total_cmp(&diagonal[b]));
        let mut rows = vec![0f64; k * k];
        for (out, &i) in rows.chunks_exact_mut(k.max(1)).zip(&order) {
            let row = self.row(i);
            for (out, &j) in out.iter_mut().zip(&order) {
                *out = f64::from(row[j]);
            }
        }
        cholesky(&mut rows, k);
        let mut unit = vec![0f32; k * k];
        for (i, (out, row)) in unit
            .chunks_exact_mut(k.max(1))
            .zip(rows.chunks_exact(k.max(1)))
            .enumerate()
        {
            let pivot = row[i];
            for (out, &r) in out[i..].iter_mut().zip(&row[i..]) {
                *out = (r / pivot) as f32;
            }
        }
        Factor { order, unit }
    }
}

/// `R` of `H = Rᵀ·R`, upper triangular, its rows divided by their diagonal.
pub(super) struct Factor {
    /// The input at each place.
    pub order: Vec<usize>,
    pub unit: Vec<f32>,
}

/// Replaces the upper triangle of a symmetric positive definite matrix by `R`, `A = Rᵀ·R`, row after row.
fn cholesky(a: &mut [f64], k: usize) {
    for i in 0..k {
        let (done, rest) = a.split_at_mut(i * k);
        let row = &mut rest[i..k];
        let start = row[0];
        let mut fours = done.chunks_exact(4 * k);
        for four in &mut fours {
            let part = |r: usize| &four[r * k + i..(r + 1) * k];
            let [p, q, r, s] = [part(0), part(1), part(2), part(3)];
            let (pi, qi, ri, si) = (p[0], q[0], r[0], s[0]);
            for ((((x, p), q), r), s) in row.iter_mut().zip(p).zip(q).zip(r).zip(s) {
                *x -= pi * p + qi * q + ri * r + si * s;
            }
        }
        for one in fours.remainder().chunks_exact(k) {
            let part = &one[i..];
            let first = part[0];
            for (x, p) in row.iter_mut().zip(part) {
                *x -= first * p;
            }
        }
        let pivot = row[0]
            .max(start * LEAST_PIVOT)
            .max(f64::MIN_POSITIVE)
            .sqrt();
        row[0] = pivot * pivot;
        for x in row.iter_mut() {
            *x /= pivot;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_gives_the_matrix_back() {
        for k in [1usize, 5, 8, 23] {
            // B·Bᵀ + I of a matrix without a pattern.
            let b: Vec<f64> = (0..k * k).map(|i| ((i * i) as f64 * 0.37).sin()).collect();
            let of = |i: usize, j: usize| {
                let each = (0..k).map(|m| b[i * k + m] * b[j * k + m]);
                each.sum::<f64>() + f64::from(u8::from(i == j))
            };
            let mut r: Vec<f64> = (0..k * k).map(|at| of(at / k, at % k)).collect();
            cholesky(&mut r, k);
            for i in 0..k {
                for j in i..k {
                    let back: f64 = (0..=i).map(|m| r[m * k + i] * r[m * k + j]).sum();
                    assert!((back - of(i, j)).abs() < 1e-9 * k as f64, "{i} {j}");
                }
            }
        }
    }

    #[test]
    fn inputs_of_greatest_mean_square_come_last_in_the_order() {
        let mut moments = InputMoments::new(3);
        moments.add(&[2.0, 1.0, 3.0, -2.0, 1.0, 3.0, 2.0, 1.0, -3.0]);
        let factor = Hessian::of(&moments, About::Zero, 1e-4).factor();
        assert_eq!(factor.order, [1, 0, 2]);
        assert_eq!(
            (factor.unit[0], factor.unit[4], factor.unit[8]),
            (1.0, 1.0, 1.0)
        );
    }
}
