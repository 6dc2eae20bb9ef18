//! `RandomUniformLike`: a tensor of numbers spread evenly over `[low, high)`, of the shape of the input.
//! <https://onnx.ai/onnx/operators/onnx__RandomUniformLike.html>

use super::seed;
use crate::operator::prelude::*;
use crate::ops::elementwise::unary;
use crate::ops::lanes::rounded;

/// The attributes of `RandomUniformLike`.
#[derive(Clone, Debug, PartialEq)]
pub struct RandomUniformLike {
    /// The type of the result; that of the input where it is not given.
    pub dtype: Option<DType>,
    /// The least value.
    pub low: f32,
    /// What all values lie below.
    pub high: f32,
    /// The seed; that of the run where it is not given.
    pub seed: Option<i64>,
}

impl Operator for RandomUniformLike {
    const SIGNATURE: Signature = Signature::onnx("RandomUniformLike", &[1, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            dtype: attrs.dtype_opt("dtype")?,
            low: attrs.f32_or("low", 0.0)?,
            high: attrs.f32_or("high", 1.0)?,
            seed: seed::parse(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer_as(cx, self.dtype.or(cx.dtype(0)))
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let like = cx.tensor(0)?;
        let count = cx.check_size(like.shape(), DType::F64)?;
        let mut generator = seed::generator(cx, self.seed);
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        let values = (0..count).map(|_| low + (high - low) * generator.uniform());
        let dtype = self.dtype.unwrap_or(like.dtype());
        Ok(vec![rounded(dtype, like.shape(), values.collect())?.into()])
    }
    fn is_random(&self) -> bool {
        true
    }
}
