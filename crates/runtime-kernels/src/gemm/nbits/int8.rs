//! Codes times activations of 8 bits: exact integer sums per block.

use super::activations::Int8Rows;
use super::sweep::{Unpack, parameters};
use super::weights::PackedNBits;
use crate::isa::Simd;

/// The lowest `bits` of each byte, or half, of a word of the dot product.
#[inline(always)]
fn unit_mask<S: Simd>(bits: usize) -> i32 {
    let one = (1u32 << bits) - 1;
    let units = if S::K_GROUP == 4 {
        0x0101_0101
    } else {
        0x0001_0001
    };
    one.wrapping_mul(units) as i32
}

impl Unpack for Int8Rows<'_> {
    #[inline(always)]
    fn tile<S: Simd, const BITS: i32, const R: usize>(
        &self,
        s: S,
        first: usize,
        weights: &PackedNBits,
        panel: usize,
        tile: &mut [f32],
    ) {
        let (nr, bits) = (2 * S::LANES, BITS as usize);
        // Dot products that one word of codes gives.
        let dots = 32 / bits / S::K_GROUP;
        let mask = s.splat_i32(unit_mask::<S>(bits));
        let block = weights.block() / S::K_GROUP;
        let depth = weights.blocks() * block;
        let blocks = weights
            .words(panel)
            .chunks_exact(weights.words_per_block() * nr);
        let mut sums = [[s.splat(0.0); 2]; R];
        for (b, words) in blocks.enumerate() {
            let x: [&[i32]; R] = std::array::from_fn(|r| {
                let from = (first + r) * depth + b * block;
                &self.words[from..from + block]
            });
            let mut acc = [[s.splat_i32(0); 2]; R];
            for (w, word) in words.chunks_exact(nr).enumerate() {
                let mut low = s.load_i32(word);
                let mut high = s.load_i32(&word[S::LANES..]);
                let own: [&[i32]; R] = std::array::from_fn(|r| &x[r][w * dots..(w + 1) * dots]);
                for i in 0..dots {
                    let (q0, q1) = (s.and_i32(low, mask), s.and_i32(high, mask));
                    for (acc, own) in acc.iter_mut().zip(&own) {
                        let x = s.splat_i32(own[i]);
                        acc[0] = s.dot(acc[0], q0, x);
                        acc[1] = s.dot(acc[1], q1, x);
                    }
                    low = s.shr_i32::<BITS>(low);
                    high = s.shr_i32::<BITS>(high);
                }
            }
            for i in 0..2 {
                let (scale, zero_point) = parameters(s, weights, panel, b, i);
                for r in 0..R {
                    let own = (first + r) * weights.blocks() + b;
                    let (sum, t) = (s.splat(self.sums[own]), s.splat(self.scales[own]));
                    let centred = s.sub(s.to_f32(acc[r][i]), s.mul(zero_point, sum));
                    sums[r][i] = s.fma(s.mul(scale, t), centred, sums[r][i]);
                }
            }
        }
        for r in 0..R {
            s.store(sums[r][0], &mut tile[r * nr..]);
            s.store(sums[r][1], &mut tile[r * nr + S::LANES..]);
        }
    }
}
