//! `Resize`: resamples a tensor to scaled or given sizes.
//! <https://onnx.ai/onnx/operators/onnx__Resize.html>
//!
//! Opset 10 has only scales and the modes nearest (floor, asymmetric) and linear. Opset 11 added sizes,
//! the region of interest, the coordinate transforms and cubic; opset 18 antialiasing, axes and the
//! aspect ratio policies; opset 19 `half_pixel_symmetric`.

use super::coordinates::{AxisScale, CoordinateTransform};
use super::resampler::{Interpolation, NearestMode, Resampler};
use crate::operator::prelude::*;
use crate::ops::axis;

/// How given sizes relate to the aspect ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AspectPolicy {
    /// The sizes are taken as they are.
    Stretch,
    /// The largest sizes of the same ratio within the given ones.
    NotLarger,
    /// The smallest sizes of the same ratio that hold the given ones.
    NotSmaller,
}

/// The attributes of `Resize`.
#[derive(Clone, Debug, PartialEq)]
pub struct Resize {
    /// How elements are made.
    pub resampler: Resampler,
    /// The axes that scales, sizes and region are for; all where they are not given.
    pub axes: Option<Vec<i64>>,
    /// How given sizes relate to the aspect ratio.
    pub policy: AspectPolicy,
}

const RULE: &str = "scales or sizes must be given, positive, one for each axis";

