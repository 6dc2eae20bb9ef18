//! What the recurrent layers share: attributes, shapes, and the walk over directions, batch and time.
//!
//! Inputs are `X [T, N, I]`, `W [D, G*H, I]`, `R [D, G*H, H]`, `B [D, 2*G*H]` (first the biases of `W`,
//! then those of `R`), `sequence_lens [N]`, `initial_h [D, N, H]`; outputs `Y [T, D, N, H]` and
//! `Y_h [D, N, H]`, with `T` steps, `N` sequences, `D` directions, `G` gates and `H` hidden units. With
//! `layout = 1` the batch comes first: `[N, T, I]`, `[N, D, H]`, `[N, T, D, H]`. Steps beyond a
//! sequence's length give zeros.

use super::Activation;
use super::backward::Cell;
use crate::operator::prelude::*;
use crate::ops::accumulate::Accumulate;
use crate::ops::dispatch::dispatch;

/// The directions in which a sequence is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directions {
    /// First to last.
    Forward,
    /// Last to first.
    Reverse,
    /// Both, with weights of their own.
    Bidirectional,
}

/// The order of the axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Time, then batch.
    TimeFirst,
    /// Batch, then time.
    BatchFirst,
}

/// The attributes that recurrent layers share.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The directions in which a sequence is read.
    pub directions: Directions,
    /// The number of hidden units; that of `R` where it is not given.
    pub hidden_size: Option<usize>,
    /// Bound on what goes into the gates' activations.
    pub clip: Option<f64>,
    /// The activations, direction by direction.
    pub activations: Vec<Activation>,
    /// The order of the axes.
    pub layout: Layout,
}

impl Layer {
    /// Reads the shared attributes; `defaults` are the activations of one direction.
    ///
    /// # Errors
    /// [`AttrError::WrongKind`], [`AttrError::Invalid`].
    pub fn parse(attrs: &mut Attrs<'_>, defaults: &[Activation]) -> Result<Self, AttrError> {
        // Opset 1 could leave out `Y`; which outputs a node names says the same.
        if attrs.version() < 7 {
            attrs.ignore("output_sequence");
        }
        let direction = attrs.string_or("direction", "forward".to_owned())?;
        let directions = match direction.as_str() {
            "forward" => Directions::Forward,
            "reverse" => Directions::Reverse,
            "bidirectional" => Directions::Bidirectional,
            _ => {
                return Err(AttrError::Invalid {
                    name: "direction",
                    found: direction,
                    rule: "it must be forward, reverse or bidirectional",
                });
            }
        };
        let names = attrs.strings_or("activations", Vec::new())?;
        let alphas = attrs.floats_or("activation_alpha", Vec::new())?;
        let betas = attrs.floats_or("activation_beta", Vec::new())?;
        let needed = defaults.len() * directions.count();
        let activations = if names.is_empty() {
            defaults.repeat(directions.count())
        } else if names.len() >= needed {
            // The default of `RNN` has two, one more than a single direction takes.
            Activation::parse_all(&names[..needed], &alphas, &betas)?
        } else {
            return Err(AttrError::Invalid {
                name: "activations",
                found: format!("{} names", names.len()),
                rule: "there must be one per gate kind and direction",
            });
        };
        let hidden_size = match attrs.size_or("hidden_size", 0)? {
            0 => None,
            size => Some(size),
        };
        let layout = if attrs.flag_or("layout", false)? {
            Layout::BatchFirst
        } else {
            Layout::TimeFirst
        };
        Ok(Self {
            directions,
            hidden_size,
            clip: attrs.f32_opt("clip")?.filter(|&c| c > 0.0).map(f64::from),
            activations,
            layout,
        })
    }

    /// The facts of `Y` and of the last states.
    pub(super) fn infer<const STATES: usize>(
        &self,
        cx: &InferContext<'_>,
    ) -> Result<Vec<Fact>, InferError> {
        let (x, r) = (cx.tensor(0)?, cx.tensor(2)?);
        let hidden = match (self.hidden_size, r.shape.as_deref()) {
            (Some(size), _) => size.into(),
            (None, Some([.., hidden])) => hidden.clone(),
            _ => Dim::Unknown,
        };
        let (time, batch) = match (x.shape.as_deref(), self.layout) {
            (None, _) => (Dim::Unknown, Dim::Unknown),
            (Some([t, n, _]), Layout::TimeFirst) | (Some([n, t, _]), Layout::BatchFirst) => {
                (t.clone(), n.clone())
            }
            (Some(other), _) => {
                return Err(InferError::rule(
                    "X must have three axes",
                    format_args!("rank {}", other.len()),
                ));
            }
        };
        let directions = Dim::from(self.directions.count());
        let (y, last) = match self.layout {
            Layout::TimeFirst => (
                vec![time, directions.clone(), batch.clone(), hidden.clone()],
                vec![directions, batch, hidden],
            ),
            Layout::BatchFirst => (
                vec![batch.clone(), time, directions.clone(), hidden.clone()],
                vec![batch, directions, hidden],
            ),
        };
        let mut facts = vec![TensorFact::with_shape(x.dtype, Some(y)).into()];
        for _ in 0..STATES {
            facts.push(TensorFact::with_shape(x.dtype, Some(last.clone())).into());
        }
        Ok(facts)
    }

