//! Single-precision matrix product: `out = activation(alpha * lhs * rhs + bias + residual)`.

use super::Side;
use super::arith::Float;
use super::driver::{Finish, Operand, Part, Pieces, Product, cut_elements};
use super::float_direct::{direct_operands, rows_in_place};
use super::half::{self, PackedHalf, Stored};
use super::packed_rows::gemm_packing_rows;
use super::panel::{FloatLines, Packed};
use crate::elementwise::{Activation, activate_tile};
use crate::error::{check_extent, check_len};
use crate::isa::{Simd, simd_dispatch};
use crate::threads::{Place, TileMut};
use crate::{Context, Isa, KernelError, MatRef, Scratch};

/// A matrix in the panel order of one instruction set: weights, packed once.
#[derive(Clone, Debug)]
pub struct PackedF32 {
    panels: Packed<f32>,
    side: Side,
}

impl PackedF32 {
    /// Packs `matrix` to stand on `side`.
    ///
    /// # Errors
    /// [`KernelError::OutOfBounds`] if the padded size does not fit the address space.
    pub fn new(isa: Isa, side: Side, matrix: MatRef<'_, f32>) -> Result<Self, KernelError> {
        let lines = lines_of(side, matrix);
        let (rows, cols) = (matrix.rows(), matrix.cols());
        let panels = Packed::new(
            &FloatLines(lines),
            lines.rows(),
            lines.cols(),
            side.width(isa),
        )
        .ok_or(KernelError::OutOfBounds {
            operand: side.name(),
            rows,
            cols,
            len: usize::MAX,
        })?;
        Ok(Self { panels, side })
    }

    /// Rows of the matrix.
    pub fn rows(&self) -> usize {
        match self.side {
            Side::Lhs => self.panels.lines(),
            Side::Rhs => self.panels.groups(),
        }
    }

    /// Columns of the matrix.
    pub fn cols(&self) -> usize {
        match self.side {
            Side::Lhs => self.panels.groups(),
            Side::Rhs => self.panels.lines(),
        }
    }

    /// The side that it was packed for.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Bytes of the packed form.
    pub fn bytes(&self) -> usize {
        4 * self.panels.words()
    }

    pub(crate) fn into_panels(self) -> Packed<f32> {
        self.panels
    }

    pub(crate) fn panels(&self) -> &Packed<f32> {
        &self.panels
    }

    /// A matrix without elements, to be packed later.
    pub(crate) fn empty(side: Side) -> Self {
        let panels = Packed::empty();
        Self { panels, side }
    }

    pub(crate) fn panels_mut(&mut self) -> &mut Packed<f32> {
        &mut self.panels
    }
}

/// Rows are the lines of a left operand; columns those of a right one.
fn lines_of(side: Side, matrix: MatRef<'_, f32>) -> MatRef<'_, f32> {
    match side {
        Side::Lhs => matrix,
        Side::Rhs => matrix.transposed(),
    }
}

/// An operand of [`gemm`].
#[derive(Clone, Copy, Debug)]
pub enum FloatOperand<'a> {
    /// A matrix that is packed on the way.
    Matrix(MatRef<'a, f32>),
    /// A matrix packed before, for the side on which it stands.
    Packed(&'a PackedF32),
    /// A right operand of 16-bit numbers, packed before.
    Half(&'a PackedHalf),
}

impl FloatOperand<'_> {
    fn rows(&self) -> usize {
        match self {
            Self::Matrix(m) => m.rows(),
            Self::Packed(p) => p.rows(),
            Self::Half(p) => p.rows(),
        }
    }

    fn cols(&self) -> usize {
        match self {
            Self::Matrix(m) => m.cols(),
            Self::Packed(p) => p.cols(),
            Self::Half(p) => p.cols(),
        }
    }

    /// The operand as the driver reads it; `lines` holds the source that an unpacked one needs.
    fn operand<'a>(
        &'a self,
        side: Side,
        lines: &'a mut Option<FloatLines<'a>>,
    ) -> Operand<'a, f32> {
        match self {
            Self::Packed(p) => Operand::Packed(p.panels()),
            Self::Half(p) => Operand::Source(*p),
            Self::Matrix(m) => Operand::Source(lines.insert(FloatLines(lines_of(side, *m)))),
        }
    }

    fn check(&self, isa: Isa, side: Side) -> Result<(), KernelError> {
        match self {
            Self::Packed(p) if p.side() != side => Err(wrong_side(side, p.side())),
            Self::Half(_) if side != Side::Rhs => Err(wrong_side(side, Side::Rhs)),
            Self::Half(p) => p.check(isa),
            // The driver checks the panels of others.
            _ => Ok(()),
        }
    }

    /// Whether the left operand is rounded to bfloat16 where this is the right one.
    fn rounds_left(&self) -> bool {
        matches!(self, Self::Half(p) if p.rounds_activations())
    }
}

