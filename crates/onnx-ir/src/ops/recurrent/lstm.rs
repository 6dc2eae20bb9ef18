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

use super::backward::{self, Cell, Sums};
use super::layer::Gates;
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
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        backward::give(cx, "LSTMGrad", INPUTS);
        Ok(())
    });

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
        self.layer.run(cx, 4, INPUTS, self)
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("the state feeds back: rounding errors add up over time")
    }
}

const INPUTS: StateInputs<2> = StateInputs {
    initial: [5, 6],
    peephole: Some(7),
};

impl Lstm {
    /// The facts of the adjoints of the inputs.
    pub(in crate::ops) fn infer_back(cx: &InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        backward::infer(cx, INPUTS)
    }

    /// The adjoints of the inputs.
    pub(in crate::ops) fn eval_back(&self, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        backward::run(&self.layer, cx, 4, INPUTS, self)
    }
}

impl Cell<2> for Lstm {
    fn step(&self, gates: &Gates<'_>, x: &[f64], [h, c]: &mut [Vec<f64>; 2]) {
        let step = |u: usize| {
            let unit = self.unit(gates, x, h, c, u);
            let output = gates.activate(0, unit.output);
            (output * gates.activations[2].apply(unit.cell), unit.cell)
        };
        (*h, *c) = (0..gates.hidden).map(step).unzip();
    }

    fn back(
        &self,
        gates: &Gates<'_>,
        x: &[f64],
        [h, c]: &[Vec<f64>; 2],
        [dh_next, dc_next]: [Vec<f64>; 2],
        sums: &mut Sums<'_>,
    ) -> [Vec<f64>; 2] {
        let hidden = gates.hidden;
        let (mut dh, mut dc) = (vec![0.0; hidden], vec![0.0; hidden]);
        for u in 0..hidden {
            let unit = self.unit(gates, x, h, c, u);
            let (input, output) = (
                gates.activate(0, unit.input),
                gates.activate(0, unit.output),
            );
            let squashed = gates.activations[2];
            let candidate = gates.activate(1, unit.candidate);
            let peephole = |g: usize| gates.peephole[g * hidden + u];
            let doutput = dh_next[u] * squashed.apply(unit.cell) * gates.slope(0, unit.output);
            let dcell = dc_next[u]
                + dh_next[u] * output * squashed.slope(unit.cell)
                + doutput * peephole(OUTPUT);
            let (dinput, dforget, forget) = if self.input_forget {
                let dinput = dcell * (candidate - c[u]) * gates.slope(0, unit.input);
                (dinput, 0.0, 1.0 - input)
            } else {
                let dinput = dcell * candidate * gates.slope(0, unit.input);
                let dforget = dcell * c[u] * gates.slope(0, unit.forget);
                (dinput, dforget, gates.activate(0, unit.forget))
            };
            let dcandidate = dcell * input * gates.slope(1, unit.candidate);
            dc[u] = dcell * forget + dinput * peephole(INPUT) + dforget * peephole(FORGET);
            let before = [
                (INPUT, dinput, c[u]),
                (FORGET, dforget, c[u]),
                (OUTPUT, doutput, unit.cell),
            ];
            for (gate, d, state) in before {
                sums.dpeephole[gate * hidden + u] += d * state;
            }
            let all = [
                (INPUT, dinput),
                (OUTPUT, doutput),
                (FORGET, dforget),
                (CELL, dcandidate),
            ];
            for (gate, d) in all {
                sums.of_input(gates, gate, u, x, d);
                sums.of_state(gates, [gate, u], h, d, &mut dh);
            }
        }
        [dh, dc]
    }
}

/// What goes into the activations of one unit, and its next cell.
struct Unit {
    input: f64,
    forget: f64,
    candidate: f64,
    output: f64,
    cell: f64,
}

impl Lstm {
    fn unit(&self, gates: &Gates<'_>, x: &[f64], h: &[f64], c: &[f64], u: usize) -> Unit {
        let sum = |g| gates.of_input(g, u, x) + gates.of_state(g, u, h);
        let peephole = |g: usize| gates.peephole[g * gates.hidden + u];
        let input = sum(INPUT) + peephole(INPUT) * c[u];
        let forget = sum(FORGET) + peephole(FORGET) * c[u];
        let candidate = sum(CELL);
        let taken = gates.activate(0, input);
        let kept = match self.input_forget {
            true => 1.0 - taken,
            false => gates.activate(0, forget),
        };
        let cell = kept * c[u] + taken * gates.activate(1, candidate);
        Unit {
            input,
            forget,
            candidate,
            output: sum(OUTPUT) + peephole(OUTPUT) * cell,
            cell,
        }
    }
}
