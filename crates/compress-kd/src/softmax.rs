//! Softmax, its logarithm and KL divergence of one row, in `f64`. An exponential is taken once.

use crate::element::wide;
use ndarray::ArrayView1;
use num_traits::Float;

/// A distribution over classes and its logarithm.
#[derive(Default)]
pub(crate) struct Distribution {
    /// `log σ(x)`.
    pub(crate) log: Vec<f64>,
    /// `σ(x)`.
    pub(crate) p: Vec<f64>,
}

impl Distribution {
    /// Becomes `σ(z/T)`.
    pub(crate) fn fill<F: Float>(&mut self, z: ArrayView1<'_, F>, temperature: f64) {
        self.fill_from(z.iter().map(|&z| wide(z) / temperature));
    }

    /// Becomes `σ(x)`, and gives back `log Σ exp(x)`. The greatest number is subtracted first, so that nothing overflows and
    /// no logarithm is taken of a probability that was rounded to zero.
    pub(crate) fn fill_from(&mut self, x: impl Iterator<Item = f64>) -> f64 {
        self.log.clear();
        self.log.extend(x);
        let max = greatest(&self.log);
        self.p.clear();
        self.p.extend(self.log.iter().map(|x| (x - max).exp()));
        let sum: f64 = self.p.iter().sum();
        let log_sum = sum.ln();
        for (log, p) in self.log.iter_mut().zip(&mut self.p) {
            *log = (*log - max) - log_sum;
            *p /= sum;
        }
        max + log_sum
    }
}

fn greatest(x: &[f64]) -> f64 {
    x.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// `log Σ exp(x)`; minus infinity of nothing.
pub(crate) fn log_sum_exp(x: &[f64]) -> f64 {
    let max = greatest(x);
    if max == f64::NEG_INFINITY {
        return max;
    }
    max + x.iter().map(|x| (x - max).exp()).sum::<f64>().ln()
}

/// `log(1 + exp(x))`.
pub(crate) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// `1 / (1 + exp(-x))`.
pub(crate) fn sigmoid(x: f64) -> f64 {
    // The exponential is of a number that is not positive, so that it cannot overflow.
    let e = (-x.abs()).exp();
    if x >= 0.0 {
        1.0 / (1.0 + e)
    } else {
        e / (1.0 + e)
    }
}

/// `KL(p ‖ q) = Σ p (log p - log q)`, and `scale · (q - p)` added to the gradient by the logits of `q`. What rounding leaves
/// below zero is zero.
pub(crate) fn forward_kl(
    q: &Distribution,
    p: &Distribution,
    scale: f64,
    gradient: &mut [f64],
) -> f64 {
    let mut divergence = 0.0;
    let logs = q.log.iter().zip(&p.log);
    for (((&lq, &lp), (&q, &p)), g) in logs.zip(q.p.iter().zip(&p.p)).zip(gradient) {
        divergence += p * (lp - lq);
        *g += scale * (q - p);
    }
    divergence.max(0.0)
}

/// `KL(q ‖ p) = Σ q (log q - log p)`, and `scale · q (log q - log p - KL)` added to the gradient by the logits of `q`.
pub(crate) fn reverse_kl(
    q: &Distribution,
    p: &Distribution,
    scale: f64,
    gradient: &mut [f64],
) -> f64 {
    let terms = || q.p.iter().zip(q.log.iter().zip(&p.log));
    let divergence: f64 = terms().map(|(q, (lq, lp))| q * (lq - lp)).sum();
    for ((&q, (&lq, &lp)), g) in terms().zip(gradient) {
        *g += scale * q * (lq - lp - divergence);
    }
    divergence.max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_softmax_holds_where_exponentials_leave_the_range() {
        let mut row = Distribution::default();
        assert_eq!(row.fill_from([1000.0, 0.0, -1000.0].into_iter()), 1000.0);
        assert_eq!(row.log, [0.0, -1000.0, -2000.0]);
        assert_eq!(row.p, [1.0, 0.0, 0.0]);
    }

    #[test]
    fn softplus_and_sigmoid_hold_at_both_ends() {
        assert_eq!(softplus(800.0), 800.0);
        assert_eq!(softplus(-800.0), 0.0);
        assert_eq!(softplus(0.0), 2f64.ln());
        assert_eq!(
            (sigmoid(800.0), sigmoid(-800.0), sigmoid(0.0)),
            (1.0, 0.0, 0.5)
        );
    }

    #[test]
    fn the_sum_of_nothing_has_no_logarithm() {
        assert_eq!(log_sum_exp(&[]), f64::NEG_INFINITY);
        assert_eq!(log_sum_exp(&[f64::NEG_INFINITY; 2]), f64::NEG_INFINITY);
    }
}
