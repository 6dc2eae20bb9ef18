//! `RandomNormalLike`: a tensor of normally distributed numbers, of the shape of the input.
//! <https://onnx.ai/onnx/operators/onnx__RandomNormalLike.html>

use super::seed;
use crate::operator::prelude::*;
use crate::ops::elementwise::unary;
use crate::ops::lanes::rounded;

/// The attributes of `RandomNormalLike`.
#[derive(Clone, Debug, PartialEq)]
pub struct RandomNormalLike {
    /// The type of the result; that of the input where it is not given.
    pub dtype: Option<DType>,
    /// The mean.
    pub mean: f32,
    /// The standard deviation.
    pub scale: f32,
    /// The seed; that of the run where it is not given.
    pub seed: Option<i64>,
}

impl Operator for RandomNormalLike {
    const SIGNATURE: Signature = Signature::onnx("RandomNormalLike", &[1, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            dtype: attrs.dtype_opt("dtype")?,
            mean: attrs.f32_or("mean", 0.0)?,
            scale: attrs.f32_or("scale", 1.0)?,
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
        let values =
            (0..count).map(|_| f64::from(self.mean) + f64::from(self.scale) * generator.normal());
        let dtype = self.dtype.unwrap_or(like.dtype());
        Ok(vec![rounded(dtype, like.shape(), values.collect())?.into()])
    }
    fn is_random(&self) -> bool {
        true
    }
}
