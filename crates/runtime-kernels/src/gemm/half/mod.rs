//! Weights of 16 bits: half precision (IEEE 754 binary16) and bfloat16, multiplied in single precision.
//!
//! Stored weights are exact `f32` numbers, so a product with them is that of [`gemm`](super::gemm) with the widened matrix,
//! summed in the order of that kernel. They take half the memory and half the traffic, which is what bounds products of few
//! rows. [`PackedHalf::bf16_dot`] has the left operand rounded to bfloat16 as well, for the dot product of pairs that some
//! CPUs have.

mod stored;

use std::ops::Range;

use half::{bf16, f16};

pub(crate) use stored::{Bf16Pairs, Stored};

use super::Side;
use super::arith::Float;
use super::direct::{DirectProduct, ROW_UNIT, Source, Walk, check_width};
use super::float::FloatFinish;
use super::panel::{FloatLines, Packed, PanelSource};
use super::rows::{FloatRows, block_end};
use crate::elementwise::{Half, narrow_slice, widen_slice};
use crate::isa::Isa;
use crate::threads::TileMut;
use crate::{Context, KernelError, MatRef, Scratch};

/// A right operand `depth x cols` of 16-bit numbers in the panel order of one instruction set.
#[derive(Clone, Debug)]
pub struct PackedHalf {
    panels: Panels,
    depth: usize,
    isa: Isa,
}

/// The panels of each format.
#[derive(Clone, Debug)]
pub(crate) enum Panels {
    F16(Packed<f16>),
    Bf16(Packed<bf16>),
    /// Words of two steps of the reduction.
    Pairs(Packed<i32>),
}

impl PackedHalf {
    /// Packs `matrix` to stand on the right; the products are taken in single precision.
    ///
    /// # Errors
    /// [`KernelError::OutOfBounds`] if the padded size does not fit the address space.
    pub fn new<T: Half>(isa: Isa, matrix: MatRef<'_, T>) -> Result<Self, KernelError> {
        T::pack(isa, matrix)
    }

    pub(crate) fn of_f16(isa: Isa, matrix: MatRef<'_, f16>) -> Result<Self, KernelError> {
        let panels = pack(isa, matrix, &FloatLines(matrix.transposed()), matrix.rows())?;
        Ok(Self {
            panels: Panels::F16(panels),
            depth: matrix.rows(),
            isa,
        })
    }

    pub(crate) fn of_bf16(isa: Isa, matrix: MatRef<'_, bf16>) -> Result<Self, KernelError> {
        let panels = pack(isa, matrix, &FloatLines(matrix.transposed()), matrix.rows())?;
        Ok(Self {
            panels: Panels::Bf16(panels),
            depth: matrix.rows(),
            isa,
        })
    }

    /// Packs `matrix` for the dot product of bfloat16 pairs: left operands are rounded to bfloat16, halves to even, then
    ///
    /// ```text
    /// out = Σ bf16(x) w
    /// ```
    /// with exact products. Instruction sets differ in the order and rounding of the sums of a pair, and in whether
    /// subnormal numbers count. [`PackedHalf::has_bf16_dot`] tells where it is faster than [`PackedHalf::new`].
    ///
    /// # Errors
    /// [`KernelError::OutOfBounds`] if the padded size does not fit the address space.
    pub fn bf16_dot(isa: Isa, matrix: MatRef<'_, bf16>) -> Result<Self, KernelError> {
        let source = PairLines(matrix.transposed());
        let panels = pack(isa, matrix, &source, matrix.rows().div_ceil(2))?;
        Ok(Self {
            panels: Panels::Pairs(panels),
            depth: matrix.rows(),
            isa,
        })
    }

    /// Whether this CPU has the dot product of bfloat16 pairs beside `isa`.
    pub fn has_bf16_dot(isa: Isa) -> bool {
        crate::isa::bf16::has_bf16_dot(isa)
    }

    /// Rows of the matrix.
    pub fn rows(&self) -> usize {
        self.depth
    }

    /// Columns of the matrix.
    pub fn cols(&self) -> usize {
        match &self.panels {
            Panels::F16(p) => p.lines(),
            Panels::Bf16(p) => p.lines(),
            Panels::Pairs(p) => p.lines(),
        }
    }

    /// Bytes of the packed form.
    pub fn bytes(&self) -> usize {
        match &self.panels {
            Panels::F16(p) => 2 * p.words(),
            Panels::Bf16(p) => 2 * p.words(),
            Panels::Pairs(p) => 4 * p.words(),
        }
    }

    /// Whether left operands are rounded to bfloat16.
    pub fn rounds_activations(&self) -> bool {
        matches!(self.panels, Panels::Pairs(_))
    }

    pub(crate) fn into_panels(self) -> Panels {
        self.panels
    }

    /// Refuses to run on an instruction set of another panel width.
    pub(crate) fn check(&self, isa: Isa) -> Result<(), KernelError> {
        check_width(
            isa,
            match &self.panels {
                Panels::F16(p) => p.width(),
                Panels::Bf16(p) => p.width(),
                Panels::Pairs(p) => p.width(),
            },
        )
    }
}

fn pack<T: Copy, W: bytemuck::Pod>(
    isa: Isa,
    matrix: MatRef<'_, T>,
    source: &dyn PanelSource<W>,
    groups: usize,
) -> Result<Packed<W>, KernelError> {
    let (rows, cols) = (matrix.rows(), matrix.cols());
    Packed::new(source, cols, groups, Side::Rhs.width(isa)).ok_or(KernelError::OutOfBounds {
        operand: Side::Rhs.name(),
        rows,
        cols,
        len: usize::MAX,
    })
}

