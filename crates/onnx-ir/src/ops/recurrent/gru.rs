//! `GRU`: update gate `z`, reset gate `r`, and
//! ```text
//! z = f(x Wz^T + h Rz^T + Wbz + Rbz)
//! r = f(x Wr^T + h Rr^T + Wbr + Rbr)
//! n = g(x Wh^T + (r * h) Rh^T + Rbh + Wbh)      or, with linear_before_reset,
//! n = g(x Wh^T + r * (h Rh^T + Rbh) + Wbh)
//! h' = (1 - z) * n + z * h
//! ```
//! <https://onnx.ai/onnx/operators/onnx__GRU.html>; Cho et al., arXiv:1406.1078. Opset 3 adds
//! `linear_before_reset`, 7 drops `output_sequence`, 14 adds `layout`, 22 bfloat16.

use super::backward::{self, Cell, Sums};
use super::layer::Gates;
use super::layer::StateInputs;
use super::{Activation, Layer};
use crate::operator::prelude::*;

/// The attributes of `GRU`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gru {
    /// Directions, activations, layout.
    pub layer: Layer,
    /// Whether the reset gate is applied after the state's product.
    pub linear_before_reset: bool,
}

/// The order of the gates in the weights.
const UPDATE: usize = 0;
const RESET: usize = 1;
const HIDDEN: usize = 2;

impl Operator for Gru {
    const SIGNATURE: Signature = Signature::onnx("GRU", &[1, 3, 7, 14, 22]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|_, cx| {
        backward::give(cx, "GRUGrad", INPUTS);
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            layer: Layer::parse(attrs, &[Activation::Sigmoid, Activation::Tanh])?,
            linear_before_reset: attrs.flag_or("linear_before_reset", false)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        self.layer.infer::<1>(cx)
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        self.layer.run(cx, 3, INPUTS, self)
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("the state feeds back: rounding errors add up over time")
    }
}

const INPUTS: StateInputs<1> = StateInputs {
    initial: [5],
    peephole: None,
};

impl Gru {
    /// The facts of the adjoints of the inputs.
    pub(in crate::ops) fn infer_back(cx: &InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        backward::infer(cx, INPUTS)
    }

    /// The adjoints of the inputs.
    pub(in crate::ops) fn eval_back(&self, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        backward::run(&self.layer, cx, 3, INPUTS, self)
    }
}

impl Cell<1> for Gru {
    fn step(&self, gates: &Gates<'_>, x: &[f64], [h]: &mut [Vec<f64>; 1]) {
        let sums = self.sums(gates, x, h);
        let next = (0..gates.hidden).map(|u| {
            let update = gates.activate(0, sums.update[u]);
            (1.0 - update) * gates.activate(1, sums.candidate[u]) + update * h[u]
        });
        *h = next.collect();
    }

    fn back(
        &self,
        gates: &Gates<'_>,
        x: &[f64],
        [h]: &[Vec<f64>; 1],
        [dh_next]: [Vec<f64>; 1],
        out: &mut Sums<'_>,
    ) -> [Vec<f64>; 1] {
        let hidden = gates.hidden;
        let sums = self.sums(gates, x, h);
        let (mut dh, mut dreset) = (vec![0.0; hidden], vec![0.0; hidden]);
        let mut of_reset_state = vec![0.0; hidden];
        for u in 0..hidden {
            let update = gates.activate(0, sums.update[u]);
            let candidate = gates.activate(1, sums.candidate[u]);
            dh[u] += dh_next[u] * update;
            let dupdate = dh_next[u] * (h[u] - candidate) * gates.slope(0, sums.update[u]);
            out.of_input(gates, UPDATE, u, x, dupdate);
            out.of_state(gates, [UPDATE, u], h, dupdate, &mut dh);
            let d = dh_next[u] * (1.0 - update) * gates.slope(1, sums.candidate[u]);
            out.of_input(gates, HIDDEN, u, x, d);
            if self.linear_before_reset {
                dreset[u] = d * gates.of_state(HIDDEN, u, h);
                out.of_state(gates, [HIDDEN, u], h, d * sums.reset[u], &mut dh);
            } else {
                let place = [HIDDEN, u];
                out.of_state(gates, place, &sums.reset_state, d, &mut of_reset_state);
            }
        }
        for u in 0..hidden {
            dh[u] += of_reset_state[u] * sums.reset[u];
            let d = dreset[u] + of_reset_state[u] * h[u];
            dreset[u] = d * gates.slope(0, sums.reset_sum[u]);
        }
        for (u, &d) in dreset.iter().enumerate() {
            out.of_input(gates, RESET, u, x, d);
            out.of_state(gates, [RESET, u], h, d, &mut dh);
        }
        [dh]
    }
}

/// What goes into the activations, unit by unit, and the reset gate.
struct GateSums {
    update: Vec<f64>,
    reset_sum: Vec<f64>,
    candidate: Vec<f64>,
    reset: Vec<f64>,
    reset_state: Vec<f64>,
}

impl Gru {
    fn sums(&self, gates: &Gates<'_>, x: &[f64], h: &[f64]) -> GateSums {
        let units = 0..gates.hidden;
        let sum = |g, u| gates.of_input(g, u, x) + gates.of_state(g, u, h);
        let update = units.clone().map(|u| sum(UPDATE, u)).collect();
        let reset_sum: Vec<f64> = units.clone().map(|u| sum(RESET, u)).collect();
        let reset: Vec<f64> = reset_sum.iter().map(|&s| gates.activate(0, s)).collect();
        let reset_state: Vec<f64> = reset.iter().zip(h).map(|(r, h)| r * h).collect();
        let of_state = |u: usize| match self.linear_before_reset {
            true => reset[u] * gates.of_state(HIDDEN, u, h),
            false => gates.of_state(HIDDEN, u, &reset_state),
        };
        let candidate = units
            .map(|u| gates.of_input(HIDDEN, u, x) + of_state(u))
            .collect();
        GateSums {
            update,
            reset_sum,
            candidate,
            reset,
            reset_state,
        }
    }
}
