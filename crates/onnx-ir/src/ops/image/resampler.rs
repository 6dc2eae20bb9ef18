//! Resampling a tensor axis by axis: nearest, linear and cubic, with antialiasing when shrinking.
//!
//! Cubic: R. G. Keys, "Cubic convolution interpolation for digital image processing", IEEE ASSP 1981,
//! eq. 4. Antialiasing stretches the filter by `max(1, 1 / scale)`.

use super::coordinates::{AxisScale, CoordinateTransform};
use crate::operator::EvalError;
use crate::ops::dispatch::dispatch;
use crate::ops::lanes::{floats, rounded};
use crate::ops::number::Number;
use crate::ops::{axis, select};
use compress_tensor::Tensor;

/// Which of two neighbours is nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NearestMode {
    /// The nearer one, the lower one at half way.
    RoundPreferFloor,
    /// The nearer one, the higher one at half way.
    RoundPreferCeil,
    /// The lower one.
    Floor,
    /// The higher one.
    Ceil,
}

/// How values between elements are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Interpolation {
    /// One element is taken.
    Nearest(NearestMode),
    /// Two elements for each axis.
    Linear,
    /// Four elements for each axis, with Keys' coefficient `a`.
    Cubic {
        /// -0.75 in PyTorch, -0.5 in some of TensorFlow.
        a: f32,
    },
}

/// How a tensor is resampled.
#[derive(Clone, Debug, PartialEq)]
pub struct Resampler {
    /// How values between elements are made.
    pub interpolation: Interpolation,
    /// How positions map to the original.
    pub transform: CoordinateTransform,
    /// Whether the filter is stretched when an axis shrinks.
    pub antialias: bool,
    /// Whether elements outside count nothing, else as the nearest one inside.
    pub exclude_outside: bool,
    /// The value outside of the tensor, for [`CoordinateTransform::TfCropAndResize`].
    pub extrapolation: f32,
}

/// Elements that make one output element, with their weights.
type Taps = Vec<(usize, f64)>;

impl Resampler {
    /// `x` with each axis resampled. No axis of `x` may be empty unless its result is.
    ///
    /// # Errors
    /// [`EvalError::DType`] for a type without arithmetic, unless only nearest elements are taken.
    pub fn resample(&self, x: &Tensor, axes: &[AxisScale]) -> Result<Tensor, EvalError> {
        let shape: Vec<usize> = axes.iter().map(|a| a.resized).collect();
        if shape.contains(&0) {
            return select::zeros(x.dtype(), &shape);
        }
        if x.is_empty() {
            let found = format_args!("{:?} to {shape:?}", x.shape());
            return Err(EvalError::rule(
                "an empty axis has no elements to resample",
                found,
            ));
        }
        let outside: Vec<Vec<bool>> = axes.iter().map(|a| self.outside(a)).collect();
        if let Interpolation::Nearest(mode) = self.interpolation {
            let table = |(axis, outside): (&AxisScale, &Vec<bool>)| {
                let source = |i: usize| (!outside[i]).then(|| self.nearest(mode, i, axis));
                (0..axis.resized).map(source).collect()
            };
            let tables: Vec<Vec<Option<usize>>> = axes.iter().zip(&outside).map(table).collect();
            let fill = if outside.iter().flatten().any(|&o| o) {
                let value = f64::from(self.extrapolation);
                dispatch!(x.dtype(), T in numbers => Ok(Tensor::scalar(T::from_f64(value))))?
            } else {
                select::zeros(x.dtype(), &[])?
            };
            return select::mapped(x, &tables, &fill);
        }
        dispatch!(x.dtype(), T in numbers => self.weighted::<T>(x, axes, &shape, &outside))
    }

