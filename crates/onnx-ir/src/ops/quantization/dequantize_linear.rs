//! `DequantizeLinear`: `y = (x - zero_point) * scale`, per tensor, per axis or per block; the difference is an
//! exact integer, the product is binary32, rounded once to the output type.
//! <https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html>
//!
//! 10: per tensor; 13: per axis; 19: float8; 21: 4 and 16 bits, blocks; 23: float4 and `output_dtype`;
//! 25: 2 bits.

use super::quantize_linear::dtype_attribute;
use super::rounding::integers;
use super::spread::Spread;
use crate::operator::prelude::*;

/// The attributes of `DequantizeLinear`.
#[derive(Clone, Debug, PartialEq)]
pub struct DequantizeLinear {
    /// The quantization axis of vectors and blocks.
    pub axis: i64,
    /// Elements along the axis that share a scale; 0 without blocks.
    pub block_size: usize,
    /// The element type of the output; that of the scale where it is not given.
    pub output_dtype: Option<DType>,
}

impl Operator for DequantizeLinear {
    const SIGNATURE: Signature =
        Signature::onnx("DequantizeLinear", &[10, 13, 19, 21, 23, 24, 25, 28]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axis: attrs.int_or("axis", 1)?,
            block_size: attrs.size_or("block_size", 0)?,
            output_dtype: dtype_attribute(attrs, "output_dtype")?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let dtype = self.output_dtype.or(cx.tensor(1)?.dtype);
        Ok(vec![
            TensorFact::with_shape(dtype, cx.tensor(0)?.shape).into(),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, scale, zero_point) = (cx.tensor(0)?, cx.tensor(1)?, cx.optional_tensor(2)?);
        let dtype = self.output_dtype.unwrap_or(scale.dtype());
        cx.check_size(x.shape(), DType::F32)?;
        let spread = Spread::of_linear(x.shape(), scale.shape(), self.axis, self.block_size)?;
        let scale = scale.to_f32_vec()?;
        if zero_point.is_some_and(|z| z.len() != scale.len()) {
            return Err(EvalError::rule(
                "scale and zero point must have the same shape",
                format_args!("{} scales, zero point {zero_point:?}", scale.len()),
            ));
        }
        let y: Vec<f32> = if x.dtype().is_integer() {
            let zero_points = match zero_point {
                Some(z) => integers(z)?,
                None => vec![0; scale.len()],
            };
            let x = integers(x)?.into_iter().enumerate();
            x.map(|(i, q)| {
                let p = spread.index(i);
                q.wrapping_sub(zero_points[p]) as f32 * scale[p]
            })
            .collect()
        } else {
            let zero_points = match zero_point {
                Some(z) => z.to_f32_vec()?,
                None => vec![0.0; scale.len()],
            };
            let x = x.to_f32_vec()?.into_iter().enumerate();
            x.map(|(i, q)| {
                let p = spread.index(i);
                (q - zero_points[p]) * scale[p]
            })
            .collect()
        };
        Ok(vec![Tensor::from_f32(dtype, x.shape(), y)?.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}
