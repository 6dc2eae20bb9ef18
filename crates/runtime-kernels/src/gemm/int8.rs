//! Exact int8 matrix product: `sum[i][j] = Σ (lhs[i][k] - z_l) (rhs[k][j] - z_r[j]) + bias`.
//!
//! The products are taken between unsigned and signed bytes, as the dot product instructions want
//! them: the side that holds packed left weights (else the right one) is made signed, the other
//! unsigned, by a shift of 128 that moves the zero point along. The zero points are then folded in
//! by sums over the lines:
//!
//! ```text
//! Σ (u - z_u)(s - z_s) = Σ u s - z_u Σ s - z_s Σ u + K z_u z_s
//! ```
//! All of it is exact modulo 2^32, so every instruction set and thread count gives the same bits.

use super::Side;
use super::arith::{Arith, SignedUnsigned, UnsignedSigned};
use super::bytes::{ByteLines, Role, add_words, line_sums};
use super::driver::{Finish, Operand, Part, Product};
use super::panel::Packed;
use crate::error::{check_extent, check_len};
use crate::isa::Simd;
use crate::quantized::{Channels, IntegerEpilogue, check_channels};
use crate::threads::TileMut;
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
    match (product.lhs, product.rhs) {
        (Int8Operand::Packed(p), Int8Operand::Matrix(m, z)) => run::<SignedUnsigned, T, E>(
            ctx,
            scratch,
            (Side::Lhs, Weights::Packed(p)),
            (m, z),
            product.bias,
            epilogue,
            tile,
        ),
        (Int8Operand::Matrix(m, z), Int8Operand::Packed(p)) => run::<UnsignedSigned, T, E>(
            ctx,
            scratch,
            (Side::Rhs, Weights::Packed(p)),
            (m, z),
            product.bias,
            epilogue,
            tile,
        ),
        (Int8Operand::Matrix(m, z), Int8Operand::Matrix(w, wz)) => {
            let weights = (Side::Rhs, Weights::Matrix(w, wz));
            run::<UnsignedSigned, T, E>(ctx, scratch, weights, (m, z), product.bias, epilogue, tile)
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

fn run<A: Arith<Word = i32>, T: Send, E: IntegerEpilogue<T>>(
    ctx: &Context,
    scratch: &mut Scratch,
    (side, weights): (Side, Weights<'_>),
    (activations, z): (Int8Matrix<'_>, &[i32]),
    bias: &[i32],
    epilogue: &E,
    out: TileMut<'_, T>,
) -> Result<(), KernelError> {
    let k_group = ctx.isa.tile().k_group;
    let other = if side == Side::Lhs {
        Side::Rhs
    } else {
        Side::Lhs
    };
    check_len("zero points of the activations", z.len(), Some(1))?;
    let zero_point = z[0] + activations.shift(Role::Unsigned);
    let unsigned_lines = activations.lines(other);
    let unsigned = ByteLines::new(unsigned_lines, Role::Unsigned, k_group);
    let depth = unsigned_lines.cols();
    let groups = depth.div_ceil(k_group);

    let signed_source;
    let (signed, line_count, sums, zero_points);
    match &weights {
        Weights::Packed(p) => {
            signed = Operand::Packed(p.panels());
            (line_count, sums, zero_points) = (p.lines(), p.sums.clone(), p.zero_points.clone());
        }
        Weights::Matrix(m, z) => {
            let lines = m.lines(side);
            signed_source = ByteLines::new(lines, Role::Signed, k_group);
            signed = Operand::Source(signed_source.panels());
            line_count = lines.rows();
            sums = line_sums(
                signed_source.panels(),
                line_count,
                groups,
                Role::Signed,
                k_group,
            );
            zero_points = spread_zero_points(z, line_count, m.shift(Role::Signed))?;
        }
    }
    if !bias.is_empty() {
        check_len("bias", bias.len(), Some(line_count))?;
    }
    let mut offsets = vec![0; line_count];
    fold_offsets(&sums, &zero_points, depth, zero_point, bias, &mut offsets);
    let unsigned_sums = if zero_points.is_empty() {
        Vec::new()
    } else {
        line_sums(
            unsigned.panels(),
            unsigned_lines.rows(),
            groups,
            Role::Unsigned,
            k_group,
        )
    };
    let finish = Int8Finish {
        signed: side,
        offsets: &offsets,
        zero_points: &zero_points,
        unsigned_sums: &unsigned_sums,
        channel: 0,
        epilogue,
    };
    let unsigned = Operand::Source(unsigned.panels());
    let (lhs, rhs) = if side == Side::Lhs {
        (signed, unsigned)
    } else {
        (unsigned, signed)
    };
    let finish = FinishAs::new(&finish);
    let product = Product::<A, _> {
        rows: out.rows(),
        cols: out.cols(),
        groups,
        lhs,
        rhs,
        finish: &finish,
    };
    let (_, words) = scratch.parts(0, product.scratch_words(ctx));
    product.run(ctx, out, words)
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
pub(crate) struct Int8Finish<'a, E> {
    /// On which side the signed operand, whose lines are the channels, stands.
    pub(crate) signed: Side,
    pub(crate) offsets: &'a [i32],
    pub(crate) zero_points: &'a [i32],
    /// Empty where all zero points of the signed operand are zero.
    pub(crate) unsigned_sums: &'a [i32],
    /// The epilogue's channel of line 0 (a group of a convolution starts further on).
    pub(crate) channel: usize,
    pub(crate) epilogue: &'a E,
}

impl<A: Arith<Word = i32>, T: Send, E: IntegerEpilogue<T>> Finish<A> for FinishAs<'_, '_, E, T> {
    type Out = T;
    const K_BLOCK: usize = usize::MAX;

    #[inline(always)]
    fn row<S: Simd>(&self, s: S, _: Part, row: usize, col: usize, acc: &mut [i32], out: &mut [T]) {
        let f = self.0;
        let n = out.len();
        match f.signed {
            Side::Lhs => {
                let offset = f.offsets[row];
                acc[..n]
                    .iter_mut()
                    .for_each(|a| *a = a.wrapping_add(offset));
                if let (Some(&z), false) = (f.zero_points.get(row), f.unsigned_sums.is_empty()) {
                    for (a, &sum) in acc.iter_mut().zip(&f.unsigned_sums[col..col + n]) {
                        *a = a.wrapping_sub(z.wrapping_mul(sum));
                    }
                }
                f.epilogue
                    .write(s, acc, Channels::One(f.channel + row), out);
            }
            Side::Rhs => {
                for (a, &offset) in acc.iter_mut().zip(&f.offsets[col..col + n]) {
                    *a = a.wrapping_add(offset);
                }
                if !f.unsigned_sums.is_empty() && !f.zero_points.is_empty() {
                    let sum = f.unsigned_sums[row];
                    for (a, &z) in acc.iter_mut().zip(&f.zero_points[col..col + n]) {
                        *a = a.wrapping_sub(z.wrapping_mul(sum));
                    }
                }
                f.epilogue
                    .write(s, acc, Channels::From(f.channel + col), out);
            }
        }
    }
}

/// An [`Int8Finish`] with the element type of its result.
pub(crate) struct FinishAs<'f, 'a, E, T>(
    pub(crate) &'f Int8Finish<'a, E>,
    pub(crate) std::marker::PhantomData<fn() -> T>,
);

impl<'f, 'a, E, T> FinishAs<'f, 'a, E, T> {
    pub(crate) fn new(finish: &'f Int8Finish<'a, E>) -> Self {
        Self(finish, std::marker::PhantomData)
    }
}