    /// Runs a cell over every direction, sequence and time step; of its `STATES` states the first is `h`.
    pub(super) fn run<const STATES: usize>(
        &self,
        cx: &EvalContext<'_>,
        gates: usize,
        inputs: StateInputs<STATES>,
        cell: &impl Cell<STATES>,
    ) -> Result<Vec<Value>, EvalError> {
        let (x, w, r) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        let b = cx.optional_tensor(3)?;
        let peephole = match inputs.peephole {
            Some(index) => cx.optional_tensor(index)?,
            None => None,
        };
        let sizes = self.sizes(x, r)?;
        let Sizes {
            time,
            batch,
            input,
            hidden,
        } = sizes;
        let directions = self.directions.count();
        let rows = gates.saturating_mul(hidden);
        expect("W", w, &[directions, rows, input])?;
        expect("R", r, &[directions, rows, hidden])?;
        if let Some(b) = b {
            expect("B", b, &[directions, 2 * rows])?;
        }
        if let Some(p) = peephole {
            expect("P", p, &[directions, 3 * hidden])?;
        }
        let last_shape = match self.layout {
            Layout::TimeFirst => [directions, batch, hidden],
            Layout::BatchFirst => [batch, directions, hidden],
        };
        let y_shape = match self.layout {
            Layout::TimeFirst => [time, directions, batch, hidden],
            Layout::BatchFirst => [batch, time, directions, hidden],
        };
        let lengths = lengths(cx, 4, time, batch)?;
        let y_count = cx.check_size(&y_shape, DType::F64)?;
        let last_count = cx.check_size(&last_shape, DType::F64)?;
        let mut last: [Vec<f64>; STATES] = std::array::from_fn(|_| Vec::new());
        for (state, index) in last.iter_mut().zip(inputs.initial) {
            *state = match cx.optional_tensor(index)? {
                None => vec![0.0; last_count],
                Some(initial) => {
                    expect("the initial state", initial, &last_shape)?;
                    initial.to_f64_vec()?
                }
            };
        }
        let mut y = vec![0.0; y_count];
        let (data, w, r) = (x.to_f64_vec()?, w.to_f64_vec()?, r.to_f64_vec()?);
        let b = match b {
            Some(b) => b.to_f64_vec()?,
            None => vec![0.0; directions * 2 * rows],
        };
        let peephole = match peephole {
            Some(p) => p.to_f64_vec()?,
            None => vec![0.0; directions * 3 * hidden],
        };
        let functions = self.activations.len() / directions;
        for d in 0..directions {
            let gates = Gates {
                hidden,
                w: &w[d * rows * input..(d + 1) * rows * input],
                r: &r[d * rows * hidden..(d + 1) * rows * hidden],
                w_bias: &b[d * 2 * rows..][..rows],
                r_bias: &b[d * 2 * rows + rows..][..rows],
                peephole: &peephole[d * 3 * hidden..(d + 1) * 3 * hidden],
                activations: &self.activations[d * functions..(d + 1) * functions],
                clip: self.clip,
            };
            for (n, &length) in lengths.iter().enumerate() {
                let at = match self.layout {
                    Layout::TimeFirst => (d * batch + n) * hidden,
                    Layout::BatchFirst => (n * directions + d) * hidden,
                };
                let mut states: [Vec<f64>; STATES] =
                    std::array::from_fn(|s| last[s][at..at + hidden].to_vec());
                for i in 0..length {
                    let t = if self.reverses(d) { length - 1 - i } else { i };
                    let (source, target) = match self.layout {
                        Layout::TimeFirst => (t * batch + n, (t * directions + d) * batch + n),
                        Layout::BatchFirst => (n * time + t, (n * time + t) * directions + d),
                    };
                    cell.step(
                        &gates,
                        &data[source * input..(source + 1) * input],
                        &mut states,
                    );
                    y[target * hidden..(target + 1) * hidden].copy_from_slice(&states[0]);
                }
                for (last, state) in last.iter_mut().zip(states) {
                    last[at..at + hidden].copy_from_slice(&state);
                }
            }
        }
        let mut outputs = vec![rounded(x.dtype(), &y_shape, y)?];
        for state in last {
            outputs.push(rounded(x.dtype(), &last_shape, state)?);
        }
        Ok(outputs)
    }

    pub(super) fn reverses(&self, direction: usize) -> bool {
        match self.directions {
            Directions::Forward => false,
            Directions::Reverse => true,
            Directions::Bidirectional => direction == 1,
        }
    }

