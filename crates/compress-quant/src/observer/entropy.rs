//! The range of least Kullback-Leibler divergence.
//!
//! For each candidate threshold `T` the values beyond it are added to the outermost bins inside, giving `P`;
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
    let one_sided = full.min >= 0.0 && rule == RangeRule::Asymmetric;
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
        let side = (threshold / width).ceil() as usize;
        // With fewer bins than levels nothing is lost inside, so nothing could be told apart.
        let span = if one_sided { side } else { 2 * side };
        if span < 2 * levels && step < CANDIDATES {
            continue;
        }
        let divergence = divergence(&bins, width, side, one_sided, levels);
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

fn divergence(bins: &[(f64, u64)], width: f64, side: usize, one_sided: bool, levels: usize) -> f64 {
    let (offset, span) = if one_sided {
        (0, side)
    } else {
        (side as i64, 2 * side)
    };
    let mut inside = vec![0f64; span];
    let mut p = vec![0f64; span];
    for &(low, count) in bins {
        let at = (low / width).floor() as i64 + offset;
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
}
