//! One step of all sequences: the product of the states, then the gates.

use super::{Cell, RecurrentLayer, RecurrentShape};
use crate::elementwise::math::{sigmoid, tanh};
use crate::gemm::{Bias, PackedF32, gemm_in_place, vector};
use crate::isa::{Simd, simd_dispatch};
use crate::{Context, KernelError, MatRef};

/// The states of one direction: a row per sequence.
pub(super) struct States<'a> {
    h: &'a mut [f32],
    c: &'a mut [f32],
    stride: usize,
    hidden: usize,
}

impl<'a> States<'a> {
    /// Rows of `hidden` elements, `stride` apart from `from` on; `c` may be empty.
    pub(super) fn new(
        h: &'a mut [f32],
        c: &'a mut [f32],
        from: usize,
        stride: usize,
        hidden: usize,
    ) -> Self {
        Self {
            h: h.get_mut(from..).unwrap_or_default(),
            c: c.get_mut(from..).unwrap_or_default(),
            stride,
            hidden,
        }
    }

    pub(super) fn h(&self, n: usize) -> &[f32] {
        &self.h[n * self.stride..][..self.hidden]
    }

    fn h_mut(&mut self, n: usize) -> &mut [f32] {
        &mut self.h[n * self.stride..][..self.hidden]
    }

    fn both_mut(&mut self, n: usize) -> (&mut [f32], &mut [f32]) {
        let at = n * self.stride..n * self.stride + self.hidden;
        (&mut self.h[at.clone()], &mut self.c[at])
    }
}

/// What the steps of one direction have in common.
pub(super) struct Step<'a> {
    ctx: &'a Context,
    cell: Cell,
    batch: usize,
    hidden: usize,
    weights: &'a [PackedF32],
    state_bias: Option<&'a [f32]>,
    peephole: Option<&'a [f32]>,
    clip: f32,
}

impl<'a> Step<'a> {
    pub(super) fn new(
        ctx: &'a Context,
        layer: &RecurrentLayer<'a>,
        shape: RecurrentShape,
        direction: usize,
    ) -> Self {
        let hidden = shape.hidden;
        let own = 3 * direction * hidden..3 * (direction + 1) * hidden;
        Self {
            ctx,
            cell: layer.cell,
            batch: shape.batch,
            hidden,
            weights: layer.state_weights.direction(direction),
            state_bias: layer.bias.and_then(|b| b.of_state(direction, hidden)),
            peephole: layer.peephole.and_then(|p| p.get(own)),
            clip: layer.clip.unwrap_or(f32::INFINITY),
        }
    }

    /// Floats of scratch memory that a step needs: the products, and for a GRU the states after the reset.
    pub(super) fn scratch_floats(cell: Cell, batch: usize, hidden: usize) -> Option<usize> {
        crate::error::product(&[cell.gates() + 1, batch, hidden])
    }

    /// Takes the states one step on. `inputs` gives `W x + b` of a sequence, `None` where it has ended.
    pub(super) fn advance<'i>(
        &self,
        inputs: impl Fn(usize) -> Option<&'i [f32]>,
        states: &mut States<'_>,
        work: &mut [f32],
    ) -> Result<(), KernelError> {
        let isa = self.ctx.isa;
        let (hidden, columns) = (self.hidden, self.cell.gates() * self.hidden);
        match self.cell {
            Cell::Rnn => {
                let products = &mut work[..self.batch * hidden];
                self.multiply(0, (states.h, states.stride), Bias::None, products)?;
                for (n, product) in products.chunks_exact(hidden).enumerate() {
                    if let Some(input) = inputs(n) {
                        rnn(isa, self.clip, input, product, states.h_mut(n));
                    }
                }
            }
            Cell::Lstm { input_forget } => {
                let products = &mut work[..self.batch * columns];
                self.multiply(0, (states.h, states.stride), Bias::None, products)?;
                let gates = LstmGates {
                    clip: self.clip,
                    peephole: self.peephole,
                    input_forget,
                };
                for (n, product) in products.chunks_exact(columns).enumerate() {
                    if let Some(input) = inputs(n) {
                        let (h, c) = states.both_mut(n);
                        lstm(isa, &gates, input, product, h, c);
                    }
                }
            }
            Cell::Gru {
                linear_before_reset,
            } => {
                let (gates, rest) = work.split_at_mut(2 * self.batch * hidden);
                let (candidates, reset) = rest.split_at_mut(self.batch * hidden);
                let reset = &mut reset[..self.batch * hidden];
                self.multiply(0, (states.h, states.stride), Bias::None, gates)?;
                let rows = gates.chunks_exact_mut(2 * hidden);
                for (n, (gates, reset)) in rows.zip(reset.chunks_exact_mut(hidden)).enumerate() {
                    if let Some(input) = inputs(n) {
                        let input = &input[..2 * hidden];
                        gru_gates(isa, self.clip, input, states.h(n), gates, reset);
                    }
                }
                if linear_before_reset {
                    let bias = self.state_bias.map_or(Bias::None, Bias::PerCol);
                    self.multiply(1, (states.h, states.stride), bias, candidates)?;
                } else {
                    self.multiply(1, (reset, hidden), Bias::None, candidates)?;
                }
                let rows = gates.chunks_exact(2 * hidden);
                for (n, (gates, product)) in rows.zip(candidates.chunks_exact(hidden)).enumerate() {
                    if let Some(input) = inputs(n) {
                        let (update, reset) = gates.split_at(hidden);
                        let reset = linear_before_reset.then_some(reset);
                        let input = &input[2 * hidden..];
                        let product = (product, reset);
                        gru_update(isa, self.clip, input, product, update, states.h_mut(n));
                    }
                }
            }
        }
        Ok(())
    }

    /// `state R^T + bias` for the gates of matrix `block`.
    fn multiply(
        &self,
        block: usize,
        (state, stride): (&[f32], usize),
        bias: Bias<'_>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let state = MatRef::strided(state, self.batch, self.hidden, stride, 1)?;
        gemm_in_place(self.ctx, state, &self.weights[block], bias, out)
    }
}

