//! Exact int8 matrix product: `sum[i][j] = Σ (lhs[i][k] - z_l) (rhs[k][j] - z_r[j]) + bias`.
//!
//! The products are taken between unsigned and signed bytes, as the dot product instructions want
//! them: the side that holds packed left weights (else the right one) is made signed, the other
//! unsigned (signed too, where the instruction wants that), by a shift of 128 that moves the zero point along. The zero points are then folded in
//! by sums over the lines:
//!
//! ```text
//! Σ (u - z_u)(s - z_s) = Σ u s - z_u Σ s - z_s Σ u + K z_u z_s
//! ```
//! All of it is exact modulo 2^32, so every instruction set and thread count gives the same bits.

use super::Side;
use super::arith::{Arith, SignedUnsigned, UnsignedSigned};
use super::bytes::{ByteLines, Role, add_words};
use super::direct::{DirectProduct, ROW_UNIT};
use super::driver::{Cut, Finish, Operand, Part, Product};
use super::folding::{Folded, Folding};
use super::panel::Packed;
use super::rows::ByteRows;
use super::tiles;
use crate::error::{check_extent, check_len, check_words};
use crate::isa::Simd;
use crate::quantized::{
    Channels, IntegerEpilogue, SumRule, SumTile, SumWord, Sums, check_channels, store_sums,
};
use crate::threads::{Place, TileMut};
use crate::{Context, Isa, KernelError, MatRef, Scratch};

/// A matrix of `u8` or of `i8`.
#[derive(Clone, Copy, Debug)]
pub enum Int8Matrix<'a> {
    /// Unsigned.
    U8(MatRef<'a, u8>),
    /// Signed.
    I8(MatRef<'a, i8>),
}

impl Int8Matrix<'_> {
    /// Rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::U8(m) => m.rows(),
            Self::I8(m) => m.rows(),
        }
    }

    /// Columns.
    pub fn cols(&self) -> usize {
        match self {
            Self::U8(m) => m.cols(),
            Self::I8(m) => m.cols(),
        }
    }

    /// Columns of a right operand become its lines.
    fn lines(self, side: Side) -> Self {
        match (side, self) {
            (Side::Lhs, m) => m,
            (Side::Rhs, Self::U8(m)) => Self::U8(m.transposed()),
            (Side::Rhs, Self::I8(m)) => Self::I8(m.transposed()),
        }
    }

    /// By how much the role shifts the values.
    fn shift(&self, role: Role) -> i32 {
        match self {
            Self::U8(_) => role.shift::<u8>(),
            Self::I8(_) => role.shift::<i8>(),
        }
    }
}

/// The weights of an int8 product, packed once for one instruction set.
#[derive(Clone, Debug)]
pub struct PackedInt8 {
    panels: Packed<i32>,
    side: Side,
    depth: usize,
    /// Bytes of a word.
    k_group: usize,
    /// `Σ s` per line.
    sums: Vec<i32>,
    /// Zero points per line after the shift; empty if all are zero.
    zero_points: Vec<i32>,
}

impl PackedInt8 {
    /// Packs `matrix` to stand on `side`. `zero_points` holds one number, or one per line (row of
    /// a left operand, column of a right one).
    ///
    /// # Errors
    /// [`KernelError::Length`] if the zero points match neither,
    /// [`KernelError::OutOfBounds`] if the padded size does not fit the address space.
    pub fn new(
        isa: Isa,
        side: Side,
        matrix: Int8Matrix<'_>,
        zero_points: &[i32],
    ) -> Result<Self, KernelError> {
        let lines = matrix.lines(side);
        let k_group = isa.tile().k_group;
        let width = side.width(isa);
        let shift = matrix.shift(Role::Signed);
        let source = ByteLines::new(lines, Role::Signed, k_group);
        let depth = lines.cols();
        let groups = depth.div_ceil(k_group);
        let (rows, cols) = (matrix.rows(), matrix.cols());
        let panels = Packed::new(source.panels(), lines.rows(), groups, width).ok_or(
            KernelError::OutOfBounds {
                operand: side.name(),
                rows,
                cols,
                len: usize::MAX,
            },
        )?;
        let zero_points = spread_zero_points(zero_points, lines.rows(), shift)?;
        let mut sums = vec![0; lines.rows()];
        for (p, sums) in sums.chunks_mut(width).enumerate() {
            add_words(
                panels.panel(p, 0..groups),
                width,
                Role::Signed,
                k_group,
                sums,
            );
        }
        Ok(Self {
            panels,
            side,
            depth,
            k_group,
            sums,
            zero_points,
        })
    }

