//! `DynamicQuantizeMatMul`: quantizes A to u8 by its own range, multiplies by the 8-bit matrix B and scales back to
//! float: `DynamicQuantizeLinear` and `MatMulIntegerToFloat` in one.
//! <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.DynamicQuantizeMatMul>

use super::dynamic_quantize_linear::dynamic_u8;
use super::integer_matmul::{infer_shape, product};
use super::matmul_integer_to_float::scaled;
use crate::operator::prelude::*;

/// `DynamicQuantizeMatMul` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct DynamicQuantizeMatMul;

impl Operator for DynamicQuantizeMatMul {
    const SIGNATURE: Signature = Signature::microsoft("DynamicQuantizeMatMul");

    fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let a = cx.tensor(0)?;
        let shape = infer_shape(&a, &cx.tensor(1)?)?;
        Ok(vec![TensorFact::with_shape(a.dtype, shape).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let a = cx.tensor(0)?;
        let (q, a_scale, a_zero) = dynamic_u8(&a.data::<f32>()?);
        let a = Tensor::from_vec(a.shape(), q)?;
        let a_zero = Tensor::scalar(a_zero);
        let exact = product(
            cx,
            (&a, Some(&a_zero)),
            (cx.tensor(1)?, cx.optional_tensor(3)?),
        )?;
        let bias = cx.optional_tensor(4)?;
        let y = scaled(&exact, &Tensor::scalar(a_scale), cx.tensor(2)?, 1.0, bias)?;
        Ok(vec![Tensor::from_vec(&exact.shape, y)?.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}
