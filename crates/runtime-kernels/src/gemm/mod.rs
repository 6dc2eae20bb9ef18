//! Matrix products: `f32`, exact int8 and weights of a few bits, with packed weights and fused epilogues.

pub(crate) mod arith;
pub(crate) mod bytes;
pub(crate) mod direct;
pub(crate) mod driver;
mod float;
mod float_direct;
pub(crate) mod folding;
pub(crate) mod half;
mod int8;
mod nbits;
mod packed_rows;
pub(crate) mod panel;
pub(crate) mod register_tile;
pub(crate) mod rows;
mod tiles;

pub use float::{Bias, Epilogue, FloatOperand, PackedF32, gemm, gemm_batched};
pub use half::PackedHalf;
pub use int8::{Int8Gemm, Int8Matrix, Int8Operand, PackedInt8, gemm_int8};
pub use nbits::{NBitsActivations, NBitsMatrix, NBitsZeroPoints, PackedNBits, gemm_nbits};
pub use packed_rows::{gemm_packing_rows, reads_rows_in_place};

pub(crate) use float::{FloatFinish, vector};
pub(crate) use float_direct::gemm_in_place;
pub(crate) use int8::Int8Finish;

/// On which side of a matrix product an operand stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The left operand, `rows x depth`.
    Lhs,
    /// The right operand, `depth x cols`.
    Rhs,
}

impl Side {
    /// The panel width of this side.
    pub(crate) fn width(self, isa: crate::Isa) -> usize {
        match self {
            Self::Lhs => isa.tile().mr,
            Self::Rhs => isa.tile().nr,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lhs => "left operand",
            Self::Rhs => "right operand",
        }
    }
}