fn wrong_side(expected: Side, found: Side) -> KernelError {
    KernelError::Extent {
        what: "side of the packed operand",
        expected: expected as usize,
        found: found as usize,
    }
}

/// A per-channel summand.
#[derive(Clone, Copy, Debug, Default)]
pub enum Bias<'a> {
    /// No bias.
    #[default]
    None,
    /// One number per row of the result.
    PerRow(&'a [f32]),
    /// One number per column of the result.
    PerCol(&'a [f32]),
}

/// What is done to the sums before they are stored.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Epilogue<'a> {
    /// Factor of the product.
    pub alpha: f32,
    /// Summand per channel.
    pub bias: Bias<'a>,
    /// Summand of the shape of the result (a residual connection), added before the activation.
    pub residual: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
}

impl Default for Epilogue<'_> {
    fn default() -> Self {
        Self {
            alpha: 1.0,
            bias: Bias::None,
            residual: None,
            activation: Activation::None,
        }
    }
}

/// `out = activation(alpha * lhs * rhs + bias + residual)`, row-major, `lhs.rows() x rhs.cols()`.
///
/// # Errors
/// [`KernelError::Extent`] if the depths differ or an operand was packed for the other side,
/// [`KernelError::Length`] if `out`, the bias or the residual does not have the result's size,
/// [`KernelError::PackedFor`] if an operand was packed for another instruction set, [`KernelError::Invalid`] for a left operand
/// that was packed before, of weights for which it would have to be rounded ([`PackedHalf::bf16_dot`]).
///
/// # Examples
/// ```
/// use runtime_kernels::{Context, MatRef, Scratch};
/// use runtime_kernels::gemm::{Epilogue, FloatOperand, gemm};
///
/// let a = MatRef::row_major(&[1.0, 2.0, 3.0, 4.0], 2, 2)?;
/// let b = MatRef::row_major(&[1.0, 0.0, 0.0, 2.0], 2, 2)?;
/// let mut out = [0.0; 4];
/// let (a, b) = (FloatOperand::Matrix(a), FloatOperand::Matrix(b));
/// gemm(&Context::default(), &mut Scratch::new(), a, b, &Epilogue::default(), &mut out)?;
/// assert_eq!(out, [1.0, 4.0, 3.0, 8.0]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
pub fn gemm(
    ctx: &Context,
    scratch: &mut Scratch,
    lhs: FloatOperand<'_>,
    rhs: FloatOperand<'_>,
    epilogue: &Epilogue<'_>,
    out: &mut [f32],
) -> Result<(), KernelError> {
    let (rows, cols) = check(ctx.isa, lhs, rhs, epilogue, out.len())?;
    let finish = finish_of(epilogue, cols);
    if let (FloatOperand::Matrix(l), FloatOperand::Half(weights)) = (lhs, rhs) {
        let source = rows_in_place(ctx.isa, l);
        let out = tile(&mut *out, rows, cols)?;
        let (l, source) = (l, source.as_ref());
        if let Some(done) = half::multiply(ctx, scratch, l, source, weights, &finish, out) {
            return done;
        }
    }
    if let Some((source, weights)) = direct_operands(ctx.isa, lhs, rhs) {
        let (out, weights) = (tile(out, rows, cols)?, weights.panels());
        return half::direct::<f32>(ctx, scratch, &source, weights, &finish, out);
    }
    gemm_packing_rows(ctx, scratch, lhs, rhs, epilogue, out)
}

