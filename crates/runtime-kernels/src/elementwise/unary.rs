//! Functions of one tensor: `y[i] = f(x[i])`.

use super::activation::Activation;
use super::math::{erf, exp, ln};
use crate::error::check_len;
use crate::isa::{Simd, simd_dispatch};
use crate::{Context, KernelError};

/// A function of one number. Formulas as in the ONNX operator of the same name.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Unary {
    /// An activation.
    Activation(Activation),
    /// `e^x`; 3 ULP.
    Exp,
    /// `ln x`; 3 ULP.
    Log,
    /// `sqrt(x)`, correctly rounded.
    Sqrt,
    /// `1 / x`, correctly rounded.
    Reciprocal,
    /// `-x`.
    Neg,
    /// `|x|`.
    Abs,
    /// `x^2`.
    Square,
    /// Error function; 2e-7 absolute.
    Erf,
    /// Nearest integer, halves to even.
    Round,
    /// Greatest integer not above `x`.
    Floor,
    /// Least integer not below `x`.
    Ceil,
    /// `scale x + offset`.
    Affine {
        /// Factor.
        scale: f32,
        /// Summand.
        offset: f32,
    },
}

impl Unary {
    /// Relative cost of an element, for the decision to wake threads.
    fn work(self) -> usize {
        match self {
            Self::Exp | Self::Log | Self::Erf => 16,
            Self::Activation(Activation::None | Activation::Relu | Activation::Clip { .. }) => 1,
            Self::Activation(_) => 16,
            _ => 1,
        }
    }

    #[inline(always)]
    fn apply<S: Simd>(self, s: S, x: S::F) -> S::F {
        match self {
            Self::Activation(a) => a.apply(s, x),
            Self::Exp => exp(s, x),
            Self::Log => ln(s, x),
            Self::Sqrt => s.sqrt(x),
            Self::Reciprocal => s.div(s.splat(1.0), x),
            Self::Neg => s.mul(s.splat(-1.0), x),
            Self::Abs => s.abs(x),
            Self::Square => s.mul(x, x),
            Self::Erf => erf(s, x),
            Self::Round => s.round(x),
            Self::Floor => {
                let r = s.round(x);
                s.select(s.lt(x, r), s.sub(r, s.splat(1.0)), r)
            }
            Self::Ceil => {
                let r = s.round(x);
                s.select(s.lt(r, x), s.add(r, s.splat(1.0)), r)
            }
            Self::Affine { scale, offset } => s.fma(x, s.splat(scale), s.splat(offset)),
        }
    }
}

/// `y[i] = f(x[i])`.
///
/// # Errors
/// [`KernelError::Length`] if the slices differ in length.
///
/// # Examples
/// ```
/// use runtime_kernels::Context;
/// use runtime_kernels::elementwise::{Unary, unary};
///
/// let mut y = [0.0; 3];
/// unary(&Context::default(), Unary::Sqrt, &[1.0, 4.0, 9.0], &mut y)?;
/// assert_eq!(y, [1.0, 2.0, 3.0]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
pub fn unary(ctx: &Context, f: Unary, x: &[f32], y: &mut [f32]) -> Result<(), KernelError> {
    check_len("result", y.len(), Some(x.len()))?;
    ctx.parallelism.for_each_rows(y, 1, f.work(), |first, y| {
        map(ctx.isa, f, &x[first..first + y.len()], y)
    });
    Ok(())
}

/// `x[i] = f(x[i])`.
pub fn unary_in_place(ctx: &Context, f: Unary, x: &mut [f32]) {
    ctx.parallelism
        .for_each_rows(x, 1, f.work(), |_, x| map_in_place(ctx.isa, f, x));
}

simd_dispatch! {
    fn map(s: S, f: Unary, x: &[f32], y: &mut [f32]) {
        let whole = x.len() / S::LANES * S::LANES;
        let (x, x_tail) = x.split_at(whole);
        let (y, y_tail) = y.split_at_mut(whole);
        for (x, y) in x.chunks_exact(S::LANES).zip(y.chunks_exact_mut(S::LANES)) {
            s.store(f.apply(s, s.load(x)), y);
        }
        s.store_partial(f.apply(s, s.load_partial(x_tail, 1.0)), y_tail);
    }
}

simd_dispatch! {
    fn map_in_place(s: S, f: Unary, x: &mut [f32]) {
        let whole = x.len() / S::LANES * S::LANES;
        let (x, tail) = x.split_at_mut(whole);
        for x in x.chunks_exact_mut(S::LANES) {
            s.store(f.apply(s, s.load(x)), x);
        }
        s.store_partial(f.apply(s, s.load_partial(tail, 1.0)), tail);
    }
}
