//! Weight-only quantization in blocks along the inner dimension, round to nearest.

use super::channels::positive;
use crate::QuantError;
use compress_tensor::Tensor;

/// A `[K, N]` matrix in blocks of codes along `K`, in the layout of `com.microsoft.MatMulNBits`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BlockQuantized {
    /// Bits per code: 4 or 8.
    pub bits: usize,
    /// Rows of the matrix that share one scale.
    pub block: usize,
    /// Rows of the matrix, `K`.
    pub rows: usize,
    /// u8 `[N, ceil(K / block), block * bits / 8]`: codes of one column after the other, two 4-bit codes per
    /// byte, the first in the low half.
    pub codes: Tensor,
    /// f32 `[N, ceil(K / block)]`, real units per step; the zero point is `2^(bits - 1)`.
    pub scales: Tensor,
}

impl BlockQuantized {
    /// The weights that the codes stand for, `[K, N]` in C order: `(q - 2^(bits-1)) * s`.
    ///
    /// # Errors
    /// [`QuantError::Tensor`] if the fields are of other types than stated; [`QuantError::Setting`],
    /// [`QuantError::Rank`] or [`QuantError::Length`] if they contradict one another.
    pub fn dequantize(&self) -> Result<Vec<f32>, QuantError> {
        check_blocks(self.bits, self.block)?;
        let (codes, scales) = (self.codes.data::<u8>()?, self.scales.data::<f32>()?);
        let &[n, blocks, bytes] = self.codes.shape() else {
            return Err(QuantError::Rank {
                what: "the array of codes",
                found: self.codes.rank(),
                expected: 3,
            });
        };
        let lengths = [
            ("bytes in a block", bytes, self.block * self.bits / 8),
            ("blocks in a column", blocks, self.rows.div_ceil(self.block)),
            ("scales", scales.len(), n * blocks),
        ];
        for (what, found, expected) in lengths {
            if found != expected {
                return Err(QuantError::Length {
                    what,
                    found,
                    expected,
                });
            }
        }
        let middle = f32::from(1u8 << (self.bits - 1));
        let code = |column: usize, row: usize| {
            let (b, i) = (row / self.block, row % self.block);
            let base = (column * blocks + b) * bytes;
            let q = if self.bits == 8 {
                codes[base + i]
            } else {
                codes[base + i / 2] >> (4 * (i % 2)) & 15
            };
            (f32::from(q) - middle) * scales[column * blocks + b]
        };
        Ok((0..self.rows)
            .flat_map(|row| (0..n).map(move |column| (column, row)))
            .map(|(c, r)| code(c, r))
            .collect())
    }
}

/// Larger blocks have no kernels in ONNX Runtime, and short columns would be padded to them.
const MAX_BLOCK: usize = 256;

/// Checks the settings of [`quantize_blocks`].
pub(crate) fn check_blocks(bits: usize, block: usize) -> Result<(), QuantError> {
    if bits != 4 && bits != 8 {
        return Err(QuantError::Setting {
            setting: "bits",
            found: bits as f64,
            rule: "it must be 4 or 8",
        });
    }
    if !(16..=MAX_BLOCK).contains(&block) || !block.is_power_of_two() {
        let rule = "it must be a power of two from 16 to 256";
        return Err(QuantError::Setting {
            setting: "block",
            found: block as f64,
            rule,
        });
    }
    Ok(())
}

