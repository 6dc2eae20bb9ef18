//! Packed panels: what the register tile reads.
//!
//! A panel holds `width` lines (rows of the left operand, columns of the right one), interleaved:
//! `panel[group * width + line]`, where a group is one step of the reduction dimension (one float,
//! or [`crate::isa::Simd::K_GROUP`] bytes in a word). Lines past the end are zero.

use std::ops::Range;

use bytemuck::Pod;

use crate::MatRef;
use crate::pages::AlignedVec;

/// Something that panels can be cut from: a matrix, or the patches of an image.
pub(crate) trait PanelSource<W>: Sync {
    /// Writes the panel of `lines` (at most `width`) for the groups `groups`;
    /// `out` has `groups.len() * width` words.
    fn pack(&self, lines: Range<usize>, groups: Range<usize>, width: usize, out: &mut [W]);
}

/// An operand packed once, whole.
#[derive(Debug)]
pub(crate) struct Packed<W> {
    data: AlignedVec<W>,
    lines: usize,
    groups: usize,
    width: usize,
}

impl<W: Pod> Clone for Packed<W> {
    fn clone(&self) -> Self {
        Self {
            data: self.data.clone(),
            ..*self
        }
    }
}

impl<W: Pod> Packed<W> {
    /// Packs all `lines` of `source`; `None` if the size does not fit the address space.
    pub(crate) fn new(
        source: &dyn PanelSource<W>,
        lines: usize,
        groups: usize,
        width: usize,
    ) -> Option<Self> {
        let panels = lines.div_ceil(width);
        let len = panels.checked_mul(width)?.checked_mul(groups)?;
        let mut data = AlignedVec::zeroed(len);
        if len > 0 {
            for (p, panel) in data
                .as_mut_slice()
                .chunks_exact_mut(width * groups)
                .enumerate()
            {
                source.pack(
                    p * width..lines.min((p + 1) * width),
                    0..groups,
                    width,
                    panel,
                );
            }
        }
        Some(Self {
            data,
            lines,
            groups,
            width,
        })
    }

    /// An operand without elements, to be packed later.
    pub(crate) fn empty() -> Self {
        Self {
            data: AlignedVec::zeroed(0),
            lines: 0,
            groups: 0,
            width: 1,
        }
    }

    /// Takes other extents on, in the memory that is there where it suffices; the elements are to be [set](Packed::set).
    pub(crate) fn reset(&mut self, lines: usize, groups: usize, width: usize) -> Option<()> {
        let len = lines
            .div_ceil(width)
            .checked_mul(width)?
            .checked_mul(groups)?;
        self.data.resize(len);
        (self.lines, self.groups, self.width) = (lines, groups, width);
        if !lines.is_multiple_of(width) {
            self.data.as_mut_slice().fill(W::zeroed());
        }
        Some(())
    }

    /// Packs all `lines` of another source, in the memory that is there where it suffices.
    pub(crate) fn repack(
        &mut self,
        source: &dyn PanelSource<W>,
        lines: usize,
        groups: usize,
        width: usize,
    ) -> Option<()> {
        self.reset(lines, groups, width)?;
        let panels = self
            .data
            .as_mut_slice()
            .chunks_exact_mut((width * groups).max(1));
        for (p, panel) in panels.enumerate() {
            let lines = p * width..lines.min((p + 1) * width);
            source.pack(lines, 0..groups, width, panel);
        }
        Some(())
    }

    /// Sets the element of a line and a group.
    #[inline(always)]
    pub(crate) fn set(&mut self, line: usize, group: usize, value: W) {
        let panel = line / self.width * self.groups * self.width;
        self.data.as_mut_slice()[panel + group * self.width + line % self.width] = value;
    }

    pub(crate) fn lines(&self) -> usize {
        self.lines
    }

    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The words of `groups` of panel `panel`.
    #[inline(always)]
    pub(crate) fn panel(&self, panel: usize, groups: Range<usize>) -> &[W] {
        let start = panel * self.groups * self.width;
        &self.data.as_slice()[start + groups.start * self.width..start + groups.end * self.width]
    }

    pub(crate) fn words(&self) -> usize {
        self.data.as_slice().len()
    }
}

/// The rows of a matrix as lines (left operand), or, transposed, its columns (right operand).
pub(crate) struct FloatLines<'a, T = f32>(pub(crate) MatRef<'a, T>);

impl<T: Copy + Default + Sync> PanelSource<T> for FloatLines<'_, T> {
    fn pack(&self, lines: Range<usize>, groups: Range<usize>, width: usize, out: &mut [T]) {
        let m = &self.0;
        let (count, depth) = (lines.len(), groups.len());
        if count < width {
            out.fill(T::default());
        }
        if m.row_stride() == 1 {
            for (g, out) in groups.zip(out.chunks_exact_mut(width)) {
                out[..count].copy_from_slice(&m.from(lines.start, g)[..count]);
            }
        } else if m.col_stride() == 1 {
            pack_rows(m, lines, groups.start, depth, width, out);
        } else {
            for (g, out) in groups.zip(out.chunks_exact_mut(width)) {
                for (line, o) in lines.clone().zip(out) {
                    *o = m.from(line, g)[0];
                }
            }
        }
    }
}

/// Interleaves rows that are contiguous along the reduction, eight steps at a time so that each
/// cache line of the panel is written once.
fn pack_rows<T: Copy>(
    m: &MatRef<'_, T>,
    lines: Range<usize>,
    from: usize,
    depth: usize,
    width: usize,
    out: &mut [T],
) {
    const STEP: usize = 8;
    let whole = depth / STEP * STEP;
    for g in (0..whole).step_by(STEP) {
        let block = &mut out[g * width..(g + STEP) * width];
        for (l, line) in lines.clone().enumerate() {
            let src = &m.from(line, from + g)[..STEP];
            for (i, &x) in src.iter().enumerate() {
                block[i * width + l] = x;
            }
        }
    }
    for (l, line) in lines.enumerate() {
        let src = m.from(line, from);
        for g in whole..depth {
            out[g * width + l] = src[g];
        }
    }
}
