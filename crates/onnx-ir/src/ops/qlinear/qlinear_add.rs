//! `QLinearAdd`: `c = a + b` of quantized tensors, broadcast.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.QLinearAdd>
//!
//! In binary32, with one rounding per fused multiply-add, as ONNX Runtime's AVX2 kernel computes it:
//! ```text
//! r_a = s_a / s_c,  r_b = s_b / s_c
//! base = z_c - fma(r_a, z_a, r_b * z_b)
//! c = round_ties_even(fma(a, r_a, fma(b, r_b, base)))
//! ```

use super::binary;
use crate::operator::prelude::*;

/// `QLinearAdd` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct QLinearAdd;

impl Operator for QLinearAdd {
    const SIGNATURE: Signature = Signature::microsoft("QLinearAdd");

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        binary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        binary::eval(cx, |scales| {
            let (a, b, c) = (scales.a, scales.b, scales.c);
            let (ratio_a, ratio_b) = (a.scale / c.scale, b.scale / c.scale);
            let zeros = ratio_a.mul_add(a.zero_point as f32, ratio_b * b.zero_point as f32);
            let base = c.zero_point as f32 - zeros;
            move |a, b| (a as f32).mul_add(ratio_a, (b as f32).mul_add(ratio_b, base))
        })
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::NoSubgraphs;
    use crate::operator::Limits;

    // Each row is a sum next to a tie that comes out otherwise when the multiply-adds are rounded twice;
    // the last number is the result of ONNX Runtime 1.32.
    #[test]
    fn sums_next_to_ties_round_as_onnx_runtime_rounds_them() {
        let rows = [
            (
                (64, 0.036158364, 100),
                (159, 0.031904437, 227),
                (0.02722512, 132),
                5,
            ),
            (
                (66, 0.04073284, 44),
                (64, 0.013688905, 188),
                (0.021368047, 193),
                155,
            ),
            (
                (164, 0.040704057, 166),
                (246, 0.00033920046, 166),
                (0.02170883, 178),
                175,
            ),
            (
                (7, 0.08713296, 23),
                (91, 0.019937202, 155),
                (0.047258556, 169),
                113,
            ),
        ];
        for ((a, a_scale, a_zero), (b, b_scale, b_zero), (c_scale, c_zero), expected) in rows {
            let inputs: [Value; 8] = [
                Tensor::scalar::<u8>(a).into(),
                Tensor::scalar::<f32>(a_scale).into(),
                Tensor::scalar::<u8>(a_zero).into(),
                Tensor::scalar::<u8>(b).into(),
                Tensor::scalar::<f32>(b_scale).into(),
                Tensor::scalar::<u8>(b_zero).into(),
                Tensor::scalar::<f32>(c_scale).into(),
                Tensor::scalar::<u8>(c_zero).into(),
            ];
            let inputs = inputs.each_ref().map(Some);
            let mut none = NoSubgraphs;
            let mut cx = EvalContext::new(&inputs, 1, 1, 1, Limits::default(), &mut none);
            let y = Operator::eval(&QLinearAdd, &mut cx).unwrap().remove(0);
            let y = y.into_tensor().unwrap();
            assert_eq!(y.as_slice::<u8>().unwrap(), [expected]);
        }
    }
}
