//! Numbers of 16 bits to single precision and back.

use half::{bf16, f16};

use crate::error::check_len;
use crate::gemm::PackedHalf;
use crate::isa::{Isa, Simd, simd_dispatch};
use crate::{Context, KernelError, MatRef};

/// A floating-point number of 16 bits: [`half::f16`] or [`half::bf16`].
pub trait Half: Sealed + Copy + Default + Send + Sync + 'static {
    #[doc(hidden)]
    fn load<S: Simd>(s: S, src: &[Self]) -> S::F;
    #[doc(hidden)]
    fn store<S: Simd>(s: S, v: S::F, dst: &mut [Self]);
    #[doc(hidden)]
    fn to_single(self) -> f32;
    #[doc(hidden)]
    fn from_single(x: f32) -> Self;
    #[doc(hidden)]
    fn pack(isa: Isa, matrix: MatRef<'_, Self>) -> Result<PackedHalf, KernelError>;
}

/// Kernels know the two formats.
pub trait Sealed {}

macro_rules! half {
    ($($half:ident: $load:ident, $store:ident, $pack:ident;)*) => {$(
        impl Sealed for $half {}

        impl Half for $half {
            #[inline(always)]
            fn load<S: Simd>(s: S, src: &[Self]) -> S::F {
                s.$load(src)
            }
            #[inline(always)]
            fn store<S: Simd>(s: S, v: S::F, dst: &mut [Self]) {
                s.$store(v, dst);
            }
            #[inline(always)]
            fn to_single(self) -> f32 {
                self.to_f32()
            }
            #[inline(always)]
            fn from_single(x: f32) -> Self {
                Self::from_f32(x)
            }
            fn pack(isa: Isa, matrix: MatRef<'_, Self>) -> Result<PackedHalf, KernelError> {
                PackedHalf::$pack(isa, matrix)
            }
        }
    )*};
}

half! {
    f16: load_f16, store_f16, of_f16;
    bf16: load_bf16, store_bf16, of_bf16;
}

/// `y[i] = x[i]`, exact.
///
/// # Errors
/// [`KernelError::Length`] if the lengths differ.
///
/// # Examples
/// ```
/// use half::f16;
/// use runtime_kernels::{Context, elementwise};
///
/// let mut y = [0.0; 2];
/// elementwise::widen(&Context::default(), &[f16::ONE, f16::NEG_ONE], &mut y)?;
/// assert_eq!(y, [1.0, -1.0]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
pub fn widen<T: Half>(ctx: &Context, x: &[T], y: &mut [f32]) -> Result<(), KernelError> {
    convert(ctx, x, y, widen_slice)
}

/// `y[i] = x[i]`, rounded to the nearest number of `T`, halves to even; what is too large becomes infinite.
///
/// # Errors
/// [`KernelError::Length`] if the lengths differ.
pub fn narrow<T: Half>(ctx: &Context, x: &[f32], y: &mut [T]) -> Result<(), KernelError> {
    convert(ctx, x, y, narrow_slice)
}

fn convert<T: Sync, U: Send>(
    ctx: &Context,
    x: &[T],
    y: &mut [U],
    slice: fn(Isa, &[T], &mut [U]),
) -> Result<(), KernelError> {
    check_len("result", y.len(), Some(x.len()))?;
    ctx.parallelism.for_each_rows(y, 1, 1, |first, y| {
        slice(ctx.isa, &x[first..first + y.len()], y)
    });
    Ok(())
}

simd_dispatch! {
    /// Widens the elements of `x` that `y` has room for.
    pub(crate) fn widen_slice[T: Half](s: S, x: &[T], y: &mut [f32]) {
        let whole = x.len().min(y.len()) / S::LANES * S::LANES;
        let ((x, x_rest), (y, y_rest)) = (x.split_at(whole), y.split_at_mut(whole));
        for (x, y) in x.chunks_exact(S::LANES).zip(y.chunks_exact_mut(S::LANES)) {
            s.store(T::load(s, x), y);
        }
        for (x, y) in x_rest.iter().zip(y_rest) {
            *y = x.to_single();
        }
    }
}

simd_dispatch! {
    /// Rounds the elements of `x` that `y` has room for.
    pub(crate) fn narrow_slice[T: Half](s: S, x: &[f32], y: &mut [T]) {
        let whole = x.len().min(y.len()) / S::LANES * S::LANES;
        let ((x, x_rest), (y, y_rest)) = (x.split_at(whole), y.split_at_mut(whole));
        for (x, y) in x.chunks_exact(S::LANES).zip(y.chunks_exact_mut(S::LANES)) {
            T::store(s, s.load(x), y);
        }
        for (x, y) in x_rest.iter().zip(y_rest) {
            *y = T::from_single(*x);
        }
    }
}