    /// Rows of the matrix.
    pub fn rows(&self) -> usize {
        match self.side {
            Side::Lhs => self.panels.lines(),
            Side::Rhs => self.depth,
        }
    }

    /// Columns of the matrix.
    pub fn cols(&self) -> usize {
        match self.side {
            Side::Lhs => self.depth,
            Side::Rhs => self.panels.lines(),
        }
    }

    /// The side that it was packed for.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Bytes of the packed form.
    pub fn bytes(&self) -> usize {
        4 * (self.panels.words() + self.sums.len() + self.zero_points.len())
    }

    /// The same with another depth: that of weights that were filled up with zeros.
    pub(crate) fn with_depth(mut self, depth: usize) -> Self {
        self.depth = depth;
        self
    }

    /// Refuses to run on an instruction set of another word format.
    pub(crate) fn check(&self, isa: Isa) -> Result<(), KernelError> {
        check_words(self.side.name(), self.k_group, isa)
    }

    pub(crate) fn panels(&self) -> &Packed<i32> {
        &self.panels
    }

    pub(crate) fn lines(&self) -> usize {
        self.panels.lines()
    }

    /// Zero points per line, shifted; empty if all are zero.
    pub(crate) fn zero_points(&self) -> &[i32] {
        &self.zero_points
    }

    /// The constant summand of each line: `bias - z_u Σ s + K z_u z_s`.
    pub(crate) fn offsets(&self, unsigned_zero_point: i32, bias: &[i32], out: &mut [i32]) {
        fold_offsets(
            &self.sums,
            &self.zero_points,
            self.depth,
            unsigned_zero_point,
            bias,
            out,
        );
    }
}

/// An operand of [`gemm_int8`].
#[derive(Clone, Copy, Debug)]
pub enum Int8Operand<'a> {
    /// A matrix that is packed on the way, with one zero point, or, on the right, one per column.
    Matrix(Int8Matrix<'a>, &'a [i32]),
    /// A matrix packed before, for the side on which it stands.
    Packed(&'a PackedInt8),
}

impl Int8Operand<'_> {
    fn shape(&self) -> (usize, usize) {
        match self {
            Self::Matrix(m, _) => (m.rows(), m.cols()),
            Self::Packed(p) => (p.rows(), p.cols()),
        }
    }
}

/// An int8 matrix product; see [`gemm_int8`].
#[derive(Clone, Copy, Debug)]
pub struct Int8Gemm<'a> {
    /// The left operand. At most one operand may be packed.
    pub lhs: Int8Operand<'a>,
    /// The right operand.
    pub rhs: Int8Operand<'a>,
    /// Added to the sums: one number per channel, or empty. The channels are the lines of the
    /// packed operand, or the columns where none is packed.
    pub bias: &'a [i32],
}

