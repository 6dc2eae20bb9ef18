//! `DynamicQuantizeLinear`: quantizes to u8 by the tensor's own range, which always holds 0.
//! <https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html>
//!
//! `scale = (max(0, max x) - min(0, min x)) / 255` (1 where that is 0, as in ONNX Runtime),
//! `zero_point = round_ties_even(clamp(0 - min / scale, 0, 255))`.

use super::rounding::Quantizer;
use crate::operator::prelude::*;

/// `DynamicQuantizeLinear` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct DynamicQuantizeLinear;

impl Operator for DynamicQuantizeLinear {
    const SIGNATURE: Signature = Signature::onnx("DynamicQuantizeLinear", &[11]);

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![
            TensorFact::with_shape(Some(DType::U8), cx.tensor(0)?.shape).into(),
            Fact::tensor(DType::F32, [0i64; 0]),
            Fact::tensor(DType::U8, [0i64; 0]),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.data::<f32>(0)?;
        let (q, scale, zero_point) = dynamic_u8(&x);
        Ok(vec![
            Tensor::from_vec(cx.tensor(0)?.shape(), q)?.into(),
            Tensor::scalar(scale).into(),
            Tensor::scalar(zero_point).into(),
        ])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}

/// The u8 values, the scale and the zero point of `x` by its own range.
pub fn dynamic_u8(x: &[f32]) -> (Vec<u8>, f32, u8) {
    let (min, max) = x
        .iter()
        .fold((0f32, 0f32), |(lo, hi), &v| (lo.min(v), hi.max(v)));
    let scale = if max == min { 1.0 } else { (max - min) / 255.0 };
    let zero_point = (0.0 - min / scale).clamp(0.0, 255.0).round_ties_even() as u8;
    let quantizer = Quantizer::of_u8(zero_point);
    let q = x.iter().map(|&v| quantizer.quantize(v / scale) as u8);
    (q.collect(), scale, zero_point)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_without_width_has_scale_one() {
        assert_eq!(dynamic_u8(&[0.0, 0.0]), (vec![0, 0], 1.0, 0));
        assert_eq!(dynamic_u8(&[]), (vec![], 1.0, 0));
    }

    #[test]
    fn zero_is_represented_exactly() {
        let (q, scale, zero_point) = dynamic_u8(&[-1.0, 0.0, 3.0]);
        assert_eq!((q, scale, zero_point), (vec![0, 64, 255], 4.0 / 255.0, 64));
    }
}
