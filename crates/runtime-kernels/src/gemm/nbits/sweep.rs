//! The walk over panels and rows, once for both ways to unpack codes in registers.

use super::weights::PackedNBits;
use super::{Cut, Finish, FloatFinish};
use crate::gemm::arith::Float;
use crate::gemm::driver::Part;
use crate::isa::{Isa, MAX_MR, MAX_NR, Simd, simd_dispatch};
use crate::threads::{Place, TileMut};

/// Rows that share one unpacking.
const ROWS: usize = 4;

/// A left operand that is multiplied with codes.
pub(super) trait Unpack: Sync {
    /// `R` rows from `first` on against one panel; `tile` takes rows of two vectors.
    fn tile<S: Simd, const BITS: i32, const R: usize>(
        &self,
        s: S,
        first: usize,
        weights: &PackedNBits,
        panel: usize,
        tile: &mut [f32],
    );
}

/// The columns of `out`, which start at `col`.
pub(super) fn columns<U: Unpack>(
    isa: Isa,
    rows: &U,
    weights: &PackedNBits,
    col: usize,
    finish: &FloatFinish<'_>,
    out: TileMut<'_, f32>,
) {
    match weights.bits() {
        2 => columns_of_2_bits(isa, rows, weights, col, finish, out),
        4 => columns_of_4_bits(isa, rows, weights, col, finish, out),
        _ => columns_of_8_bits(isa, rows, weights, col, finish, out),
    }
}

/// One dispatched function per number of bits.
macro_rules! columns_of_bits {
    ($($name:ident: $bits:literal;)*) => {$(
        simd_dispatch! {
            fn $name[U: Unpack](
                s: S,
                rows: &U,
                weights: &PackedNBits,
                col: usize,
                finish: &FloatFinish<'_>,
                out: TileMut<'_, f32>,
            ) {
                sweep::<S, U, $bits>(s, rows, weights, col, finish, out);
            }
        }
    )*};
}

columns_of_bits! {
    columns_of_2_bits: 2;
    columns_of_4_bits: 4;
    columns_of_8_bits: 8;
}

#[inline(always)]
fn sweep<S: Simd, U: Unpack, const BITS: i32>(
    s: S,
    rows: &U,
    weights: &PackedNBits,
    col: usize,
    finish: &FloatFinish<'_>,
    mut out: TileMut<'_, f32>,
) {
    let nr = 2 * S::LANES;
    let mut tile = [0.0; MAX_MR * MAX_NR];
    let (count, cols) = (Cut::rows(&out), Cut::cols(&out));
    for j in (0..cols).step_by(nr) {
        let panel = (col + j) / nr;
        for i in (0..count).step_by(ROWS) {
            let live = ROWS.min(count - i);
            match live {
                1 => rows.tile::<S, BITS, 1>(s, i, weights, panel, &mut tile),
                2 => rows.tile::<S, BITS, 2>(s, i, weights, panel, &mut tile),
                3 => rows.tile::<S, BITS, 3>(s, i, weights, panel, &mut tile),
                _ => rows.tile::<S, BITS, ROWS>(s, i, weights, panel, &mut tile),
            }
            let place = Place {
                row: i,
                col: j,
                rows: live,
                cols: nr.min(cols - j),
            };
            Finish::<Float>::tile(finish, s, Part::WHOLE, i, col + j, &tile, place, &mut out);
        }
    }
}

/// Scales and zero points of vector `i` of block `b` of a panel.
#[inline(always)]
pub(super) fn parameters<S: Simd>(
    s: S,
    weights: &PackedNBits,
    panel: usize,
    b: usize,
    i: usize,
) -> (S::F, S::F) {
    let at = b * 2 * S::LANES + i * S::LANES;
    let scale = s.load(&weights.scales(panel)[at..]);
    let zero_point = match weights.zero_points(panel) {
        Ok(z) => s.load(&z[at..]),
        Err(z) => s.splat(z),
    };
    (scale, zero_point)
}
