//! `Clip`: `y = min(max(x, min), max)`; where `min > max`, all elements are `max`.
//!
//! The bounds were attributes until opset 11, where they became inputs; integers came with opset 12.
//! <https://onnx.ai/onnx/operators/onnx__Clip.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::unary;
use crate::ops::number::Number;

/// The attributes of `Clip`; there are none since opset 11.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    /// The least value, before opset 11.
    pub min: Option<f32>,
    /// The greatest value, before opset 11.
    pub max: Option<f32>,
}

impl Operator for Clip {
    const SIGNATURE: Signature = Signature::onnx("Clip", &[1, 6, 11, 12, 13]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        if attrs.version() >= 11 {
            return Ok(Self {
                min: None,
                max: None,
            });
        }
        attrs.ignore("consumed_inputs");
        Ok(Self {
            min: attrs.f32_opt("min")?,
            max: attrs.f32_opt("max")?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        unary::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = cx.tensor(0)?;
        let y = dispatch!(x.dtype(), T in numbers => {
            let bound = |index: usize, attribute: Option<f32>, default: T| {
                match (cx.optional_tensor(index)?, attribute) {
                    (Some(tensor), _) => scalar(index, tensor),
                    (None, Some(value)) => Ok(T::from_f64(value.into())),
                    (None, None) => Ok(default),
                }
            };
            let min = bound(1, self.min, T::LOWEST)?;
            let max = bound(2, self.max, T::HIGHEST)?;
            unary::map(x, |v: T| v.larger(min).smaller(max))
        })?;
        Ok(vec![y.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FusableActivation
    }
}

fn scalar<T: Element>(index: usize, tensor: &Tensor) -> Result<T, EvalError> {
    match tensor.data::<T>()?.as_ref() {
        &[value] => Ok(value),
        _ => Err(EvalError::WrongInput {
            index,
            expected: "a scalar",
            found: format!("a tensor of shape {:?}", tensor.shape()),
        }),
    }
}
