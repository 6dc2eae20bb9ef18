//! `Mean`: the mean of all inputs, broadcast.
//! <https://onnx.ai/onnx/operators/onnx__Mean.html>

use crate::operator::prelude::*;
use crate::ops::elementwise::{unary, variadic};
use crate::ops::number::Number;
use compress_tensor::CastOptions;

/// `Mean` has no attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Mean;

impl Operator for Mean {
    const SIGNATURE: Signature = Signature::onnx("Mean", &[1, 6, 8, 13]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        let count = cx.node().inputs().len();
        let share = cx.dy() * (1.0 / count as f64);
        for i in 0..count {
            cx.give_broadcast(i, share);
        }
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        attrs.ignore("consumed_inputs");
        Ok(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        variadic::infer(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dtype = cx.tensor(0)?.dtype();
        let count = cx.input_count() as f64;
        let wide: Result<Vec<Tensor>, _> = variadic::inputs(cx)?
            .iter()
            .map(|x| x.cast(DType::F64, CastOptions::default()))
            .collect();
        let sum = variadic::fold(cx, wide?, f64::plus)?;
        let mean = unary::map(&sum, |v: f64| v / count)?;
        Ok(vec![mean.cast(dtype, CastOptions::default())?.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::OwnScale { inputs: None }
    }
}
