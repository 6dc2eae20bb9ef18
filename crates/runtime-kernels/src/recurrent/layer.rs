//! The walk of a layer over directions, steps and sequences.

use std::ops::Range;

use super::cell::{States, Step};
use super::{Cell, Directions, GateBias, PackedGates, RecurrentShape, SequenceLayout};
use crate::error::{check_len, product};
use crate::gemm::{Bias, gemm_in_place};
use crate::{Context, KernelError, MatRef, Scratch};

/// Products with `W` that are kept at a time, in floats: a share of a core's own cache, as they are read soon.
const WINDOW_FLOATS: usize = 1 << 18;
/// Steps of a window at least, so that its products have rows to share the weights among.
const MIN_WINDOW: usize = 16;

/// The attributes and weights of a layer.
#[derive(Clone, Copy, Debug)]
pub struct RecurrentLayer<'a> {
    /// The equations of a step.
    pub cell: Cell,
    /// The directions in which sequences are read.
    pub directions: Directions,
    /// The order of the axes.
    pub layout: SequenceLayout,
    /// Bound on the magnitude of what goes into the gates' activations.
    pub clip: Option<f32>,
    /// `W`.
    pub input_weights: &'a PackedGates,
    /// `R`.
    pub state_weights: &'a PackedGates,
    /// `b`.
    pub bias: Option<&'a GateBias>,
    /// `P [D, 3 H]` of the gates `i o f` of an LSTM.
    pub peephole: Option<&'a [f32]>,
}

/// The states of all sequences: the initial ones before, the last ones after a run.
#[derive(Debug)]
pub struct RecurrentState<'a> {
    /// `h`, `D N H` elements.
    pub h: &'a mut [f32],
    /// `c`, as many; only LSTM has it, else it is empty.
    pub c: &'a mut [f32],
}

/// Runs a layer over the sequences `x`; `lengths` cuts them short, one number of steps each. `y` becomes the state after
/// each step, 0 past the end of a sequence.
///
/// # Errors
/// [`KernelError::Length`] or [`KernelError::Extent`] if a slice or the weights do not have the extents of `shape`,
/// [`KernelError::Invalid`] for a length above the number of steps (or below 0) and for peephole weights without LSTM,
/// [`KernelError::PackedFor`] if the weights were packed for another instruction set.
///
/// # Examples
/// ```
/// use runtime_kernels::recurrent::{
///     Cell, Directions, PackedGates, RecurrentLayer, RecurrentShape, RecurrentState, SequenceLayout, recurrent,
/// };
/// use runtime_kernels::{Context, Scratch};
///
/// let ctx = Context::default();
/// let (w, r) = (
///     PackedGates::of_input(ctx.isa, Cell::Rnn, [1, 1, 1], &[0.5])?,
///     PackedGates::of_state(ctx.isa, Cell::Rnn, [1, 1], &[1.0])?,
/// );
/// let layer = RecurrentLayer {
///     cell: Cell::Rnn,
///     directions: Directions::Forward,
///     layout: SequenceLayout::TimeFirst,
///     clip: None,
///     input_weights: &w,
///     state_weights: &r,
///     bias: None,
///     peephole: None,
/// };
/// let shape = RecurrentShape { time: 2, batch: 1, input: 1, hidden: 1 };
/// let (mut h, mut y) = ([0.0], [0.0; 2]);
/// let state = RecurrentState { h: &mut h, c: &mut [] };
/// recurrent(&ctx, &mut Scratch::new(), &layer, shape, (&[2.0, 0.0], None), state, &mut y)?;
/// assert!((y[0] - 1f32.tanh()).abs() < 1e-6);
/// assert!((y[1] - 1f32.tanh().tanh()).abs() < 1e-6);
/// assert_eq!(h, [y[1]]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
pub fn recurrent(
    ctx: &Context,
    scratch: &mut Scratch,
    layer: &RecurrentLayer<'_>,
    shape: RecurrentShape,
    (x, lengths): (&[f32], Option<&[i32]>),
    state: RecurrentState<'_>,
    y: &mut [f32],
) -> Result<(), KernelError> {
    check(layer, shape, x, lengths, &state, y)?;
    if y.is_empty() {
        return Ok(());
    }
    let RecurrentShape { time, batch, .. } = shape;
    let columns = layer.cell.gates() * shape.hidden;
    let fits = (WINDOW_FLOATS / batch.saturating_mul(columns).max(1)).max(MIN_WINDOW);
    let capacity = time.min(fits);
    let window_floats = product(&[capacity, batch, columns]);
    let step_floats = Step::scratch_floats(layer.cell, batch, shape.hidden);
    let (window_floats, floats) = window_floats
        .zip(step_floats)
        .and_then(|(window, step)| Some((window, window.checked_add(step)?)))
        .ok_or(KernelError::OutOfBounds {
            operand: "gates",
            rows: batch,
            cols: columns,
            len: usize::MAX,
        })?;
    let (floats, _) = scratch.parts(floats, 0);
    let (of_inputs, work) = floats.split_at_mut(window_floats);
    let RecurrentState { h, c } = state;
    for d in 0..layer.directions.count() {
        let walk = Walk {
            shape,
            layout: layer.layout,
            directions: layer.directions.count(),
            direction: d,
            reverses: layer.directions.reverses(d),
            lengths,
        };
        let step = Step::new(ctx, layer, shape, d);
        let mut states = walk.states(h, c);
        let steps = (0..batch).map(|n| walk.length(n)).max().unwrap_or(0);
        for from in (0..steps).step_by(capacity.max(1)) {
            let window = Window {
                walk: &walk,
                steps: from..steps.min(from + capacity),
                capacity,
            };
            window.multiply(ctx, layer, x, of_inputs)?;
            for i in window.steps.clone() {
                let row = |n| {
                    let row = window.row(n, i)?;
                    Some(&of_inputs[row * columns..(row + 1) * columns])
                };
                step.advance(row, &mut states, work)?;
                for n in 0..batch {
                    if let Some(t) = walk.time(n, i) {
                        walk.result(n, t, y).copy_from_slice(states.h(n));
                    }
                }
            }
        }
        for n in 0..batch {
            for t in walk.length(n)..time {
                walk.result(n, t, y).fill(0.0);
            }
        }
    }
    Ok(())
}

