//! `Upsample`: resizes by scales, nearest (floor) or linear; replaced by `Resize` in opset 10.
//! <https://onnx.ai/onnx/operators/onnx__Upsample.html>
//!
//! The scales are two attributes in opset 1, one list in opset 7, an input since opset 9.

use super::resampler::NearestMode;
use super::resize::{Resize, floats, interpolation, scaled};
use crate::operator::prelude::*;

/// The attributes of `Upsample`.
#[derive(Clone, Debug, PartialEq)]
pub struct Upsample {
    /// The scales, where they are attributes.
    pub scales: Option<Vec<f32>>,
    /// What does the work.
    pub resize: Resize,
}

const RULE: &str = "there must be one positive scale for each axis";

impl Operator for Upsample {
    const SIGNATURE: Signature = Signature::onnx("Upsample", &[1, 7, 9, 10]);
    const GRADIENT: Gradient<Self> = Gradient::Undefined("`Resize` took its place");

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let mode = attrs.string_or("mode", "nearest".into())?;
        let scales = match attrs.version() {
            1 => Some(vec![
                1.0,
                1.0,
                attrs.f32("height_scale")?,
                attrs.f32("width_scale")?,
            ]),
            7 => Some(attrs.floats("scales")?),
            _ => None,
        };
        let interpolation = interpolation(&mode, NearestMode::Floor, -0.75)?;
        Ok(Self {
            scales,
            resize: Resize::asymmetric(interpolation),
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let x = cx.tensor(0)?;
        let scales = match &self.scales {
            Some(scales) => Some(scales.clone()),
            None => {
                cx.tensor(1)?;
                cx.constant(1).and_then(|t| t.to_f32_vec().ok())
            }
        };
        let shape = match (x.shape, scales) {
            (None, _) => None,
            (Some(dims), None) => Some(vec![Dim::Unknown; dims.len()]),
            (Some(dims), Some(scales)) if dims.len() == scales.len() => Some(
                dims.iter()
                    .zip(scales)
                    .map(|(d, s)| scaled(d, s, true))
                    .collect(),
            ),
            (Some(dims), Some(scales)) => {
                let found = format_args!("{} for rank {}", scales.len(), dims.len());
                return Err(InferError::rule(RULE, found));
            }
        };
        Ok(vec![TensorFact::with_shape(x.dtype, shape).into()])
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let scales = match &self.scales {
            Some(scales) => scales.clone(),
            None => floats(cx.optional_tensor(1)?)?,
        };
        let axes: Vec<usize> = (0..x.rank()).collect();
        let plan = self.resize.by_scales(x.shape(), &axes, &scales, &[]);
        let plan = plan.ok_or_else(|| EvalError::rule(RULE, format_args!("{scales:?}")))?;
        let shape: Vec<usize> = plan.iter().map(|a| a.resized).collect();
        cx.check_size(&shape, x.dtype())?;
        Ok(vec![self.resize.resampler.resample(x, &plan)?.into()])
    }

    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: Some(&[0]) }
    }
}
