//! Weights with one scale per tensor or per channel.

use crate::QuantError;
use compress_tensor::{DType, Granularity, QuantParams, Tensor, element_count};

/// How the scale of a weight is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightRule {
    /// `s = max|w| / q_max`: nothing is clipped.
    #[default]
    MaxAbs,
    /// The scale of least squared error among fractions of `max|w| / q_max`.
    LeastSquares,
}

/// A weight in small integers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct QuantizedWeight {
    /// The integers, of the weight's shape.
    pub values: Tensor,
    /// Their scales; zero points are 0.
    pub params: QuantParams,
}

/// Quantizes `weight` to signed integers, one scale per slice along `axis`.
///
/// `q = clamp(round_ties_even(w / s), -q_max, q_max)` with `s = max|w| / q_max` for
/// [`WeightRule::MaxAbs`]: symmetric, narrow range, zero point 0 (Krishnamoorthi 2018,
/// arXiv:1806.08342, sec. 2.2). `dtype` is `I8` (`q_max` 127) or `I4` (`q_max` 7).
///
/// # Shapes and units
/// * `weight`: f32 of any rank >= 1, e.g. `[out, in, kh, kw]`; finite.
/// * returns integers of the same shape, and scales `[weight.shape()[axis]]` in real units per step, so
///   that `|w - q * s| <= s / 2` up to f32 rounding (for `MaxAbs`). A slice whose scale would be
///   zero (all zeros, or so small that it underflows) gets `s = 1`.
///
/// # Errors
/// [`QuantError::AxisOutOfRange`]; [`QuantError::NotFinite`] with the first position;
/// [`QuantError::Tensor`] if `weight` is not f32; [`QuantError::WeightType`] for another `dtype`.
///
/// # Examples
/// ```
/// use compress_quant::{DType, Tensor, WeightRule, quantize_per_channel};
/// let w = Tensor::from_vec(&[2, 2], vec![1.0f32, -2.0, 0.5, 0.25])?; // [out = 2, in = 2]
/// let q = quantize_per_channel(&w, 0, DType::I8, WeightRule::MaxAbs)?;
/// assert_eq!(q.values.as_slice::<i8>()?, [64, -127, 127, 64]);
/// assert_eq!(q.params.scale, [2.0 / 127.0, 0.5 / 127.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn quantize_per_channel(
    weight: &Tensor,
    axis: usize,
    dtype: DType,
    rule: WeightRule,
) -> Result<QuantizedWeight, QuantError> {
    let rank = weight.rank();
    let &channels = weight
        .shape()
        .get(axis)
        .ok_or(QuantError::AxisOutOfRange { axis, rank })?;
    let inner = element_count(&weight.shape()[axis + 1..]).unwrap_or(0);
    quantize(
        weight,
        channels,
        inner,
        dtype,
        rule,
        Granularity::PerChannel { axis },
    )
}

/// Quantizes `weight` to signed integers with one scale; otherwise as [`quantize_per_channel`].
///
/// # Errors
/// Those of [`quantize_per_channel`].
pub fn quantize_per_tensor(
    weight: &Tensor,
    dtype: DType,
    rule: WeightRule,
) -> Result<QuantizedWeight, QuantError> {
    quantize(weight, 1, weight.len(), dtype, rule, Granularity::PerTensor)
}

