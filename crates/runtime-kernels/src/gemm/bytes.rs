//! Bytes as the words of the int8 dot product.

use std::ops::Range;

use super::int8::Int8Matrix;
use super::panel::PanelSource;
use crate::MatRef;
use crate::isa::{Isa, MAX_NR, word_signed, word_unsigned};
use crate::quantized::QuantByte;

/// Which factor of the dot product an operand is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Unsigned,
    Signed,
}

impl Role {
    /// That of the activations, on the other side of which the weights are signed.
    pub(crate) fn activations(isa: Isa) -> Self {
        Self::of_activations(isa.tile().signed_activations)
    }

    /// The same where it is known whether the instruction set takes them signed.
    #[inline(always)]
    pub(crate) fn of_activations(signed: bool) -> Self {
        match signed {
            true => Self::Signed,
            false => Self::Unsigned,
        }
    }

    /// By how much values of type `T` are shifted to fit the role.
    pub(crate) fn shift<T: QuantByte>(self) -> i32 {
        match (self, T::MIN < 0) {
            (Self::Unsigned, true) => 128,
            (Self::Signed, false) => -128,
            _ => 0,
        }
    }

    /// The byte of a value after the shift.
    #[inline(always)]
    pub(crate) fn byte<T: QuantByte>(self, x: T) -> u8 {
        (x.to_i32() + self.shift::<T>()) as u8
    }

    /// A word of bytes after the shift.
    #[inline(always)]
    pub(crate) fn word(self, k_group: usize, bytes: [u8; 4]) -> i32 {
        match self {
            Self::Unsigned => word_unsigned(k_group, bytes),
            Self::Signed => word_signed(k_group, bytes.map(|b| b as i8)),
        }
    }
}

/// Adds up the bytes of a panel per line.
pub(crate) fn add_words(panel: &[i32], width: usize, role: Role, k_group: usize, sums: &mut [i32]) {
    for group in panel.chunks_exact(width) {
        for (sum, &word) in sums.iter_mut().zip(group) {
            *sum += match (k_group, role) {
                (4, Role::Unsigned) => word
                    .to_le_bytes()
                    .iter()
                    .map(|&b| i32::from(b))
                    .sum::<i32>(),
                (4, Role::Signed) => word.to_le_bytes().iter().map(|&b| i32::from(b as i8)).sum(),
                _ => i32::from(word as i16) + (word >> 16),
            };
        }
    }
}

/// Words of scratch memory that [`line_sums`] needs beside the sums.
pub(crate) fn line_sums_scratch(groups: usize) -> usize {
    MAX_NR * groups
}

/// The sum of each line of a source, packed by and by into `panel`.
pub(crate) fn line_sums(
    source: &dyn PanelSource<i32>,
    groups: usize,
    role: Role,
    k_group: usize,
    panel: &mut [i32],
    sums: &mut [i32],
) {
    let width = MAX_NR;
    sums.fill(0);
    if groups == 0 {
        return;
    }
    for (p, sums) in sums.chunks_mut(width).enumerate() {
        let lines = p * width..p * width + sums.len();
        source.pack(lines, 0..groups, width, panel);
        add_words(panel, width, role, k_group, sums);
    }
}

/// The rows of a byte matrix as lines.
pub(crate) enum ByteLines<'a> {
    U8(TypedLines<'a, u8>),
    I8(TypedLines<'a, i8>),
}

/// The rows of a matrix of one byte type.
pub(crate) struct TypedLines<'a, T> {
    matrix: MatRef<'a, T>,
    role: Role,
    k_group: usize,
}

impl<'a> ByteLines<'a> {
    pub(crate) fn new(matrix: Int8Matrix<'a>, role: Role, k_group: usize) -> Self {
        match matrix {
            Int8Matrix::U8(matrix) => Self::U8(TypedLines {
                matrix,
                role,
                k_group,
            }),
            Int8Matrix::I8(matrix) => Self::I8(TypedLines {
                matrix,
                role,
                k_group,
            }),
        }
    }

    pub(crate) fn panels(&self) -> &dyn PanelSource<i32> {
        match self {
            Self::U8(lines) => lines,
            Self::I8(lines) => lines,
        }
    }
}

impl<T: QuantByte> PanelSource<i32> for TypedLines<'_, T> {
    fn pack(&self, lines: Range<usize>, groups: Range<usize>, width: usize, out: &mut [i32]) {
        if lines.len() < width {
            out.fill(0);
        }
        if self.matrix.row_stride() == 1 {
            self.pack_columns(lines, groups, width, out);
        } else {
            self.pack_rows(lines, groups, width, out);
        }
    }
}

