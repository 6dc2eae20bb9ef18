//! `QuantizeLinear`: `y = saturate(round_ties_even(x / scale) + zero_point)`, per tensor, per axis or per
//! block. <https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html>
//!
//! 10: per tensor; 13: per axis; 19: float8 and `saturate`; 21: 4 and 16 bits, blocks, `output_dtype`;
//! 23: float4 and `precision`; 25: 2 bits. The quotient is binary32 unless `precision` says otherwise, as in
//! ONNX Runtime.

use super::rounding::{Quantizer, integers, small_tensor};
use super::spread::Spread;
use crate::io::dtype_of_code;
use crate::operator::prelude::*;
use compress_tensor::{CastOptions, Overflow};
use half::{bf16, f16};

/// Why values in float8 and float4 have no gradient.
pub(super) const NO_MINIFLOATS: Unsupported =
    Unsupported("the straight-through estimator is of integers; this one is of float8 or float4");

/// The attributes of `QuantizeLinear`.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizeLinear {
    /// The quantization axis of vectors and blocks.
    pub axis: i64,
    /// Elements along the axis that share a scale; 0 without blocks.
    pub block_size: usize,
    /// The element type of the output, where no zero point gives it.
    pub output_dtype: Option<DType>,
    /// The type to which the quotient is rounded: f32, f16 or bf16.
    pub precision: Option<DType>,
    /// What becomes of numbers beyond the range of a float8 type.
    pub overflow: Overflow,
}

impl Operator for QuantizeLinear {
    const SIGNATURE: Signature =
        Signature::onnx("QuantizeLinear", &[10, 13, 19, 21, 23, 24, 25, 28]);
    const GRADIENT: Gradient<Self> = Gradient::Quantizer(Self::backward);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axis: attrs.int_or("axis", 1)?,
            block_size: attrs.size_or("block_size", 0)?,
            output_dtype: dtype_attribute(attrs, "output_dtype")?,
            precision: dtype_attribute(attrs, "precision")?,
            overflow: if attrs.flag_or("saturate", true)? {
                Overflow::Saturate
            } else {
                Overflow::NonFinite
            },
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let dtype = match cx.optional_tensor(2)? {
            Some(zero_point) => zero_point.dtype.or(self.output_dtype),
            None => Some(self.output_dtype.unwrap_or(DType::U8)),
        };
        Ok(vec![
            TensorFact::with_shape(dtype, cx.tensor(0)?.shape).into(),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, scale, zero_point) = (cx.tensor(0)?, cx.tensor(1)?, cx.optional_tensor(2)?);
        if zero_point.is_some_and(|z| z.shape() != scale.shape() && z.len() != scale.len()) {
            return Err(EvalError::rule(
                "scale and zero point must have the same shape",
                format_args!("{scale:?} and {zero_point:?}"),
            ));
        }
        let dtype = zero_point
            .map(Tensor::dtype)
            .or(self.output_dtype)
            .unwrap_or(DType::U8);
        let spread = Spread::of_linear(x.shape(), scale.shape(), self.axis, self.block_size)?;
        let quotients = self.quotients(x, scale, spread)?;
        if dtype.is_integer() {
            let zero_points = match zero_point {
                Some(z) => integers(z)?,
                None => vec![0; scale.len()],
            };
            let quantizers = zero_points
                .into_iter()
                .map(|z| Quantizer::new(dtype, z))
                .collect::<Result<Vec<_>, _>>()?;
            let values = quotients
                .iter()
                .enumerate()
                .map(|(i, &v)| quantizers[spread.index(i)].quantize(v));
            return Ok(vec![small_tensor(dtype, x.shape(), values)?.into()]);
        }
        let options = CastOptions {
            overflow: self.overflow,
            ..CastOptions::default()
        };
        let mut quotients = quotients;
        if let Some(z) = zero_point {
            let z = z.to_f32_vec()?;
            for (i, v) in quotients.iter_mut().enumerate() {
                *v += z[spread.index(i)];
            }
        }
        let y = Tensor::from_vec(x.shape(), quotients)?.cast(dtype, options)?;
        Ok(vec![y.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}

impl QuantizeLinear {
    /// The adjoints of `x` and the scale.
    ///
    /// # Errors
    /// [`Unsupported`] where the result is not known to be made of integers.
    pub(super) fn backward(&self, cx: &GradientContext<'_>) -> Result<(), Unsupported> {
        if cx.output(0).fact().dtype.is_some_and(|d| !d.is_integer()) {
            return Err(NO_MINIFLOATS);
        }
        let inputs = [
            Some(cx.dy()),
            Some(cx.input(0)),
            Some(cx.input(1)),
            cx.optional_input(2),
        ];
        cx.give_outputs(cx.private_like("QuantizeLinearGrad"), &inputs, &[0, 1]);
        Ok(())
    }

    /// `x / scale`, rounded to the precision asked for.
    fn quotients(&self, x: &Tensor, scale: &Tensor, spread: Spread) -> Result<Vec<f32>, EvalError> {
        let round: fn(f32) -> f32 = match self.precision {
            None | Some(DType::F32) => |v| v,
            Some(DType::F16) => |v| f16::from_f32(v).to_f32(),
            Some(DType::BF16) => |v| bf16::from_f32(v).to_f32(),
            Some(dtype) => return Err(EvalError::DType { dtype }),
        };
        let scale: Vec<f32> = reals(scale)?.into_iter().map(round).collect();
        let mut x = reals(x)?;
        for (i, v) in x.iter_mut().enumerate() {
            *v = round(round(*v) / scale[spread.index(i)]);
        }
        Ok(x)
    }
}

/// The elements of a float or i32 tensor.
fn reals(x: &Tensor) -> Result<Vec<f32>, EvalError> {
    match x.dtype() {
        DType::I32 => Ok(x.data::<i32>()?.iter().map(|&v| v as f32).collect()),
        _ => Ok(x.to_f32_vec()?),
    }
}

/// An element type by its `TensorProto.DataType` code; 0 is none.
pub(super) fn dtype_attribute(
    attrs: &mut Attrs<'_>,
    name: &'static str,
) -> Result<Option<DType>, AttrError> {
    let code = attrs.int_or(name, 0)?;
    if code == 0 {
        return Ok(None);
    }
    let dtype = i32::try_from(code).ok().and_then(dtype_of_code);
    match dtype {
        Some(dtype) => Ok(Some(dtype)),
        None => Err(AttrError::Invalid {
            name,
            found: code.to_string(),
            rule: "it must be a known element type",
        }),
    }
}