fn quantize(
    weight: &Tensor,
    channels: usize,
    inner: usize,
    dtype: DType,
    rule: WeightRule,
    granularity: Granularity,
) -> Result<QuantizedWeight, QuantError> {
    let q_max = largest_code(dtype)?;
    let data = weight.data::<f32>()?;
    if let Some((index, &value)) = data.iter().enumerate().find(|(_, v)| !v.is_finite()) {
        return Err(QuantError::NotFinite { index, value });
    }
    let mut max_abs = vec![0f32; channels];
    for_each_run(&data, channels, inner, |c, run| {
        max_abs[c] = run.iter().fold(max_abs[c], |m, v| m.max(v.abs()));
    });
    let mut scale: Vec<f32> = max_abs.iter().map(|&m| positive(m / q_max)).collect();
    if rule == WeightRule::LeastSquares {
        shrink_to_least_squares(&data, channels, inner, q_max, &mut scale);
    }
    let mut codes = Vec::with_capacity(data.len());
    for_each_run(&data, channels, inner, |c, run| {
        let s = scale[c];
        codes.extend(
            run.iter()
                .map(|&w| nearest((w / s).clamp(-q_max, q_max)) as i8),
        );
    });
    let values = match dtype {
        DType::I8 => Tensor::from_vec(weight.shape(), codes)?,
        _ => Tensor::from_vec(weight.shape(), codes)?
            .cast(dtype, compress_tensor::CastOptions::default())?,
    };
    let zero_point = vec![0; scale.len()];
    Ok(QuantizedWeight {
        values,
        params: QuantParams {
            scale,
            zero_point,
            dtype,
            granularity,
        },
    })
}

/// Steps of symmetric codes of at most `q_max`: of least squared error among [`CANDIDATES`], or the greatest where 8 bits or more make clipping
/// needless; beside them the greatest magnitudes.
pub(crate) fn steps_of(
    data: &[f32],
    channels: usize,
    inner: usize,
    q_max: f32,
) -> (Vec<f32>, Vec<f32>) {
    let mut max_abs = vec![0f32; channels];
    for_each_run(data, channels, inner, |c, run| {
        max_abs[c] = run.iter().fold(max_abs[c], |m, v| m.max(v.abs()));
    });
    let mut steps: Vec<f32> = max_abs.iter().map(|&m| positive(m / q_max)).collect();
    if q_max < 127.0 {
        shrink_to_least_squares(data, channels, inner, q_max, &mut steps);
    }
    (steps, max_abs)
}

/// The greatest code of the narrow, symmetric range.
pub(super) fn largest_code(dtype: DType) -> Result<f32, QuantError> {
    match dtype {
        DType::I8 => Ok(127.0),
        DType::I4 => Ok(7.0),
        _ => Err(QuantError::WeightType { dtype }),
    }
}

/// The nearest whole number, the even one of two, for magnitudes below 2^22.
///
/// `f32::round_ties_even` is a call into the C library where the CPU is not known to round, and keeps loops from
/// working on vectors. Adding 1.5·2^23 leaves no bits for a fraction, so the sum itself is rounded.
pub(super) fn nearest(x: f32) -> f32 {
    const SHIFT: f32 = 12_582_912.0;
    (x + SHIFT) - SHIFT
}

/// The scale, or 1 where it is not a positive number.
pub(crate) fn positive(scale: f32) -> f32 {
    if scale > 0.0 { scale } else { 1.0 }
}

/// Calls `visit` with the channel and each run of neighbours in it, in C order.
fn for_each_run(data: &[f32], channels: usize, inner: usize, mut visit: impl FnMut(usize, &[f32])) {
    for (i, run) in data.chunks(inner.max(1)).enumerate() {
        visit(i % channels.max(1), run);
    }
}

/// Scales that [`shrink_to_least_squares`] tries: fractions of the given one, from 1 down to about half.
const CANDIDATES: usize = 40;
/// Squared errors that are added in f32 before they go into an f64: few enough that rounding does not choose.
const EXACT_RUN: usize = 256;

/// Takes the scale of least squared error among [`CANDIDATES`] in every channel.
fn shrink_to_least_squares(
    data: &[f32],
    channels: usize,
    inner: usize,
    q_max: f32,
    scale: &mut [f32],
) {
    // One channel at a time, its weights side by side: they stay in the nearest cache for all candidates.
    let mut weights = Vec::new();
    for (c, scale) in scale.iter_mut().enumerate() {
        weights.clear();
        if inner == 1 {
            weights.extend(data.iter().skip(c).step_by(channels.max(1)));
        } else {
            let runs = data.chunks(inner.max(1)).skip(c).step_by(channels.max(1));
            runs.for_each(|run| weights.extend_from_slice(run));
        }
        let start = *scale;
        let mut best = f64::INFINITY;
        for step in 0..CANDIDATES {
            let candidate = start * (1.0 - step as f32 / (2 * CANDIDATES) as f32);
            let error = squared_error(&weights, candidate, q_max);
            if error < best {
                best = error;
                *scale = candidate;
            }
        }
    }
}