fn check(
    layer: &RecurrentLayer<'_>,
    shape: RecurrentShape,
    x: &[f32],
    lengths: Option<&[i32]>,
    state: &RecurrentState<'_>,
    y: &[f32],
) -> Result<(), KernelError> {
    let RecurrentShape {
        time,
        batch,
        input,
        hidden,
    } = shape;
    let directions = layer.directions.count();
    let rows = layer.cell.gates().saturating_mul(hidden);
    check_len("input", x.len(), product(&[time, batch, input]))?;
    check_len(
        "result",
        y.len(),
        product(&[time, directions, batch, hidden]),
    )?;
    let states = product(&[directions, batch, hidden]);
    check_len("hidden state", state.h.len(), states)?;
    let is_lstm = matches!(layer.cell, Cell::Lstm { .. });
    let cells = if is_lstm { states } else { Some(0) };
    check_len("cell state", state.c.len(), cells)?;
    let (w, r) = (layer.input_weights, layer.state_weights);
    w.check("extents of the input weights", directions, rows, input)?;
    r.check("extents of the recurrent weights", directions, rows, hidden)?;
    if let Some(bias) = layer.bias {
        bias.check(directions, rows)?;
    }
    if let Some(p) = layer.peephole {
        let expected = if is_lstm {
            product(&[directions, 3, hidden])
        } else {
            Some(0)
        };
        check_len("peephole weights", p.len(), expected)?;
    }
    let Some(lengths) = lengths else {
        return Ok(());
    };
    check_len("lengths", lengths.len(), Some(batch))?;
    let fits = |&l: &i32| usize::try_from(l).is_ok_and(|l| l <= time);
    match lengths.iter().find(|l| !fits(l)) {
        None => Ok(()),
        Some(&l) => Err(KernelError::Invalid {
            what: "length of a sequence",
            value: usize::try_from(l).unwrap_or(0),
        }),
    }
}

