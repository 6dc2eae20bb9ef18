//! `Bernoulli`: 1 with the probability that the input says, else 0.
//! <https://onnx.ai/onnx/operators/onnx__Bernoulli.html>

use super::seed;
use crate::operator::prelude::*;
use crate::ops::elementwise::unary;
use crate::ops::lanes::{floats, rounded};

/// The attributes of `Bernoulli`.
#[derive(Clone, Debug, PartialEq)]
pub struct Bernoulli {
    /// The type of the result; that of the input where it is not given.
    pub dtype: Option<DType>,
    /// The seed; that of the run where it is not given.
    pub seed: Option<i64>,
}

impl Operator for Bernoulli {
    const SIGNATURE: Signature = Signature::onnx("Bernoulli", &[15, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            dtype: attrs.dtype_opt("dtype")?,
            seed: seed::parse(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer_as(cx, self.dtype.or(cx.dtype(0)))
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let mut generator = seed::generator(cx, self.seed);
        let drawn = floats(x)?
            .iter()
            .map(|&p| f64::from(generator.uniform() < p))
            .collect();
        let dtype = self.dtype.unwrap_or(x.dtype());
        Ok(vec![rounded(dtype, x.shape(), drawn)?.into()])
    }
    fn is_random(&self) -> bool {
        true
    }
}