/// Panels of widened weights, as the blocked product reads them.
impl PanelSource<f32> for PackedHalf {
    fn pack(&self, lines: Range<usize>, groups: Range<usize>, width: usize, out: &mut [f32]) {
        let panel = lines.start / width;
        match &self.panels {
            Panels::F16(p) => widen_slice(self.isa, p.panel(panel, groups), out),
            Panels::Bf16(p) => widen_slice(self.isa, p.panel(panel, groups), out),
            Panels::Pairs(p) => {
                let pairs = groups.start / 2..groups.end.div_ceil(2);
                let words = p.panel(panel, pairs);
                for (k, out) in groups.clone().zip(out.chunks_exact_mut(width)) {
                    let from = (k / 2 - groups.start / 2) * width;
                    for (out, &word) in out.iter_mut().zip(&words[from..from + width]) {
                        let bits = if k % 2 == 0 {
                            word << 16
                        } else {
                            word & !0xffff
                        };
                        *out = f32::from_bits(bits as u32);
                    }
                }
            }
        }
    }
}

/// Lines of a left operand, rounded to bfloat16.
pub(super) struct RoundedLines<'a>(pub(super) FloatLines<'a>);

impl PanelSource<f32> for RoundedLines<'_> {
    fn pack(&self, lines: Range<usize>, groups: Range<usize>, width: usize, out: &mut [f32]) {
        self.0.pack(lines, groups, width, out);
        for x in out {
            *x = bf16::from_f32(*x).to_f32();
        }
    }
}

/// The rows of a matrix as lines of words of two numbers.
struct PairLines<'a>(MatRef<'a, bf16>);

impl PanelSource<i32> for PairLines<'_> {
    fn pack(&self, lines: Range<usize>, groups: Range<usize>, width: usize, out: &mut [i32]) {
        let (m, depth) = (&self.0, self.0.cols());
        if lines.len() < width {
            out.fill(0);
        }
        let at = |line, k| match k < depth {
            true => m.from(line, k)[0],
            false => bf16::ZERO,
        };
        for (g, out) in groups.zip(out.chunks_exact_mut(width)) {
            for (line, out) in lines.clone().zip(out) {
                *out = pair([at(line, 2 * g), at(line, 2 * g + 1)]);
            }
        }
    }
}

/// The word of two numbers.
#[inline(always)]
fn pair([a, b]: [bf16; 2]) -> i32 {
    (u32::from(a.to_bits()) | u32::from(b.to_bits()) << 16) as i32
}

/// Rows of floats, rounded to bfloat16 block by block.
struct Bf16Rows<'a>(MatRef<'a, f32>);

impl Bf16Rows<'_> {
    /// Units of a row: whole pairs.
    fn step(&self) -> usize {
        self.0.cols().next_multiple_of(2)
    }
}

impl Source<Float<Bf16Pairs>> for Bf16Rows<'_> {
    fn block_end(&self, row: usize, end: usize) -> usize {
        block_end(row, end, 2 * self.step())
    }

    fn scratch_units(&self) -> usize {
        self.step() * self.block_end(0, self.0.rows())
    }

    fn block<'b>(
        &'b self,
        isa: Isa,
        rows: Range<usize>,
        _: usize,
        scratch: &'b mut [bf16],
    ) -> (&'b [bf16], Walk) {
        let (step, depth) = (self.step(), self.0.cols());
        let block = &mut scratch[..rows.len() * step];
        if step > 0 {
            for (row, out) in rows.zip(block.chunks_exact_mut(step)) {
                let (live, rest) = out.split_at_mut(depth);
                let src = self.0.from(row, 0);
                match self.0.col_stride() {
                    1 => narrow_slice(isa, &src[..depth], live),
                    by => {
                        for (out, &x) in live.iter_mut().zip(src.iter().step_by(by.max(1))) {
                            *out = bf16::from_f32(x);
                        }
                    }
                }
                rest.fill(bf16::ZERO);
            }
        }
        (block, Walk::rows(step, step / 2))
    }
}

/// `out = finish(lhs * weights)` with the rows of `lhs` read in place, or rounded once.
pub(super) fn multiply(
    ctx: &Context,
    scratch: &mut Scratch,
    lhs: MatRef<'_, f32>,
    rows: Option<&FloatRows<'_>>,
    weights: &PackedHalf,
    finish: &FloatFinish<'_>,
    out: TileMut<'_, f32>,
) -> Option<Result<(), KernelError>> {
    Some(match (&weights.panels, rows) {
        (Panels::F16(p), Some(rows)) => direct::<f16>(ctx, scratch, rows, p, finish, out),
        (Panels::Bf16(p), Some(rows)) => direct::<bf16>(ctx, scratch, rows, p, finish, out),
        (Panels::Pairs(p), _) => direct::<Bf16Pairs>(ctx, scratch, &Bf16Rows(lhs), p, finish, out),
        _ => return None,
    })
}

/// The direct product with weights stored as `W`.
pub(super) fn direct<W: Stored>(
    ctx: &Context,
    scratch: &mut Scratch,
    source: &dyn Source<Float<W>>,
    weights: &Packed<W::Weight>,
    finish: &FloatFinish<'_>,
    out: TileMut<'_, f32>,
) -> Result<(), KernelError> {
    let panels = |_: usize| weights;
    let product = DirectProduct::<Float<W>, _> {
        rows: out.rows(),
        row_unit: ROW_UNIT,
        groups: 1,
        weights: &panels,
        source,
        finish,
    };
    product.check(ctx.isa)?;
    let units = W::scratch(scratch, product.scratch_units(ctx));
    product.run(ctx, out, units);
    Ok(())
}