    fn weighted<T: Number>(
        &self,
        x: &Tensor,
        axes: &[AxisScale],
        shape: &[usize],
        outside: &[Vec<bool>],
    ) -> Result<Tensor, EvalError> {
        let mut data: Vec<f64> = x.data::<T>()?.iter().map(|v| v.to_f64()).collect();
        let mut sizes = x.shape().to_vec();
        // What shrinks comes first, so that nothing on the way is larger than both ends.
        let mut order: Vec<usize> = (0..axes.len()).collect();
        let growth = |at: &usize| axes[*at].resized as f64 / axes[*at].original as f64;
        order.sort_by(|a, b| growth(a).total_cmp(&growth(b)));
        for at in order {
            let scale = &axes[at];
            let unchanged = scale.scale == 1.0
                && scale.original == scale.resized
                && self.transform != CoordinateTransform::TfCropAndResize;
            if unchanged {
                continue;
            }
            let taps: Vec<Taps> = (0..scale.resized).map(|i| self.taps(i, scale)).collect();
            let (outer, size, inner) = axis::split(&sizes, at);
            let mut next = vec![0.0; outer * scale.resized * inner];
            for (row, sums) in next.chunks_exact_mut(inner).enumerate() {
                let (o, i) = (row / scale.resized, row % scale.resized);
                for &(p, w) in &taps[i] {
                    let from = (o * size + p) * inner;
                    for (sum, v) in sums.iter_mut().zip(&data[from..from + inner]) {
                        *sum += w * v;
                    }
                }
            }
            data = next;
            sizes[at] = scale.resized;
        }
        for (at, flags) in outside
            .iter()
            .enumerate()
            .filter(|(_, f)| f.contains(&true))
        {
            let (_, size, inner) = axis::split(&sizes, at);
            for (i, v) in data.iter_mut().enumerate() {
                if flags[i / inner % size] {
                    *v = self.extrapolation.into();
                }
            }
        }
        Ok(Tensor::from_vec(
            shape,
            data.into_iter().map(T::from_f64).collect(),
        )?)
    }

    /// The adjoint of [`Resampler::resample`]: every element of `dy` goes, weighted, to those that it was made of.
    ///
    /// # Errors
    /// [`EvalError::DType`] for what is no float.
    pub fn adjoint(&self, dy: &Tensor, axes: &[AxisScale]) -> Result<Tensor, EvalError> {
        let mut data = floats(dy)?;
        let mut sizes = dy.shape().to_vec();
        for (at, scale) in axes.iter().enumerate() {
            let outside = self.outside(scale);
            let (outer, size, inner) = axis::split(&sizes, at);
            let mut next = vec![0.0; outer * scale.original * inner];
            let taps: Vec<Taps> = (0..size)
                .map(|i| match self.interpolation {
                    _ if outside[i] => Vec::new(),
                    Interpolation::Nearest(mode) => vec![(self.nearest(mode, i, scale), 1.0)],
                    _ => self.taps(i, scale),
                })
                .collect();
            for (row, values) in data.chunks_exact(inner.max(1)).enumerate() {
                let (o, i) = (row / size, row % size);
                for &(p, w) in &taps[i] {
                    let to = (o * scale.original + p) * inner;
                    let sums = next[to..to + inner].iter_mut();
                    sums.zip(values).for_each(|(sum, v)| *sum += w * v);
                }
            }
            data = next;
            sizes[at] = scale.original;
        }
        rounded(dy.dtype(), &sizes, data)
    }

    /// For each position whether it is extrapolated.
    fn outside(&self, axis: &AxisScale) -> Vec<bool> {
        let last = axis.original as f32 - 1.0;
        let is_outside = |i: usize| {
            let x = self.transform.original(i, axis);
            self.transform == CoordinateTransform::TfCropAndResize && !(0.0..=last).contains(&x)
        };
        (0..axis.resized).map(is_outside).collect()
    }

    fn nearest(&self, mode: NearestMode, i: usize, axis: &AxisScale) -> usize {
        let x = self.transform.original(i, axis);
        let floor = x.floor();
        let nearest = match mode {
            NearestMode::RoundPreferFloor if x - floor <= 0.5 => floor,
            NearestMode::RoundPreferCeil if x - floor < 0.5 => floor,
            NearestMode::Floor => floor,
            _ => x.ceil(),
        };
        clamp(nearest as i64, axis.original)
    }

