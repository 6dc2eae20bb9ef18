//! McNemar's test: do two classifiers differ on the same samples?

use super::MetricError;
use serde::Serialize;

/// The outcome of the exact test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct McNemar {
    /// Samples that only the first has right.
    pub only_first: usize,
    /// Samples that only the second has right.
    pub only_second: usize,
    /// The number of samples.
    pub n: usize,
    /// The probability of a difference as large or larger, were both equally good.
    pub p_value: f64,
}

/// Compares two classifiers sample by sample (McNemar 1947, Psychometrika 12, 153–157): of the samples that one alone has right, as
/// many should fall to either.
///
/// The p-value is the exact, two-sided one of the binomial distribution, `min(1, 2 · P(X ≤ min(b, c)))` with `X ~ B(b + c, ½)`.
///
/// # Errors
/// [`MetricError::Lengths`], [`MetricError::NoSamples`].
///
/// # Examples
/// ```
/// use compress_train::metrics::mcnemar;
/// let found = mcnemar(&[true, true, false, true], &[true, false, false, false])?;
/// assert_eq!((found.only_first, found.only_second, found.p_value), (2, 0, 0.5));
/// # Ok::<(), compress_train::metrics::MetricError>(())
/// ```
pub fn mcnemar(first: &[bool], second: &[bool]) -> Result<McNemar, MetricError> {
    if first.len() != second.len() {
        return Err(MetricError::Lengths {
            labels: second.len(),
            samples: first.len(),
        });
    }
    if first.is_empty() {
        return Err(MetricError::NoSamples);
    }
    let count = |a: bool, b: bool| {
        first
            .iter()
            .zip(second)
            .filter(|&(&x, &y)| x == a && y == b)
            .count()
    };
    let (only_first, only_second) = (count(true, false), count(false, true));
    let tail = binomial_tail(only_first.min(only_second), only_first + only_second);
    Ok(McNemar {
        only_first,
        only_second,
        n: first.len(),
        p_value: (2.0 * tail).min(1.0),
    })
}

/// `P(X ≤ k)` for `X ~ B(n, ½)`, summed from the largest term down.
fn binomial_tail(k: usize, n: usize) -> f64 {
    // ln C(n, k) as a sum of logarithms.
    let log_choose: f64 = (1..=k).map(|i| ((n - k + i) as f64 / i as f64).ln()).sum();
    let largest = (log_choose - n as f64 * std::f64::consts::LN_2).exp();
    let (mut sum, mut term) = (0.0, largest);
    for i in (0..=k).rev() {
        sum += term;
        // C(n, i−1) = C(n, i) · i / (n − i + 1).
        term *= i as f64 / (n - i + 1) as f64;
        if term < sum * f64::EPSILON / 4.0 {
            break;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_those_of_the_binomial_distribution() {
        assert_eq!(binomial_tail(0, 0), 1.0);
        // (1 + 10 + 45) / 1024 and 1 + … over all.
        assert!((binomial_tail(2, 10) - 56.0 / 1024.0).abs() < 1e-15);
        assert!((binomial_tail(10, 10) - 1.0).abs() < 1e-13);
        // Of 2n+1 throws n or fewer are half the cases.
        assert!((binomial_tail(5000, 10_001) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn the_p_value_is_exact() {
        // 5 against 15: 2 · (C(20,0) + … + C(20,5)) / 2²⁰ = 2 · 21700 / 1048576.
        let first: Vec<bool> = (0..40).map(|i| !(5..20).contains(&i)).collect();
        let second: Vec<bool> = (0..40).map(|i| i >= 5).collect();
        let found = mcnemar(&first, &second).unwrap();
        assert_eq!((found.only_first, found.only_second, found.n), (5, 15, 40));
        assert!((found.p_value - 43_400.0 / 1_048_576.0).abs() < 1e-12);
        assert_eq!(mcnemar(&first, &first).unwrap().p_value, 1.0);
        assert!(mcnemar(&first, &[]).is_err() && mcnemar(&[], &[]).is_err());
    }
}
