//! `Multinomial`: for each row of unnormalised log-probabilities, `sample_size` classes drawn from them.
//! <https://onnx.ai/onnx/operators/onnx__Multinomial.html>

use super::seed;
use crate::operator::prelude::*;
use crate::ops::activation::softmax::softmax;
use crate::ops::lanes::{floats, rounded};

/// The attributes of `Multinomial`.
#[derive(Clone, Debug, PartialEq)]
pub struct Multinomial {
    /// The type of the result.
    pub dtype: DType,
    /// How many are drawn for each row.
    pub sample_size: usize,
    /// The seed; that of the run where it is not given.
    pub seed: Option<i64>,
}

const RULE: &str = "the input must have the shape [batch, classes]";

impl Operator for Multinomial {
    const SIGNATURE: Signature = Signature::onnx("Multinomial", &[7, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Zero;

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            dtype: attrs.dtype_opt("dtype")?.unwrap_or(DType::I32),
            sample_size: attrs.size_or("sample_size", 1)?,
            seed: seed::parse(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let batch = match cx.tensor(0)?.shape {
            None => Dim::Unknown,
            Some(shape) => match <[Dim; 2]>::try_from(shape) {
                Ok([batch, _]) => batch,
                Err(shape) => {
                    return Err(InferError::rule(RULE, format_args!("rank {}", shape.len())));
                }
            },
        };
        let shape = vec![batch, self.sample_size.into()];
        Ok(vec![
            TensorFact::with_shape(Some(self.dtype), Some(shape)).into(),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let (batch, classes) = match x.shape() {
            &[batch, classes] if classes > 0 => (batch, classes),
            other => return Err(EvalError::rule(RULE, format_args!("{other:?}"))),
        };
        let shape = [batch, self.sample_size];
        let mut drawn = Vec::with_capacity(cx.check_size(&shape, DType::F64)?);
        let mut generator = seed::generator(cx, self.seed);
        for row in floats(x)?.chunks_exact_mut(classes) {
            softmax(row);
            for _ in 0..self.sample_size {
                let mut rest = generator.uniform();
                let class = row.iter().position(|p| {
                    rest -= p;
                    rest < 0.0
                });
                // Rounding may leave a rest beyond the last class.
                drawn.push(class.unwrap_or(classes - 1) as f64);
            }
        }
        Ok(vec![rounded(self.dtype, &shape, drawn)?.into()])
    }
    fn is_random(&self) -> bool {
        true
    }
}
