//! The range that holds a share of the values.

use super::{Histogram, Range};
use crate::QuantError;

/// Cuts `(100 - percent) / 2` percent of the values at either tail; within a bin values are taken as
/// evenly spread.
pub(super) fn range(histogram: &Histogram, full: Range, percent: f64) -> Result<Range, QuantError> {
    check(percent)?;
    let cut = (100.0 - percent) / 200.0 * histogram.count() as f64;
    let low = quantile(histogram, histogram.bins(), cut, false).unwrap_or(full.min);
    let high = quantile(histogram, histogram.bins().rev(), cut, true).unwrap_or(full.max);
    Ok(Range {
        min: low.max(full.min).min(0.0),
        max: high.min(full.max).max(0.0),
    })
}

/// Checks that a share in percent can be kept.
pub(super) fn check(percent: f64) -> Result<(), QuantError> {
    if percent > 0.0 && percent <= 100.0 {
        return Ok(());
    }
    Err(QuantError::Setting {
        setting: "percentile",
        found: percent,
        rule: "it must lie in (0, 100]",
    })
}

/// Where `cut` values lie beyond, coming from one end; zeros stand between the negative and the positive bins.
fn quantile(
    histogram: &Histogram,
    bins: impl Iterator<Item = (f64, u64)>,
    cut: f64,
    from_above: bool,
) -> Option<f32> {
    let width = histogram.bin_width();
    let mut seen = 0.0;
    let mut zeros = Some(histogram.zeros() as f64);
    for (low, count) in bins {
        let past_zero = if from_above { low < 0.0 } else { low >= 0.0 };
        if let (true, Some(n)) = (past_zero, zeros) {
            zeros = None;
            seen += n;
            if seen > cut {
                return Some(0.0);
            }
        }
        let count = count as f64;
        if seen + count > cut {
            let inside = (cut - seen) / count * width;
            return Some(if from_above {
                low + width - inside
            } else {
                low + inside
            } as f32);
        }
        seen += count;
    }
    // All values on this side of zero are beyond.
    (histogram.count() > 0).then_some(0.0)
}

#[cfg(test)]
mod tests {
    use crate::observer::{Method, TensorStats};
    use crate::{DType, RangeRule};

    #[test]
    fn tails_are_cut_equally() {
        let values: Vec<f32> = (-1000..=1000).map(|i| i as f32 / 1000.0).collect();
        let mut stats = TensorStats::new();
        stats.observe(&values).unwrap();
        let range = Method::Percentile(90.0)
            .range(&stats, DType::I8, RangeRule::Asymmetric)
            .unwrap();
        assert!((range.min + 0.9).abs() < 2e-3, "{range:?}");
        assert!((range.max - 0.9).abs() < 2e-3, "{range:?}");
    }

    #[test]
    fn a_hundred_percent_is_min_max() {
        let mut stats = TensorStats::new();
        stats.observe(&[-0.37, 0.0, 5.25]).unwrap();
        let range = Method::Percentile(100.0)
            .range(&stats, DType::U8, RangeRule::Asymmetric)
            .unwrap();
        assert_eq!((range.min, range.max), (-0.37, 5.25));
    }

    #[test]
    fn zeros_do_not_widen_a_tail() {
        let mut values = vec![0f32; 10_000];
        values.push(100.0);
        let mut stats = TensorStats::new();
        stats.observe(&values).unwrap();
        let range = Method::Percentile(99.0)
            .range(&stats, DType::U8, RangeRule::Asymmetric)
            .unwrap();
        assert_eq!((range.min, range.max), (0.0, 0.0));
    }
}