impl<T: QuantByte> TypedLines<'_, T> {
    /// Lines that are contiguous across: a right operand in row-major order.
    fn pack_columns(
        &self,
        lines: Range<usize>,
        groups: Range<usize>,
        width: usize,
        out: &mut [i32],
    ) {
        let (depth, kg, count) = (self.matrix.cols(), self.k_group, lines.len());
        let mut rows = [[0u8; MAX_NR]; 4];
        for (g, out) in groups.zip(out.chunks_exact_mut(width)) {
            for (i, row) in rows.iter_mut().enumerate().take(kg) {
                let k = g * kg + i;
                if k < depth {
                    let src = &self.matrix.from(lines.start, k)[..count];
                    row.iter_mut()
                        .zip(src)
                        .for_each(|(o, &x)| *o = self.role.byte(x));
                } else {
                    row.fill(0);
                }
            }
            pack_words(self.role, kg, &rows, &mut out[..count]);
        }
    }

    /// Lines that are contiguous along: a left operand in row-major order.
    fn pack_rows(&self, lines: Range<usize>, groups: Range<usize>, width: usize, out: &mut [i32]) {
        let (depth, kg, step) = (self.matrix.cols(), self.k_group, self.matrix.col_stride());
        for (l, line) in lines.enumerate() {
            let from = groups.start * kg;
            let src = self.matrix.from(line, from);
            let live = depth.saturating_sub(from).min(groups.len() * kg);
            if step == 1 {
                pack_line(self.role, kg, &src[..live], &mut out[l..], width);
            } else {
                for (g, out) in out[l..]
                    .iter_mut()
                    .step_by(width)
                    .enumerate()
                    .take(groups.len())
                {
                    let mut bytes = [0; 4];
                    for (i, b) in bytes
                        .iter_mut()
                        .enumerate()
                        .take(kg)
                        .take(live - (g * kg).min(live))
                    {
                        *b = self.role.byte(src[(g * kg + i) * step]);
                    }
                    *out = self.role.word(kg, bytes);
                }
            }
        }
    }
}

/// Interleaves `k_group` rows of bytes into words.
#[inline(always)]
pub(crate) fn pack_words(role: Role, k_group: usize, rows: &[[u8; MAX_NR]; 4], out: &mut [i32]) {
    let [a, b, c, d] = rows;
    if k_group == 4 {
        for (i, out) in out.iter_mut().enumerate() {
            *out = i32::from_le_bytes([a[i], b[i], c[i], d[i]]);
        }
    } else if role == Role::Unsigned {
        for (i, out) in out.iter_mut().enumerate() {
            *out = word_unsigned(2, [a[i], b[i], 0, 0]);
        }
    } else {
        for (i, out) in out.iter_mut().enumerate() {
            *out = word_signed(2, [a[i] as i8, b[i] as i8, 0, 0]);
        }
    }
}

/// Writes one contiguous line of bytes as words `width` apart.
pub(crate) fn pack_line<T: QuantByte>(
    role: Role,
    k_group: usize,
    src: &[T],
    out: &mut [i32],
    width: usize,
) {
    match (k_group, role) {
        (4, _) => pack_line_of::<T, 4>(role, src, out, width, i32::from_le_bytes),
        (_, Role::Unsigned) => pack_line_of::<T, 2>(role, src, out, width, |[a, b]| {
            i32::from(a) | (i32::from(b) << 16)
        }),
        (_, Role::Signed) => pack_line_of::<T, 2>(role, src, out, width, |[a, b]| {
            (i32::from(a as i8) & 0xffff) | (i32::from(b as i8) << 16)
        }),
    }
}

/// [`pack_line`] with a constant number of bytes per word, which the loop depends on for speed.
#[inline(always)]
fn pack_line_of<T: QuantByte, const KG: usize>(
    role: Role,
    src: &[T],
    out: &mut [i32],
    width: usize,
    word: impl Fn([u8; KG]) -> i32,
) {
    let (groups, rest) = src.as_chunks::<KG>();
    for (group, out) in groups.iter().zip(out.chunks_mut(width)) {
        out[0] = word(group.map(|x| role.byte(x)));
    }
    if let (false, Some(out)) = (rest.is_empty(), out.get_mut(groups.len() * width)) {
        let mut bytes = [0; KG];
        bytes
            .iter_mut()
            .zip(rest)
            .for_each(|(o, &x)| *o = role.byte(x));
        *out = word(bytes);
    }
}
