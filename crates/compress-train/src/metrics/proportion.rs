//! Shares of samples, and their intervals.

use super::Z95;
use serde::Serialize;

/// A share of samples with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    /// The share, 0 to 1.
    pub value: f64,
    /// The number of samples.
    pub n: usize,
    /// The 95 % Wilson score interval.
    pub ci95: [f64; 2],
}

impl Accuracy {
    /// The accuracy of `correct` samples out of `n`; `None` for no samples.
    pub fn new(correct: usize, n: usize) -> Option<Self> {
        Some(Self {
            value: if n == 0 {
                return None;
            } else {
                correct as f64 / n as f64
            },
            n,
            ci95: wilson_interval(correct, n)?,
        })
    }
}

/// The 95 % score interval of a binomial proportion; `None` for no samples.
///
/// `(p + z²/2n ± z·sqrt(p(1−p)/n + z²/4n²)) / (1 + z²/n)` with `p = correct / n`, `z = 1.96`
/// (Wilson 1927, J. Am. Stat. Assoc. 22, 209–212).
///
/// ```
/// let [low, high] = compress_train::metrics::wilson_interval(7548, 10_000).unwrap();
/// assert!((low - 0.7463).abs() < 1e-4 && (high - 0.7631).abs() < 1e-4);
/// ```
pub fn wilson_interval(correct: usize, n: usize) -> Option<[f64; 2]> {
    if n == 0 {
        return None;
    }
    let count = n as f64;
    let p = correct as f64 / count;
    let z2 = Z95 * Z95;
    let middle = p + z2 / (2.0 * count);
    let spread = Z95 * (p * (1.0 - p) / count + z2 / (4.0 * count * count)).sqrt();
    let scale = 1.0 + z2 / count;
    let bound = |x: f64| (x / scale).clamp(0.0, 1.0);
    Some([bound(middle - spread), bound(middle + spread)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_wilsons() {
        // Newcombe 1998, Stat. Med. 17, table I: 81 of 263 and 0 of 20.
        let [low, high] = wilson_interval(81, 263).unwrap();
        assert!((low - 0.2553).abs() < 5e-5 && (high - 0.3662).abs() < 5e-5);
        let [low, high] = wilson_interval(0, 20).unwrap();
        assert!(low == 0.0 && (high - 0.1611).abs() < 5e-5);
    }
}