/// `Σ (w - s·clamp(round(w / s)))²`.
fn squared_error(weights: &[f32], s: f32, q_max: f32) -> f64 {
    const LANES: usize = 8;
    let per_step = s.recip();
    let error = |w: f32| {
        let e = w - nearest((w * per_step).clamp(-q_max, q_max)) * s;
        e * e
    };
    let mut total = 0f64;
    for run in weights.chunks(EXACT_RUN) {
        let mut sums = [0f32; LANES];
        let whole = run.chunks_exact(LANES);
        let rest: f32 = whole.remainder().iter().map(|&w| error(w)).sum();
        for weights in whole {
            for (sum, &w) in sums.iter_mut().zip(weights) {
                *sum += error(w);
            }
        }
        total += f64::from(sums.iter().sum::<f32>() + rest);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nearest_is_round_ties_even() {
        let values = (-2600..=2600).map(|i| i as f32 / 20.0);
        for x in values.chain([0.499_999_97, -0.5, 1.5, -2.5, 126.5, 4_194_303.5]) {
            assert_eq!(nearest(x), x.round_ties_even(), "{x}");
        }
    }

    #[test]
    fn an_all_zero_channel_gets_scale_one() {
        let w = Tensor::from_vec(&[2, 2], vec![0f32, 0.0, 1.0, -0.5]).unwrap();
        let q = quantize_per_channel(&w, 0, DType::I8, WeightRule::MaxAbs).unwrap();
        assert_eq!(q.params.scale[0], 1.0);
        assert_eq!(q.values.as_slice::<i8>().unwrap(), [0, 0, 127, -64]);
    }

    #[test]
    fn the_last_axis_is_as_good_as_the_first() {
        let w = Tensor::from_vec(&[2, 2], vec![1f32, 10.0, -2.0, 5.0]).unwrap();
        let q = quantize_per_channel(&w, 1, DType::I8, WeightRule::MaxAbs).unwrap();
        assert_eq!(q.params.scale, [2.0 / 127.0, 10.0 / 127.0]);
        assert_eq!(q.values.as_slice::<i8>().unwrap(), [64, 127, -127, 64]);
    }

    #[test]
    fn a_value_that_is_not_finite_is_named() {
        let w = Tensor::from_vec(&[3], vec![1f32, f32::INFINITY, 0.0]).unwrap();
        let e = quantize_per_tensor(&w, DType::I8, WeightRule::MaxAbs).unwrap_err();
        assert_eq!(
            e,
            QuantError::NotFinite {
                index: 1,
                value: f32::INFINITY
            }
        );
    }

    proptest! {
        #[test]
        fn the_error_is_at_most_half_a_step(w in prop::collection::vec(-10f32..10.0, 12)) {
            let t = Tensor::from_vec(&[3, 4], w.clone()).unwrap();
            let q = quantize_per_channel(&t, 0, DType::I8, WeightRule::MaxAbs).unwrap();
            let codes = q.values.as_slice::<i8>().unwrap();
            for (i, (&w, &code)) in w.iter().zip(codes).enumerate() {
                let s = q.params.scale[i / 4];
                prop_assert!((w - f32::from(code) * s).abs() <= s * 0.500_01);
            }
        }

        #[test]
        fn least_squares_is_never_worse(w in prop::collection::vec(-1f32..1.0, 16)) {
            let t = Tensor::from_vec(&[16], w.clone()).unwrap();
            let error = |rule| {
                let q = quantize_per_tensor(&t, DType::I4, rule).unwrap();
                let back = q.params.dequantize(&q.values).unwrap();
                w.iter().zip(back.iter()).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
            };
            prop_assert!(error(WeightRule::LeastSquares) <= error(WeightRule::MaxAbs) * 1.000_001 + 1e-12);
        }
    }
}