/// `x` within `-bound..=bound`; NaN stays.
#[inline(always)]
fn clipped<S: Simd>(s: S, x: S::F, bound: f32) -> S::F {
    s.min(s.splat(bound), s.max(s.splat(-bound), x))
}

/// The vector at `unit` of the block `gate` of `row`.
#[inline(always)]
fn gate<S: Simd>(s: S, row: &[f32], gate: usize, hidden: usize, unit: usize) -> S::F {
    let n = S::LANES.min(hidden - unit);
    vector(s, &row[gate * hidden + unit..], n)
}

/// The clipped sum of both products.
#[inline(always)]
fn sum<S: Simd>(s: S, (a, b): (&[f32], &[f32]), at: [usize; 3], clip: f32) -> S::F {
    let [block, hidden, unit] = at;
    let (a, b) = (
        gate(s, a, block, hidden, unit),
        gate(s, b, block, hidden, unit),
    );
    clipped(s, s.add(a, b), clip)
}

#[inline(always)]
fn put<S: Simd>(s: S, v: S::F, row: &mut [f32], unit: usize) {
    match row.get_mut(unit..unit + S::LANES) {
        Some(whole) => s.store(v, whole),
        None => s.store_partial(v, &mut row[unit..]),
    }
}

simd_dispatch! {
    fn rnn(s: S, clip: f32, input: &[f32], product: &[f32], h: &mut [f32]) {
        let hidden = h.len();
        for u in (0..hidden).step_by(S::LANES) {
            let x = sum(s, (input, product), [0, hidden, u], clip);
            put(s, tanh(s, x), h, u);
        }
    }
}

simd_dispatch! {
    /// Makes the sums in `gates` update and reset gates, and `reset` the state after the reset.
    fn gru_gates(s: S, clip: f32, input: &[f32], h: &[f32], gates: &mut [f32], reset: &mut [f32]) {
        let hidden = h.len();
        let (update_gate, reset_gate) = gates.split_at_mut(hidden);
        let (of_update, of_reset) = input.split_at(hidden);
        for u in (0..hidden).step_by(S::LANES) {
            let z = sigmoid(s, sum(s, (of_update, update_gate), [0, hidden, u], clip));
            let r = sigmoid(s, sum(s, (of_reset, reset_gate), [0, hidden, u], clip));
            put(s, z, update_gate, u);
            put(s, r, reset_gate, u);
            put(s, s.mul(r, gate(s, h, 0, hidden, u)), reset, u);
        }
    }
}

simd_dispatch! {
    /// `h = (1 - z) tanh(input + product) + z h`, the product multiplied by the reset gate where there is one.
    fn gru_update(
        s: S,
        clip: f32,
        input: &[f32],
        product: (&[f32], Option<&[f32]>),
        update: &[f32],
        h: &mut [f32],
    ) {
        let hidden = h.len();
        for u in (0..hidden).step_by(S::LANES) {
            let mut p = gate(s, product.0, 0, hidden, u);
            if let Some(reset) = product.1 {
                p = s.mul(p, gate(s, reset, 0, hidden, u));
            }
            let x = s.add(gate(s, input, 0, hidden, u), p);
            let n = tanh(s, clipped(s, x, clip));
            let z = gate(s, update, 0, hidden, u);
            let kept = s.mul(z, gate(s, h, 0, hidden, u));
            put(s, s.fma(s.sub(s.splat(1.0), z), n, kept), h, u);
        }
    }
}

/// How the gates of an LSTM are taken.
struct LstmGates<'a> {
    clip: f32,
    /// Of the gates `i o f`.
    peephole: Option<&'a [f32]>,
    input_forget: bool,
}

simd_dispatch! {
    fn lstm(
        s: S,
        gates: &LstmGates<'_>,
        input: &[f32],
        product: &[f32],
        h: &mut [f32],
        c: &mut [f32],
    ) {
        let hidden = h.len();
        let clip = gates.clip;
        for u in (0..hidden).step_by(S::LANES) {
            let cell = gate(s, c, 0, hidden, u);
            let i = lstm_gate(s, gates, (input, product), [0, hidden, u], cell);
            let f = match gates.input_forget {
                true => s.sub(s.splat(1.0), i),
                false => lstm_gate(s, gates, (input, product), [2, hidden, u], cell),
            };
            let n = tanh(s, sum(s, (input, product), [3, hidden, u], clip));
            let next = s.fma(f, cell, s.mul(i, n));
            let o = lstm_gate(s, gates, (input, product), [1, hidden, u], next);
            put(s, next, c, u);
            put(s, s.mul(o, tanh(s, next)), h, u);
        }
    }
}

/// `σ` of the sum for a gate that looks at the cell.
#[inline(always)]
fn lstm_gate<S: Simd>(
    s: S,
    gates: &LstmGates<'_>,
    (input, product): (&[f32], &[f32]),
    [block, hidden, unit]: [usize; 3],
    cell: S::F,
) -> S::F {
    let a = gate(s, input, block, hidden, unit);
    let mut x = s.add(a, gate(s, product, block, hidden, unit));
    if let Some(p) = gates.peephole {
        x = s.fma(gate(s, p, block, hidden, unit), cell, x);
    }
    sigmoid(s, clipped(s, x, gates.clip))
}
