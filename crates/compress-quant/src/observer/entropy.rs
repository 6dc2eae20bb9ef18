//! The range of least Kullback-Leibler divergence.
//!
//! For each candidate threshold `T` the range is `[-T, T]`, or what lies of it between the least and the greatest value
//! where ranges need not be symmetric. The values beyond it are added to the outermost bins inside, giving `P`;
//! the bins inside are put together into as many groups as the type has steps and spread again evenly over
//! those that held anything, giving `Q`; the `T` of least `Σ P·ln(P/Q)` is chosen (Migacz, GTC 2017).
//! Exact zeros are left out: they are representable in every range.

use super::{Histogram, Range};
use crate::QuantError;
use compress_tensor::{DType, RangeRule};

/// Candidate thresholds.
const CANDIDATES: usize = 128;

pub(super) fn range(
    histogram: &Histogram,
    full: Range,
    dtype: DType,
    rule: RangeRule,
) -> Result<Range, QuantError> {
    let bins: Vec<(f64, u64)> = histogram.bins().collect();
    let width = histogram.bin_width();
    let largest = f64::from(full.max.max(-full.min));
    let (low, high) = dtype.integer_range().unwrap_or((0, 255));
    let levels = usize::try_from(high - low).unwrap_or(255);
    if bins.is_empty() {
        return Ok(full);
    }
    let mut best = (f64::INFINITY, largest);
    for step in 1..=CANDIDATES {
        let threshold = largest * step as f64 / CANDIDATES as f64;
        let (least, greatest) = match rule {
            RangeRule::Asymmetric => (
                f64::from(full.min.min(0.0)).max(-threshold),
                f64::from(full.max.max(0.0)).min(threshold),
            ),
            RangeRule::Symmetric => (-threshold, threshold),
        };
        let first = (least / width).floor() as i64;
        let span = ((greatest / width).ceil() as i64 - first).max(1) as usize;
        // With fewer bins than levels nothing is lost inside, so nothing could be told apart.
        if span < 2 * levels && step < CANDIDATES {
            continue;
        }
        let divergence = divergence(&bins, width, first, span, levels);
        if divergence < best.0 {
            best = (divergence, threshold);
        }
    }
    let threshold = best.1 as f32;
    Ok(Range {
        min: full.min.max(-threshold),
        max: full.max.min(threshold),
    })
}

/// Of bins `first..first + span` held in `levels` steps.
fn divergence(bins: &[(f64, u64)], width: f64, first: i64, span: usize, levels: usize) -> f64 {
    let mut inside = vec![0f64; span];
    let mut p = vec![0f64; span];
    for &(low, count) in bins {
        let at = (low / width).floor() as i64 - first;
        let clamped = at.clamp(0, span as i64 - 1) as usize;
        p[clamped] += count as f64;
        if at == clamped as i64 {
            inside[clamped] += count as f64;
        }
    }
    let mut q = vec![0f64; span];
    for level in 0..levels {
        let (start, end) = (level * span / levels, (level + 1) * span / levels);
        let group = &inside[start..end];
        let filled = p[start..end].iter().filter(|&&c| c > 0.0).count();
        if filled > 0 {
            let share = group.iter().sum::<f64>() / filled as f64;
            for i in start..end {
                if p[i] > 0.0 {
                    q[i] = share;
                }
            }
        }
    }
    let (total_p, total_q) = (p.iter().sum::<f64>(), q.iter().sum::<f64>());
    if total_q == 0.0 {
        return f64::INFINITY;
    }
    // A bin that only clipped values fill has no counterpart: a little mass keeps the sum finite.
    let least = 1e-6;
    p.iter()
        .zip(&q)
        .filter(|(p, _)| **p > 0.0)
        .map(|(p, q)| {
            let (p, q) = (p / total_p, (q / total_q).max(least / total_p.max(1.0)));
            p * (p / q).ln()
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use crate::observer::{Method, TensorStats};
    use crate::{DType, RangeRule};

    #[test]
    fn a_lone_outlier_is_clipped() {
        // Sum of uniforms: bell shaped in [-3, 3], and one value far out.
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state as f32 / u32::MAX as f32
        };
        let mut values: Vec<f32> = (0..50_000)
            .map(|_| (0..6).map(|_| next()).sum::<f32>() - 3.0)
            .collect();
        values.push(60.0);
        let mut stats = TensorStats::new();
        stats.observe(&values).unwrap();
        let range = Method::Entropy
            .range(&stats, DType::I8, RangeRule::Symmetric)
            .unwrap();
        assert!(range.max < 30.0 && range.max > 1.5, "{range:?}");
    }

    /// `Σ P·ln(P/Q)` for a range of bins, spelt out.
    fn by_hand(counts: &[(i64, f64)], first: i64, span: i64, levels: i64) -> f64 {
        let inside = |b: i64| (first..first + span).contains(&b);
        let p = |b: i64| -> f64 {
            let all = counts
                .iter()
                .filter(|(at, _)| (*at).clamp(first, first + span - 1) == b);
            all.map(|(_, n)| n).sum()
        };
        let mut q = std::collections::BTreeMap::new();
        for level in 0..levels {
            let group = first + level * span / levels..first + (level + 1) * span / levels;
            let held: f64 = counts
                .iter()
                .filter(|(at, _)| inside(*at) && group.contains(at))
                .map(|(_, n)| n)
                .sum();
            let filled: Vec<i64> = group.filter(|&b| p(b) > 0.0).collect();
            for &b in &filled {
                q.insert(b, held / filled.len() as f64);
            }
        }
        let (total, kept) = (
            counts.iter().map(|(_, n)| n).sum::<f64>(),
            q.values().sum::<f64>(),
        );
        q.iter()
            .map(|(&b, &q)| {
                let (p, q) = (p(b) / total, (q / kept).max(1e-6 / total));
                p * (p / q).ln()
            })
            .sum()
    }

    #[test]
    fn the_divergence_of_a_small_table() {
        // Bins of width 2, an asymmetric range of bins -2..6 in 4 levels, values beyond both of its ends.
        let table = [
            (-4, 3u64),
            (-2, 7),
            (-1, 1),
            (0, 12),
            (1, 9),
            (3, 4),
            (5, 2),
            (9, 1),
        ];
        let bins: Vec<(f64, u64)> = table.iter().map(|&(b, n)| (b as f64 * 2.0, n)).collect();
        let counts: Vec<(i64, f64)> = table.iter().map(|&(b, n)| (b, n as f64)).collect();
        for (first, span) in [(-2, 8), (-4, 14), (-2, 4), (0, 6)] {
            let found = super::divergence(&bins, 2.0, first, span as usize, 4);
            let expected = by_hand(&counts, first, span, 4);
            assert!(
                (found - expected).abs() < 1e-12,
                "{first} {span}: {found} {expected}"
            );
            assert!(found > 0.0);
        }
    }

    #[test]
    fn levels_lie_on_the_range_that_is_returned() {
        // Values from -1 to 15: with all levels on it a step is 16/255, not 30/255.
        let values: Vec<f32> = (0..40_000).map(|i| i as f32 / 2500.0 - 1.0).collect();
        let mut stats = TensorStats::new();
        stats.observe(&values).unwrap();
        let range = Method::Entropy.range(&stats, DType::U8, RangeRule::Asymmetric);
        let range = range.unwrap();
        assert_eq!(range.min, -1.0);
        assert!(range.max > 14.0, "{range:?}");
    }
}
