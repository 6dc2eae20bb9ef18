//! Linear algebra: matrix products and Einstein summation.

mod det;
mod einsum;
pub(crate) mod equation;
mod gemm;
mod mat_mul;
pub mod matrix;

pub use det::Det;
pub use einsum::Einsum;
pub use equation::{Equation, Label};
pub use gemm::Gemm;
pub use mat_mul::MatMul;

use crate::operator::OpEntry;

pub(super) const OPS: &[OpEntry] = &[
    OpEntry::of::<Det>(),
    OpEntry::of::<Einsum>(),
    OpEntry::of::<Gemm>(),
    OpEntry::of::<MatMul>(),
];
