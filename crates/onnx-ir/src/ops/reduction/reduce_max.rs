//! `ReduceMax`: the greatest element along axes; of no elements, the least value of the type.
//! <https://onnx.ai/onnx/operators/onnx__ReduceMax.html>. Opset 12 adds 8-bit
//! integers, 18 makes the axes an input, 20 adds booleans (`false < true`).

use super::{ReduceAxes, extreme, fold};
use crate::operator::prelude::*;

/// The attributes of `ReduceMax`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReduceMax {
    /// The axes that are reduced.
    pub axes: ReduceAxes,
}

impl Operator for ReduceMax {
    const SIGNATURE: Signature = Signature::onnx("ReduceMax", &[1, 11, 12, 13, 18, 20]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        op.axes.give_to_extremes(cx)?;
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axes: ReduceAxes::parse(attrs, 18)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        fold::infer(cx, &self.axes, |a, b| a.max(&b))
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        extreme::greatest(cx, &self.axes)
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::SameScale { inputs: Some(&[0]) }
    }
}
