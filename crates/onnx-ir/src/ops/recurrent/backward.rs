//! Back through time: the adjoints of the recurrent layers.
//!
//! The layer is run again, keeping the states before each step, then gone through from the last step to the first. What
//! one step does to the adjoints is the cell's own ([`Cell`]).

use super::layer::{Gates, Layer, Layout, Sizes, StateInputs, expect, lengths, rounded};
use crate::operator::prelude::*;

/// The adjoints of one direction's weights, and of one step's input.
pub(super) struct Sums<'a> {
    pub(super) dx: &'a mut [f64],
    pub(super) dw: &'a mut [f64],
    pub(super) dr: &'a mut [f64],
    pub(super) dw_bias: &'a mut [f64],
    pub(super) dr_bias: &'a mut [f64],
    pub(super) dpeephole: &'a mut [f64],
}

impl Sums<'_> {
    /// Takes the adjoint `d` of `x * W^T + Wb` of one unit of one gate.
    pub(super) fn of_input(
        &mut self,
        gates: &Gates<'_>,
        gate: usize,
        unit: usize,
        x: &[f64],
        d: f64,
    ) {
        let row = gate * gates.hidden + unit;
        let from = row * x.len();
        let weights = gates.w[from..from + x.len()].iter();
        for (((dx, dw), w), x) in self
            .dx
            .iter_mut()
            .zip(&mut self.dw[from..])
            .zip(weights)
            .zip(x)
        {
            *dx += d * w;
            *dw += d * x;
        }
        self.dw_bias[row] += d;
    }

    /// Takes the adjoint `d` of `h * R^T + Rb` of one unit of one gate; that of `h` is added to `dh`.
    pub(super) fn of_state(
        &mut self,
        gates: &Gates<'_>,
        [gate, unit]: [usize; 2],
        h: &[f64],
        d: f64,
        dh: &mut [f64],
    ) {
        let row = gate * gates.hidden + unit;
        let from = row * h.len();
        let weights = gates.r[from..from + h.len()].iter();
        for (((dh, dr), r), h) in dh.iter_mut().zip(&mut self.dr[from..]).zip(weights).zip(h) {
            *dh += d * r;
            *dr += d * h;
        }
        self.dr_bias[row] += d;
    }
}

