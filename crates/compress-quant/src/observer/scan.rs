//! One pass over a tensor's values: what every method needs of a sample, without a branch per value.

/// Running values side by side, so that the compiler turns the loop into vector instructions.
const LANES: usize = 16;
/// Values after which the sums of squares go over to f64.
const BLOCK: usize = 2048;

/// Sums of squares in f32 to which none that fell out of its range can matter, and which no NaN and no infinity is in.
const SURE: std::ops::Range<f64> = 1e-28..1e38;

/// What one pass over a sample's values gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scan {
    pub min: f32,
    pub max: f32,
    pub finite: bool,
    /// Values that are exactly zero.
    pub zeros: u64,
    /// `Σ x²`.
    pub energy: f64,
}

/// Scans `values`; the result depends on nothing but their order.
pub(super) fn scan(values: &[f32]) -> Scan {
    let mut low = [f32::INFINITY; LANES];
    let mut high = [f32::NEG_INFINITY; LANES];
    let (mut total_zeros, mut energy, mut finite) = (0u64, 0f64, true);
    for block in values.chunks(BLOCK) {
        // One loop for each: the block stays in the nearest cache, and the compiler turns simple loops into vectors.
        low = fold_lanes(block, low, |l, v| if v < l { v } else { l });
        high = fold_lanes(block, high, |h, v| if v > h { v } else { h });
        let zeros = fold_lanes(block, [0u32; LANES], |z, v| z + u32::from(v == 0.0));
        let squares = fold_lanes(block, [0f32; LANES], |s, v| s + v * v);
        total_zeros += zeros.iter().map(|&z| u64::from(z)).sum::<u64>();
        let sum: f64 = squares.iter().map(|&s| f64::from(s)).sum();
        if SURE.contains(&sum) {
            energy += sum;
        } else {
            // Squares of very great and very small numbers are beyond f32.
            energy += block.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
            finite &= block.iter().all(|v| v.is_finite());
        }
    }
    // -0 and 0 are one value, whichever came first.
    let min = low.into_iter().fold(f32::INFINITY, f32::min) + 0.0;
    let max = high.into_iter().fold(f32::NEG_INFINITY, f32::max) + 0.0;
    Scan {
        min,
        max,
        finite,
        zeros: total_zeros,
        energy,
    }
}

/// Takes each value into the running value of its lane.
#[inline(always)]
fn fold_lanes<T: Copy>(block: &[f32], from: [T; LANES], step: impl Fn(T, f32) -> T) -> [T; LANES] {
    let mut lanes = from;
    let (whole, rest) = block.as_chunks::<LANES>();
    for values in whole {
        for (lane, &v) in lanes.iter_mut().zip(values) {
            *lane = step(*lane, v);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane = step(*lane, v);
    }
    lanes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_scan_finds_what_a_plain_loop_finds(values in prop::collection::vec(
            prop_oneof![Just(0f32), Just(-0.0), -5f32..5.0], 1..9000,
        )) {
            let found = scan(&values);
            let least = values.iter().copied().fold(f32::INFINITY, f32::min) + 0.0;
            let greatest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max) + 0.0;
            let energy: f64 = values.iter().map(|&v| f64::from(v).powi(2)).sum();
            prop_assert_eq!(found.min.to_bits(), least.to_bits());
            prop_assert_eq!(found.max.to_bits(), greatest.to_bits());
            prop_assert_eq!(found.zeros as usize, values.iter().filter(|&&v| v == 0.0).count());
            prop_assert!((found.energy - energy).abs() <= energy * 1e-4);
            prop_assert!(found.finite);
        }

        #[test]
        fn squares_beyond_f32_are_counted(magnitude in -40f32..38.0, n in 1usize..5000) {
            let value = 10f32.powf(magnitude);
            let values = vec![value; n];
            let expected = f64::from(value).powi(2) * n as f64;
            let found = scan(&values).energy;
            prop_assert!((found - expected).abs() <= expected * 1e-4, "{found} {expected}");
        }

        #[test]
        fn one_value_that_is_not_finite_is_seen_wherever_it_stands(n in 1usize..9000, at in 0usize..9000) {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut values = vec![1f32; n];
                values[at % n] = bad;
                prop_assert!(!scan(&values).finite);
            }
        }
    }
}