/// Quantizes `weight` (`[K, N]`) to unsigned codes around the middle, one scale for each `block` rows of
/// a column.
///
/// `q = clamp(round(w / s) + 2^(bits-1), 0, 2^bits - 1)` with `s` such that the entry of greatest
/// magnitude lies on the end `-2^(bits-1)` of the range, which all codes are used for.
///
/// # Errors
/// [`QuantError::Setting`] if `bits` is not 4 or 8 or `block` not a power of two from 16 to 256;
/// [`QuantError::Rank`] if `weight` is no matrix; [`QuantError::NotFinite`].
pub fn quantize_blocks(
    weight: &Tensor,
    bits: usize,
    block: usize,
) -> Result<BlockQuantized, QuantError> {
    check_blocks(bits, block)?;
    let (rows, n) = columns(weight)?;
    let k = weight.shape()[0];
    let middle = f32::from(1u8 << (bits - 1));
    let scales = peak_scales(&rows, k, block, middle);
    let blocks = k.div_ceil(block);
    let mut codes = Vec::with_capacity(rows.len());
    for (row, scales) in rows.chunks(k.max(1)).zip(scales.chunks(blocks.max(1))) {
        for (weights, scale) in row.chunks(block).zip(scales) {
            let code = |w: &f32| (w / scale).round().clamp(-middle, middle - 1.0);
            codes.extend(weights.iter().map(code));
        }
    }
    pack(&codes, scales, (k, n), bits, block)
}

/// The columns of a `[K, N]` matrix one after the other, and `N`.
pub(super) fn columns(weight: &Tensor) -> Result<(Vec<f32>, usize), QuantError> {
    let &[k, n] = weight.shape() else {
        return Err(QuantError::Rank {
            what: "the weight",
            found: weight.rank(),
            expected: 2,
        });
    };
    let data = weight.data::<f32>()?;
    if let Some((index, &value)) = data.iter().enumerate().find(|(_, v)| !v.is_finite()) {
        return Err(QuantError::NotFinite { index, value });
    }
    let mut rows = Vec::with_capacity(data.len());
    for column in 0..n {
        rows.extend((0..k).map(|row| data[row * n + column]));
    }
    Ok((rows, n))
}

/// For each block of each row of `k` weights the scale that puts the entry of greatest magnitude on `-middle`.
pub(super) fn peak_scales(rows: &[f32], k: usize, block: usize, middle: f32) -> Vec<f32> {
    let scale = |weights: &[f32]| {
        let greater = |p: f32, &w: &f32| if w.abs() > p.abs() { w } else { p };
        let peak = weights.iter().fold(0f32, greater);
        // The sign goes into the scale, so that the peak takes the longer, negative half.
        let scale = if peak == 0.0 { 1.0 } else { -peak / middle };
        if scale < 0.0 {
            -positive(-scale)
        } else {
            positive(scale)
        }
    };
    let rows = rows.chunks(k.max(1));
    rows.flat_map(|row| row.chunks(block).map(scale)).collect()
}