/// `count` products of one shape: `out[i] = epilogue(lhs(i) * rhs(i))`, results one after another.
///
/// The residual, if any, holds all results; the bias is shared.
///
/// # Errors
/// As [`gemm`], for any of the products.
pub fn gemm_batched<'a>(
    ctx: &Context,
    scratch: &mut Scratch,
    count: usize,
    lhs: impl Fn(usize) -> FloatOperand<'a> + Sync,
    rhs: impl Fn(usize) -> FloatOperand<'a> + Sync,
    epilogue: &Epilogue<'_>,
    out: &mut [f32],
) -> Result<(), KernelError> {
    if count == 0 {
        return check_len("result", out.len(), Some(0));
    }
    let size = out.len() / count;
    check_len("result", out.len(), size.checked_mul(count))?;
    let residual = |i: usize| {
        epilogue
            .residual
            .map(|r| r.get(i * size..(i + 1) * size).unwrap_or(&[]))
    };
    let mut words = 0;
    let sequential = Context {
        isa: ctx.isa,
        parallelism: crate::Parallelism::sequential(),
    };
    let threads = ctx.parallelism.threads();
    let shared = count >= threads && threads > 1;
    let inner = if shared { &sequential } else { ctx };
    for i in 0..count {
        let e = Epilogue {
            residual: residual(i),
            ..*epilogue
        };
        check(ctx.isa, lhs(i), rhs(i), &e, size)?;
        let (l, r) = (lhs(i), rhs(i));
        words = words.max(with_product(l, r, &finish_of(&e, 0), |p| {
            Ok(p.scratch_words(inner))
        })?);
    }
    let one = |i: usize, out: &mut [f32], floats: &mut [f32]| {
        let e = Epilogue {
            residual: residual(i),
            ..*epilogue
        };
        let (l, r) = (lhs(i), rhs(i));
        let (rows, cols) = check(ctx.isa, l, r, &e, size)?;
        with_product(l, r, &finish_of(&e, cols), |p| {
            p.run(inner, tile(out, rows, cols)?, floats)
        })
    };
    if !shared {
        let (floats, _) = scratch.parts(words, 0);
        return out
            .chunks_mut(size.max(1))
            .enumerate()
            .try_for_each(|(i, out)| one(i, out, floats));
    }
    let work = size.saturating_mul(lhs(0).cols()).saturating_mul(count);
    let tasks = ctx.parallelism.tasks(work, count);
    let per_task = count.div_ceil(tasks);
    let (floats, _) = scratch.parts(words.saturating_mul(tasks), 0);
    let failed = std::sync::Mutex::new(None);
    let parts = Pieces::new(
        out,
        count * size,
        per_task * size,
        cut_elements,
        floats,
        words,
    );
    ctx.parallelism
        .for_each(tasks, parts, |(from, out, floats)| {
            let from = from / size;
            for (i, out) in out.chunks_mut(size.max(1)).enumerate() {
                if let Err(e) = one(from + i, out, floats) {
                    failed
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .get_or_insert(e);
                }
            }
        });
    failed
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .map_or(Ok(()), Err)
}

