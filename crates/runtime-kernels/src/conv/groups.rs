//! The matrices of a convolution's groups, in the types in which weights are kept.

use half::{bf16, f16};

use crate::gemm::PackedHalf;
use crate::gemm::half::Panels;
use crate::gemm::panel::Packed;

/// One matrix per group.
#[derive(Clone, Debug)]
pub(super) enum Groups {
    Single(Vec<Packed<f32>>),
    /// Of 16 bits; on the right only: for channels last.
    F16(Vec<Packed<f16>>),
    Bf16(Vec<Packed<bf16>>),
    Bf16Pairs(Vec<Packed<i32>>),
}

impl Groups {
    /// Of matrices that were packed in one form.
    pub(super) fn of_halves(packed: Vec<PackedHalf>) -> Self {
        let (mut halves, mut brains, mut pairs) = (Vec::new(), Vec::new(), Vec::new());
        for packed in packed {
            match packed.into_panels() {
                Panels::F16(p) => halves.push(p),
                Panels::Bf16(p) => brains.push(p),
                Panels::Pairs(p) => pairs.push(p),
            }
        }
        match (halves.is_empty(), brains.is_empty()) {
            (false, _) => Self::F16(halves),
            (true, false) => Self::Bf16(brains),
            (true, true) => Self::Bf16Pairs(pairs),
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Single(groups) => groups.iter().map(|p| 4 * p.words()).sum(),
            Self::F16(groups) => groups.iter().map(|p| 2 * p.words()).sum(),
            Self::Bf16(groups) => groups.iter().map(|p| 2 * p.words()).sum(),
            Self::Bf16Pairs(groups) => groups.iter().map(|p| 4 * p.words()).sum(),
        }
    }
}