/// Codes about 0, `[N, K]`, and scales, `[N, blocks]`, as the operator holds them; what fills up the last block is 0.
pub(super) fn pack(
    codes: &[f32],
    scales: Vec<f32>,
    (k, n): (usize, usize),
    bits: usize,
    block: usize,
) -> Result<BlockQuantized, QuantError> {
    let blocks = k.div_ceil(block);
    let bytes_per_block = block * bits / 8;
    let middle = 1u8 << (bits - 1);
    let zero = if bits == 8 {
        middle
    } else {
        middle | middle << 4
    };
    let mut packed = vec![zero; n * blocks * bytes_per_block];
    let rows = packed.chunks_mut((blocks * bytes_per_block).max(1));
    for (out, codes) in rows.zip(codes.chunks(k.max(1))) {
        for (i, &code) in codes.iter().enumerate() {
            let code = (code + f32::from(middle)) as u8;
            if bits == 8 {
                out[i] = code;
            } else {
                let shift = 4 * (i % 2);
                out[i / 2] = out[i / 2] & !(15 << shift) | code << shift;
            }
        }
    }
    Ok(BlockQuantized {
        bits,
        block,
        rows: k,
        codes: Tensor::from_vec(&[n, blocks, bytes_per_block], packed)?,
        scales: Tensor::from_vec(&[n, blocks], scales)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_exact_and_the_rest_within_half_a_step() {
        let w: Vec<f32> = (0..32).map(|i| (i as f32 * 0.7).sin()).collect();
        let q = quantize_blocks(&Tensor::from_vec(&[32, 1], w.clone()).unwrap(), 4, 32).unwrap();
        let scale = q.scales.as_slice::<f32>().unwrap()[0];
        let codes = q.codes.as_slice::<u8>().unwrap();
        for (i, &w) in w.iter().enumerate() {
            let code = codes[i / 2] >> (4 * (i % 2)) & 15;
            let back = (f32::from(code) - 8.0) * scale;
            let bound = if code == 15 {
                scale.abs()
            } else {
                scale.abs() * 0.500_01
            };
            assert!((w - back).abs() <= bound, "{w} {back} {scale}");
        }
    }

    fn wave(k: usize, n: usize) -> Tensor {
        let w = (0..k * n).map(|i| (i as f32 * 0.37).sin() * (1.0 + (i % n) as f32));
        Tensor::from_vec(&[k, n], w.collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn columns_and_blocks_lie_as_the_operator_reads_them() {
        // Block 1 of column 1 holds rows 16 and 17 only: one peak of each sign, the rest is padding.
        let mut w = vec![0f32; 18 * 2];
        (w[16 * 2 + 1], w[17 * 2 + 1], w[0]) = (-2.0, 1.0, 3.0);
        let w = Tensor::from_vec(&[18, 2], w).unwrap();
        let q = quantize_blocks(&w, 4, 16).unwrap();
        assert_eq!(
            (q.codes.shape(), q.scales.shape()),
            (&[2, 2, 8][..], &[2, 2][..])
        );
        assert_eq!(
            q.scales.as_slice::<f32>().unwrap(),
            [-0.375, 1.0, 1.0, 0.25]
        );
        let codes = q.codes.as_slice::<u8>().unwrap();
        // -8 and 4 steps of 0.25 about 8: codes 0 and 12; padding is 8.
        assert_eq!(
            codes[24..],
            [0xc0, 0x88, 0x88, 0x88, 0x88, 0x88, 0x88, 0x88]
        );
        assert_eq!(codes[0], 0x80);
        assert_eq!(q.dequantize().unwrap(), *w.as_slice::<f32>().unwrap());
    }

    #[test]
    fn eight_bits_are_sixteen_times_as_fine_as_four() {
        let w = wave(50, 3);
        let error = |bits| {
            let q = quantize_blocks(&w, bits, 32).unwrap();
            let back = q.dequantize().unwrap();
            let pairs = w.as_slice::<f32>().unwrap().iter().zip(back);
            pairs.map(|(a, b)| (a - b).abs()).fold(0f32, f32::max)
        };
        let (four, eight) = (error(4), error(8));
        // Columns reach to 3: a step of 3/8 or 3/128, and a whole one where the range ends.
        assert!(four > 0.05 && four <= 0.376, "{four}");
        assert!(eight > 0.003 && eight <= 0.0235, "{eight}");
    }

    #[test]
    fn settings_and_fields_that_break_a_rule_are_refused() {
        let w = wave(32, 1);
        for (bits, block) in [(0, 32), (5, 32), (4, 8), (4, 48)] {
            let error = quantize_blocks(&w, bits, block).unwrap_err();
            assert!(matches!(error, QuantError::Setting { .. }), "{error}");
        }
        // Settings come before the shape.
        let error = quantize_blocks(&Tensor::vector(vec![1f32]), 3, 32).unwrap_err();
        assert!(matches!(
            error,
            QuantError::Setting {
                setting: "bits",
                ..
            }
        ));
        let good = quantize_blocks(&w, 4, 32).unwrap();
        let mut bad = good.clone();
        bad.bits = 0;
        assert!(matches!(bad.dequantize(), Err(QuantError::Setting { .. })));
        let mut bad = good.clone();
        bad.rows = 33;
        assert!(matches!(bad.dequantize(), Err(QuantError::Length { .. })));
        let mut bad = good;
        bad.bits = 8;
        assert!(matches!(bad.dequantize(), Err(QuantError::Length { .. })));
        let infinite = Tensor::from_vec(&[1, 1], vec![f32::NEG_INFINITY]).unwrap();
        let error = quantize_blocks(&infinite, 8, 16).unwrap_err();
        assert!(matches!(error, QuantError::NotFinite { index: 0, .. }));
    }
}
