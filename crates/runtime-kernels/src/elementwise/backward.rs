//! The adjoints of activations: `dx[i] = dy[i] * f'(x[i])`.

use super::math::{erf, exp, tanh};
use crate::error::check_len;
use crate::isa::{Simd, simd_dispatch};
use crate::{Context, KernelError};

/// An activation by its derivative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Slope {
    /// Of `max(0, x)`: 1 above 0, else 0. The result of the activation does in place of `x`, whose sign it has.
    Relu,
    /// Of `x Φ(x)` with the normal distribution `Φ` and its density `φ`: `Φ(x) + x φ(x)` (Hendrycks & Gimpel,
    /// arXiv:1606.08415).
    Gelu,
    /// Of the form of GELU by `t = tanh(u)`, `u = √(2/π) (x + 0.044715 x³)`: `(1 + t + x (1 - t²) u') / 2`.
    GeluTanh,
}

impl Slope {
    fn work(self) -> usize {
        match self {
            Self::Relu => 1,
            _ => 16,
        }
    }

    #[inline(always)]
    fn apply<S: Simd>(self, s: S, dy: S::F, x: S::F) -> S::F {
        let (half, one) = (s.splat(0.5), s.splat(1.0));
        match self {
            Self::Relu => {
                let zero = s.splat(0.0);
                s.select(s.lt(zero, x), dy, zero)
            }
            Self::Gelu => {
                let root = s.splat(std::f32::consts::FRAC_1_SQRT_2);
                let density = exp(s, s.mul(s.mul(s.splat(-0.5), x), x));
                let density = s.mul(density, s.splat(0.398_942_3));
                let phi = s.mul(half, s.add(one, erf(s, s.mul(x, root))));
                s.mul(dy, s.fma(x, density, phi))
            }
            Self::GeluTanh => {
                let (factor, cube) = (s.splat(0.797_884_6), s.splat(0.044_715));
                let square = s.mul(x, x);
                let u = s.mul(s.mul(factor, x), s.fma(cube, square, one));
                let t = tanh(s, u);
                let inner = s.mul(factor, s.fma(s.splat(3.0 * 0.044_715), square, one));
                let slope = s.mul(s.mul(x, s.sub(one, s.mul(t, t))), inner);
                s.mul(dy, s.mul(half, s.add(s.add(one, t), slope)))
            }
        }
    }
}

/// `dx[i] = dy[i] * f'(x[i])`.
///
/// # Errors
/// [`KernelError::Length`] if the slices do not have one length.
///
/// # Examples
/// ```
/// use runtime_kernels::Context;
/// use runtime_kernels::elementwise::{Slope, multiply_slope};
///
/// let mut dx = [0.0; 3];
/// multiply_slope(&Context::default(), Slope::Relu, &[5.0, 6.0, 7.0], &[1.0, 0.0, -1.0], &mut dx)?;
/// assert_eq!(dx, [5.0, 0.0, 0.0]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
pub fn multiply_slope(
    ctx: &Context,
    slope: Slope,
    dy: &[f32],
    x: &[f32],
    dx: &mut [f32],
) -> Result<(), KernelError> {
    check_len("adjoint of the result", dy.len(), Some(dx.len()))?;
    check_len("input", x.len(), Some(dx.len()))?;
    ctx.parallelism
        .for_each_rows(dx, 1, slope.work(), |first, dx| {
            let part = first..first + dx.len();
            multiply(ctx.isa, slope, &dy[part.clone()], &x[part], dx);
        });
    Ok(())
}

simd_dispatch! {
    fn multiply(s: S, slope: Slope, dy: &[f32], x: &[f32], dx: &mut [f32]) {
        match slope {
            Slope::Relu => multiply_by(s, dy, x, dx, |dy, x| Slope::Relu.apply(s, dy, x)),
            Slope::Gelu => multiply_by(s, dy, x, dx, |dy, x| Slope::Gelu.apply(s, dy, x)),
            Slope::GeluTanh => multiply_by(s, dy, x, dx, |dy, x| Slope::GeluTanh.apply(s, dy, x)),
        }
    }
}

#[inline(always)]
fn multiply_by<S: Simd>(
    s: S,
    dy: &[f32],
    x: &[f32],
    dx: &mut [f32],
    f: impl Fn(S::F, S::F) -> S::F,
) {
    let whole = dx.len() / S::LANES * S::LANES;
    let ((dy, dy_rest), (x, x_rest)) = (dy.split_at(whole), x.split_at(whole));
    let (dx, dx_rest) = dx.split_at_mut(whole);
    let pairs = dy.chunks_exact(S::LANES).zip(x.chunks_exact(S::LANES));
    for (dx, (dy, x)) in dx.chunks_exact_mut(S::LANES).zip(pairs) {
        s.store(f(s.load(dy), s.load(x)), dx);
    }
    let last = f(s.load_partial(dy_rest, 0.0), s.load_partial(x_rest, 0.0));
    s.store_partial(last, dx_rest);
}