    fn taps(&self, i: usize, axis: &AxisScale) -> Taps {
        let x = f64::from(self.transform.original(i, axis));
        let floor = x.floor();
        let ratio = x - floor;
        let stretch = if self.antialias {
            f64::from(axis.scale).min(1.0)
        } else {
            1.0
        };
        let reach = if matches!(self.interpolation, Interpolation::Cubic { .. }) {
            2.0
        } else {
            1.0
        };
        // A filter is no wider than the file's scale makes it, and never wider than the axis matters.
        let reach = (reach / stretch)
            .ceil()
            .min(2.0 * axis.original as f64 + 4.0) as i64;
        let mut taps: Taps = Vec::new();
        for offset in 1 - reach..=reach {
            let at = (floor as i64).saturating_add(offset);
            let inside = usize::try_from(at).is_ok_and(|p| p < axis.original);
            if inside || !self.exclude_outside {
                let weight = self.kernel((offset as f64 - ratio) * stretch);
                taps.push((clamp(at, axis.original), weight));
            }
        }
        if self.exclude_outside || stretch < 1.0 {
            let sum: f64 = taps.iter().map(|t| t.1).sum();
            taps.iter_mut().for_each(|t| t.1 /= sum);
        }
        taps
    }

    /// The weight of an element at a distance.
    fn kernel(&self, distance: f64) -> f64 {
        let x = distance.abs();
        match self.interpolation {
            Interpolation::Cubic { a } => cubic(x, a.into()),
            _ => (1.0 - x).max(0.0),
        }
    }
}

/// Keys' cubic convolution kernel.
pub(super) fn cubic(x: f64, a: f64) -> f64 {
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}

fn clamp(at: i64, size: usize) -> usize {
    usize::try_from(at).unwrap_or(0).min(size.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resampler(interpolation: Interpolation, antialias: bool) -> Resampler {
        Resampler {
            interpolation,
            transform: CoordinateTransform::HalfPixel,
            antialias,
            exclude_outside: false,
            extrapolation: 0.0,
        }
    }

    fn scaled(r: &Resampler, x: Vec<f32>, resized: usize) -> Vec<f32> {
        let original = x.len();
        let scale = resized as f32 / original as f32;
        let axis = AxisScale {
            original,
            resized,
            scale,
            roi: (0.0, 1.0),
        };
        r.resample(&Tensor::vector(x), &[axis])
            .unwrap()
            .into_vec()
            .unwrap()
    }

    #[test]
    fn linear_interpolation_doubles_a_ramp() {
        let linear = resampler(Interpolation::Linear, false);
        assert_eq!(scaled(&linear, vec![0.0, 4.0], 4), [0.0, 1.0, 3.0, 4.0]);
    }

    #[test]
    fn nothing_on_the_way_is_larger_than_both_ends() {
        const LONG: usize = 1 << 20;
        let axis = |original: usize, resized: usize| AxisScale {
            original,
            resized,
            scale: resized as f32 / original as f32,
            roi: (0.0, 1.0),
        };
        let x = Tensor::full(&[1, LONG], 3f32).unwrap();
        let linear = resampler(Interpolation::Linear, false);
        let y = linear
            .resample(&x, &[axis(1, LONG), axis(LONG, 1)])
            .unwrap();
        assert_eq!(y.shape(), [LONG, 1]);
        assert!(y.data::<f32>().unwrap().iter().all(|&v| v == 3.0));
    }

    #[test]
    fn antialiasing_averages_what_falls_into_a_pixel() {
        let linear = resampler(Interpolation::Linear, true);
        // Tent of half width 2 about 0.5 and 2.5: weights 1, 3, 3, 1 with the edge repeated.
        assert_eq!(scaled(&linear, vec![0.0, 8.0, 8.0, 0.0], 2), [4.0, 4.0]);
    }

    #[test]
    fn cubic_weights_add_up_to_one() {
        for x in [0.0, 0.25, 0.5, 0.9] {
            let sum: f64 = (-1..=2)
                .map(|k| cubic((f64::from(k) - x).abs(), -0.75))
                .sum();
            assert!((sum - 1.0).abs() < 1e-12);
        }
    }
}
