//! Codes unpacked to floats.

use std::ops::Range;

use super::activations::FloatRows;
use super::sweep::{Unpack, parameters};
use super::weights::PackedNBits;
use crate::gemm::panel::PanelSource;
use crate::isa::{Simd, simd_dispatch};

/// Where code number `field` of a word, counted from the lowest bits, stands in the row.
#[inline(always)]
fn position<S: Simd>(bits: usize, field: usize) -> usize {
    let per_unit = 32 / S::K_GROUP / bits;
    field % per_unit * S::K_GROUP + field / per_unit
}

impl Unpack for FloatRows<'_> {
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
        let per_word = 32 / bits;
        let mask = s.splat_i32((1 << BITS) - 1);
        let (block, depth) = (weights.block(), weights.padded_depth());
        let blocks = weights
            .words(panel)
            .chunks_exact(weights.words_per_block() * nr);
        let mut sums = [[s.splat(0.0); 2]; R];
        for (b, words) in blocks.enumerate() {
            let x: [&[f32]; R] = std::array::from_fn(|r| {
                let from = (first + r) * depth + b * block;
                &self.values[from..from + block]
            });
            let mut acc = [[s.splat(0.0); 2]; R];
            for (w, word) in words.chunks_exact(nr).enumerate() {
                let mut low = s.load_i32(word);
                let mut high = s.load_i32(&word[S::LANES..]);
                let own: [&[f32]; R] =
                    std::array::from_fn(|r| &x[r][w * per_word..(w + 1) * per_word]);
                for field in 0..per_word {
                    let q0 = s.to_f32(s.and_i32(low, mask));
                    let q1 = s.to_f32(s.and_i32(high, mask));
                    for r in 0..R {
                        let x = s.splat(own[r][position::<S>(bits, field)]);
                        acc[r][0] = s.fma(x, q0, acc[r][0]);
                        acc[r][1] = s.fma(x, q1, acc[r][1]);
                    }
                    low = s.shr_i32::<BITS>(low);
                    high = s.shr_i32::<BITS>(high);
                }
            }
            for i in 0..2 {
                let (scale, zero_point) = parameters(s, weights, panel, b, i);
                for r in 0..R {
                    let sum = s.splat(self.sums[(first + r) * weights.blocks() + b]);
                    let centred = s.sub(acc[r][i], s.mul(zero_point, sum));
                    sums[r][i] = s.fma(scale, centred, sums[r][i]);
                }
            }
        }
        for r in 0..R {
            s.store(sums[r][0], &mut tile[r * nr..]);
            s.store(sums[r][1], &mut tile[r * nr + S::LANES..]);
        }
    }
}

/// Panels of dequantized weights, as the blocked product reads them.
impl PanelSource<f32> for PackedNBits {
    fn pack(&self, lines: Range<usize>, groups: Range<usize>, width: usize, out: &mut [f32]) {
        match self.bits() {
            2 => dequantize_2(self.isa(), self, lines.start / width, groups, out),
            4 => dequantize_4(self.isa(), self, lines.start / width, groups, out),
            _ => dequantize_8(self.isa(), self, lines.start / width, groups, out),
        }
    }
}

macro_rules! dequantize_bits {
    ($($name:ident: $bits:literal;)*) => {$(
        simd_dispatch! {
            fn $name(s: S, weights: &PackedNBits, panel: usize, steps: Range<usize>, out: &mut [f32]) {
                dequantize::<S, $bits>(s, weights, panel, steps, out);
            }
        }
    )*};
}

dequantize_bits! {
    dequantize_2: 2;
    dequantize_4: 4;
    dequantize_8: 8;
}

/// Steps `steps` of the reduction of a panel: `(q - z) s`, rounded as the definition says.
#[inline(always)]
fn dequantize<S: Simd, const BITS: i32>(
    s: S,
    weights: &PackedNBits,
    panel: usize,
    steps: Range<usize>,
    out: &mut [f32],
) {
    let (nr, bits) = (2 * S::LANES, BITS as usize);
    let per_word = 32 / bits;
    let mask = s.splat_i32((1 << BITS) - 1);
    let words = weights.words(panel);
    for w in steps.start / per_word..steps.end.div_ceil(per_word) {
        let b = w / weights.words_per_block();
        for i in 0..2 {
            let (scale, zero_point) = parameters(s, weights, panel, b, i);
            let mut v = s.load_i32(&words[w * nr + i * S::LANES..]);
            for field in 0..per_word {
                let k = w * per_word + position::<S>(bits, field);
                let q = s.to_f32(s.and_i32(v, mask));
                let value = s.mul(s.sub(q, zero_point), scale);
                if steps.contains(&k) {
                    s.store(value, &mut out[(k - steps.start) * nr + i * S::LANES..]);
                }
                v = s.shr_i32::<BITS>(v);
            }
        }
    }
}
