//! Functions of two tensors with the broadcasts that networks use.

use super::activation::Activation;
use super::math::{exp, ln};
use crate::error::{check_len, product};
use crate::isa::{Simd, simd_dispatch};
use crate::{Context, KernelError};

/// A function of two numbers. Formulas as in the ONNX operator of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`.
    Div,
    /// The lesser; NaN if either is.
    Min,
    /// The greater; NaN if either is.
    Max,
    /// `a^b` as `e^(b ln a)`, for `a >= 0`; a negative `a` gives NaN unless `b` is a whole number.
    Pow,
}

/// How the second operand is spread over the first, which has `[outer, channels, inner]` elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Broadcast {
    /// Both have the same shape.
    Same,
    /// The second is one number.
    Scalar,
    /// The second has one number per channel: `a[o][c][i] op b[c]`. With `inner = 1` it is a
    /// vector along the last axis; with `outer = 1` one number per row.
    Channels {
        /// Numbers in the second operand.
        channels: usize,
        /// Elements of the first per number.
        inner: usize,
    },
}

/// On which side the operand that is spread stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// `a op b`.
    #[default]
    Forward,
    /// `b op a`.
    Reversed,
}

impl Binary {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, a: S::F, b: S::F) -> S::F {
        match self {
            Self::Add => s.add(a, b),
            Self::Sub => s.sub(a, b),
            Self::Mul => s.mul(a, b),
            Self::Div => s.div(a, b),
            Self::Min => s.select(s.is_nan(a), a, s.min(a, b)),
            Self::Max => s.select(s.is_nan(a), a, s.max(a, b)),
            Self::Pow => pow(s, a, b),
        }
    }
}

/// `|a|^b` with the sign of a whole odd power.
#[inline(always)]
fn pow<S: Simd>(s: S, a: S::F, b: S::F) -> S::F {
    let magnitude = exp(s, s.mul(b, ln(s, s.abs(a))));
    let half = s.mul(b, s.splat(0.5));
    let odd = s.sub(b, s.mul(s.splat(2.0), s.round(half)));
    let odd = s.abs(odd);
    let signed = s.select(
        s.lt(s.splat(0.5), odd),
        s.sub(s.splat(0.0), magnitude),
        magnitude,
    );
    let fraction = s.abs(s.sub(b, s.round(b)));
    let negative = s.select(s.lt(s.splat(0.0), fraction), s.splat(f32::NAN), signed);
    let y = s.select(s.lt(a, s.splat(0.0)), negative, magnitude);
    // x^0 is 1 for every x.
    s.select(s.lt(s.abs(b), s.splat(f32::from_bits(1))), s.splat(1.0), y)
}

