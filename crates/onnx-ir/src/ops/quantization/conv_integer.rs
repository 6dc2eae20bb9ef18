//! `ConvInteger`: convolution of 8-bit tensors less their zero points, exact in i32; padding counts as
//! the zero point. <https://onnx.ai/onnx/operators/onnx__ConvInteger.html>

use super::integer_matmul::centred;
use crate::operator::prelude::*;
use crate::ops::convolution::Conv;

/// The attributes of `ConvInteger`: those of `Conv`.
#[derive(Clone, Debug, PartialEq)]
pub struct ConvInteger {
    /// The geometry.
    pub conv: Conv,
}

impl Operator for ConvInteger {
    const SIGNATURE: Signature = Signature::onnx("ConvInteger", &[10]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            conv: Conv::parse(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let shape = self.conv.output_dims(&cx.tensor(0)?, &cx.tensor(1)?)?;
        Ok(vec![TensorFact::with_shape(Some(DType::I32), shape).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, w) = (cx.tensor(0)?, cx.tensor(1)?);
        let x = Tensor::from_vec(x.shape(), centred(x, cx.optional_tensor(2)?, None)?)?;
        let w = Tensor::from_vec(w.shape(), centred(w, cx.optional_tensor(3)?, Some(0))?)?;
        Ok(vec![self.conv.convolve(cx, &x, &w, None)?.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}
