//! `RNN`: `h' = f(x W^T + h R^T + Wb + Rb)`.
//! <https://onnx.ai/onnx/operators/onnx__RNN.html>. Opset 7 drops `output_sequence`, 14 adds `layout`,
//! 22 bfloat16.

use super::layer::StateInputs;
use super::{Activation, Layer};
use crate::operator::prelude::*;

/// The attributes of `RNN`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rnn {
    /// Directions, activations, layout.
    pub layer: Layer,
}

impl Operator for Rnn {
    const SIGNATURE: Signature = Signature::onnx("RNN", &[1, 7, 14, 22]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            layer: Layer::parse(attrs, &[Activation::Tanh])?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        self.layer.infer::<1>(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let inputs = StateInputs {
            initial: [5],
            peephole: None,
        };
        self.layer.run(cx, 1, inputs, |gates, x, [h]| {
            let unit = |u| gates.of_input(0, u, x) + gates.of_state(0, u, h);
            *h = (0..gates.hidden)
                .map(|u| gates.activate(0, unit(u)))
                .collect();
        })
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("the state feeds back: rounding errors add up over time")
    }
}
