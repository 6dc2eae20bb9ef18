//! `LSTM`: input gate `i`, output gate `o`, forget gate `f`, cell `c`, and
//! ```text
//! i = f(x Wi^T + h Ri^T + Pi * c + Wbi + Rbi)
//! f = f(x Wf^T + h Rf^T + Pf * c + Wbf + Rbf)      or, with input_forget, 1 - i
//! n = g(x Wc^T + h Rc^T + Wbc + Rbc)
//! c' = f * c + i * n
//! o = f(x Wo^T + h Ro^T + Po * c' + Wbo + Rbo)
//! h' = o * h(c')
//! ```
//! <https://onnx.ai/onnx/operators/onnx__LSTM.html>; Hochreiter and Schmidhuber, 1997. Opset 7 drops
//! `output_sequence`, 14 adds `layout`, 22 bfloat16.

use super::layer::StateInputs;
use super::{Activation, Layer};
use crate::operator::prelude::*;

/// The attributes of `LSTM`.
#[derive(Clone, Debug, PartialEq)]
pub struct Lstm {
    /// Directions, activations, layout.
    pub layer: Layer,
    /// Whether the forget gate is what the input gate leaves.
    pub input_forget: bool,
}

/// The order of the gates in the weights; of the first three also in the peephole weights.
const INPUT: usize = 0;
const OUTPUT: usize = 1;
const FORGET: usize = 2;
const CELL: usize = 3;

impl Operator for Lstm {
    const SIGNATURE: Signature = Signature::onnx("LSTM", &[1, 7, 14, 22]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let defaults = [Activation::Sigmoid, Activation::Tanh, Activation::Tanh];
        Ok(Self {
            layer: Layer::parse(attrs, &defaults)?,
            input_forget: attrs.flag_or("input_forget", false)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        self.layer.infer::<2>(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let inputs = StateInputs {
            initial: [5, 6],
            peephole: Some(7),
        };
        self.layer.run(cx, 4, inputs, |gates, x, [h, c]| {
            let sum = |g, u| gates.of_input(g, u, x) + gates.of_state(g, u, h);
            let peephole = |g: usize, u: usize| gates.peephole[g * gates.hidden + u];
            let step = |u: usize| {
                let input = gates.activate(0, sum(INPUT, u) + peephole(INPUT, u) * c[u]);
                let forget = match self.input_forget {
                    true => 1.0 - input,
                    false => gates.activate(0, sum(FORGET, u) + peephole(FORGET, u) * c[u]),
                };
                let cell = forget * c[u] + input * gates.activate(1, sum(CELL, u));
                let output = gates.activate(0, sum(OUTPUT, u) + peephole(OUTPUT, u) * cell);
                (output * gates.activations[2].apply(cell), cell)
            };
            (*h, *c) = (0..gates.hidden).map(step).unzip();
        })
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("the state feeds back: rounding errors add up over time")
    }
}
