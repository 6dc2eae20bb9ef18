//! Codes and scales of blocks that change the layer's outputs least.

use super::tile::{Codes, Tile};
use super::{Found, Problem, RoundingOptions, TOGETHER, check_damping, product_sqnr_db};
use crate::QuantError;
use crate::weight::blocks::{BlockQuantized, check_blocks, columns, pack, peak_scales};
use crate::weight::channels::nearest;
use crate::weight::moments::InputMoments;
use compress_tensor::Tensor;

/// Times that scales are fitted to the codes and codes to the scales.
const FITS: usize = 2;
/// Fractions of the greatest magnitude that are tried for a scale.
const CANDIDATES: usize = 16;

/// A matrix in blocks and what its codes do to the outputs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RoundedBlocks {
    /// The matrix.
    pub blocks: BlockQuantized,
    /// What the bias of each column must grow by; all 0 for [`MeanError::Stays`](super::MeanError::Stays).
    pub bias_shift: Vec<f32>,
    /// As [`Rounded::product_sqnr_db`](super::Rounded::product_sqnr_db).
    pub product_sqnr_db: Option<f64>,
}

/// Quantizes `weight` (`[K, N]`) as [`quantize_blocks`](crate::quantize_blocks) does, with the scales and codes with
/// which the products with the inputs change least.
///
/// Scales start at the least squared error of the block, each weight counted with the mean square of its input, and are
/// fitted to the codes in turn with these. Codes are rounded with error feedback, then moved one after the other.
/// Where the moments do not [suffice](InputMoments::suffice) this is `quantize_blocks`; `options.q_max` is not looked at.
///
/// # Errors
/// Those of [`quantize_blocks`](crate::quantize_blocks); [`QuantError::Length`] where `K` is not the moments' width;
/// [`QuantError::Setting`] for a damping that is negative or not finite.
///
/// # Examples
/// ```
/// use compress_quant::{InputMoments, RoundingOptions, Tensor, round_blocks_to_inputs};
/// // Sixteen inputs that are always equal: only the sum of the weights, 12, matters.
/// let weight = Tensor::from_vec(&[16, 1], (0..16).map(|i| i as f32 * 0.1).collect::<Vec<_>>())?;
/// let mut inputs = InputMoments::new(16);
/// inputs.add(&[1.0; 16 * 16]);
/// let found = round_blocks_to_inputs(&weight, 4, 16, &inputs, RoundingOptions::default())?;
/// assert!((found.blocks.dequantize()?.iter().sum::<f32>() - 12.0).abs() < 0.01);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn round_blocks_to_inputs(
    weight: &Tensor,
    bits: usize,
    block: usize,
    moments: &InputMoments,
    options: RoundingOptions,
) -> Result<RoundedBlocks, QuantError> {
    check_blocks(bits, block)?;
    check_damping(options.damping)?;
    let (rows, n) = columns(weight)?;
    let k = moments.width();
    if weight.shape()[0] != k {
        return Err(QuantError::Length {
            what: "rows of the weight",
            found: weight.shape()[0],
            expected: k,
        });
    }
    if !moments.suffice() {
        return Ok(RoundedBlocks {
            blocks: crate::quantize_blocks(weight, bits, block)?,
            bias_shift: vec![0.0; n],
            product_sqnr_db: None,
        });
    }
    let middle = f32::from(1u8 << (bits - 1));
    let codes = Codes {
        least: -middle,
        greatest: middle - 1.0,
        neighbours: false,
    };
    let problem = Problem::new(moments, options);
    let factor = problem.hessian.factor();
    let importance: Vec<f32> = problem.hessian.diagonal().collect();
    let parts = rows.chunks(TOGETHER * k).collect();
    let found = problem.each(parts, k, |weights: &[f32]| {
        let spread = |scales: Vec<f32>| -> Vec<f32> {
            let rows = scales.chunks(k.div_ceil(block));
            rows.flat_map(|row| (0..k).map(|i| row[i / block]))
                .collect()
        };
        // The scales and codes of `quantize_blocks`, which the result is never worse than.
        let plain = spread(peak_scales(weights, k, block, middle));
        let mut tile = Tile::new(&problem.hessian, codes, weights, plain);
        let fitted = fitted_scales(weights, k, block, codes, &importance);
        let mut other = Tile::new(&problem.hessian, codes, weights, spread(fitted));
        tile.keep_better(&other);
        other.feed_back(&factor);
        tile.keep_better(&other);
        tile.descend();
        for _ in 0..FITS {
            tile.fit_steps(block);
            tile.descend();
        }
        problem.finish(tile, weights)
    });
    let scale_of = |f: &Found| -> Vec<f32> {
        let rows = f.steps.chunks(k);
        rows.flat_map(|row| row.iter().step_by(block).copied())
            .collect()
    };
    let scales: Vec<f32> = found.iter().flat_map(scale_of).collect();
    let codes: Vec<f32> = found.iter().flat_map(|f| f.codes.iter().copied()).collect();
    Ok(RoundedBlocks {
        blocks: pack(&codes, scales, (k, n), bits, block)?,
        bias_shift: found
            .iter()
            .flat_map(|f| f.shifts.iter().copied())
            .collect(),
        product_sqnr_db: Some(product_sqnr_db(&found)),
    })
}

/// For each block the scale of least `Σ h·(w - s·q)²`: of [`CANDIDATES`] about the one of the peak, with either sign,
/// each fitted to its codes.
fn fitted_scales(
    weights: &[f32],
    k: usize,
    block: usize,
    codes: Codes,
    importance: &[f32],
) -> Vec<f32> {
    let mut scales = Vec::new();
    for row in weights.chunks(k) {
        for (weights, importance) in row.chunks(block).zip(importance.chunks(block)) {
            let start = peak_scales(weights, weights.len(), block, -codes.least);
            let start = start.first().copied().unwrap_or(1.0);
            let mut best = (f64::INFINITY, start);
            for candidate in 0..CANDIDATES {
                // From a range that is wider than the weights to one that cuts them.
                let fraction = 1.12 - 0.5 * candidate as f32 / CANDIDATES as f32;
                for s in [start * fraction, -start * fraction] {
                    let (mut across, mut along) = (0f32, 0f32);
                    for (&w, &h) in weights.iter().zip(importance) {
                        let q = nearest((w / s).clamp(codes.least, codes.greatest));
                        across += h * w * q;
                        along += h * q * q;
                    }
                    // The scale that is best for these codes.
                    let fitted = if across != 0.0 && along > 0.0 {
                        across / along
                    } else {
                        s
                    };
                    let error = |(&w, &h): (&f32, &f32)| {
                        let q = nearest((w / fitted).clamp(codes.least, codes.greatest));
                        h * (w - fitted * q) * (w - fitted * q)
                    };
                    let error = f64::from(weights.iter().zip(importance).map(error).sum::<f32>());
                    if error < best.0 && fitted.is_normal() {
                        best = (error, fitted);
                    }
                }
            }
            scales.push(best.1);
        }
    }
    scales
}
