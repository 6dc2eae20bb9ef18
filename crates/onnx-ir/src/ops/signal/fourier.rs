//! The discrete Fourier transform of any length: `X[k] = sum over n of x[n] * e^(-2 pi i k n / N)`.
//!
//! Lengths are split by their smallest prime factor (Cooley and Tukey, 1965): `N * (p1 + p2 + ...)`
//! steps for prime factors `p`.

/// Real and imaginary part.
pub(super) type Complex = (f64, f64);

/// Whether a transform goes to frequencies or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transform {
    /// `e^-...`.
    Forward,
    /// `e^+...`, divided by the length.
    Inverse,
}

/// The transform of a signal.
pub(super) fn transform(signal: &[Complex], kind: Transform) -> Vec<Complex> {
    let n = signal.len();
    let turn = match kind {
        Transform::Forward => -std::f64::consts::TAU,
        Transform::Inverse => std::f64::consts::TAU,
    };
    let roots: Vec<Complex> = (0..n)
        .map(|k| {
            let (sin, cos) = (turn * k as f64 / n as f64).sin_cos();
            (cos, sin)
        })
        .collect();
    let mut result = split(signal.to_vec(), &roots);
    if kind == Transform::Inverse {
        for (re, im) in &mut result {
            *re /= n as f64;
            *im /= n as f64;
        }
    }
    result
}

/// `roots` are those of a length that is a multiple of the signal's.
fn split(signal: Vec<Complex>, roots: &[Complex]) -> Vec<Complex> {
    let n = signal.len();
    if n <= 1 {
        return signal;
    }
    let factor = smallest_factor(n);
    let part = n / factor;
    let parts: Vec<Vec<Complex>> = (0..factor)
        .map(|r| {
            split(
                signal.iter().skip(r).step_by(factor).copied().collect(),
                roots,
            )
        })
        .collect();
    let step = roots.len() / n;
    (0..n)
        .map(|k| {
            let mut sum = (0.0, 0.0);
            for (r, transformed) in parts.iter().enumerate() {
                // k and r are below n, so the product keeps to the size of a tensor squared.
                let root = roots[(k as u128 * r as u128 % n as u128) as usize * step];
                let (re, im) = times(root, transformed[k % part]);
                sum = (sum.0 + re, sum.1 + im);
            }
            sum
        })
        .collect()
}

fn times(a: Complex, b: Complex) -> Complex {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

fn smallest_factor(n: usize) -> usize {
    let candidates = (2..).take_while(|f| f * f <= n);
    candidates
        .into_iter()
        .find(|f| n.is_multiple_of(*f))
        .unwrap_or(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_sum_of_the_definition() {
        for n in [1usize, 2, 7, 12, 30, 49] {
            let signal: Vec<Complex> = (0..n)
                .map(|i| ((i as f64 * 1.3).sin(), (i as f64 * 0.7).cos()))
                .collect();
            let fast = transform(&signal, Transform::Forward);
            for (k, fast) in fast.iter().enumerate() {
                let mut slow = (0.0, 0.0);
                for (i, &x) in signal.iter().enumerate() {
                    let angle = -std::f64::consts::TAU * (k * i) as f64 / n as f64;
                    let (re, im) = times((angle.cos(), angle.sin()), x);
                    slow = (slow.0 + re, slow.1 + im);
                }
                assert!((fast.0 - slow.0).abs() < 1e-10 && (fast.1 - slow.1).abs() < 1e-10);
            }
        }
    }

    #[test]
    fn the_inverse_gives_the_signal_back() {
        let signal: Vec<Complex> = (0..60).map(|i| (i as f64, -0.5 * i as f64)).collect();
        let there = transform(&signal, Transform::Forward);
        let back = transform(&there, Transform::Inverse);
        for (a, b) in signal.iter().zip(back) {
            assert!((a.0 - b.0).abs() < 1e-9 && (a.1 - b.1).abs() < 1e-9);
        }
    }
}
