//! Correlations of two lists.

use super::{MetricError, Z95};
use serde::Serialize;

/// A correlation with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Correlation {
    /// The coefficient, −1 to 1.
    pub value: f64,
    /// The number of pairs.
    pub n: usize,
    /// The 95 % interval.
    pub ci95: [f64; 2],
}

/// Spearman's rank correlation of two lists: Pearson's correlation of their ranks, equal values sharing the mean
/// of their ranks.
///
/// The interval is `tanh(atanh(ρ) ± z · sqrt((1 + ρ²/2) / (n − 3)))` (Bonett and Wright 2000, Psychometrika 65,
/// 23–28); from −1 to 1 for fewer than four pairs. The coefficient of a list of equal values is 0.
///
/// # Errors
/// [`MetricError::Lengths`], [`MetricError::NoSamples`].
pub fn spearman(found: &[f64], expected: &[f64]) -> Result<Correlation, MetricError> {
    check_lengths(found.len(), expected.len())?;
    let rho = coefficient(&ranks(found), &ranks(expected));
    Ok(with_interval(rho, found.len(), 1.0 + rho * rho / 2.0))
}

/// Pearson's product-moment correlation of two lists.
///
/// The interval is `tanh(atanh(r) ± z / sqrt(n − 3))` (Fisher 1921, Metron 1, 3–32); from −1 to 1 for fewer than four pairs. The
/// coefficient of a list of equal values is 0.
///
/// # Errors
/// [`MetricError::Lengths`], [`MetricError::NoSamples`].
pub fn pearson(found: &[f64], expected: &[f64]) -> Result<Correlation, MetricError> {
    check_lengths(found.len(), expected.len())?;
    Ok(with_interval(
        coefficient(found, expected),
        found.len(),
        1.0,
    ))
}

fn check_lengths(samples: usize, labels: usize) -> Result<(), MetricError> {
    match samples {
        _ if samples != labels => Err(MetricError::Lengths { labels, samples }),
        0 => Err(MetricError::NoSamples),
        _ => Ok(()),
    }
}

/// The interval by Fisher's transformation, in which the variance is `spread / (n − 3)`.
fn with_interval(value: f64, n: usize, spread: f64) -> Correlation {
    let ci95 = if n > 3 && value.abs() < 1.0 {
        let spread = Z95 * (spread / (n - 3) as f64).sqrt();
        let z = value.atanh();
        [(z - spread).tanh(), (z + spread).tanh()]
    } else if n > 3 {
        [value, value]
    } else {
        [-1.0, 1.0]
    };
    Correlation { value, n, ci95 }
}

/// Ranks from 1, equal values sharing the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let same = |&&i: &&usize| values[i] == values[order[start]];
        let count = order[start..].iter().take_while(same).count().max(1);
        let mean = start as f64 + (count as f64 + 1.0) / 2.0;
        for &i in &order[start..start + count] {
            ranks[i] = mean;
        }
        start += count;
    }
    ranks
}

fn coefficient(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len() as f64;
    let (mean_a, mean_b) = (a.iter().sum::<f64>() / n, b.iter().sum::<f64>() / n);
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (x, y) in a.iter().zip(b) {
        let (x, y) = (x - mean_a, y - mean_b);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    let norm = (aa * bb).sqrt();
    if norm == 0.0 {
        0.0
    } else {
        (ab / norm).clamp(-1.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_a_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
    }

    #[test]
    fn order_alone_counts() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0];
        let cubes = x.map(|v: f64| v.powi(3));
        assert_eq!(spearman(&x, &cubes).unwrap().value, 1.0);
        // rho = 1 - 6 sum d^2 / (n (n^2 - 1)) with d = (0, 1, 1, 0, 0).
        let swapped = [1.0, 3.0, 2.0, 4.0, 5.0];
        let found = spearman(&x, &swapped).unwrap();
        assert!((found.value - 0.9).abs() < 1e-12);
        let spread = Z95 * ((1.0 + 0.405) / 2.0f64).sqrt();
        assert!((found.ci95[0] - (0.9f64.atanh() - spread).tanh()).abs() < 1e-9);
    }

    #[test]
    fn pearsons_interval_is_fishers() {
        // r = 0.8 by hand: deviations (−2, −1, 0, 1, 2) and (−1, −2, 1, 0, 2), 8 / sqrt(10 · 10).
        let found = pearson(&[1.0, 2.0, 3.0, 4.0, 5.0], &[2.0, 1.0, 4.0, 3.0, 5.0]).unwrap();
        assert!((found.value - 0.8).abs() < 1e-12);
        let spread = Z95 / 2f64.sqrt();
        assert!((found.ci95[1] - (0.8f64.atanh() + spread).tanh()).abs() < 1e-9);
        assert_eq!(pearson(&[1.0, 2.0], &[1.0, 5.0]).unwrap().ci95, [-1.0, 1.0]);
        let error = pearson(&[1.0], &[]).unwrap_err();
        assert_eq!(error.to_string(), "0 labels for 1 samples");
        assert_eq!(spearman(&[], &[]), Err(MetricError::NoSamples));
    }

    #[test]
    fn a_constant_list_correlates_with_nothing() {
        assert_eq!(
            spearman(&[1.0; 5], &[1., 2., 3., 4., 5.]).unwrap().value,
            0.0
        );
    }
}
