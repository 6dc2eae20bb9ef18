//! The arithmetics of the one blocked matrix product.

use std::marker::PhantomData;

use bytemuck::Pod;

use super::direct::{Block, sweep};
use super::driver::Finish;
use super::half::Stored;
use super::tiles;
use crate::isa::{Isa, Simd};

/// A multiply-accumulate on vectors of 32-bit words.
pub(crate) trait Arith: Copy + Send + Sync + 'static {
    /// The element of the accumulators, and of panels that are packed on the way.
    type Word: Pod + Default + Send + Sync;
    /// The element of a packed panel whose left operand is read where it stands.
    type Weight: Pod + Default + Send + Sync;
    /// A vector of words.
    type Vector<S: Simd>: Copy;
    /// The element of a left operand that is read where it stands.
    type Unit: Copy + Default + Send + Sync;
    /// The units of one word.
    type Cell: Copy;
    /// How many units that is.
    const UNITS: usize;

    /// The first `words` words of `units`.
    fn cells(units: &[Self::Unit], words: usize) -> &[Self::Cell];
    /// A word in every lane.
    fn broadcast<S: Simd>(s: S, cell: Self::Cell) -> Self::Vector<S>;

    fn splat<S: Simd>(s: S, x: Self::Word) -> Self::Vector<S>;
    fn load<S: Simd>(s: S, src: &[Self::Word]) -> Self::Vector<S>;
    fn load_weights<S: Simd>(s: S, src: &[Self::Weight]) -> Self::Vector<S>;
    fn store<S: Simd>(s: S, v: Self::Vector<S>, dst: &mut [Self::Word]);
    fn add<S: Simd>(s: S, a: Self::Vector<S>, b: Self::Vector<S>) -> Self::Vector<S>;
    /// `acc + lhs * rhs`.
    fn mac<S: Simd>(
        s: S,
        acc: Self::Vector<S>,
        lhs: Self::Vector<S>,
        rhs: Self::Vector<S>,
    ) -> Self::Vector<S>;

    /// Units of scratch memory that [`Arith::sweep`] takes for blocks of so many rows and steps.
    fn sweep_units(isa: Isa, rows: usize, groups: usize) -> usize {
        let _ = (isa, rows, groups);
        0
    }

    /// Multiplies a block of a direct product, with the instructions that this arithmetic takes beyond vectors of `isa`.
    fn sweep<F: Finish<Self>>(
        isa: Isa,
        block: &Block<'_, Self>,
        finish: &F,
        out: &mut F::Out<'_>,
        scratch: &mut [Self::Unit],
    ) {
        let _ = scratch;
        sweep(isa, block, finish, out);
    }
}

/// Single precision, the weights of a direct product stored as `W`.
#[derive(Clone, Copy)]
pub(crate) struct Float<W = f32>(PhantomData<W>);

impl<W: Stored> Arith for Float<W> {
    type Word = f32;
    type Weight = W::Weight;
    type Vector<S: Simd> = S::F;
    type Unit = W::Unit;
    type Cell = W::Cell;
    const UNITS: usize = W::UNITS;

    #[inline(always)]
    fn cells(units: &[W::Unit], words: usize) -> &[W::Cell] {
        W::cells(units, words)
    }
    #[inline(always)]
    fn broadcast<S: Simd>(s: S, cell: W::Cell) -> S::F {
        W::broadcast(s, cell)
    }
    #[inline(always)]
    fn load_weights<S: Simd>(s: S, src: &[W::Weight]) -> S::F {
        W::load(s, src)
    }
    fn sweep<F: Finish<Self>>(
        isa: Isa,
        block: &Block<'_, Self>,
        finish: &F,
        out: &mut F::Out<'_>,
        _: &mut [W::Unit],
    ) {
        W::sweep(isa, block, finish, out);
    }
    #[inline(always)]
    fn splat<S: Simd>(s: S, x: f32) -> S::F {
        s.splat(x)
    }
    #[inline(always)]
    fn load<S: Simd>(s: S, src: &[f32]) -> S::F {
        s.load(src)
    }
    #[inline(always)]
    fn store<S: Simd>(s: S, v: S::F, dst: &mut [f32]) {
        s.store(v, dst);
    }
    #[inline(always)]
    fn add<S: Simd>(s: S, a: S::F, b: S::F) -> S::F {
        s.add(a, b)
    }
    #[inline(always)]
    fn mac<S: Simd>(s: S, acc: S::F, lhs: S::F, rhs: S::F) -> S::F {
        W::mac(s, acc, lhs, rhs)
    }
}

macro_rules! int8 {
    ($(#[$doc:meta])* $name:ident, |$s:ident, $acc:ident, $lhs:ident, $rhs:ident| $mac:expr $(, $tiles:item)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name;

        impl Arith for $name {
            type Word = i32;
            type Weight = i32;
            type Vector<S: Simd> = S::I;
            type Unit = u8;
            type Cell = [u8; 4];
            const UNITS: usize = 4;

            #[inline(always)]
            fn cells(units: &[u8], words: usize) -> &[[u8; 4]] {
                &units.as_chunks::<4>().0[..words]
            }
            #[inline(always)]
            fn broadcast<S: Simd>(s: S, cell: [u8; 4]) -> S::I {
                s.splat_i32(i32::from_le_bytes(cell))
            }
            #[inline(always)]
            fn splat<S: Simd>(s: S, x: i32) -> S::I {
                s.splat_i32(x)
            }
            #[inline(always)]
            fn load<S: Simd>(s: S, src: &[i32]) -> S::I {
                s.load_i32(src)
            }
            #[inline(always)]
            fn load_weights<S: Simd>(s: S, src: &[i32]) -> S::I {
                s.load_i32(src)
            }
            #[inline(always)]
            fn store<S: Simd>(s: S, v: S::I, dst: &mut [i32]) {
                s.store_i32(v, dst);
            }
            #[inline(always)]
            fn add<S: Simd>(s: S, a: S::I, b: S::I) -> S::I {
                s.add_i32(a, b)
            }
            #[inline(always)]
            fn mac<S: Simd>($s: S, $acc: S::I, $lhs: S::I, $rhs: S::I) -> S::I {
                $mac
            }
            $($tiles)*
        }
    };
}

int8!(
    /// Words of bytes, activations on the left.
    UnsignedSigned, |s, acc, lhs, rhs| s.dot_activations(acc, lhs, rhs),
    fn sweep_units(isa: Isa, rows: usize, groups: usize) -> usize {
        tiles::scratch_bytes(isa, rows, groups)
    },
    fn sweep<F: Finish<Self>>(
        isa: Isa,
        block: &Block<'_, Self>,
        finish: &F,
        out: &mut F::Out<'_>,
        scratch: &mut [u8],
    ) {
        if !tiles::sweep(isa, block, finish, out, scratch) {
            sweep(isa, block, finish, out);
        }
    }
);
int8!(
    /// Words of bytes, activations on the right.
    SignedUnsigned, |s, acc, lhs, rhs| s.dot_activations(acc, rhs, lhs)
);
