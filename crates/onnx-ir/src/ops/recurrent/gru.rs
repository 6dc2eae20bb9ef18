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
        let inputs = StateInputs {
            initial: [5],
            peephole: None,
        };
        self.layer.run(cx, 3, inputs, |gates, x, [h]| {
            let units = 0..gates.hidden;
            let gate = |g, u| gates.activate(0, gates.of_input(g, u, x) + gates.of_state(g, u, h));
            let update: Vec<f64> = units.clone().map(|u| gate(UPDATE, u)).collect();
            let reset: Vec<f64> = units.clone().map(|u| gate(RESET, u)).collect();
            let reset_state: Vec<f64> = reset.iter().zip(h.iter()).map(|(r, h)| r * h).collect();
            let of_state = |u: usize| match self.linear_before_reset {
                true => reset[u] * gates.of_state(HIDDEN, u, h),
                false => gates.of_state(HIDDEN, u, &reset_state),
            };
            let next = units.map(|u| {
                let n = gates.activate(1, gates.of_input(HIDDEN, u, x) + of_state(u));
                (1.0 - update[u]) * n + update[u] * h[u]
            });
            *h = next.collect();
        })
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("the state feeds back: rounding errors add up over time")
    }
}
