//! The rows of the left operand as the unpacking kernels read them: filled up to whole blocks, with what each block needs
//! for its zero point.

use super::weights::PackedNBits;
use crate::isa::{MAX_LANES, simd_dispatch, word_signed};
use crate::{Context, MatRef, Scratch};

/// Rows made ready.
pub(super) enum Prepared<'a> {
    Float(FloatRows<'a>),
    Int8(Int8Rows<'a>),
}

/// Rows of floats.
pub(super) struct FloatRows<'a> {
    /// `[rows, padded depth]`.
    pub(super) values: &'a [f32],
    /// `Σ x` of each block.
    pub(super) sums: &'a [f32],
}

/// Rows of 8-bit integers.
pub(super) struct Int8Rows<'a> {
    /// `[rows, padded depth / K_GROUP]`.
    pub(super) words: &'a [i32],
    /// `t` of each block.
    pub(super) scales: &'a [f32],
    /// `Σ x̂` of each block.
    pub(super) sums: &'a [f32],
}

impl<'a> Prepared<'a> {
    /// `None` where the size does not fit the address space.
    pub(super) fn float(
        ctx: &Context,
        scratch: &'a mut Scratch,
        lhs: MatRef<'_, f32>,
        weights: &PackedNBits,
    ) -> Option<Self> {
        let (depth, blocks, rows) = (weights.padded_depth(), weights.blocks(), lhs.rows());
        let floats = depth.checked_add(blocks)?.checked_mul(rows)?;
        let (floats, _) = scratch.parts(floats, 0);
        let (values, sums) = floats.split_at_mut(rows * depth);
        for row in 0..rows {
            let values = &mut values[row * depth..(row + 1) * depth];
            let (live, rest) = values.split_at_mut(lhs.cols());
            live.copy_from_slice(&lhs.from(row, 0)[..lhs.cols()]);
            rest.fill(0.0);
            let sums = &mut sums[row * blocks..(row + 1) * blocks];
            block_sums(ctx.isa, values, weights.block(), sums);
        }
        Some(Self::Float(FloatRows { values, sums }))
    }

    /// As [`Prepared::float`].
    pub(super) fn int8(
        ctx: &Context,
        scratch: &'a mut Scratch,
        lhs: MatRef<'_, f32>,
        weights: &PackedNBits,
    ) -> Option<Self> {
        let (depth, blocks, rows) = (weights.padded_depth(), weights.blocks(), lhs.rows());
        let words_of_row = depth / ctx.isa.tile().k_group;
        let (words, per_block) = (rows.checked_mul(words_of_row)?, rows.checked_mul(blocks)?);
        let (floats, words) = scratch.parts(per_block.checked_mul(2)?, words);
        let (scales, sums) = floats.split_at_mut(per_block);
        for row in 0..rows {
            let own = row * blocks..(row + 1) * blocks;
            quantize_row(
                ctx.isa,
                &lhs.from(row, 0)[..lhs.cols()],
                weights.block(),
                &mut words[row * words_of_row..(row + 1) * words_of_row],
                (&mut scales[own.clone()], &mut sums[own]),
            );
        }
        Some(Self::Int8(Int8Rows {
            words,
            scales,
            sums,
        }))
    }
}

simd_dispatch! {
    fn block_sums(s: S, values: &[f32], block: usize, sums: &mut [f32]) {
        for (values, sum) in values.chunks_exact(block).zip(sums) {
            let mut acc = s.splat(0.0);
            // Blocks are of 16 at least, and of powers of two.
            for x in values.chunks_exact(S::LANES) {
                acc = s.add(acc, s.load(x));
            }
            *sum = s.sum(acc);
        }
    }
}

simd_dispatch! {
    /// Rounds the blocks of a row to 8 bits: `x̂ = round(127 x / max |x|)`. A block that holds what is not finite gets the
    /// scale NaN.
    fn quantize_row(
        s: S,
        row: &[f32],
        block: usize,
        words: &mut [i32],
        per_block: (&mut [f32], &mut [f32]),
    ) {
        let blocks = row.chunks(block).zip(words.chunks_exact_mut(block / S::K_GROUP));
        for ((x, words), (scale, sum)) in blocks.zip(per_block.0.iter_mut().zip(per_block.1)) {
            let (mut most, mut poison) = (s.splat(0.0), s.splat(0.0));
            for x in x.chunks(S::LANES) {
                let x = s.load_partial(x, 0.0);
                most = s.max(s.abs(x), most);
                poison = s.fma(x, s.splat(0.0), poison);
            }
            let most = s.fold(most, f32::max);
            *scale = most / 127.0 + s.sum(poison);
            let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
            let mut total = s.splat_i32(0);
            for (x, words) in x.chunks(S::LANES).zip(words.chunks_mut(S::LANES / S::K_GROUP)) {
                let x = s.mul(s.load_partial(x, 0.0), s.splat(inverse));
                // In floats first: what is not finite is not to reach the conversion.
                let x = s.min(s.splat(127.0), s.max(s.splat(-127.0), x));
                let x = s.select(s.is_nan(x), s.splat(0.0), x);
                let q = s.to_i32(x);
                total = s.add_i32(total, q);
                let mut bytes = [0i8; MAX_LANES];
                s.store_i8(q, &mut bytes);
                if S::K_GROUP == 4 {
                    for (word, b) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
                        *word = word_signed(4, *b);
                    }
                } else {
                    for (word, b) in words.iter_mut().zip(bytes.as_chunks::<2>().0) {
                        *word = word_signed(2, [b[0], b[1], 0, 0]);
                    }
                }
            }
            let used = x.len().div_ceil(S::LANES) * S::LANES / S::K_GROUP;
            words.iter_mut().skip(used).for_each(|word| *word = 0);
            // A sum of at most 512 numbers of 8 bits is exact.
            *sum = s.sum(s.to_f32(total));
        }
    }
}
