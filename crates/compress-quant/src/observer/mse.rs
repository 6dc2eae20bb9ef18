//! The range of least mean squared error.
//!
//! For a candidate range with scale `s` and zero point `z`, the error of a bin is taken at sub-points
//! spread over the bin: `Σ count · (x - s·(clamp(round(x/s) + z) - z))²`. Both ends of the range are shrunk in
//! turn over a grid until neither moves.

use super::{Histogram, Range};
use crate::QuantError;
use compress_tensor::{DType, RangeRule};

/// Steps of the grid over each end of the range.
const GRID: usize = 100;
/// Points at which the error within one bin is taken.
const POINTS: usize = 2;
/// Adding and subtracting this rounds to the nearest whole number.
const SHIFT: f64 = 6_755_399_441_055_744.0;

pub(super) fn range(
    histogram: &Histogram,
    full: Range,
    dtype: DType,
    rule: RangeRule,
) -> Result<Range, QuantError> {
    let (low, high) = dtype.integer_range().unwrap_or((0, 0));
    search(histogram, full, rule == RangeRule::Symmetric, |range| {
        let params = range.params(dtype, rule)?;
        Ok(Codes {
            scale: f64::from(params.scale[0]),
            zero_point: f64::from(params.zero_point[0]),
            low: low as f64,
            high: high as f64,
        })
    })
}

/// What numbers become in a range.
pub(crate) struct Codes {
    pub(crate) scale: f64,
    pub(crate) zero_point: f64,
    /// The least code.
    pub(crate) low: f64,
    /// The greatest code.
    pub(crate) high: f64,
}

/// The range of least squared error, where `codes` says what numbers become in one.
///
/// # Errors
/// That of `codes`.
pub(crate) fn search(
    histogram: &Histogram,
    full: Range,
    symmetric: bool,
    codes: impl Fn(Range) -> Result<Codes, QuantError>,
) -> Result<Range, QuantError> {
    let full = Range {
        min: full.min.min(0.0),
        max: full.max.max(0.0),
    };
    let bins: Vec<(f64, f64)> = points(histogram);
    let error = |range| Ok::<_, QuantError>(error(&bins, &codes(range)?));
    let mut best = full;
    let mut least = error(best)?;
    for _ in 0..4 {
        let before = best;
        for end in [End::Max, End::Min] {
            let span = match end {
                _ if symmetric => full.max.max(-full.min),
                End::Max => full.max,
                End::Min => -full.min,
            };
            for step in 1..GRID {
                let value = span * (step as f32 / GRID as f32);
                let candidate = match end {
                    _ if symmetric => Range {
                        min: -value.min(-full.min),
                        max: value.min(full.max),
                    },
                    End::Max => Range { max: value, ..best },
                    End::Min => Range {
                        min: -value,
                        ..best
                    },
                };
                if candidate.max == candidate.min {
                    continue;
                }
                let e = error(candidate)?;
                if e < least {
                    (least, best) = (e, candidate);
                }
            }
        }
        if best == before || symmetric {
            break;
        }
    }
    Ok(best)
}

#[derive(Clone, Copy)]
enum End {
    Min,
    Max,
}

/// Values and weights that stand for the histogram.
fn points(histogram: &Histogram) -> Vec<(f64, f64)> {
    let width = histogram.bin_width();
    let spread = move |(low, count): (f64, u64)| {
        (0..POINTS).map(move |i| {
            let at = (i as f64 + 0.5) / POINTS as f64;
            (low + at * width, count as f64 / POINTS as f64)
        })
    };
    histogram.bins().flat_map(spread).collect()
}

fn error(points: &[(f64, f64)], codes: &Codes) -> f64 {
    let (low, high) = (codes.low - codes.zero_point, codes.high - codes.zero_point);
    let inverse = 1.0 / codes.scale;
    let each = points.iter().map(|&(x, weight)| {
        // 1.5·2^52 leaves no bits for a fraction: rounded without a call, so that the loop works on vectors.
        let q = ((x * inverse).clamp(low, high) + SHIFT) - SHIFT;
        let e = x - q * codes.scale;
        weight * e * e
    });
    each.sum()
}

#[cfg(test)]
mod tests {
    use crate::observer::{Method, Range, TensorStats};
    use crate::{DType, RangeRule};

    #[test]
    fn a_rare_outlier_is_clipped_and_a_uniform_range_is_kept() {
        let mut uniform: Vec<f32> = (0..20_000).map(|i| i as f32 / 20_000.0).collect();
        let mut stats = TensorStats::new();
        stats.observe(&uniform).unwrap();
        let kept = Method::Mse
            .range(&stats, DType::U8, RangeRule::Asymmetric)
            .unwrap();
        assert!(kept.max > 0.98, "{kept:?}");
        uniform.push(4.0);
        let mut stats = TensorStats::new();
        stats.observe(&uniform).unwrap();
        let clipped = Method::Mse
            .range(&stats, DType::I4, RangeRule::Symmetric)
            .unwrap();
        assert!(clipped.max < 1.5, "{clipped:?}");
    }

    #[test]
    fn no_other_range_has_a_clearly_smaller_error_on_the_values_themselves() {
        // Bell shaped about 1, so that the ends differ.
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state as f32 / u32::MAX as f32
        };
        let values: Vec<f32> = (0..5000)
            .map(|_| (0..6).map(|_| next()).sum::<f32>() - 2.0)
            .collect();
        let mut stats = TensorStats::new();
        stats.observe(&values).unwrap();
        let error = |range: Range, dtype, rule| -> f64 {
            let params = range.params(dtype, rule).unwrap();
            let x = ndarray::ArrayView1::from(&values).into_dyn();
            let back = params.dequantize(&params.quantize(x).unwrap()).unwrap();
            let each = values.iter().zip(back.iter());
            each.map(|(a, b)| f64::from(a - b).powi(2)).sum()
        };
        for (dtype, rule) in [
            (DType::I4, RangeRule::Symmetric),
            (DType::U4, RangeRule::Asymmetric),
        ] {
            let chosen = Method::Mse.range(&stats, dtype, rule).unwrap();
            let own = error(chosen, dtype, rule);
            let full = error(stats.min_max().unwrap(), dtype, rule);
            assert!(own < full, "{own} {full}");
            for i in 1..=40 {
                for j in 1..=40 {
                    let (min, max) = (-2.0 * i as f32 / 40.0, 4.0 * j as f32 / 40.0);
                    let other = error(Range { min, max }, dtype, rule);
                    assert!(
                        own <= other * 1.03,
                        "{chosen:?} {own}, [{min}, {max}] {other}"
                    );
                }
            }
        }
    }
}
