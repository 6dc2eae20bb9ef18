//! `RoiAlign`: the mean (or the greatest) of samples of each bin of each region, taken by bilinear
//! interpolation at evenly spaced points without rounding.
//! <https://onnx.ai/onnx/operators/onnx__RoiAlign.html>; He et al., arXiv:1703.06870. Opset 16 adds
//! `coordinate_transformation_mode` (earlier: `output_half_pixel`), 22 bfloat16.
//!
//! The greatest is taken of the four weighted corners of each sample, as the specification's
//! reference and onnxruntime do.

use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::dispatch::dispatch;

/// Sampling points per bin beyond which a region is refused.
const MAX_SAMPLES: f64 = (1u32 << 24) as f64;

/// The attributes of `RoiAlign`.
#[derive(Clone, Debug, PartialEq)]
pub struct RoiAlign {
    /// How samples become one value.
    pub mode: RoiMode,
    /// Rows of bins per region.
    pub output_height: usize,
    /// Columns of bins per region.
    pub output_width: usize,
    /// Sampling points per bin and axis; 0 for as many as the bin is wide.
    pub sampling_ratio: usize,
    /// From the coordinates of the regions to those of the input.
    pub spatial_scale: f32,
    /// Whether positions are shifted by half an element (`half_pixel`).
    pub half_pixel: bool,
}

/// How samples become one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoiMode {
    /// Their mean.
    Average,
    /// The greatest.
    Max,
}

const RULE: &str = "the input must be [N, C, H, W], the regions [R, 4], their images [R]";

