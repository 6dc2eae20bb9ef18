//! The area under the receiver operating characteristic.

use super::{MetricError, Z95};
use serde::Serialize;

/// An area under the curve with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Auc {
    /// The area, 0 to 1.
    pub value: f64,
    /// The number of samples.
    pub n: usize,
    /// The 95 % interval.
    pub ci95: [f64; 2],
}

/// The probability that a positive sample has a larger score than a negative one, equal scores counting half.
///
/// The interval is `A ± z · sqrt(var)`, cut at 0 and 1, with the variance of DeLong, DeLong and Clarke-Pearson 1988 (Biometrics 44,
/// 837–845), by ranks as Sun and Xu 2014; from 0 to 1 where one kind has a single sample.
///
/// # Errors
/// [`MetricError::Lengths`], [`MetricError::NoSamples`], [`MetricError::OneKind`]; [`MetricError::NotANumber`] for a score that is NaN.
///
/// # Examples
/// ```
/// use compress_train::metrics::roc_auc;
/// let found = roc_auc(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true])?;
/// assert_eq!(found.value, 0.75);
/// # Ok::<(), compress_train::metrics::MetricError>(())
/// ```
pub fn roc_auc(scores: &[f64], is_positive: &[bool]) -> Result<Auc, MetricError> {
    let n = scores.len();
    if n != is_positive.len() {
        return Err(MetricError::Lengths {
            labels: is_positive.len(),
            samples: n,
        });
    }
    if n == 0 {
        return Err(MetricError::NoSamples);
    }
    if let Some(sample) = scores.iter().position(|s| s.is_nan()) {
        return Err(MetricError::NotANumber { sample });
    }
    let of = |wanted: bool| -> Vec<f64> {
        let pairs = scores.iter().zip(is_positive);
        pairs
            .filter(|&(_, &is)| is == wanted)
            .map(|(&s, _)| s)
            .collect()
    };
    let (positive, negative) = (of(true), of(false));
    if positive.is_empty() || negative.is_empty() {
        let found = if negative.is_empty() {
            "positive"
        } else {
            "negative"
        };
        return Err(MetricError::OneKind { found });
    }
    // By sample: the share of the other kind that it stands on the right side of.
    let above = placements(&positive, &negative);
    let below: Vec<f64> = placements(&negative, &positive)
        .iter()
        .map(|p| 1.0 - p)
        .collect();
    let value = above.iter().sum::<f64>() / above.len() as f64;
    let ci95 = match (variance(&above, value), variance(&below, value)) {
        (Some(a), Some(b)) => {
            let spread = Z95 * (a / above.len() as f64 + b / below.len() as f64).sqrt();
            [(value - spread).max(0.0), (value + spread).min(1.0)]
        }
        _ => [0.0, 1.0],
    };
    Ok(Auc { value, n, ci95 })
}

/// The share of `others` that each value is above, equal ones counting half.
fn placements(values: &[f64], others: &[f64]) -> Vec<f64> {
    let mut sorted = others.to_vec();
    sorted.sort_by(f64::total_cmp);
    let of = |v: &f64| {
        let less = sorted.partition_point(|o| o < v);
        let not_more = sorted.partition_point(|o| o <= v);
        (less + not_more) as f64 / 2.0 / sorted.len() as f64
    };
    values.iter().map(of).collect()
}

fn variance(values: &[f64], mean: f64) -> Option<f64> {
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    (values.len() > 1).then(|| squares / (values.len() as f64 - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_count_half() {
        let found = roc_auc(&[1.0, 1.0, 1.0, 1.0], &[true, false, true, false]).unwrap();
        assert_eq!(found.value, 0.5);
        let found = roc_auc(&[3.0, 2.0, 2.0, 1.0], &[true, true, false, false]).unwrap();
        assert_eq!(found.value, 0.875);
        // Placements 1 and 3/4 of the positives, 3/4 and 1 of the negatives: each variance 1/32, their sum over two 1/32.
        let spread = Z95 * (1.0f64 / 32.0).sqrt();
        assert!((found.ci95[0] - (0.875 - spread)).abs() < 1e-12 && found.ci95[1] == 1.0);
    }

    #[test]
    fn zeros_are_equal_whatever_their_sign() {
        let found = roc_auc(&[0.0, -0.0, -0.0, 0.0], &[true, false, true, false]).unwrap();
        assert_eq!(found.value, 0.5);
        // Infinities have their places.
        let found = roc_auc(&[f64::INFINITY, f64::NEG_INFINITY], &[true, false]).unwrap();
        assert_eq!(found.value, 1.0);
    }

    #[test]
    fn a_score_that_is_no_number_is_refused() {
        let error = roc_auc(&[1.0, f64::NAN, 0.0], &[true, true, false]).unwrap_err();
        assert_eq!(error.to_string(), "the score of sample 1 is NaN");
    }

    #[test]
    fn two_kinds_are_needed() {
        let error = roc_auc(&[1.0, 2.0], &[true, true]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "all samples are positive: there is nothing to tell apart"
        );
        assert!(roc_auc(&[], &[]).is_err() && roc_auc(&[1.0], &[]).is_err());
        assert_eq!(
            roc_auc(&[1.0, 0.0], &[true, false]).unwrap().ci95,
            [0.0, 1.0]
        );
    }
}
