//! `Binarizer`: 1 for elements above a threshold, 0 for others.
//! <https://onnx.ai/onnx/operators/onnx_aionnxml_Binarizer.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::unary;
use crate::ops::number::Number;

/// The attributes of `Binarizer`.
#[derive(Clone, Debug, PartialEq)]
pub struct Binarizer {
    /// The greatest value that gives 0.
    pub threshold: f32,
}

impl Operator for Binarizer {
    const SIGNATURE: Signature = super::signature("Binarizer", &[1]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            threshold: attrs.f32_or("threshold", 0.0)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let threshold = f64::from(self.threshold);
        let y = dispatch!(x.dtype(), T in numbers => {
            let data = x.data::<T>()?;
            let above = |v: &T| if v.to_f64() > threshold { T::ONE } else { T::ZERO };
            Ok::<Tensor, EvalError>(Tensor::from_vec(x.shape(), data.iter().map(above).collect())?)
        });
        Ok(vec![y?.into()])
    }
}
