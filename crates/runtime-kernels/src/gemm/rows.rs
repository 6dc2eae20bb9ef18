//! The rows of a matrix as the left operand of a [`DirectProduct`](super::direct::DirectProduct).

use std::ops::Range;

use super::arith::{Float, UnsignedSigned};
use super::bytes::Role;
use super::direct::{Source, Walk};
use super::half::Stored;
use super::int8::Int8Matrix;
use super::tiles;
use crate::MatRef;
use crate::isa::{Isa, MAX_MR, Simd, simd_dispatch};
use crate::quantized::QuantByte;

/// Bytes of the left operand that are multiplied with all columns before the next ones, but by tiles: a share
/// of a core's own cache.
pub(crate) const BLOCK_BYTES: usize = 96 * 1024;
/// The same for rows so long that few of them are as many bytes: the weights are read once for each block.
const LONG_ROWS_BYTES: usize = 320 * 1024;
const LONG_ROWS: usize = 48;

/// Rows that lie a multiple of so many bytes apart share the few places of one set of the first cache.
const SET_BYTES: usize = 4096;
/// Bytes by which such rows are set apart: a cache line.
pub(crate) const APART: usize = 64;

/// Whether rows so many bytes apart share the places of one set.
pub(crate) fn share_a_set(bytes: usize) -> bool {
    bytes > 0 && bytes.is_multiple_of(SET_BYTES)
}

/// Where a block of rows of `bytes` bytes each ends; whole register tiles.
pub(crate) fn block_end(row: usize, end: usize, bytes: usize) -> usize {
    block_end_within((BLOCK_BYTES, UNIT), row, end, bytes)
}

/// A multiple of the height of every register tile.
const UNIT: usize = 24;

/// The same for blocks of so many bytes, in whole units of rows.
fn block_end_within((block, unit): (usize, usize), row: usize, end: usize, bytes: usize) -> usize {
    let bytes = bytes.max(1);
    let rows = (block / bytes).max(LONG_ROWS.min(LONG_ROWS_BYTES / bytes));
    end.min(row + rows.next_multiple_of(unit).max(unit))
}

/// Rows of floats, read in place, or copied block by block where they would drive each other out of the cache.
pub(crate) struct FloatRows<'a> {
    matrix: MatRef<'a, f32>,
    copied: bool,
}

impl<'a> FloatRows<'a> {
    /// `None` where the rows are not contiguous.
    pub(crate) fn of(matrix: MatRef<'a, f32>) -> Option<Self> {
        (matrix.col_stride() == 1).then_some(Self {
            matrix,
            copied: share_a_set(4 * matrix.row_stride()) && matrix.rows() >= MAX_MR,
        })
    }

    /// The same, read in place whatever their distance.
    pub(crate) fn in_place(self) -> Self {
        Self {
            copied: false,
            ..self
        }
    }

    fn step(&self) -> usize {
        if self.copied {
            self.matrix.cols() + APART / 4
        } else {
            self.matrix.row_stride()
        }
    }
}

impl<W: Stored<Unit = f32>> Source<Float<W>> for FloatRows<'_> {
    fn block_end(&self, row: usize, end: usize) -> usize {
        block_end(row, end, 4 * self.matrix.cols())
    }

    fn scratch_units(&self) -> usize {
        if self.copied {
            block_end(0, self.matrix.rows(), 4 * self.matrix.cols()) * self.step()
        } else {
            0
        }
    }

    fn block<'b>(
        &'b self,
        _: Isa,
        rows: Range<usize>,
        _: usize,
        scratch: &'b mut [f32],
    ) -> (&'b [f32], Walk) {
        let cols = self.matrix.cols();
        let walk = Walk::rows(self.step(), cols);
        if !self.copied {
            return (self.matrix.from(rows.start, 0), walk);
        }
        for (out, row) in scratch.chunks_exact_mut(self.step()).zip(rows) {
            out[..cols].copy_from_slice(&self.matrix.from(row, 0)[..cols]);
        }
        (scratch, walk)
    }
}

/// Rows of bytes, widened to the words of the dot product block by block.
pub(crate) struct ByteRows<'a> {
    matrix: Int8Matrix<'a>,
    /// Words of a row.
    words: usize,
    /// Bytes of a block, and the rows that it has multiples of.
    block: (usize, usize),
}

impl<'a> ByteRows<'a> {
    /// `None` where the rows are not contiguous.
    pub(crate) fn of(isa: Isa, matrix: Int8Matrix<'a>) -> Option<Self> {
        let step = match matrix {
            Int8Matrix::U8(m) => m.col_stride(),
            Int8Matrix::I8(m) => m.col_stride(),
        };
        let words = matrix.cols().div_ceil(isa.tile().k_group);
        let of_tiles = tiles::block_bytes(isa).zip(tiles::row_unit(isa));
        let block = of_tiles.unwrap_or((BLOCK_BYTES, UNIT));
        (step == 1).then_some(Self {
            matrix,
            words,
            block,
        })
    }
}

impl ByteRows<'_> {
    /// Bytes from a row to the next.
    fn step(&self) -> usize {
        let bytes = 4 * self.words;
        if share_a_set(bytes) {
            bytes + APART
        } else {
            bytes
        }
    }
}

impl Source<UnsignedSigned> for ByteRows<'_> {
    fn block_end(&self, row: usize, end: usize) -> usize {
        block_end_within(self.block, row, end, self.step())
    }

    fn scratch_units(&self) -> usize {
        self.step() * self.block_end(0, self.matrix.rows())
    }

    fn block<'b>(
        &'b self,
        isa: Isa,
        rows: Range<usize>,
        _: usize,
        scratch: &'b mut [u8],
    ) -> (&'b [u8], Walk) {
        let step = self.step();
        let block = &mut scratch[..rows.len() * step];
        match self.matrix {
            Int8Matrix::U8(m) => widen_rows(isa, m, rows.start, step, block),
            Int8Matrix::I8(m) => widen_rows(isa, m, rows.start, step, block),
        }
        (block, Walk::rows(step, self.words))
    }
}

simd_dispatch! {
    /// Widens the rows from `first` on, `step` bytes of `block` each.
    fn widen_rows[T: QuantByte](
        s: S,
        matrix: MatRef<'_, T>,
        first: usize,
        step: usize,
        block: &mut [u8],
    ) {
        if step == 0 {
            return;
        }
        let depth = matrix.cols();
        for (i, out) in block.chunks_exact_mut(step).enumerate() {
            let (live, rest) = out.split_at_mut(depth * unit_bytes::<S>());
            widen(s, &matrix.from(first + i, 0)[..depth], live);
            rest.fill(0);
        }
    }
}

/// Bytes that a value takes in the words of the dot product.
#[inline(always)]
pub(crate) fn unit_bytes<S: Simd>() -> usize {
    4 / S::K_GROUP
}

/// Writes values as activations of the dot product; `out` has [`unit_bytes`] for each.
#[inline(always)]
pub(crate) fn widen<S: Simd, T: QuantByte>(_: S, src: &[T], out: &mut [u8]) {
    let role = Role::of_activations(S::SIGNED_ACTIVATIONS);
    if S::K_GROUP == 4 {
        for (o, &x) in out.iter_mut().zip(src) {
            *o = role.byte(x);
        }
    } else {
        for (o, &x) in out.as_chunks_mut::<2>().0.iter_mut().zip(src) {
            *o = u16::from(role.byte(x)).to_le_bytes();
        }
    }
}