impl Operator for RoiAlign {
    const SIGNATURE: Signature = Signature::onnx("RoiAlign", &[10, 16, 22]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let mode = attrs.string_or("mode", "avg".to_owned())?;
        let mode = match mode.to_ascii_lowercase().as_str() {
            "avg" => RoiMode::Average,
            "max" => RoiMode::Max,
            _ => {
                return Err(AttrError::Invalid {
                    name: "mode",
                    found: mode,
                    rule: "it must be avg or max",
                });
            }
        };
        let half_pixel = match attrs
            .string_opt("coordinate_transformation_mode")?
            .as_deref()
        {
            None => attrs.version() >= 16,
            Some("half_pixel") => true,
            Some("output_half_pixel") => false,
            Some(other) => {
                return Err(AttrError::Invalid {
                    name: "coordinate_transformation_mode",
                    found: other.to_owned(),
                    rule: "it must be half_pixel or output_half_pixel",
                });
            }
        };
        Ok(Self {
            mode,
            output_height: attrs.size_or("output_height", 1)?,
            output_width: attrs.size_or("output_width", 1)?,
            sampling_ratio: attrs.size_or("sampling_ratio", 0)?,
            spatial_scale: attrs.f32_or("spatial_scale", 1.0)?,
            half_pixel,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (x, rois, images) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        let channels = match x.shape.as_deref() {
            None => Dim::Unknown,
            Some([_, c, _, _]) => c.clone(),
            Some(other) => return Err(InferError::rule(RULE, format_args!("{other:?}"))),
        };
        let of_rois = match rois.shape.as_deref() {
            None => Dim::Unknown,
            Some([r, _]) => r.clone(),
            Some(other) => return Err(InferError::rule(RULE, format_args!("{other:?}"))),
        };
        let regions = match images.shape.as_deref() {
            Some([r]) => of_rois.refine(r),
            _ => of_rois,
        };
        let (height, width) = (self.output_height.into(), self.output_width.into());
        let shape = vec![regions, channels, height, width];
        Ok(vec![TensorFact::with_shape(x.dtype, Some(shape)).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dtype = cx.tensor(0)?.dtype();
        Ok(vec![
            dispatch!(dtype, T in floats => self.run::<T>(cx))?.into(),
        ])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("region coordinates need more than 8 bits")
    }
}

impl RoiAlign {
    fn run<T: Accumulate<Wide = f64>>(&self, cx: &EvalContext<'_>) -> Result<Tensor, EvalError> {
        let (x, rois, images) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        let (&[n, c, height, width], &[regions, 4]) = (x.shape(), rois.shape()) else {
            let found = format!("{:?}, {:?}", x.shape(), rois.shape());
            return Err(EvalError::rule(RULE, found));
        };
        if images.shape() != [regions] {
            return Err(EvalError::rule(
                RULE,
                format_args!("images {:?}", images.shape()),
            ));
        }
        let shape = [regions, c, self.output_height, self.output_width];
        let count = cx.check_size(&shape, T::DTYPE)?;
        let mut y = Vec::with_capacity(count);
        if count == 0 {
            return Ok(Tensor::from_vec(&shape, y)?);
        }
        let (x, rois) = (x.data::<T>()?, rois.data::<T>()?);
        for (roi, &image) in rois.chunks_exact(4).zip(images.data::<i64>()?.iter()) {
            let image = usize::try_from(image)
                .ok()
                .filter(|&i| i < n)
                .ok_or_else(|| EvalError::rule("a region's image must be in the batch", image))?;
            let across = self.samples(roi[0], roi[2], self.output_width, width)?;
            let down = self.samples(roi[1], roi[3], self.output_height, height)?;
            for channel in 0..c {
                let plane = &x[(image * c + channel) * height * width..][..height * width];
                for rows in &down {
                    for columns in &across {
                        y.push(T::narrow(self.pool(plane, width, rows, columns)));
                    }
                }
            }
        }
        Ok(Tensor::from_vec(&shape, y)?)
    }

    /// The sampling points of each bin along one axis.
    fn samples<T: Accumulate<Wide = f64>>(
        &self,
        start: T,
        end: T,
        bins: usize,
        size: usize,
    ) -> Result<Vec<Vec<Sample>>, EvalError> {
        let (scale, shift) = (
            f64::from(self.spatial_scale),
            if self.half_pixel { 0.5 } else { 0.0 },
        );
        let start = start.widen() * scale - shift;
        let mut extent = end.widen() * scale - shift - start;
        if !self.half_pixel {
            extent = extent.max(1.0);
        }
        let bin = extent / bins as f64;
        let points = match self.sampling_ratio {
            0 => bin.ceil().max(0.0),
            ratio => ratio as f64,
        };
        if points.is_nan() || points * points > MAX_SAMPLES {
            return Err(EvalError::rule(
                "a bin must not take more than 2^24 samples",
                format_args!("{points} points along one axis"),
            ));
        }
        let sample = |i: usize, j: usize| {
            let at = start + i as f64 * bin + (j as f64 + 0.5) * bin / points;
            Sample::new(at, size)
        };
        let points = points as usize;
        Ok((0..bins)
            .map(|i| (0..points).map(|j| sample(i, j)).collect())
            .collect())
    }

    fn pool<T: Accumulate<Wide = f64>>(
        &self,
        plane: &[T],
        width: usize,
        rows: &[Sample],
        columns: &[Sample],
    ) -> f64 {
        let mut best: Option<f64> = None;
        let mut sum = 0.0;
        for r in rows {
            for c in columns {
                let at = |row: usize, column: usize| {
                    plane.get(row * width + column).map_or(0.0, |v| v.widen())
                };
                let weighted = [
                    r.low_weight * c.low_weight * at(r.low, c.low),
                    r.low_weight * c.high_weight * at(r.low, c.high),
                    r.high_weight * c.low_weight * at(r.high, c.low),
                    r.high_weight * c.high_weight * at(r.high, c.high),
                ];
                sum += weighted.iter().sum::<f64>();
                let greatest = weighted.into_iter().fold(f64::NEG_INFINITY, f64::max);
                best = Some(best.map_or(greatest, |b| b.max(greatest)));
            }
        }
        match self.mode {
            RoiMode::Average => sum / (rows.len() * columns.len()).max(1) as f64,
            RoiMode::Max => best.unwrap_or(0.0),
        }
    }
}

/// A point between two elements along one axis.
struct Sample {
    low: usize,
    high: usize,
    low_weight: f64,
    high_weight: f64,
}

impl Sample {
    /// Points more than one position outside weigh nothing.
    fn new(at: f64, size: usize) -> Self {
        let Some(last) = size
            .checked_sub(1)
            .filter(|_| at >= -1.0 && at <= size as f64)
        else {
            return Self {
                low: 0,
                high: 0,
                low_weight: 0.0,
                high_weight: 0.0,
            };
        };
        let at = at.max(0.0);
        let low = (at as usize).min(last);
        let high_weight = if low == last { 0.0 } else { at - low as f64 };
        Self {
            low,
            high: (low + 1).min(last),
            low_weight: 1.0 - high_weight,
            high_weight,
        }
    }
}
