//! Products in f32 whose left operand is read in place.

use super::arith::Float;
use super::direct::{DirectProduct, ROW_UNIT};
use super::float::{Bias, Epilogue, FloatFinish, FloatOperand, PackedF32, check, finish_of, tile};
use super::rows::FloatRows;
use crate::threads::TileMut;
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
    let pays = lhs.rows() <= 4 * isa.tile().mr || lhs.cols() <= DIRECT_DEPTH;
    let rows = FloatRows::of(lhs).filter(|_| pays)?;
    Some((rows, weights))
}

pub(super) fn direct(
    ctx: &Context,
    scratch: Option<&mut Scratch>,
    source: &FloatRows<'_>,
    weights: &PackedF32,
    finish: &FloatFinish<'_>,
    out: TileMut<'_, f32>,
) -> Result<(), KernelError> {
    let panels = |_: usize| weights.panels();
    let product = DirectProduct::<Float, _> {
        rows: out.rows(),
        row_unit: ROW_UNIT,
        groups: 1,
        weights: &panels,
        source,
        finish,
    };
    product.check(ctx.isa)?;
    let copied = scratch.map(|scratch| scratch.parts(product.scratch_units(ctx), 0).0);
    product.run(ctx, out, copied.unwrap_or_default());
    Ok(())
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
    let (rows, cols) = check(l, r, &epilogue, out.len())?;
    let source = FloatRows::of(lhs).ok_or(KernelError::Invalid {
        what: "distance of a row's elements",
        value: lhs.col_stride(),
    })?;
    let finish = finish_of(&epilogue, cols);
    direct(
        ctx,
        None,
        &source.in_place(),
        weights,
        &finish,
        tile(out, rows, cols)?,
    )
}
