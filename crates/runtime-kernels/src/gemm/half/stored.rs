//! In which form a direct product reads its weights.

use half::{bf16, f16};

use super::super::arith::Float;
use super::super::direct::{self, Block};
use super::super::driver::Finish;
use crate::Scratch;
use crate::isa::bf16::bf16_dispatch;
use crate::isa::{Isa, Simd};

/// A form of weights that are multiplied in single precision.
pub(crate) trait Stored: Copy + Send + Sync + 'static {
    /// The element of a packed panel.
    type Weight: bytemuck::Pod + Default + Send + Sync;
    /// The element of the left operand.
    type Unit: Copy + Default + Send + Sync;
    /// The units that a word of the panel meets.
    type Cell: Copy;
    /// How many units that is.
    const UNITS: usize;

    fn cells(units: &[Self::Unit], words: usize) -> &[Self::Cell];
    fn broadcast<S: Simd>(s: S, cell: Self::Cell) -> S::F;
    fn load<S: Simd>(s: S, src: &[Self::Weight]) -> S::F;
    /// Scratch memory for staged units.
    fn scratch(scratch: &mut Scratch, units: usize) -> &mut [Self::Unit];

    #[inline(always)]
    fn mac<S: Simd>(s: S, acc: S::F, lhs: S::F, rhs: S::F) -> S::F {
        s.fma(lhs, rhs, acc)
    }

    fn sweep<F: Finish<Float<Self>>>(
        isa: Isa,
        block: &Block<'_, Float<Self>>,
        finish: &F,
        out: &mut F::Out<'_>,
    ) {
        direct::sweep(isa, block, finish, out);
    }
}

macro_rules! stored {
    ($($form:ty: |$s:ident, $src:ident| $load:expr;)*) => {$(
        impl Stored for $form {
            type Weight = $form;
            type Unit = f32;
            type Cell = f32;
            const UNITS: usize = 1;

            #[inline(always)]
            fn cells(units: &[f32], words: usize) -> &[f32] {
                &units[..words]
            }
            #[inline(always)]
            fn broadcast<S: Simd>(s: S, cell: f32) -> S::F {
                s.splat(cell)
            }
            #[inline(always)]
            fn load<S: Simd>($s: S, $src: &[$form]) -> S::F {
                $load
            }
            fn scratch(scratch: &mut Scratch, units: usize) -> &mut [f32] {
                scratch.parts(units, 0).0
            }
        }
    )*};
}

stored! {
    f32: |s, src| s.load(src);
    f16: |s, src| s.load_f16(src);
    bf16: |s, src| s.load_bf16(src);
}

/// Words of two bfloat16 numbers, multiplied with two of the left operand.
#[derive(Clone, Copy)]
pub(crate) struct Bf16Pairs;

impl Stored for Bf16Pairs {
    type Weight = i32;
    type Unit = bf16;
    type Cell = [bf16; 2];
    const UNITS: usize = 2;

    #[inline(always)]
    fn cells(units: &[bf16], words: usize) -> &[[bf16; 2]] {
        &units.as_chunks::<2>().0[..words]
    }
    #[inline(always)]
    fn broadcast<S: Simd>(s: S, cell: [bf16; 2]) -> S::F {
        s.float_from_bits(s.splat_i32(super::pair(cell)))
    }
    #[inline(always)]
    fn load<S: Simd>(s: S, src: &[i32]) -> S::F {
        s.float_from_bits(s.load_i32(src))
    }
    fn scratch(scratch: &mut Scratch, units: usize) -> &mut [bf16] {
        scratch.halves(units)
    }
    #[inline(always)]
    fn mac<S: Simd>(s: S, acc: S::F, lhs: S::F, rhs: S::F) -> S::F {
        s.dot_bf16(acc, s.bits(lhs), s.bits(rhs))
    }
    fn sweep<F: Finish<Float<Self>>>(
        isa: Isa,
        block: &Block<'_, Float<Self>>,
        finish: &F,
        out: &mut F::Out<'_>,
    ) {
        sweep_pairs(isa, block, finish, out);
    }
}

bf16_dispatch! {
    fn sweep_pairs[F: Finish<Float<Bf16Pairs>>](
        s: S,
        block: &Block<'_, Float<Bf16Pairs>>,
        finish: &F,
        out: &mut F::Out<'_>,
    ) {
        direct::sweep_with(s, block, finish, out);
    }
}
