//! `RNN`: `h' = f(x W^T + h R^T + Wb + Rb)`.
//! <https://onnx.ai/onnx/operators/onnx__RNN.html>. Opset 7 drops `output_sequence`, 14 adds `layout`,
//! 22 bfloat16.

use super::backward::{self, Cell, Sums};
use super::layer::Gates;
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
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        backward::give(cx, "RNNGrad", INPUTS);
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            layer: Layer::parse(attrs, &[Activation::Tanh])?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        self.layer.infer::<1>(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        self.layer.run(cx, 1, INPUTS, self)
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("the state feeds back: rounding errors add up over time")
    }
}

const INPUTS: StateInputs<1> = StateInputs {
    initial: [5],
    peephole: None,
};

impl Rnn {
    /// The facts of the adjoints of the inputs.
    pub(in crate::ops) fn infer_back(cx: &InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        backward::infer(cx, INPUTS)
    }

    /// The adjoints of the inputs.
    pub(in crate::ops) fn eval_back(&self, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        backward::run(&self.layer, cx, 1, INPUTS, self)
    }
}

impl Cell<1> for Rnn {
    fn step(&self, gates: &Gates<'_>, x: &[f64], [h]: &mut [Vec<f64>; 1]) {
        let sum = |u| gates.of_input(0, u, x) + gates.of_state(0, u, h);
        let next = (0..gates.hidden).map(|u| gates.activate(0, sum(u)));
        *h = next.collect();
    }

    fn back(
        &self,
        gates: &Gates<'_>,
        x: &[f64],
        [h]: &[Vec<f64>; 1],
        [dh_next]: [Vec<f64>; 1],
        sums: &mut Sums<'_>,
    ) -> [Vec<f64>; 1] {
        let mut dh = vec![0.0; gates.hidden];
        for (u, dh_next) in dh_next.into_iter().enumerate() {
            let sum = gates.of_input(0, u, x) + gates.of_state(0, u, h);
            let d = dh_next * gates.slope(0, sum);
            sums.of_input(gates, 0, u, x, d);
            sums.of_state(gates, [0, u], h, d, &mut dh);
        }
        [dh]
    }
}