/// Computes an int8 product and stores it through `epilogue`, row-major.
///
/// The per-channel parameters of the epilogue follow the same lines as [`Int8Gemm::bias`].
///
/// # Errors
/// [`KernelError::Extent`] if the depths differ, both operands are packed, or the epilogue serves
/// another number of channels; [`KernelError::Length`] if `out`, the bias or zero points have the
/// wrong length; [`KernelError::PackedFor`] if an operand was packed for another instruction set.
///
/// # Examples
/// ```
/// use runtime_kernels::{Context, MatRef, Scratch};
/// use runtime_kernels::gemm::{Int8Gemm, Int8Matrix, Int8Operand, gemm_int8};
/// use runtime_kernels::quantized::RawOutput;
///
/// let a = Int8Matrix::U8(MatRef::row_major(&[10, 11, 12, 13], 2, 2)?);
/// let b = Int8Matrix::I8(MatRef::row_major(&[1, 0, 0, -2], 2, 2)?);
/// let product = Int8Gemm {
///     lhs: Int8Operand::Matrix(a, &[10]),
///     rhs: Int8Operand::Matrix(b, &[0]),
///     bias: &[],
/// };
/// let mut out = [0i32; 4];
/// gemm_int8(&Context::default(), &mut Scratch::new(), &product, &RawOutput, &mut out)?;
/// assert_eq!(out, [0, -2, 2, -6]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
pub fn gemm_int8<T: Send, E: IntegerEpilogue<T>>(
    ctx: &Context,
    scratch: &mut Scratch,
    product: &Int8Gemm<'_>,
    epilogue: &E,
    out: &mut [T],
) -> Result<(), KernelError> {
    let ((rows, depth), (rhs_rows, cols)) = (product.lhs.shape(), product.rhs.shape());
    check_extent("rows of the right operand", rhs_rows, depth)?;
    check_len("result", out.len(), rows.checked_mul(cols))?;
    let left_signed = matches!(product.lhs, Int8Operand::Packed(_));
    check_channels(epilogue, if left_signed { rows } else { cols })?;
    let len = out.len();
    let tile = TileMut::new(out, rows, cols, cols).ok_or(KernelError::OutOfBounds {
        operand: "result",
        rows,
        cols,
        len,
    })?;
    let (rule, out) = (epilogue.rule(), E::tile(tile));
    match (product.lhs, product.rhs) {
        (Int8Operand::Packed(p), Int8Operand::Matrix(m, z)) => {
            let weights = (Side::Lhs, Weights::Packed(p));
            run::<SignedUnsigned>(ctx, scratch, weights, (m, z), product.bias, rule, out)
        }
        (Int8Operand::Matrix(m, z), Int8Operand::Packed(p)) => {
            let weights = (Side::Rhs, Weights::Packed(p));
            run::<UnsignedSigned>(ctx, scratch, weights, (m, z), product.bias, rule, out)
        }
        (Int8Operand::Matrix(m, z), Int8Operand::Matrix(w, wz)) => {
            let weights = (Side::Rhs, Weights::Matrix(w, wz));
            run::<UnsignedSigned>(ctx, scratch, weights, (m, z), product.bias, rule, out)
        }
        (Int8Operand::Packed(_), Int8Operand::Packed(_)) => Err(KernelError::Extent {
            what: "number of packed operands",
            expected: 1,
            found: 2,
        }),
    }
}

/// The signed operand.
enum Weights<'a> {
    Packed(&'a PackedInt8),
    Matrix(Int8Matrix<'a>, &'a [i32]),
}

