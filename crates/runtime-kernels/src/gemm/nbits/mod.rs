//! The product with weights of 2, 4 or 8 bits in blocks: `out = epilogue(lhs * dequantize(W)ᵀ)`.
//!
//! A row of `W` (a column of the product) is cut into blocks, each with a scale `s` and a zero point `z`:
//! `w[k] = (q[k] - z) s`. The codes stay packed in memory, eight of 4 bits to a 32-bit word, in the panels of the float
//! product: one word per column. They are unpacked in registers, three ways:
//!
//! * few rows: `Σ_b s_b (Σ x q - z_b Σ x)`, the codes converted to floats on the way;
//! * many rows: panels are dequantized as the blocked product packs its right operand;
//! * with [`NBitsActivations::Int8`]: `Σ_b s_b t_b (Σ x̂ q - z_b Σ x̂)`, where `x̂ = round(x / t_b)` are the activations of
//!   the block in 8 bits and the sums are exact integers.

mod activations;
mod float;
mod int8;
mod sweep;
mod weights;

pub use weights::{NBitsMatrix, NBitsZeroPoints, PackedNBits};

use super::FloatFinish;
use super::arith::Float;
use super::driver::{Cut, Finish, Operand, Pieces, Product};
use super::float::{Epilogue, check_epilogue, finish_of, tile};
use super::panel::FloatLines;
use crate::error::check_extent;
use crate::threads::{TileMut, product_work};
use crate::{Context, KernelError, MatRef, Scratch};
use activations::Prepared;
use sweep::columns;

/// Rows up to which codes are unpacked for each few rows rather than once for all.
const FEW_ROWS: usize = 8;

/// Block size up to which the integer sums are exact in f32 and do not overflow.
const MAX_INT8_BLOCK: usize = 512;

/// How the activations enter the product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum NBitsActivations {
    /// As they are.
    #[default]
    Float,
    /// Rounded to 8 bits, block by block with the scale `t = max |x| / 127`, as ONNX Runtime does at accuracy level 4.
    /// Blocks of more than 512 are taken as they are.
    Int8,
}

/// `out = activation(alpha * lhs * dequantize(W)ᵀ + bias + residual)`, row-major, `lhs.rows() x W.rows`. The rows of `lhs`
/// are contiguous.
///
/// # Errors
/// [`KernelError::Extent`] if the depths differ, [`KernelError::Length`] if `out`, the bias or the residual does not have
/// the result's size, [`KernelError::Invalid`] for rows that are not contiguous, [`KernelError::PackedFor`] if the weights
/// were packed for another instruction set.
///
/// # Examples
/// ```
/// use runtime_kernels::gemm::{Epilogue, NBitsActivations, NBitsMatrix, NBitsZeroPoints, PackedNBits, gemm_nbits};
/// use runtime_kernels::{Context, MatRef, Scratch};
///
/// let weights = NBitsMatrix {
///     rows: 1,
///     depth: 16,
///     bits: 4,
///     block: 16,
///     codes: &[0x9a; 8],
///     scales: &[0.5],
///     zero_points: NBitsZeroPoints::Middle,
/// };
/// let ctx = Context::default();
/// let packed = PackedNBits::new(ctx.isa, &weights)?;
/// let x = MatRef::row_major(&[1.0; 16], 1, 16)?;
/// let mut out = [0.0];
/// let activations = NBitsActivations::Float;
/// gemm_nbits(&ctx, &mut Scratch::new(), x, &packed, activations, &Epilogue::default(), &mut out)?;
/// // Codes 10 and 9 are 1.0 and 0.5.
/// assert_eq!(out, [12.0]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
pub fn gemm_nbits(
    ctx: &Context,
    scratch: &mut Scratch,
    lhs: MatRef<'_, f32>,
    weights: &PackedNBits,
    activations: NBitsActivations,
    epilogue: &Epilogue<'_>,
    out: &mut [f32],
) -> Result<(), KernelError> {
    let (rows, cols) = (lhs.rows(), weights.rows());
    check_extent("depth of the weights", weights.depth(), lhs.cols())?;
    check_epilogue(epilogue, rows, cols, out.len())?;
    weights.check(ctx.isa)?;
    if lhs.col_stride() != 1 {
        return Err(KernelError::Invalid {
            what: "distance of a row's elements",
            value: lhs.col_stride(),
        });
    }
    let finish = finish_of(epilogue, cols);
    let out = tile(out, rows, cols)?;
    if rows == 0 || cols == 0 {
        return Ok(());
    }
    let int8 = activations == NBitsActivations::Int8 && weights.block() <= MAX_INT8_BLOCK;
    if !int8 && rows > FEW_ROWS {
        let product = Product::<Float, _> {
            rows,
            cols,
            groups: weights.depth(),
            lhs: Operand::Source(&FloatLines(lhs)),
            rhs: Operand::Source(weights),
            finish: &finish,
        };
        let (floats, _) = scratch.parts(product.scratch_words(ctx), 0);
        return product.run(ctx, out, floats);
    }
    let prepared = if int8 {
        Prepared::int8(ctx, scratch, lhs, weights)
    } else {
        Prepared::float(ctx, scratch, lhs, weights)
    };
    let prepared = prepared.ok_or(KernelError::OutOfBounds {
        operand: "left operand",
        rows,
        cols: lhs.cols(),
        len: usize::MAX,
    })?;
    in_columns(ctx, weights, out, |col, out| match &prepared {
        Prepared::Float(rows) => columns(ctx.isa, rows, weights, col, &finish, out),
        Prepared::Int8(rows) => columns(ctx.isa, rows, weights, col, &finish, out),
    });
    Ok(())
}

/// Runs `f(first column, its part of the result)` over whole panels, shared out among the threads.
fn in_columns(
    ctx: &Context,
    weights: &PackedNBits,
    out: TileMut<'_, f32>,
    f: impl Fn(usize, TileMut<'_, f32>) + Sync + Send,
) {
    let nr = ctx.isa.tile().nr;
    let panels = out.cols().div_ceil(nr);
    let work = product_work(out.rows(), weights.depth(), out.cols());
    let tasks = ctx.parallelism.tasks(work, panels);
    if tasks == 1 {
        return f(0, out);
    }
    let step = panels.div_ceil(tasks) * nr;
    let (cols, no_scratch): (_, &mut [f32]) = (out.cols(), &mut []);
    let parts = Pieces::new(out, cols, step, Cut::split_cols, no_scratch, 0);
    ctx.parallelism
        .for_each(tasks, parts, |(col, part, _)| f(col, part));
}
