//! `GridSample`: samples `x [n, c, spatial..]` at normalised coordinates `grid [n, out.., d]`, whose last
//! axis holds the innermost coordinate first.
//! <https://onnx.ai/onnx/operators/onnx__GridSample.html>; Jaderberg et al., arXiv:1506.02025.
//!
//! Opset 20 generalised it from 2 to any number of axes and renamed `bilinear` and `bicubic`.

use super::resampler::cubic;
use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::number::Number;
use crate::ops::select;

/// How values between elements are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GridMode {
    /// The nearest element, the even one at half way.
    Nearest,
    /// Two elements for each axis.
    Linear,
    /// Four elements for each axis, `a = -0.75`.
    Cubic,
}

/// What stands outside of the tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GridPadding {
    /// Zeros.
    Zeros,
    /// The nearest element.
    Border,
    /// The mirror image.
    Reflection,
}

/// The attributes of `GridSample`.
#[derive(Clone, Debug, PartialEq)]
pub struct GridSample {
    /// How values between elements are made.
    pub mode: GridMode,
    /// What stands outside.
    pub padding: GridPadding,
    /// Whether -1 and 1 are the centres of the corner pixels, else their outer edges.
    pub align_corners: bool,
}

const RULE: &str = "x must be [n, c, spatial..], grid [n, out.., d] with d spatial axes";