impl Operator for Resize {
    const SIGNATURE: Signature = Signature::onnx("Resize", &[10, 11, 13, 18, 19]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let shape = Some(cx.input(0).shape());
        let others = [1, 2, 3].map(|i| cx.optional_input(i));
        let inputs = [Some(cx.dy()), shape, others[0], others[1], others[2]];
        cx.give(0, cx.apply(cx.private_like("ResizeGrad"), &inputs));
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let mode = attrs.string_or("mode", "nearest".into())?;
        if attrs.version() < 11 {
            return Ok(Self::asymmetric(interpolation(
                &mode,
                NearestMode::Floor,
                -0.75,
            )?));
        }
        Self::parse_modes(attrs, &mode)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let Some(mut shape) = x.shape else {
            return Ok(vec![TensorFact::of_dtype(x.dtype).into()]);
        };
        let rank = shape.len();
        let axes = self
            .axes(rank)
            .map_err(|axis| InferError::rule(RULE, axis))?;
        let (_, scales, sizes) = self.inputs(cx.version());
        let given = |i: usize| {
            let fact = cx.fact(i).and_then(Fact::as_tensor);
            cx.fact(i).is_some() && fact.and_then(TensorFact::sizes).as_deref() != Some(&[0])
        };
        let has_scales = cx.constant(scales).is_some_and(|scales| !scales.is_empty());
        if has_scales
            && sizes.is_some_and(|i| cx.constant(i).is_some_and(|sizes| !sizes.is_empty()))
        {
            return Err(InferError::rule(RULE, "both"));
        }
        if cx.fact(scales).is_none() && sizes.is_none_or(|i| cx.fact(i).is_none()) {
            return Err(InferError::rule(RULE, "neither"));
        }
        let unknown: Vec<Dim> = vec![Dim::Unknown; axes.len()];
        let resized: Vec<Dim> = if sizes.is_some_and(given) && self.policy == AspectPolicy::Stretch
        {
            sizes.and_then(|i| cx.elements(i)).unwrap_or(unknown)
        } else if sizes.is_some_and(given) {
            match (sizes.and_then(|i| cx.const_ints(i)), known(&shape)) {
                (Some(sizes), Some(original)) => {
                    let plan = self.by_sizes(&original, &axes, &sizes);
                    let resized = |plan: Vec<AxisScale>| {
                        axes.iter().map(|&a| plan[a].resized.into()).collect()
                    };
                    plan.map(resized).unwrap_or_default()
                }
                _ => unknown,
            }
        } else {
            match cx.constant(scales).and_then(|t| t.data::<f32>().ok()) {
                Some(scales) => {
                    let pairs = axes.iter().zip(scales.iter());
                    let unit_roi = self.resampler.transform != CoordinateTransform::TfCropAndResize;
                    pairs
                        .map(|(&a, &s)| scaled(&shape[a], s, unit_roi))
                        .collect()
                }
                None => unknown,
            }
        };
        if resized.len() != axes.len() {
            return Err(InferError::rule(
                RULE,
                format_args!("{} for {axes:?}", resized.len()),
            ));
        }
        for (&axis, size) in axes.iter().zip(resized) {
            shape[axis] = size;
        }
        Ok(vec![TensorFact::with_shape(x.dtype, Some(shape)).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let plan = self.plan(cx, x.shape(), self.inputs(cx.version()))?;
        let shape: Vec<usize> = plan.iter().map(|a| a.resized).collect();
        cx.check_size(&shape, x.dtype())?;
        Ok(vec![self.resampler.resample(x, &plan)?.into()])
    }

    fn quantization(&self) -> QuantRule {
        match self.resampler.interpolation {
            // Cubic interpolation overshoots.
            Interpolation::Cubic { .. } => QuantRule::OwnScale { inputs: Some(&[0]) },
            _ => QuantRule::SameScale { inputs: Some(&[0]) },
        }
    }
}

impl Resize {
    /// Reads the attributes of opset 11 and later, but for `mode`.
    pub(in crate::ops) fn parse_modes(
        attrs: &mut Attrs<'_>,
        mode: &str,
    ) -> Result<Self, AttrError> {
        let nearest = attrs.string_or("nearest_mode", "round_prefer_floor".into())?;
        let nearest = match nearest.as_str() {
            "round_prefer_floor" => NearestMode::RoundPreferFloor,
            "round_prefer_ceil" => NearestMode::RoundPreferCeil,
            "floor" => NearestMode::Floor,
            "ceil" => NearestMode::Ceil,
            _ => return Err(invalid("nearest_mode", nearest)),
        };
        let cubic = attrs.f32_or("cubic_coeff_a", -0.75)?;
        let transform = attrs.string_or("coordinate_transformation_mode", "half_pixel".into())?;
        let policy = attrs.string_or("keep_aspect_ratio_policy", "stretch".into())?;
        Ok(Self {
            resampler: Resampler {
                interpolation: interpolation(mode, nearest, cubic)?,
                transform: CoordinateTransform::parse(&transform)?,
                antialias: attrs.flag_or("antialias", false)?,
                exclude_outside: attrs.flag_or("exclude_outside", false)?,
                extrapolation: attrs.f32_or("extrapolation_value", 0.0)?,
            },
            axes: attrs.ints_opt("axes")?,
            policy: match policy.as_str() {
                "stretch" => AspectPolicy::Stretch,
                "not_larger" => AspectPolicy::NotLarger,
                "not_smaller" => AspectPolicy::NotSmaller,
                _ => return Err(invalid("keep_aspect_ratio_policy", policy)),
            },
        })
    }

    /// As `Upsample` and `Resize` before opset 11 work.
    pub(super) fn asymmetric(interpolation: Interpolation) -> Self {
        Self {
            resampler: Resampler {
                interpolation,
                transform: CoordinateTransform::Asymmetric,
                antialias: false,
                exclude_outside: false,
                extrapolation: 0.0,
            },
            axes: None,
            policy: AspectPolicy::Stretch,
        }
    }

    /// How each axis of a tensor of this shape is resampled; the region, the scales and the sizes are these inputs.
    ///
    /// # Errors
    /// [`EvalError::Rule`] where they do not fit.
    pub(in crate::ops) fn plan(
        &self,
        cx: &EvalContext<'_>,
        shape: &[usize],
        (roi, scales, sizes): (Option<usize>, usize, Option<usize>),
    ) -> Result<Vec<AxisScale>, EvalError> {
        let wrong = || EvalError::rule(RULE, format_args!("{:?}", shape));
        let axes = self
            .axes(shape.len())
            .map_err(|axis| EvalError::rule(RULE, axis))?;
        let sizes = match sizes {
            Some(index) => cx.ints(index)?.filter(|s| !s.is_empty()),
            None => None,
        };
        let roi = match roi {
            Some(index) => floats(cx.optional_tensor(index)?)?,
            None => Vec::new(),
        };
        let plan = match sizes {
            Some(sizes) => self.by_sizes(shape, &axes, &sizes),
            None => {
                let scales = floats(cx.optional_tensor(scales)?)?;
                self.by_scales(shape, &axes, &scales, &roi)
            }
        };
        let mut plan = plan.ok_or_else(wrong)?;
        if self.resampler.transform == CoordinateTransform::TfCropAndResize {
            if roi.len() != 2 * axes.len() {
                return Err(EvalError::rule(
                    "roi must hold a start and an end for each axis",
                    roi.len(),
                ));
            }
            for (i, &axis) in axes.iter().enumerate() {
                plan[axis].roi = (roi[i], roi[axes.len() + i]);
            }
        }
        Ok(plan)
    }

    /// The input positions of the region, the scales and the sizes.
    fn inputs(&self, version: u32) -> (Option<usize>, usize, Option<usize>) {
        if version < 11 {
            (None, 1, None)
        } else {
            (Some(1), 2, Some(3))
        }
    }

    /// The axes by index, or the one that lies outside.
    fn axes(&self, rank: usize) -> Result<Vec<usize>, i64> {
        match &self.axes {
            None => Ok((0..rank).collect()),
            Some(axes) => axes
                .iter()
                .map(|&a| axis::resolve(a, rank).ok_or(a))
                .collect(),
        }
    }

    /// All axes of a tensor, scaled; `None` where the scales do not fit.
    pub(super) fn by_scales(
        &self,
        shape: &[usize],
        axes: &[usize],
        scales: &[f32],
        roi: &[f32],
    ) -> Option<Vec<AxisScale>> {
        let crops = self.resampler.transform == CoordinateTransform::TfCropAndResize;
        let mut plan: Vec<AxisScale> = shape.iter().map(|&d| unscaled(d)).collect();
        for (i, &axis) in axes.iter().enumerate() {
            let &scale = scales.get(i).filter(|s| **s > 0.0 && s.is_finite())?;
            let part = if crops {
                roi.get(axes.len() + i)? - roi.get(i)?
            } else {
                1.0
            };
            let original = shape[axis];
            let resized = scaled_size(original, part * scale);
            plan[axis] = AxisScale {
                original,
                resized,
                scale,
                roi: (0.0, 1.0),
            };
        }
        (scales.len() == axes.len()).then_some(plan)
    }

    /// All axes of a tensor, resized by the policy; `None` where the sizes do not fit.
    fn by_sizes(&self, shape: &[usize], axes: &[usize], sizes: &[i64]) -> Option<Vec<AxisScale>> {
        let sizes: Option<Vec<usize>> = sizes.iter().map(|&s| usize::try_from(s).ok()).collect();
        let sizes = sizes.filter(|s| s.len() == axes.len())?;
        let ratios = axes
            .iter()
            .zip(&sizes)
            .map(|(&a, &s)| s as f32 / shape[a] as f32);
        let common = match self.policy {
            AspectPolicy::Stretch => None,
            AspectPolicy::NotLarger => ratios.reduce(f32::min),
            AspectPolicy::NotSmaller => ratios.reduce(f32::max),
        };
        let mut plan: Vec<AxisScale> = shape.iter().map(|&d| unscaled(d)).collect();
        for (&axis, &size) in axes.iter().zip(&sizes) {
            let original = shape[axis];
            let (scale, resized) = match common {
                None => (size as f32 / original as f32, size),
                // Half way is rounded up.
                Some(scale) => (scale, (scale * original as f32 + 0.5).floor() as usize),
            };
            plan[axis] = AxisScale {
                original,
                resized,
                scale,
                roi: (0.0, 1.0),
            };
        }
        Some(plan)
    }
}

/// The interpolation that `mode` names.
pub(super) fn interpolation(
    mode: &str,
    nearest: NearestMode,
    a: f32,
) -> Result<Interpolation, AttrError> {
    match mode {
        "nearest" => Ok(Interpolation::Nearest(nearest)),
        // `bilinear` is what files older than opset 7 say.
        "linear" | "bilinear" => Ok(Interpolation::Linear),
        "cubic" => Ok(Interpolation::Cubic { a }),
        _ => Err(invalid("mode", mode.to_owned())),
    }
}

/// A symbolic size times a scale.
pub(super) fn scaled(size: &Dim, scale: f32, unit_roi: bool) -> Dim {
    let whole = scale.fract() == 0.0 && (0.0..=1e6).contains(&scale);
    match size.as_size() {
        _ if !unit_roi => Dim::Unknown,
        Some(size) => scaled_size(size, scale).into(),
        None if whole => size.clone() * Dim::Known(scale as i64),
        None => {
            let inverse = (1.0 / scale).round();
            let exact = 1.0 / inverse == scale && (1.0..=1e6).contains(&inverse);
            if exact {
                size.floor_div(&Dim::Known(inverse as i64))
            } else {
                Dim::Unknown
            }
        }
    }
}

fn scaled_size(size: usize, scale: f32) -> usize {
    // The cast saturates; the limits refuse what is too large.
    (size as f32 * scale).floor() as usize
}

fn unscaled(size: usize) -> AxisScale {
    AxisScale {
        original: size,
        resized: size,
        scale: 1.0,
        roi: (0.0, 1.0),
    }
}

fn known(dims: &[Dim]) -> Option<Vec<usize>> {
    dims.iter().map(Dim::as_size).collect()
}

/// The elements of a float input as f32; none where it is left out.
pub(super) fn floats(x: Option<&Tensor>) -> Result<Vec<f32>, EvalError> {
    match x {
        None => Ok(Vec::new()),
        Some(x) => Ok(x.to_f32_vec()?),
    }
}

fn invalid(name: &'static str, found: String) -> AttrError {
    AttrError::Invalid {
        name,
        found,
        rule: "it must be one of the modes of Resize",
    }
}
