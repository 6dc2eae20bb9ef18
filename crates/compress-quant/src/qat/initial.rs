//! Steps to begin with.

use super::range::CodeRange;
use crate::QuantError;
use crate::weight::{positive, steps_of};
use compress_tensor::{Tensor, element_count};

/// LSQ's first step of each slice along `axis`, or of all: `s = 2 mean|w| / sqrt(q_max)` (Esser et al. 2020, arXiv:1902.08153, sec. 2.1); 1 where
/// all weights are 0.
///
/// # Errors
/// [`QuantError::AxisOutOfRange`]; [`QuantError::Tensor`] where the weight is not f32; [`QuantError::NotFinite`].
///
/// # Examples
/// ```
/// use compress_quant::qat::{CodeRange, mean_step};
/// use compress_quant::Tensor;
/// let w = Tensor::from_vec(&[2, 2], vec![0.5f32, -1.5, 2.0, 0.0])?;
/// let step = mean_step(&w, Some(0), CodeRange { q_min: -4, q_max: 4 })?;
/// assert_eq!(step, [2.0 * 1.0 / 2.0, 2.0 * 1.0 / 2.0]);
/// # Ok::<(), compress_quant::QuantError>(())
/// ```
pub fn mean_step(
    weight: &Tensor,
    axis: Option<usize>,
    range: CodeRange,
) -> Result<Vec<f32>, QuantError> {
    let (channels, inner) = extents(weight, axis)?;
    let data = weight.data::<f32>()?;
    check_finite(&data)?;
    let mut sums = vec![0f64; channels];
    for (i, run) in data.chunks(inner.max(1)).enumerate() {
        sums[i % channels.max(1)] += run.iter().map(|w| f64::from(w.abs())).sum::<f64>();
    }
    let each = (data.len() / channels.max(1)).max(1) as f64;
    let root = f64::from(range.q_max).max(1.0).sqrt();
    let steps = sums.iter().map(|sum| 2.0 * sum / each / root);
    Ok(steps.map(|s| positive(s as f32)).collect())
}

/// The step of each slice along `axis`, or of all, that is of least squared error among fractions of `max|w| / q_max`, codes within
/// `±q_max`; where `q_max` is 127 or more it is `max|w| / q_max`, with which nothing is clipped.
///
/// Where the greatest fraction is taken, the step is one whose quotient with `max|w|` does not lie above `q_max` by a rounding: the greatest weight is in the
/// range and has its gradient. Those that a smaller step clips have none and move the step, as LSQ has it (eq. 3 and 5 there).
///
/// # Errors
/// As [`mean_step`].
pub fn least_squares_step(
    weight: &Tensor,
    axis: Option<usize>,
    range: CodeRange,
) -> Result<Vec<f32>, QuantError> {
    let (channels, inner) = extents(weight, axis)?;
    let data = weight.data::<f32>()?;
    check_finite(&data)?;
    let q_max = range.q_max as f32;
    let (mut steps, most) = steps_of(&data, channels, inner, q_max);
    for (step, most) in steps.iter_mut().zip(most) {
        let quotient = |step: f32| f64::from(most) / f64::from(step) / f64::from(q_max);
        while quotient(*step) > 1.0 && quotient(*step) < 1.0 + 1e-6 {
            *step = step.next_up();
        }
    }
    Ok(steps)
}

fn extents(weight: &Tensor, axis: Option<usize>) -> Result<(usize, usize), QuantError> {
    let Some(axis) = axis else {
        return Ok((1, weight.len()));
    };
    let rank = weight.rank();
    let channels = weight.shape().get(axis);
    let &channels = channels.ok_or(QuantError::AxisOutOfRange { axis, rank })?;
    let inner = element_count(&weight.shape()[axis + 1..]).unwrap_or(0);
    Ok((channels, inner))
}

fn check_finite(data: &[f32]) -> Result<(), QuantError> {
    match data.iter().enumerate().find(|(_, v)| !v.is_finite()) {
        Some((index, &value)) => Err(QuantError::NotFinite { index, value }),
        None => Ok(()),
    }
}