/// Checks the shapes; returns the rows and columns of the result.
pub(super) fn check(
    isa: Isa,
    lhs: FloatOperand<'_>,
    rhs: FloatOperand<'_>,
    epilogue: &Epilogue<'_>,
    out: usize,
) -> Result<(usize, usize), KernelError> {
    lhs.check(isa, Side::Lhs)?;
    rhs.check(isa, Side::Rhs)?;
    if rhs.rounds_left() && !matches!(lhs, FloatOperand::Matrix(_)) {
        return Err(KernelError::Invalid {
            what: "left operand, packed before, of weights for which it is rounded: its rows",
            value: lhs.rows(),
        });
    }
    let (rows, cols) = (lhs.rows(), rhs.cols());
    check_extent("rows of the right operand", rhs.rows(), lhs.cols())?;
    check_epilogue(epilogue, rows, cols, out)?;
    Ok((rows, cols))
}

/// Checks the lengths of the result and of what is added to it.
pub(super) fn check_epilogue(
    epilogue: &Epilogue<'_>,
    rows: usize,
    cols: usize,
    out: usize,
) -> Result<(), KernelError> {
    check_len("result", out, rows.checked_mul(cols))?;
    match epilogue.bias {
        Bias::None => {}
        Bias::PerRow(b) => check_len("bias", b.len(), Some(rows))?,
        Bias::PerCol(b) => check_len("bias", b.len(), Some(cols))?,
    }
    if let Some(r) = epilogue.residual {
        check_len("residual", r.len(), rows.checked_mul(cols))?;
    }
    Ok(())
}

pub(super) fn tile(
    out: &mut [f32],
    rows: usize,
    cols: usize,
) -> Result<TileMut<'_, f32>, KernelError> {
    let len = out.len();
    TileMut::new(out, rows, cols, cols).ok_or(KernelError::OutOfBounds {
        operand: "result",
        rows,
        cols,
        len,
    })
}

pub(super) fn finish_of<'a>(e: &Epilogue<'a>, cols: usize) -> FloatFinish<'a> {
    FloatFinish {
        alpha: e.alpha,
        bias: e.bias,
        residual: e.residual.map(|r| (r, cols)),
        activation: e.activation,
    }
}

pub(super) fn with_product<R>(
    lhs: FloatOperand<'_>,
    rhs: FloatOperand<'_>,
    finish: &FloatFinish<'_>,
    f: impl FnOnce(&Product<'_, Float, FloatFinish<'_>>) -> R,
) -> R {
    let (mut l, mut r) = (None, None);
    let rounded;
    let left = match lhs {
        FloatOperand::Matrix(m) if rhs.rounds_left() => {
            rounded = half::RoundedLines(FloatLines(m));
            Operand::Source(&rounded)
        }
        _ => lhs.operand(Side::Lhs, &mut l),
    };
    f(&Product {
        rows: lhs.rows(),
        cols: rhs.cols(),
        groups: lhs.cols(),
        lhs: left,
        rhs: rhs.operand(Side::Rhs, &mut r),
        finish,
    })
}

/// The epilogue of one product; a residual comes with the distance of its rows.
pub(crate) struct FloatFinish<'a> {
    pub(crate) alpha: f32,
    pub(crate) bias: Bias<'a>,
    pub(crate) residual: Option<(&'a [f32], usize)>,
    pub(crate) activation: Activation,
}

impl FloatFinish<'_> {
    /// Whether what is added to a sum depends on its column only.
    #[inline(always)]
    fn sums_by_column(&self) -> bool {
        self.residual.is_none() && !matches!(self.bias, Bias::PerRow(_))
    }
}