    pub(super) fn sizes(&self, x: &Tensor, r: &Tensor) -> Result<Sizes, EvalError> {
        let (&[first, second, input], &[_, _, hidden]) = (x.shape(), r.shape()) else {
            return Err(EvalError::rule(
                "X and R must have three axes",
                format_args!("{:?} and {:?}", x.shape(), r.shape()),
            ));
        };
        if self.hidden_size.is_some_and(|size| size != hidden) {
            return Err(EvalError::rule(
                "hidden_size must be that of R",
                format_args!("{:?} and {:?}", self.hidden_size, r.shape()),
            ));
        }
        let (time, batch) = match self.layout {
            Layout::TimeFirst => (first, second),
            Layout::BatchFirst => (second, first),
        };
        Ok(Sizes {
            time,
            batch,
            input,
            hidden,
        })
    }
}

impl Directions {
    /// 1 or 2.
    pub fn count(self) -> usize {
        match self {
            Directions::Forward | Directions::Reverse => 1,
            Directions::Bidirectional => 2,
        }
    }
}

/// Where the inputs stand that not every layer has.
#[derive(Clone, Copy, Debug)]
pub(super) struct StateInputs<const STATES: usize> {
    /// The initial value of each state.
    pub(super) initial: [usize; STATES],
    /// The peephole weights.
    pub(super) peephole: Option<usize>,
}

pub(super) struct Sizes {
    pub(super) time: usize,
    pub(super) batch: usize,
    pub(super) input: usize,
    pub(super) hidden: usize,
}

/// What belongs to one direction.
pub(super) struct Gates<'a> {
    /// The number of hidden units.
    pub(super) hidden: usize,
    pub(super) w: &'a [f64],
    pub(super) r: &'a [f64],
    pub(super) w_bias: &'a [f64],
    pub(super) r_bias: &'a [f64],
    /// Peephole weights of three gates.
    pub(super) peephole: &'a [f64],
    /// The activations, in the order of the specification.
    pub(super) activations: &'a [Activation],
    pub(super) clip: Option<f64>,
}

impl Gates<'_> {
    /// `x * W^T + Wb` of one unit of one gate.
    pub(super) fn of_input(&self, gate: usize, unit: usize, x: &[f64]) -> f64 {
        let row = gate * self.hidden + unit;
        dot(&self.w[row * x.len()..], x) + self.w_bias[row]
    }

    /// `h * R^T + Rb` of one unit of one gate.
    pub(super) fn of_state(&self, gate: usize, unit: usize, h: &[f64]) -> f64 {
        let row = gate * self.hidden + unit;
        dot(&self.r[row * h.len()..], h) + self.r_bias[row]
    }

    /// The derivative of [`Gates::activate`].
    pub(super) fn slope(&self, function: usize, value: f64) -> f64 {
        match self.clip {
            Some(c) if value.abs() > c => 0.0,
            _ => self.activations[function].slope(value),
        }
    }

    /// Activation `function` of the clipped value.
    pub(super) fn activate(&self, function: usize, value: f64) -> f64 {
        let clipped = match self.clip {
            Some(c) => value.clamp(-c, c),
            None => value,
        };
        self.activations[function].apply(clipped)
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub(super) fn expect(
    what: &'static str,
    tensor: &Tensor,
    shape: &[usize],
) -> Result<(), EvalError> {
    if tensor.shape() == shape {
        return Ok(());
    }
    Err(EvalError::rule(
        "weights and states must fit the layer",
        format_args!("{what} is {:?}, not {shape:?}", tensor.shape()),
    ))
}

/// The lengths of the sequences: input `index`, or all steps where it is left out.
pub(super) fn lengths(
    cx: &EvalContext<'_>,
    index: usize,
    time: usize,
    batch: usize,
) -> Result<Vec<usize>, EvalError> {
    let Some(lengths) = cx.ints(index)? else {
        cx.check_size(&[batch], DType::U64)?;
        return Ok(vec![time; batch]);
    };
    let sizes: Option<Vec<usize>> = lengths
        .iter()
        .map(|&l| usize::try_from(l).ok().filter(|&l| l <= time))
        .collect();
    sizes.filter(|l| l.len() == batch).ok_or_else(|| {
        EvalError::rule(
            "sequence_lens must hold one length of at most the number of steps per sequence",
            format_args!("{} lengths, {batch} sequences, {time} steps", lengths.len()),
        )
    })
}

pub(super) fn rounded(dtype: DType, shape: &[usize], values: Vec<f64>) -> Result<Value, EvalError> {
    fn round<T: Accumulate<Wide = f64>>(
        shape: &[usize],
        values: &[f64],
    ) -> Result<Tensor, EvalError> {
        let data: Vec<T> = values.iter().map(|&v| T::narrow(v)).collect();
        Ok(Tensor::from_vec(shape, data)?)
    }
    let tensor = dispatch!(dtype, T in floats => round::<T>(shape, &values));
    Ok(tensor?.into())
}
