//! `Min`: the smallest of all inputs, broadcast; NaN where any is.
//! <https://onnx.ai/onnx/operators/onnx__Min.html>

use crate::operator::prelude::*;
use crate::ops::dispatch::dispatch;
use crate::ops::elementwise::binary::{self, Broadcasting};
use crate::ops::elementwise::variadic;
use crate::ops::number::Number;

/// `Min` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Min;

impl Operator for Min {
    const SIGNATURE: Signature = Signature::onnx("Min", &[1, 6, 8, 12, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        variadic::give_to_extremes(cx);
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        attrs.ignore("consumed_inputs");
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        if cx.input_count() == 2 {
            return binary::infer_elements(cx, &Broadcasting::default(), Dim::min);
        }
        variadic::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dtype = cx.tensor(0)?.dtype();
        let extreme = dispatch!(dtype, T in numbers =>
            variadic::fold(cx, variadic::inputs(cx)?, T::smaller))?;
        Ok(vec![extreme.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: None }
    }
}