impl<W: Stored> Finish<Float<W>> for FloatFinish<'_> {
    type Out<'o> = TileMut<'o, f32>;
    const K_BLOCK: usize = 256;

    #[inline(always)]
    fn tile<S: Simd>(
        &self,
        s: S,
        part: Part,
        row: usize,
        col: usize,
        acc: &[f32],
        at: Place,
        out: &mut TileMut<'_, f32>,
    ) {
        store_tile(s.isa(), self, (part, row, col), acc, at, out);
    }

    #[inline(always)]
    fn registers<S: Simd, const R: usize, const V: usize>(
        &self,
        s: S,
        (row, col): (usize, usize),
        sums: &[[S::F; V]; R],
        at: Place,
        out: &mut TileMut<'_, f32>,
    ) -> bool {
        let whole = at.rows == R && at.cols == V * S::LANES;
        if !whole || self.alpha != 1.0 {
            return false;
        }
        let Some((low, high)) = self.activation.clamp() else {
            return false;
        };
        let (low, high) = (s.splat(low), s.splat(high));
        let mut bias = [s.splat(0.0); V];
        match self.bias {
            Bias::None => {}
            Bias::PerRow(_) => return false,
            Bias::PerCol(b) => {
                for v in 0..V {
                    bias[v] = s.load(&b[col + v * S::LANES..]);
                }
            }
        }
        let rows = out.rows_from((at.row, R), (at.col, V * S::LANES));
        let Some((residual, stride)) = self.residual else {
            for (sums, dst) in sums.iter().zip(rows) {
                for v in 0..V {
                    let x = s.add(sums[v], bias[v]);
                    s.store(s.min(high, s.max(low, x)), &mut dst[v * S::LANES..]);
                }
            }
            return true;
        };
        let mut summand = &residual[row * stride + col..];
        for (r, (sums, dst)) in sums.iter().zip(rows).enumerate() {
            if r > 0 {
                summand = &summand[stride..];
            }
            for v in 0..V {
                let x = s.add(sums[v], bias[v]);
                let x = s.add(x, s.load(&summand[v * S::LANES..]));
                s.store(s.min(high, s.max(low, x)), &mut dst[v * S::LANES..]);
            }
        }
        true
    }
}

simd_dispatch! {
    /// Stores a tile through an epilogue. Compiled once, not into every product.
    fn store_tile(
        s: S,
        e: &FloatFinish<'_>,
        from: (Part, usize, usize),
        acc: &[f32],
        at: Place,
        out: &mut TileMut<'_, f32>,
    ) {
        let (part, row, col) = from;
        let clamp = e.activation.clamp();
        let (low, high) = clamp.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        let (low, high) = (s.splat(low), s.splat(high));
        let alpha = s.splat(e.alpha);
        for c in (0..at.cols).step_by(S::LANES) {
            let n = S::LANES.min(at.cols - c);
            let mut bias = match e.bias {
                Bias::PerCol(b) => vector(s, &b[col + c..], n),
                _ => s.splat(0.0),
            };
            if n == S::LANES && part.first && part.last && e.sums_by_column() {
                for r in 0..at.rows {
                    let x = s.fma(s.load(&acc[r * 2 * S::LANES + c..]), alpha, bias);
                    let dst = out.row(at.row + r, at.col + c, n);
                    s.store(s.min(high, s.max(low, x)), dst);
                }
                continue;
            }
            for r in 0..at.rows {
                let dst = out.row(at.row + r, at.col + c, n);
                let mut x = s.load(&acc[r * 2 * S::LANES + c..]);
                if !part.first {
                    x = s.add(x, vector(s, dst, n));
                }
                if part.last {
                    if let Bias::PerRow(b) = e.bias {
                        bias = s.splat(b[row + r]);
                    }
                    x = s.fma(x, alpha, bias);
                    if let Some((residual, stride)) = e.residual {
                        x = s.add(x, vector(s, &residual[(row + r) * stride + col + c..], n));
                    }
                    x = s.min(high, s.max(low, x));
                }
                if n == S::LANES {
                    s.store(x, dst);
                } else {
                    s.store_partial(x, dst);
                }
            }
        }
        if part.last && clamp.is_none() {
            activate_tile(s.isa(), e.activation, at, out);
        }
    }
}

/// The first `n` elements of `src`.
#[inline(always)]
pub(crate) fn vector<S: Simd>(s: S, src: &[f32], n: usize) -> S::F {
    if n == S::LANES {
        s.load(src)
    } else {
        s.load_partial(&src[..n], 0.0)
    }
}
