//! `MelWeightMatrix`: triangles over the bins of a spectrum, evenly spaced on the mel scale
//! `mel(f) = 2595 * log10(1 + f / 700)`.
//! <https://onnx.ai/onnx/operators/onnx__MelWeightMatrix.html>

use super::cosine_window::to_dtype;
use crate::operator::prelude::*;

/// The attributes of `MelWeightMatrix`.
#[derive(Clone, Debug, PartialEq)]
pub struct MelWeightMatrix {
    /// The element type of the result.
    pub output: DType,
}

impl Operator for MelWeightMatrix {
    const SIGNATURE: Signature = Signature::onnx("MelWeightMatrix", &[17]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            output: attrs.dtype_opt("output_datatype")?.unwrap_or(DType::F32),
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let first = |i: usize| {
            let elements = cx.elements(i).and_then(|e| e.first().cloned());
            elements.unwrap_or(Dim::Unknown)
        };
        let bins = first(1).floor_div(&Dim::Known(2)) + Dim::Known(1);
        let shape = vec![bins, first(0)];
        Ok(vec![
            TensorFact::with_shape(Some(self.output), Some(shape)).into(),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let size = |i: usize| {
            let n = cx.ints(i)?.and_then(|v| v.first().copied());
            let n = n.ok_or(EvalError::MissingInput { index: i })?;
            let positive = usize::try_from(n).ok().filter(|&n| n > 0);
            positive.ok_or_else(|| EvalError::rule("sizes and rates must be positive", n))
        };
        let (mels, length, rate) = (size(0)?, size(1)?, size(2)?);
        let hertz = |i: usize| {
            let values = cx.tensor(i)?.to_f64_vec()?;
            let first = values.first().copied();
            first.ok_or_else(|| EvalError::rule("an edge must be one number", "none"))
        };
        let (low, high) = (mel(hertz(3)?), mel(hertz(4)?));
        let bins = length / 2 + 1;
        let mut weights = vec![0f64; cx.check_size(&[bins, mels], DType::F64)?];
        let step = (high - low) / (mels + 2) as f64;
        // The bins at which the triangles start, peak and end.
        let corner = |i: usize| {
            let frequency = from_mel(low + i as f64 * step);
            let bin = ((length as f64 + 1.0) * frequency / rate as f64).floor();
            if bin >= 0.0 && bin < bins as f64 {
                Ok(bin as usize)
            } else {
                Err(EvalError::rule(
                    "the edges must lie between 0 and half of the sample rate",
                    format_args!("bin {bin} of {bins}"),
                ))
            }
        };
        for m in 0..mels {
            let (start, peak, end) = (corner(m)?, corner(m + 1)?, corner(m + 2)?);
            if start == peak {
                weights[peak * mels + m] = 1.0;
            }
            for bin in start..peak {
                weights[bin * mels + m] = (bin - start) as f64 / (peak - start) as f64;
            }
            for bin in peak..end {
                weights[bin * mels + m] = (end - bin) as f64 / (end - peak) as f64;
            }
            if start < peak && peak == end {
                weights[peak * mels + m] = 1.0;
            }
        }
        Ok(vec![to_dtype(self.output, &[bins, mels], &weights)?.into()])
    }
}

fn mel(hertz: f64) -> f64 {
    2595.0 * (hertz / 700.0).ln_1p() / std::f64::consts::LN_10
}

fn from_mel(mel: f64) -> f64 {
    700.0 * (mel / 2595.0 * std::f64::consts::LN_10).exp_m1()
}