/// Where the steps of one direction stand in the operands.
struct Walk<'a> {
    shape: RecurrentShape,
    layout: SequenceLayout,
    directions: usize,
    direction: usize,
    reverses: bool,
    lengths: Option<&'a [i32]>,
}

impl Walk<'_> {
    /// Steps of sequence `n`.
    fn length(&self, n: usize) -> usize {
        let length = self.lengths.and_then(|l| usize::try_from(l[n]).ok());
        length.unwrap_or(self.shape.time)
    }

    /// The element that step `i` of sequence `n` reads.
    fn time(&self, n: usize, i: usize) -> Option<usize> {
        let last = self.length(n).checked_sub(i + 1)?;
        Some(if self.reverses { last } else { i })
    }

    /// The row of `x` that holds element `t` of sequence `n`.
    fn source(&self, n: usize, t: usize) -> usize {
        match self.layout {
            SequenceLayout::TimeFirst => t * self.shape.batch + n,
            SequenceLayout::BatchFirst => n * self.shape.time + t,
        }
    }

    /// The row of `y` for element `t` of sequence `n`.
    fn result<'y>(&self, n: usize, t: usize, y: &'y mut [f32]) -> &'y mut [f32] {
        let RecurrentShape {
            time,
            batch,
            hidden,
            ..
        } = self.shape;
        let row = match self.layout {
            SequenceLayout::TimeFirst => (t * self.directions + self.direction) * batch + n,
            SequenceLayout::BatchFirst => (n * time + t) * self.directions + self.direction,
        };
        &mut y[row * hidden..(row + 1) * hidden]
    }

    /// The states of this direction.
    fn states<'s>(&self, h: &'s mut [f32], c: &'s mut [f32]) -> States<'s> {
        let hidden = self.shape.hidden;
        let (from, stride) = match self.layout {
            SequenceLayout::TimeFirst => (self.direction * self.shape.batch * hidden, hidden),
            SequenceLayout::BatchFirst => (self.direction * hidden, self.directions * hidden),
        };
        States::new(h, c, from, stride, hidden)
    }
}

/// Steps whose products with `W` are there, a row each. One product gives them in the order of `x` if all steps fit, else
/// one product per sequence.
struct Window<'a> {
    walk: &'a Walk<'a>,
    steps: Range<usize>,
    capacity: usize,
}

impl Window<'_> {
    fn is_whole(&self) -> bool {
        self.capacity == self.walk.shape.time
    }

    /// The elements of sequence `n` that the steps read.
    fn times(&self, n: usize) -> Range<usize> {
        let length = self.walk.length(n);
        let (from, to) = (self.steps.start.min(length), self.steps.end.min(length));
        if self.walk.reverses {
            length - to..length - from
        } else {
            from..to
        }
    }

    /// The row of step `i` of sequence `n`; `None` past its end.
    fn row(&self, n: usize, i: usize) -> Option<usize> {
        let t = self.walk.time(n, i)?;
        Some(match self.is_whole() {
            true => self.walk.source(n, t),
            false => n * self.capacity + t - self.times(n).start,
        })
    }

    /// `x W^T + b` of all steps.
    fn multiply(
        &self,
        ctx: &Context,
        layer: &RecurrentLayer<'_>,
        x: &[f32],
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let RecurrentShape {
            time, batch, input, ..
        } = self.walk.shape;
        let d = self.walk.direction;
        let bias = layer
            .bias
            .map_or(Bias::None, |b| Bias::PerCol(b.of_input(d)));
        let weights = &layer.input_weights.direction(d)[0];
        if self.is_whole() {
            let x = MatRef::row_major(x, time * batch, input)?;
            return gemm_in_place(ctx, x, weights, bias, out);
        }
        let stride = self.walk.source(0, 1) * input;
        let sequences = out.chunks_exact_mut((self.capacity * weights.cols()).max(1));
        for (n, out) in sequences.enumerate().take(batch) {
            let times = self.times(n);
            if times.is_empty() {
                continue;
            }
            let rows = &x[self.walk.source(n, times.start) * input..];
            let rows = MatRef::strided(rows, times.len(), input, stride, 1)?;
            let out = &mut out[..times.len() * weights.cols()];
            gemm_in_place(ctx, rows, weights, bias, out)?;
        }
        Ok(())
    }
}