impl Operator for GridSample {
    const SIGNATURE: Signature = Signature::onnx("GridSample", &[16, 20, 22]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let mode = attrs.string_or("mode", "linear".into())?;
        let padding = attrs.string_or("padding_mode", "zeros".into())?;
        let invalid = |name, found| AttrError::Invalid {
            name,
            found,
            rule: "it must be one of the modes of GridSample",
        };
        Ok(Self {
            mode: match mode.as_str() {
                "nearest" => GridMode::Nearest,
                "linear" | "bilinear" => GridMode::Linear,
                "cubic" | "bicubic" => GridMode::Cubic,
                _ => return Err(invalid("mode", mode)),
            },
            padding: match padding.as_str() {
                "zeros" => GridPadding::Zeros,
                "border" => GridPadding::Border,
                "reflection" => GridPadding::Reflection,
                _ => return Err(invalid("padding_mode", padding)),
            },
            align_corners: attrs.flag_or("align_corners", false)?,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (x, grid) = (cx.tensor(0)?, cx.tensor(1)?);
        let shape = match (&x.shape, &grid.shape) {
            (Some(x), Some(g))
                if x.len() >= 3
                    && x.len() == g.len()
                    && !g[g.len() - 1].contradicts(&Dim::from(x.len() - 2))
                    && !g[0].contradicts(&x[0]) =>
            {
                Some([&[x[0].refine(&g[0]), x[1].clone()], &g[1..g.len() - 1]].concat())
            }
            (Some(_), Some(_)) => {
                return Err(InferError::rule(RULE, format_args!("{x}, {grid}")));
            }
            _ => None,
        };
        Ok(vec![TensorFact::with_shape(x.dtype, shape).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, grid) = (cx.tensor(0)?, cx.tensor(1)?);
        let wrong = || EvalError::rule(RULE, format_args!("{:?}, {:?}", x.shape(), grid.shape()));
        let (&[n, c, ref spatial @ ..], &[gn, ref out @ .., d]) = (x.shape(), grid.shape()) else {
            return Err(wrong());
        };
        if n != gn || d != spatial.len() || out.len() != d || d == 0 {
            return Err(wrong());
        }
        let shape = [&[n, c], out].concat();
        cx.check_size(&shape, x.dtype())?;
        let points = grid.to_f64_vec()?;
        if x.is_empty() {
            return Ok(vec![select::zeros(x.dtype(), &shape)?.into()]);
        }
        let y = dispatch!(x.dtype(), T in numbers => self.sample::<T>(x, &points, &shape));
        Ok(vec![y?.into()])
    }
}

/// Elements that make one output element, by offset, with their weights.
type Taps = Vec<(usize, f64)>;

impl GridSample {
    fn sample<T: Number>(
        &self,
        x: &Tensor,
        points: &[f64],
        shape: &[usize],
    ) -> Result<Tensor, EvalError> {
        let spatial = &x.shape()[2..];
        let (n, c) = (shape[0], shape[1]);
        let plane: usize = spatial.iter().product();
        let places: usize = shape[2..].iter().product();
        let data = x.data::<T>()?;
        let mut y = vec![T::ZERO; n * c * places];
        for b in 0..n {
            for place in 0..places {
                let at = (b * places + place) * spatial.len();
                let taps = self.taps(&points[at..at + spatial.len()], spatial);
                for channel in b * c..(b + 1) * c {
                    let values = &data[channel * plane..(channel + 1) * plane];
                    let sum = taps.iter().map(|&(o, w)| w * values[o].to_f64()).sum();
                    y[channel * places + place] = T::from_f64(sum);
                }
            }
        }
        Ok(Tensor::from_vec(shape, y)?)
    }

    fn taps(&self, point: &[f64], spatial: &[usize]) -> Taps {
        let mut taps: Taps = vec![(0, 1.0)];
        for (&size, &coordinate) in spatial.iter().zip(point.iter().rev()) {
            let along = self.along(coordinate, size);
            let join = |&(offset, weight): &(usize, f64)| {
                along
                    .iter()
                    .map(move |&(p, w)| (offset * size + p, weight * w))
                    .collect::<Taps>()
            };
            taps = taps.iter().flat_map(join).collect();
        }
        taps
    }

    /// The elements of one axis; those outside of it count nothing.
    fn along(&self, coordinate: f64, size: usize) -> Taps {
        let length = size as f64;
        // f32, as runtimes compute it: where pixels meet the rounding decides.
        let x = f64::from(if self.align_corners {
            ((coordinate + 1.0) / 2.0 * (length - 1.0)) as f32
        } else {
            (((coordinate + 1.0) * length - 1.0) / 2.0) as f32
        });
        let x = if self.mode == GridMode::Nearest {
            x.round_ties_even()
        } else {
            x
        };
        let x = self.inside(x, length);
        if !x.is_finite() {
            return Taps::new();
        }
        let first = x.floor();
        let (from, to) = match self.mode {
            GridMode::Nearest => (0, 0),
            GridMode::Linear => (0, 1),
            GridMode::Cubic => (-1, 2),
        };
        let tap = |k: i32| {
            let at = first + f64::from(k);
            let distance = (at - x).abs();
            let weight = match self.mode {
                GridMode::Nearest => 1.0,
                GridMode::Linear => 1.0 - distance,
                GridMode::Cubic => cubic(distance, -0.75),
            };
            let at = match self.padding {
                GridPadding::Zeros if !(0.0..length).contains(&at) => return None,
                GridPadding::Zeros => at,
                GridPadding::Border | GridPadding::Reflection => self.inside(at, length),
            };
            Some(((at as usize).min(size - 1), weight))
        };
        (from..=to).filter_map(tap).collect()
    }

    /// A coordinate moved into the axis as the padding says.
    fn inside(&self, x: f64, length: f64) -> f64 {
        let (low, high) = if self.align_corners {
            (0.0, length - 1.0)
        } else {
            (-0.5, length - 0.5)
        };
        match self.padding {
            _ if (low..=high).contains(&x) || x.is_nan() => x,
            GridPadding::Zeros => x,
            GridPadding::Border => x.clamp(0.0, length - 1.0),
            GridPadding::Reflection => reflect(x, low, high),
        }
    }
}

/// `x` mirrored at the borders until it lies between them.
fn reflect(x: f64, low: f64, high: f64) -> f64 {
    let span = high - low;
    if span <= 0.0 {
        return low;
    }
    let phase = (x - low).rem_euclid(2.0 * span);
    low + phase.min(2.0 * span - phase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_outside_follow_the_padding() {
        assert_eq!(reflect(-1.0, -0.5, 2.5), 0.0);
        assert_eq!(reflect(7.0, 0.0, 3.0), 1.0);
        assert_eq!(reflect(5.0, 0.0, 0.0), 0.0);
        let op = |padding| GridSample {
            mode: GridMode::Nearest,
            padding,
            align_corners: false,
        };
        assert_eq!(op(GridPadding::Zeros).along(3.0, 2), []);
        assert_eq!(op(GridPadding::Border).along(3.0, 2), [(1, 1.0)]);
    }
}
