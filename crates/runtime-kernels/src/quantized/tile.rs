//! Cutting a result of any of the types that sums are stored as.

use super::output::SumTile;
use crate::gemm::driver::Cut;

/// Does the same to every variant, whatever its element type.
macro_rules! each_type {
    ($tile:expr, $t:ident => $e:expr) => {
        match $tile {
            SumTile::I32($t) => $e,
            SumTile::F32($t) => $e,
            SumTile::U8($t) => $e,
            SumTile::I8($t) => $e,
        }
    };
    ($tile:expr, $t:ident => pair $e:expr) => {
        match $tile {
            SumTile::I32($t) => each_type!(@pair I32, $e),
            SumTile::F32($t) => each_type!(@pair F32, $e),
            SumTile::U8($t) => each_type!(@pair U8, $e),
            SumTile::I8($t) => each_type!(@pair I8, $e),
        }
    };
    (@pair $variant:ident, $e:expr) => {{
        let (first, second) = $e;
        (SumTile::$variant(first), SumTile::$variant(second))
    }};
}

impl Cut for SumTile<'_> {
    fn rows(&self) -> usize {
        each_type!(self, t => t.rows())
    }
    fn cols(&self) -> usize {
        each_type!(self, t => t.cols())
    }
    fn split_rows(self, at: usize) -> (Self, Self) {
        each_type!(self, t => pair t.split_rows(at))
    }
    fn split_cols(self, at: usize) -> (Self, Self) {
        each_type!(self, t => pair t.split_cols(at))
    }
}
