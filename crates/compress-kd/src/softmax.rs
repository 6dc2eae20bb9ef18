//! Softmax, its logarithm and KL divergence of one row, in `f64`.

use crate::element::wide;
use ndarray::ArrayView1;
use num_traits::Float;

/// Writes `log σ(z/T)`: the greatest logit is subtracted first, so that nothing overflows and no probability is rounded
/// to zero before its logarithm is taken.
pub(crate) fn log_softmax<F: Float>(z: ArrayView1<'_, F>, temperature: f64, out: &mut [f64]) {
    soften(z, temperature, out);
    normalize(out);
}

/// Writes `z/T`.
pub(crate) fn soften<F: Float>(z: ArrayView1<'_, F>, temperature: f64, out: &mut [f64]) {
    for (out, &z) in out.iter_mut().zip(z) {
        *out = wide(z) / temperature;
    }
}

/// `x ← x - log Σ exp(x)`.
pub(crate) fn normalize(x: &mut [f64]) {
    let sum = log_sum_exp(x);
    for x in x {
        *x -= sum;
    }
}

/// `log Σ exp(x)`; minus infinity of nothing.
pub(crate) fn log_sum_exp(x: &[f64]) -> f64 {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
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

/// `KL(p ‖ q) = Σ p (log p - log q)` of `log p` and `log q`, and `scale · (q - p)` added to the gradient by the logits of
/// `q`. What rounding leaves below zero is zero.
pub(crate) fn forward_kl(log_q: &[f64], log_p: &[f64], scale: f64, gradient: &mut [f64]) -> f64 {
    let mut divergence = 0.0;
    for ((&lq, &lp), g) in log_q.iter().zip(log_p).zip(gradient) {
        let p = lp.exp();
        divergence += p * (lp - lq);
        *g += scale * (lq.exp() - p);
    }
    divergence.max(0.0)
}

/// `KL(q ‖ p) = Σ q (log q - log p)`, and `scale · q (log q - log p - KL)` added to the gradient by the logits of `q`.
pub(crate) fn reverse_kl(log_q: &[f64], log_p: &[f64], scale: f64, gradient: &mut [f64]) -> f64 {
    let terms = log_q.iter().zip(log_p);
    let divergence: f64 = terms.map(|(lq, lp)| lq.exp() * (lq - lp)).sum();
    for ((&lq, &lp), g) in log_q.iter().zip(log_p).zip(gradient) {
        *g += scale * lq.exp() * (lq - lp - divergence);
    }
    divergence.max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_softmax_holds_where_exponentials_leave_the_range() {
        let mut row = [1000.0, 0.0, -1000.0];
        normalize(&mut row);
        assert_eq!(row, [0.0, -1000.0, -2000.0]);
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