/// One step of a recurrent layer, forwards and backwards.
pub(super) trait Cell<const STATES: usize> {
    /// The states after the step.
    fn step(&self, gates: &Gates<'_>, x: &[f64], states: &mut [Vec<f64>; STATES]);

    /// From the adjoints of the states after a step those of the states before it, which are `before`.
    fn back(
        &self,
        gates: &Gates<'_>,
        x: &[f64],
        before: &[Vec<f64>; STATES],
        adjoints: [Vec<f64>; STATES],
        sums: &mut Sums<'_>,
    ) -> [Vec<f64>; STATES];
}

/// The adjoints of `X`, `W`, `R`, `B`, the initial states and the peephole weights. The context's first inputs are the
/// adjoints of `Y` and the last states (any may be left out), then come the layer's own.
pub(super) fn run<const STATES: usize>(
    layer: &Layer,
    cx: &EvalContext<'_>,
    gates: usize,
    inputs: StateInputs<STATES>,
    cell: &impl Cell<STATES>,
) -> Result<Vec<Value>, EvalError> {
    let first = STATES + 1;
    let (x, w, r) = (
        cx.tensor(first)?,
        cx.tensor(first + 1)?,
        cx.tensor(first + 2)?,
    );
    let b = cx.optional_tensor(first + 3)?;
    let peephole = match inputs.peephole {
        Some(index) => cx.optional_tensor(first + index)?,
        None => None,
    };
    let Sizes {
        time,
        batch,
        input,
        hidden,
    } = layer.sizes(x, r)?;
    let directions = layer.directions.count();
    let rows = gates.saturating_mul(hidden);
    expect("W", w, &[directions, rows, input])?;
    expect("R", r, &[directions, rows, hidden])?;
    let (b_shape, p_shape) = ([directions, 2 * rows], [directions, 3 * hidden]);
    let last_shape = match layer.layout {
        Layout::TimeFirst => [directions, batch, hidden],
        Layout::BatchFirst => [batch, directions, hidden],
    };
    let y_shape = match layer.layout {
        Layout::TimeFirst => [time, directions, batch, hidden],
        Layout::BatchFirst => [batch, time, directions, hidden],
    };
    let of = |what, tensor: Option<&Tensor>, shape: &[usize]| {
        let Some(tensor) = tensor else {
            return Ok(vec![0.0; cx.check_size(shape, DType::F64)?]);
        };
        expect(what, tensor, shape)?;
        Ok::<_, EvalError>(tensor.to_f64_vec()?)
    };
    let lengths = lengths(cx, first + 4, time, batch)?;
    let dy = of("the adjoint of Y", cx.optional_tensor(0)?, &y_shape)?;
    let mut last: Vec<Vec<f64>> = Vec::with_capacity(STATES);
    let mut initial: Vec<Vec<f64>> = Vec::with_capacity(STATES);
    for s in 0..STATES {
        last.push(of(
            "the adjoint of a state",
            cx.optional_tensor(1 + s)?,
            &last_shape,
        )?);
        let index = first + inputs.initial[s];
        initial.push(of(
            "the initial state",
            cx.optional_tensor(index)?,
            &last_shape,
        )?);
    }
    let (b_values, p_values) = (of("B", b, &b_shape)?, of("P", peephole, &p_shape)?);
    let (data, w_values, r_values) = (x.to_f64_vec()?, w.to_f64_vec()?, r.to_f64_vec()?);
    let mut dx = vec![0.0; data.len()];
    let (mut dw, mut dr) = (vec![0.0; w_values.len()], vec![0.0; r_values.len()]);
    let (mut db, mut dp) = (vec![0.0; b_values.len()], vec![0.0; p_values.len()]);
    for d in 0..directions {
        let functions = layer.activations.len() / directions;
        let (of_w, of_r) = (rows * input, rows * hidden);
        let gates = Gates {
            hidden,
            w: &w_values[d * of_w..][..of_w],
            r: &r_values[d * of_r..][..of_r],
            w_bias: &b_values[d * 2 * rows..][..rows],
            r_bias: &b_values[d * 2 * rows + rows..][..rows],
            peephole: &p_values[d * 3 * hidden..][..3 * hidden],
            activations: &layer.activations[d * functions..(d + 1) * functions],
            clip: layer.clip,
        };
        let (dw_bias, dr_bias) = db[d * 2 * rows..][..2 * rows].split_at_mut(rows);
        for (n, &length) in lengths.iter().enumerate() {
            let at = match layer.layout {
                Layout::TimeFirst => (d * batch + n) * hidden,
                Layout::BatchFirst => (n * directions + d) * hidden,
            };
            let places = |i: usize| {
                let t = if layer.reverses(d) { length - 1 - i } else { i };
                match layer.layout {
                    Layout::TimeFirst => (t * batch + n, (t * directions + d) * batch + n),
                    Layout::BatchFirst => (n * time + t, (n * time + t) * directions + d),
                }
            };
            let mut states: [Vec<f64>; STATES] =
                std::array::from_fn(|s| initial[s][at..at + hidden].to_vec());
            let mut before = Vec::with_capacity(length);
            for i in 0..length {
                let source = places(i).0 * input;
                before.push(states.clone());
                cell.step(&gates, &data[source..source + input], &mut states);
            }
            let mut adjoints: [Vec<f64>; STATES] =
                std::array::from_fn(|s| last[s][at..at + hidden].to_vec());
            for (i, before) in before.iter().enumerate().rev() {
                let (source, target) = places(i);
                let dy = &dy[target * hidden..][..hidden];
                adjoints[0]
                    .iter_mut()
                    .zip(dy)
                    .for_each(|(sum, dy)| *sum += dy);
                let mut sums = Sums {
                    dx: &mut dx[source * input..][..input],
                    dw: &mut dw[d * of_w..][..of_w],
                    dr: &mut dr[d * of_r..][..of_r],
                    dw_bias,
                    dr_bias,
                    dpeephole: &mut dp[d * 3 * hidden..][..3 * hidden],
                };
                let x = &data[source * input..][..input];
                adjoints = cell.back(&gates, x, before, adjoints, &mut sums);
            }
            for (last, adjoint) in last.iter_mut().zip(adjoints) {
                last[at..at + hidden].copy_from_slice(&adjoint);
            }
        }
    }
    let dtype = x.dtype();
    let mut outputs = vec![
        rounded(dtype, x.shape(), dx)?,
        rounded(dtype, w.shape(), dw)?,
        rounded(dtype, r.shape(), dr)?,
        rounded(dtype, &b_shape, db)?,
    ];
    for state in last {
        outputs.push(rounded(dtype, &last_shape, state)?);
    }
    outputs.push(rounded(dtype, &p_shape, dp)?);
    Ok(outputs)
}

/// The facts of the adjoints, like the layer's inputs where they are there.
pub(super) fn infer<const STATES: usize>(
    cx: &InferContext<'_>,
    inputs: StateInputs<STATES>,
) -> Result<Vec<Fact>, InferError> {
    let first = STATES + 1;
    let dtype = cx.tensor(first)?.dtype;
    let indices = (0..4).chain(inputs.initial).chain(inputs.peephole);
    let like = |index: usize| {
        let fact = cx.optional_tensor(first + index)?;
        let shape = fact.and_then(|fact| fact.shape);
        Ok(TensorFact::with_shape(dtype, shape).into())
    };
    indices.map(like).collect()
}

/// Gives the adjoints that `op_type` computes from those of `Y` and of the last states.
pub(super) fn give<const STATES: usize>(
    cx: &GradientContext<'_>,
    op_type: &str,
    inputs: StateInputs<STATES>,
) {
    let mut of = vec![0, 1, 2, 3];
    of.extend(inputs.initial);
    of.extend(inputs.peephole);
    let mut all: Vec<Option<Var<'_>>> = (0..=STATES).map(|i| cx.adjoint(i)).collect();
    all.extend((0..cx.node().inputs().len()).map(|i| cx.optional_input(i)));
    cx.give_outputs(cx.private_like(op_type), &all, &of);
}
