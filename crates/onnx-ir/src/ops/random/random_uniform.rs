//! `RandomUniform`: a tensor of numbers spread evenly over `[low, high)`.
//! <https://onnx.ai/onnx/operators/onnx__RandomUniform.html>

use super::seed;
use crate::operator::prelude::*;
use crate::ops::lanes::rounded;

/// The attributes of `RandomUniform`.
#[derive(Clone, Debug, PartialEq)]
pub struct RandomUniform {
    /// The shape of the result.
    pub shape: Vec<usize>,
    /// The type of the result.
    pub dtype: DType,
    /// The least value.
    pub low: f32,
    /// What all values lie below.
    pub high: f32,
    /// The seed; that of the run where it is not given.
    pub seed: Option<i64>,
}

impl Operator for RandomUniform {
    const SIGNATURE: Signature = Signature::onnx("RandomUniform", &[1, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let shape = attrs.ints("shape")?;
        let sizes = shape.iter().map(|&d| usize::try_from(d));
        Ok(Self {
            shape: sizes
                .collect::<Result<_, _>>()
                .map_err(|_| AttrError::Invalid {
                    name: "shape",
                    found: format!("{shape:?}"),
                    rule: "no size may be negative",
                })?,
            dtype: attrs.dtype_opt("dtype")?.unwrap_or(DType::F32),
            low: attrs.f32_or("low", 0.0)?,
            high: attrs.f32_or("high", 1.0)?,
            seed: seed::parse(attrs)?,
        })
    }
    fn infer(&self, _: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![Fact::tensor(self.dtype, self.shape.iter().copied())])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let count = cx.check_size(&self.shape, DType::F64)?;
        let mut generator = seed::generator(cx, self.seed);
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        let values = (0..count).map(|_| low + (high - low) * generator.uniform());
        Ok(vec![
            rounded(self.dtype, &self.shape, values.collect())?.into(),
        ])
    }
    fn is_random(&self) -> bool {
        true
    }
}