/// `y = activation(a op b)`, `b` spread over `a`.
///
/// # Errors
/// [`KernelError::Length`] if `b` or `y` does not have the length that the broadcast asks for.
///
/// # Examples
/// ```
/// use runtime_kernels::Context;
/// use runtime_kernels::elementwise::{Activation, Binary, Broadcast, Order, binary};
///
/// let (a, b) = ([1.0, 2.0, 3.0, 4.0], [10.0, 20.0]);
/// let mut y = [0.0; 4];
/// let per_row = Broadcast::Channels { channels: 2, inner: 2 };
/// binary(&Context::default(), Binary::Add, per_row, Order::Forward, Activation::None, &a, &b, &mut y)?;
/// assert_eq!(y, [11.0, 12.0, 23.0, 24.0]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
#[expect(
    clippy::too_many_arguments,
    reason = "operands, result and three small choices"
)]
pub fn binary(
    ctx: &Context,
    op: Binary,
    broadcast: Broadcast,
    order: Order,
    activation: Activation,
    a: &[f32],
    b: &[f32],
    y: &mut [f32],
) -> Result<(), KernelError> {
    check_len("result", y.len(), Some(a.len()))?;
    let step = Step {
        op,
        order,
        activation,
    };
    let work = if op == Binary::Pow { 32 } else { 1 };
    match broadcast {
        Broadcast::Same => {
            check_len("second operand", b.len(), Some(a.len()))?;
            ctx.parallelism.for_each_rows(y, 1, work, |first, y| {
                let end = first + y.len();
                zip(ctx.isa, step, &a[first..end], &b[first..end], y);
            });
        }
        Broadcast::Scalar => {
            check_len("second operand", b.len(), Some(1))?;
            ctx.parallelism.for_each_rows(y, 1, work, |first, y| {
                with_scalar(ctx.isa, step, &a[first..first + y.len()], b[0], y);
            });
        }
        Broadcast::Channels { channels, inner: 1 } => {
            check_len("second operand", b.len(), Some(channels))?;
            check_rows(a.len(), channels)?;
            ctx.parallelism
                .for_each_rows(y, channels, channels * work, |first, y| {
                    for (i, y) in y.chunks_exact_mut(channels).enumerate() {
                        zip(
                            ctx.isa,
                            step,
                            &a[(first + i) * channels..][..channels],
                            b,
                            y,
                        );
                    }
                });
        }
        Broadcast::Channels { channels, inner } => {
            check_len("second operand", b.len(), Some(channels))?;
            check_rows(a.len(), product(&[channels, inner]).unwrap_or(0))?;
            ctx.parallelism
                .for_each_rows(y, inner, inner * work, |first, y| {
                    for (i, y) in y.chunks_exact_mut(inner).enumerate() {
                        let row = first + i;
                        with_scalar(
                            ctx.isa,
                            step,
                            &a[row * inner..][..inner],
                            b[row % channels],
                            y,
                        );
                    }
                });
        }
    }
    Ok(())
}

/// `len` elements must be whole rows of `row`.
fn check_rows(len: usize, row: usize) -> Result<(), KernelError> {
    if len == 0 || (row > 0 && len.is_multiple_of(row)) {
        return Ok(());
    }
    Err(KernelError::Extent {
        what: "elements left over by the broadcast",
        expected: 0,
        found: len.checked_rem(row).unwrap_or(len),
    })
}

/// What is done to one pair of vectors.
#[derive(Clone, Copy)]
struct Step {
    op: Binary,
    order: Order,
    activation: Activation,
}

impl Step {
    #[inline(always)]
    fn apply<S: Simd>(self, s: S, a: S::F, b: S::F) -> S::F {
        let y = match self.order {
            Order::Forward => self.op.apply(s, a, b),
            Order::Reversed => self.op.apply(s, b, a),
        };
        self.activation.apply(s, y)
    }
}

simd_dispatch! {
    fn zip(s: S, step: Step, a: &[f32], b: &[f32], y: &mut [f32]) {
        let whole = y.len() / S::LANES * S::LANES;
        let vectors = a.chunks_exact(S::LANES).zip(b.chunks_exact(S::LANES));
        for ((a, b), y) in vectors.zip(y.chunks_exact_mut(S::LANES)) {
            s.store(step.apply(s, s.load(a), s.load(b)), y);
        }
        let tail = step.apply(s, s.load_partial(&a[whole..], 1.0), s.load_partial(&b[whole..], 1.0));
        s.store_partial(tail, &mut y[whole..]);
    }
}

simd_dispatch! {
    fn with_scalar(s: S, step: Step, a: &[f32], b: f32, y: &mut [f32]) {
        let whole = y.len() / S::LANES * S::LANES;
        let b = s.splat(b);
        for (a, y) in a.chunks_exact(S::LANES).zip(y.chunks_exact_mut(S::LANES)) {
            s.store(step.apply(s, s.load(a), b), y);
        }
        let tail = step.apply(s, s.load_partial(&a[whole..], 1.0), b);
        s.store_partial(tail, &mut y[whole..]);
    }
}
