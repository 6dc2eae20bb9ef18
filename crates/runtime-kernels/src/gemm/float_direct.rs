//! Products in f32 whose left operand is read in place.

use super::float::{Bias, Epilogue, FloatOperand, PackedF32, check, finish_of, tile};
use super::half;
use super::rows::FloatRows;
use crate::{Context, Isa, KernelError, MatRef, Scratch};

/// The greatest depth at which tall left operands are read in place: a panel of so many steps takes
/// at most 384 KiB, which a second-level cache holds while the rows pass by.
const DIRECT_DEPTH: usize = 3072;

/// The operands of a product where it pays to read the left one in place.
pub(super) fn direct_operands<'a>(
    isa: Isa,
    lhs: FloatOperand<'a>,
    rhs: FloatOperand<'a>,
) -> Option<(FloatRows<'a>, &'a PackedF32)> {
    let (FloatOperand::Matrix(lhs), FloatOperand::Packed(weights)) = (lhs, rhs) else {
        return None;
    };
    Some((rows_in_place(isa, lhs)?, weights))
}

/// The rows of a left operand where they can be read in place and that pays.
pub(super) fn rows_in_place(isa: Isa, lhs: MatRef<'_, f32>) -> Option<FloatRows<'_>> {
    let pays = lhs.rows() <= 4 * isa.tile().mr || lhs.cols() <= DIRECT_DEPTH;
    FloatRows::of(lhs).filter(|_| pays)
}

/// `out = lhs * weights + bias`, row-major, without scratch memory: the rows of the left operand, which must be contiguous,
/// are read in place.
///
/// # Errors
/// As [`gemm`]; [`KernelError::Invalid`] for rows that are not contiguous.
pub(crate) fn gemm_in_place(
    ctx: &Context,
    lhs: MatRef<'_, f32>,
    weights: &PackedF32,
    bias: Bias<'_>,
    out: &mut [f32],
) -> Result<(), KernelError> {
    let epilogue = Epilogue {
        bias,
        ..Epilogue::default()
    };
    let (l, r) = (FloatOperand::Matrix(lhs), FloatOperand::Packed(weights));
    let (rows, cols) = check(ctx.isa, l, r, &epilogue, out.len())?;
    let source = FloatRows::of(lhs).ok_or(KernelError::Invalid {
        what: "distance of a row's elements",
        value: lhs.col_stride(),
    })?;
    let finish = finish_of(&epilogue, cols);
    let (source, out) = (source.in_place(), tile(out, rows, cols)?);
    half::direct::<f32>(
        ctx,
        &mut Scratch::new(),
        &source,
        weights.panels(),
        &finish,
        out,
    )
}
