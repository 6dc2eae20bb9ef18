//! The product with packed weights whose left operand is packed on the way, whether or not [`gemm`](super::gemm) would read it in place.

use super::float::{check, finish_of, tile, with_product};
use super::float_direct::direct_operands;
use super::{Epilogue, FloatOperand};
use crate::{Context, Isa, KernelError, Scratch};

/// Whether [`gemm`](super::gemm) reads the left operand where it stands, so that [`gemm_packing_rows`] is another way.
pub fn reads_rows_in_place(isa: Isa, lhs: FloatOperand<'_>, rhs: FloatOperand<'_>) -> bool {
    direct_operands(isa, lhs, rhs).is_some()
}

/// As [`gemm`](super::gemm), with sums of blocks of the depth: the left operand is packed block by block, which reads it once for many
/// columns.
///
/// # Errors
/// As [`gemm`](super::gemm).
pub fn gemm_packing_rows(
    ctx: &Context,
    scratch: &mut Scratch,
    lhs: FloatOperand<'_>,
    rhs: FloatOperand<'_>,
    epilogue: &Epilogue<'_>,
    out: &mut [f32],
) -> Result<(), KernelError> {
    let (rows, cols) = check(ctx.isa, lhs, rhs, epilogue, out.len())?;
    let finish = finish_of(epilogue, cols);
    with_product(lhs, rhs, &finish, |product| {
        let (floats, _) = scratch.parts(product.scratch_words(ctx), 0);
        product.run(ctx, tile(out, rows, cols)?, floats)
    })
}
