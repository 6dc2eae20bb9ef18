//! `RandomNormal`: a tensor of normally distributed numbers.
//! <https://onnx.ai/onnx/operators/onnx__RandomNormal.html>

use super::seed;
use crate::operator::prelude::*;
use crate::ops::lanes::rounded;

/// The attributes of `RandomNormal`.
#[derive(Clone, Debug, PartialEq)]
pub struct RandomNormal {
    /// The shape of the result.
    pub shape: Vec<usize>,
    /// The type of the result.
    pub dtype: DType,
    /// The mean.
    pub mean: f32,
    /// The standard deviation.
    pub scale: f32,
    /// The seed; that of the run where it is not given.
    pub seed: Option<i64>,
}

impl Operator for RandomNormal {
    const SIGNATURE: Signature = Signature::onnx("RandomNormal", &[1, 22]);
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
            mean: attrs.f32_or("mean", 0.0)?,
            scale: attrs.f32_or("scale", 1.0)?,
            seed: seed::parse(attrs)?,
        })
    }
    fn infer(&self, _: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        Ok(vec![Fact::tensor(self.dtype, self.shape.iter().copied())])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let count = cx.check_size(&self.shape, DType::F64)?;
        let mut generator = seed::generator(cx, self.seed);
        let values =
            (0..count).map(|_| f64::from(self.mean) + f64::from(self.scale) * generator.normal());
        Ok(vec![
            rounded(self.dtype, &self.shape, values.collect())?.into(),
        ])
    }
    fn is_random(&self) -> bool {
        true
    }
}
