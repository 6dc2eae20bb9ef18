//! Weights of few bits in the panels of a product.

use crate::error::{check_len, check_words, product};
use crate::gemm::direct::check_width;
use crate::pages::AlignedVec;
use crate::{Isa, KernelError};

/// A matrix of codes of a few bits with a scale and a zero point per block of a row; its rows are the columns of the
/// product.
#[derive(Clone, Copy, Debug)]
pub struct NBitsMatrix<'a> {
    /// Rows.
    pub rows: usize,
    /// Numbers of a row.
    pub depth: usize,
    /// Bits of a code: 2, 4 or 8.
    pub bits: usize,
    /// Numbers of a block: a power of two of at least 16.
    pub block: usize,
    /// The codes of each row, the first in the lowest bits, filled up to whole blocks.
    pub codes: &'a [u8],
    /// One scale per block, row by row.
    pub scales: &'a [f32],
    /// The codes that stand for 0.
    pub zero_points: NBitsZeroPoints<'a>,
}

/// The codes that stand for 0.
#[derive(Clone, Copy, Debug)]
pub enum NBitsZeroPoints<'a> {
    /// `2^(bits - 1)` everywhere.
    Middle,
    /// One code per block, each row filled up to whole bytes.
    Packed(&'a [u8]),
    /// One number per block.
    Float(&'a [f32]),
}

/// An [`NBitsMatrix`] packed once for one instruction set; its codes take no more memory than before.
#[derive(Clone, Debug)]
pub struct PackedNBits {
    /// `panel[word * nr + column]`.
    words: AlignedVec<i32>,
    /// `panel[block * nr + column]`, 0 past the last column.
    scales: AlignedVec<f32>,
    zero_points: ZeroPoints,
    shape: Shape,
    isa: Isa,
}

#[derive(Clone, Debug)]
enum ZeroPoints {
    All(f32),
    /// As the scales.
    PerBlock(AlignedVec<f32>),
}

#[derive(Clone, Copy, Debug)]
struct Shape {
    rows: usize,
    depth: usize,
    bits: usize,
    block: usize,
    blocks: usize,
    nr: usize,
    k_group: usize,
}

impl Shape {
    fn codes_per_word(&self) -> usize {
        32 / self.bits
    }

    fn words_per_block(&self) -> usize {
        self.block / self.codes_per_word()
    }

    /// The lowest bit of code `k` of a word: neighbours go to different bytes (or halves), so that one mask leaves the
    /// bytes (or halves) of a word of the integer dot product.
    fn bit(&self, k: usize) -> usize {
        k % self.k_group * (32 / self.k_group) + k / self.k_group * self.bits
    }

    /// A number per block, in panels.
    fn blocks_in_panels(&self, value: impl Fn(usize, usize) -> f32) -> AlignedVec<f32> {
        let panels = self.rows.div_ceil(self.nr);
        let mut out = AlignedVec::zeroed(panels * self.blocks * self.nr);
        let size = (self.blocks * self.nr).max(1);
        for (p, panel) in out.as_mut_slice().chunks_exact_mut(size).enumerate() {
            for (b, block) in panel.chunks_exact_mut(self.nr).enumerate() {
                let rows = p * self.nr..self.rows.min((p + 1) * self.nr);
                for (out, row) in block.iter_mut().zip(rows) {
                    *out = value(row, b);
                }
            }
        }
        out
    }
}

/// Code `index` of a packed run.
fn code(bytes: &[u8], bits: usize, index: usize) -> u8 {
    let bit = index * bits;
    let mask = ((1u16 << bits) - 1) as u8;
    (bytes[bit / 8] >> (bit % 8)) & mask
}

impl PackedNBits {
    /// Packs `matrix`.
    ///
    /// # Errors
    /// [`KernelError::Invalid`] for bits or a block size that there is not, [`KernelError::Length`] if codes, scales or
    /// zero points do not have the size that follows, [`KernelError::OutOfBounds`] if the packed size does not fit the
    /// address space.
    pub fn new(isa: Isa, matrix: &NBitsMatrix<'_>) -> Result<Self, KernelError> {
        let &NBitsMatrix {
            rows,
            depth,
            bits,
            block,
            codes,
            scales,
            zero_points,
        } = matrix;
        if !matches!(bits, 2 | 4 | 8) {
            return Err(KernelError::Invalid {
                what: "bits of a code",
                value: bits,
            });
        }
        if block < 16 || !block.is_power_of_two() {
            return Err(KernelError::Invalid {
                what: "block size",
                value: block,
            });
        }
        let blocks = depth.div_ceil(block);
        let row_bytes = product(&[blocks, block / 8, bits]);
        check_len(
            "codes",
            codes.len(),
            row_bytes.and_then(|bytes| bytes.checked_mul(rows)),
        )?;
        check_len("scales", scales.len(), product(&[rows, blocks]))?;
        let row_zeros = (blocks * bits).div_ceil(8);
        match zero_points {
            NBitsZeroPoints::Middle => {}
            NBitsZeroPoints::Packed(z) => {
                check_len("zero points", z.len(), product(&[rows, row_zeros]))?;
            }
            NBitsZeroPoints::Float(z) => check_len("zero points", z.len(), Some(scales.len()))?,
        }
        let tile = isa.tile();
        let shape = Shape {
            rows,
            depth,
            bits,
            block,
            blocks,
            nr: tile.nr,
            k_group: tile.k_group,
        };
        let words_of_row = blocks * shape.words_per_block();
        let padded = rows.checked_next_multiple_of(shape.nr);
        let sizes = padded.and_then(|padded| product(&[padded, words_of_row.max(blocks), 4]));
        if sizes.is_none() {
            return Err(KernelError::OutOfBounds {
                operand: "weights",
                rows,
                cols: depth,
                len: usize::MAX,
            });
        }
        Ok(Self {
            words: words(&shape, codes),
            scales: shape.blocks_in_panels(|row, b| scales[row * blocks + b]),
            zero_points: match zero_points {
                NBitsZeroPoints::Middle => ZeroPoints::All((1u32 << (bits - 1)) as f32),
                NBitsZeroPoints::Packed(z) => {
                    let zeros = |row, b| {
                        let row = &z[row * row_zeros..(row + 1) * row_zeros];
                        code(row, bits, b).into()
                    };
                    ZeroPoints::PerBlock(shape.blocks_in_panels(zeros))
                }
                NBitsZeroPoints::Float(z) => {
                    ZeroPoints::PerBlock(shape.blocks_in_panels(|row, b| z[row * blocks + b]))
                }
            },
            shape,
            isa,
        })
    }

    /// Rows of the matrix: columns of the product.
    pub fn rows(&self) -> usize {
        self.shape.rows
    }

    /// Numbers of a row.
    pub fn depth(&self) -> usize {
        self.shape.depth
    }

    /// Bytes of the packed form.
    pub fn bytes(&self) -> usize {
        let zero_points = match &self.zero_points {
            ZeroPoints::All(_) => 0,
            ZeroPoints::PerBlock(z) => z.as_slice().len(),
        };
        4 * (self.words.as_slice().len() + self.scales.as_slice().len() + zero_points)
    }

    pub(super) fn bits(&self) -> usize {
        self.shape.bits
    }

    pub(super) fn block(&self) -> usize {
        self.shape.block
    }

    pub(super) fn blocks(&self) -> usize {
        self.shape.blocks
    }

    /// Numbers of a row that is filled up to whole blocks.
    pub(super) fn padded_depth(&self) -> usize {
        self.shape.blocks * self.shape.block
    }

    pub(super) fn words_per_block(&self) -> usize {
        self.shape.words_per_block()
    }

    pub(super) fn isa(&self) -> Isa {
        self.isa
    }

    /// Refuses to run on an instruction set of another word format.
    pub(super) fn check(&self, isa: Isa) -> Result<(), KernelError> {
        let own = self.isa.tile();
        check_width(isa, own.nr)?;
        check_words("right operand", own.k_group, isa)
    }

    /// The words of panel `p`.
    #[inline(always)]
    pub(super) fn words(&self, p: usize) -> &[i32] {
        let size = self.shape.blocks * self.words_per_block() * self.shape.nr;
        &self.words.as_slice()[p * size..(p + 1) * size]
    }

    /// The scales of panel `p`.
    #[inline(always)]
    pub(super) fn scales(&self, p: usize) -> &[f32] {
        let size = self.shape.blocks * self.shape.nr;
        &self.scales.as_slice()[p * size..(p + 1) * size]
    }

    /// The zero points of panel `p`: one per scale, or one number for all.
    #[inline(always)]
    pub(super) fn zero_points(&self, p: usize) -> Result<&[f32], f32> {
        match &self.zero_points {
            ZeroPoints::All(z) => Err(*z),
            ZeroPoints::PerBlock(z) => {
                let size = self.shape.blocks * self.shape.nr;
                Ok(&z.as_slice()[p * size..(p + 1) * size])
            }
        }
    }
}

/// The codes as words in panels, 0 past the last row.
fn words(shape: &Shape, codes: &[u8]) -> AlignedVec<i32> {
    let per_word = shape.codes_per_word();
    let words = shape.blocks * shape.words_per_block();
    let mut out = AlignedVec::zeroed(shape.rows.div_ceil(shape.nr) * words * shape.nr);
    if words == 0 {
        return out;
    }
    let panels = out.as_mut_slice().chunks_exact_mut(words * shape.nr);
    let rows_of_panels = codes.chunks(words * 4 * shape.nr);
    for (panel, rows) in panels.zip(rows_of_panels) {
        for (column, row) in rows.chunks_exact(words * 4).enumerate() {
            for (w, bytes) in row.as_chunks::<4>().0.iter().enumerate() {
                let word = (0..per_word).fold(0u32, |word, k| {
                    word | u32::from(code(bytes, shape.bits, k)) << shape.bit(k)
                });
                panel[w * shape.nr + column] = word as i32;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix<'a>(bits: usize, codes: &'a [u8], scales: &'a [f32]) -> NBitsMatrix<'a> {
        NBitsMatrix {
            rows: 1,
            depth: 16,
            bits,
            block: 16,
            codes,
            scales,
            zero_points: NBitsZeroPoints::Middle,
        }
    }

    #[test]
    fn neighbouring_codes_go_to_different_bytes() {
        let codes = [0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe];
        let packed = PackedNBits::new(Isa::scalar(), &matrix(4, &codes, &[1.0])).unwrap();
        let nr = Isa::scalar().tile().nr;
        // Codes 0 to 3 in the low halves of the bytes, 4 to 7 in the high ones.
        assert_eq!(packed.words(0)[0], 0x73_62_51_40);
        assert_eq!(packed.words(0)[nr] as u32, 0xfb_ea_d9_c8);
        assert_eq!(packed.words(0)[1], 0);
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let isa = Isa::scalar();
        let new = |m: &NBitsMatrix<'_>| PackedNBits::new(isa, m).map(|_| ());
        assert_eq!(new(&matrix(4, &[0; 8], &[1.0])), Ok(()));
        assert_eq!(new(&matrix(8, &[0; 16], &[1.0])), Ok(()));
        assert!(new(&matrix(3, &[0; 8], &[1.0])).is_err());
        assert!(new(&matrix(4, &[0; 7], &[1.0])).is_err());
        assert!(new(&matrix(4, &[0; 8], &[])).is_err());
        let odd = NBitsMatrix {
            block: 24,
            ..matrix(4, &[0; 8], &[1.0])
        };
        assert!(new(&odd).is_err());
        let huge = NBitsMatrix {
            rows: usize::MAX,
            ..matrix(4, &[0; 8], &[1.0])
        };
        assert!(new(&huge).is_err());
        let zeros = NBitsMatrix {
            zero_points: NBitsZeroPoints::Packed(&[0, 0]),
            ..matrix(4, &[0; 8], &[1.0])
        };
        assert!(new(&zeros).is_err());
    }
}
