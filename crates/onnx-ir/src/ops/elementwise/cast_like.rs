//! `CastLike`: every element of input 0 converted to the type of input 1.
//! <https://onnx.ai/onnx/operators/onnx__CastLike.html>

use super::cast::{cast_options, infer_cast};
use crate::operator::prelude::*;
use compress_tensor::CastOptions;

/// The attributes of `CastLike`.
#[derive(Clone, Debug, PartialEq)]
pub struct CastLike {
    /// How float8 types are reached.
    pub options: CastOptions,
}

impl Operator for CastLike {
    const SIGNATURE: Signature = Signature::onnx("CastLike", &[15, 19, 21, 23, 24, 25]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        cx.give(0, cx.dy());
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            options: cast_options(attrs)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        infer_cast(cx, cx.tensor(1)?.dtype)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let to = cx.tensor(1)?.dtype();
        Ok(vec![cx.tensor(0)?.cast(to, self.options)?.into()])
    }
}
