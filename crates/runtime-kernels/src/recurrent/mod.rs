//! Recurrent layers in f32: plain RNN, GRU and LSTM as in the ONNX operators of these names, with the activations that
//! are their defaults (`σ` for gates, `tanh` else).
//!
//! ```text
//! x [T, N, I]   W [D, G H, I]   R [D, G H, H]   b [D, 2 G H] (of W, then of R)   P [D, 3 H]   y [T, D, N, H]   h, c [D, N, H]
//! ```
//! for `T` steps, `N` sequences, `D` directions, `G` gates and `H` units. The products with `W` are taken of many steps
//! at once; then each step multiplies the state of all sequences with `R` and goes through the gates, vector by vector.

mod cell;
mod layer;
mod weights;

pub use layer::{RecurrentLayer, RecurrentState, recurrent};
pub use weights::{GateBias, PackedGates};

/// The equations of one step. `clip` bounds what goes into the gates' activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// `h' = tanh(W x + R h + b)`.
    Rnn,
    /// Gates `z r n`: `z, r = σ(W x + R h + b)`, `n = tanh(W x + R (r h) + b)`, `h' = (1 - z) n + z h`.
    Gru {
        /// `n = tanh(W x + b_W + r (R h + b_R))` instead.
        linear_before_reset: bool,
    },
    /// Gates `i o f n`: `i, f = σ(W x + R h + P c + b)`, `n = tanh(W x + R h + b)`, `c' = f c + i n`,
    /// `o = σ(W x + R h + P c' + b)`, `h' = o tanh(c')`.
    Lstm {
        /// `f = 1 - i` instead.
        input_forget: bool,
    },
}

impl Cell {
    /// Gates: blocks of `H` rows of the weights.
    pub fn gates(self) -> usize {
        match self {
            Self::Rnn => 1,
            Self::Gru { .. } => 3,
            Self::Lstm { .. } => 4,
        }
    }
}

/// The directions in which sequences are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directions {
    /// First to last.
    Forward,
    /// Last to first.
    Reverse,
    /// Both, with weights of their own.
    Bidirectional,
}

impl Directions {
    /// 1 or 2.
    pub fn count(self) -> usize {
        match self {
            Self::Forward | Self::Reverse => 1,
            Self::Bidirectional => 2,
        }
    }

    fn reverses(self, direction: usize) -> bool {
        self == Self::Reverse || direction == 1
    }
}

/// The order of the axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceLayout {
    /// `x [T, N, I]`, `y [T, D, N, H]`, states `[D, N, H]`.
    TimeFirst,
    /// `x [N, T, I]`, `y [N, T, D, H]`, states `[N, D, H]`.
    BatchFirst,
}

/// The extents of a layer's inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecurrentShape {
    /// Steps of a sequence, `T`.
    pub time: usize,
    /// Sequences, `N`.
    pub batch: usize,
    /// Features of a step, `I`.
    pub input: usize,
    /// Units, `H`.
    pub hidden: usize,
}