fn run<A: Arith<Word = i32, Unit = u8>>(
    ctx: &Context,
    scratch: &mut Scratch,
    (side, weights): (Side, Weights<'_>),
    (activations, z): (Int8Matrix<'_>, &[i32]),
    bias: &[i32],
    rule: SumRule<'_>,
    out: SumTile<'_>,
) -> Result<(), KernelError> {
    let k_group = ctx.isa.tile().k_group;
    let role = Role::activations(ctx.isa);
    check_len("zero points of the activations", z.len(), Some(1))?;
    let zero_point = z[0].wrapping_add(activations.shift(role));
    let packed;
    let weights = match weights {
        Weights::Packed(p) => p,
        Weights::Matrix(m, z) => {
            packed = PackedInt8::new(ctx.isa, side, m, z)?;
            &packed
        }
    };
    weights.check(ctx.isa)?;
    if !bias.is_empty() {
        check_len("bias", bias.len(), Some(weights.lines()))?;
    }
    let unsigned_lines = activations.lines(match side {
        Side::Lhs => Side::Rhs,
        Side::Rhs => Side::Lhs,
    });
    let unsigned = ByteLines::new(unsigned_lines, role, k_group);
    let groups = unsigned_lines.cols().div_ceil(k_group);
    let folding = Folding {
        weights,
        source: unsigned.panels(),
        lines: unsigned_lines.rows(),
        groups,
        k_group,
        role,
    };
    let shape = (out.rows(), out.cols());
    let bare = Int8Finish {
        signed: side,
        zero_points: weights.zero_points(),
        summands: Folded::default(),
        first: 0,
        rule,
    };
    if side == Side::Rhs
        && let Some(source) = ByteRows::of(ctx.isa, activations)
    {
        let panels = |_: usize| weights.panels();
        let product = |finish| DirectProduct::<UnsignedSigned, _> {
            rows: shape.0,
            row_unit: tiles::row_unit(ctx.isa).unwrap_or(ROW_UNIT),
            groups: 1,
            weights: &panels,
            source: &source,
            finish,
        };
        product(&bare).check(ctx.isa)?;
        let bytes = product(&bare).scratch_units(ctx);
        let (words, bytes) = scratch.words_and_bytes(folding.words(), bytes);
        let summands = folding.fold(zero_point, bias, words);
        let finish = Int8Finish { summands, ..bare };
        product(&finish).run(ctx, out, bytes);
        return Ok(());
    }
    let unsigned = Operand::Source(unsigned.panels());
    let signed = Operand::Packed(weights.panels());
    let (lhs, rhs) = match side {
        Side::Lhs => (signed, unsigned),
        Side::Rhs => (unsigned, signed),
    };
    let product = |finish| Product::<A, _> {
        rows: shape.0,
        cols: shape.1,
        groups,
        lhs,
        rhs,
        finish,
    };
    let words = product(&bare).scratch_words(ctx);
    let (_, words) = scratch.parts(0, words + folding.words());
    let (summands, words) = words.split_at_mut(folding.words());
    let summands = folding.fold(zero_point, bias, summands);
    let finish = Int8Finish { summands, ..bare };
    product(&finish).run(ctx, out, words)
}

/// One zero point per line after the shift; empty if all are zero.
fn spread_zero_points(z: &[i32], lines: usize, shift: i32) -> Result<Vec<i32>, KernelError> {
    let spread: Vec<i32> = match z {
        [one] => vec![one.wrapping_add(shift); lines],
        z => {
            check_len("zero points of the weights", z.len(), Some(lines))?;
            z.iter().map(|z| z.wrapping_add(shift)).collect()
        }
    };
    Ok(if spread.iter().all(|&z| z == 0) {
        Vec::new()
    } else {
        spread
    })
}

/// `bias - z_u Σ s + K z_u z_s` per line.
fn fold_offsets(
    sums: &[i32],
    zero_points: &[i32],
    depth: usize,
    z_u: i32,
    bias: &[i32],
    out: &mut [i32],
) {
    for (l, out) in out.iter_mut().enumerate() {
        let z_s = zero_points.get(l).copied().unwrap_or(0);
        let bias = bias.get(l).copied().unwrap_or(0);
        let product = (depth as i32).wrapping_mul(z_u).wrapping_mul(z_s);
        *out = bias
            .wrapping_sub(z_u.wrapping_mul(sums[l]))
            .wrapping_add(product);
    }
}

/// Folds the zero points in and hands the sums to the epilogue.
#[derive(Clone, Copy)]
pub(crate) struct Int8Finish<'a> {
    /// On which side the signed operand, whose lines are the channels, stands.
    pub(crate) signed: Side,
    /// Of every line; empty where all are zero.
    pub(crate) zero_points: &'a [i32],
    /// Summand of every line, none if empty; and the sum of every line of the unsigned operand, none where the zero
    /// points are.
    pub(crate) summands: Folded<'a>,
    /// The epilogue's channel of line 0 (a group of a convolution starts further on).
    pub(crate) first: usize,
    pub(crate) rule: SumRule<'a>,
}

impl Int8Finish<'_> {
    /// Stores a tile of sums that starts at (`row`, `col`) of the product.
    #[inline(always)]
    pub(crate) fn store<S: Simd, W: SumWord>(
        &self,
        s: S,
        (row, col): (usize, usize),
        acc: &[W],
        at: Place,
        out: &mut SumTile<'_>,
    ) {
        let (channels, line) = match self.signed {
            Side::Lhs => (Channels::Rows(row), col),
            Side::Rhs => (Channels::Cols(col), row),
        };
        let sums = Sums {
            acc,
            channels,
            first: self.first,
            offsets: self.summands.offsets,
            zero_points: self.zero_points,
            line_sums: self.summands.unsigned_sums.get(line..).unwrap_or(&[]),
        };
        store_sums(s.isa(), self.rule, &sums, at, out);
    }
}

impl<A: Arith<Word = i32>> Finish<A> for Int8Finish<'_> {
    type Out<'o> = SumTile<'o>;
    const K_BLOCK: usize = usize::MAX;

    #[inline(always)]
    fn tile<S: Simd>(
        &self,
        s: S,
        _: Part,
        row: usize,
        col: usize,
        acc: &[i32],
        at: Place,
        out: &mut SumTile<'_>,
    ) {
        self.store(s, (row, col), acc, at, out);
    }
}
