//! Rounding a weight so that the layer's outputs change least, not the weight itself.
//!
//! With the error `d = w - s·q` of one output channel, the mean squared error of its outputs over the calibration
//! inputs is `dᵀ·H·d`, `H` the inputs' second moments. Codes move one after the other to where the error is least,
//! until none does: coordinate descent, as in Frantar et al. 2022 (arXiv:2208.11580) and Behdin et al. 2023 (QuantEase,
//! arXiv:2309.01885).
//!
//! Of whole channels each code is one of the two about `w / s`, as in Nagel et al. 2020 (AdaRound, arXiv:2004.10568,
//! eq. 13), and the nearest codes are the start: no weight is off by a whole step. Blocks ([`blocks`]) are of few bits:
//! all codes are looked at, the start is the better one of the nearest and of rounding with error feedback (GPTQ,
//! Frantar et al. 2022, arXiv:2210.17323), and scales follow the codes.
//!
//! `H` is damped, `H + λ·I`, and each move lowers the damped error. So with `d₀` the error of the nearest codes the
//! error is at most `d₀ᵀ·H·d₀ + λ·d₀ᵀ·d₀`.
//!
//! Where the layer has a bias it takes up the mean error, `Δb = dᵀ·E[x]` (Nagel et al. 2019, arXiv:1906.04721,
//! sec. 4.2), and `H` are covariances: what remains is the variance.

mod blocks;
mod hessian;
mod tile;

use super::moments::{About, InputMoments};
use crate::QuantError;
pub use blocks::{RoundedBlocks, round_blocks_to_inputs};
use hessian::Hessian;
use std::sync::Mutex;
use tile::{Codes, Tile};

/// Channels that are rounded together; the result of each depends on no other.
const TOGETHER: usize = 64;
/// Products below which threads cost more than they bring.
const WORTH_A_THREAD: usize = 1 << 24;

/// What a layer does with the mean of the error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MeanError {
    /// Nothing takes it up: it counts as error.
    #[default]
    Stays,
    /// The bias takes it up.
    InBias,
}

/// How [`round_to_inputs`] and [`round_blocks_to_inputs`] work.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct RoundingOptions {
    /// Codes lie in `-q_max..=q_max`, 1 to 127; blocks have a range of their own.
    pub q_max: i8,
    /// What the layer does with the mean of the error.
    pub mean: MeanError,
    /// Share of the mean of `H`'s diagonal that is added to it: inputs that hardly vary stay at the nearest code.
    pub damping: f64,
    /// The most threads to work on; 0 for as many as there are processors. The result does not depend on it.
    pub threads: usize,
}

impl Default for RoundingOptions {
    fn default() -> Self {
        Self {
            q_max: 127,
            mean: MeanError::Stays,
            damping: 1e-4,
            threads: 1,
        }
    }
}

/// Codes of a weight and what they do to the outputs.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Rounded {
    /// Codes, in the order of the weights given.
    pub codes: Vec<i8>,
    /// What the bias of each channel must grow by; all 0 for [`MeanError::Stays`].
    pub bias_shift: Vec<f32>,
    /// Signal to noise of the channels' products over the inputs in dB: `10·log10(Σ wᵀHw / Σ dᵀHd)`, with the `H` that
    /// [`MeanError`] asks for, not damped; `None` where the moments did not suffice.
    pub product_sqnr_db: Option<f64>,
}

/// Chooses codes in `-q_max..=q_max` for rows of weights so that the products with the inputs change least.
///
/// * `weights`: `[channels, moments.width()]` in C order; `scales`: one per channel, real units per step.
/// * returns the nearest codes, and no change of the bias, where the moments do not
///   [suffice](InputMoments::suffice).
///
/// # Errors
/// [`QuantError::Length`] where the weights are not as many as channels and inputs say; [`QuantError::NotFinite`] with
/// the position of a weight; [`QuantError::Setting`] for a `q_max` below 1, a scale that is not positive and finite, or a damping that is negative
/// or not finite.
///
/// # Examples
/// ```
/// use compress_quant::{InputMoments, RoundingOptions, round_to_inputs};
/// // Two inputs that are always equal: only the sum of both weights matters.
/// let mut inputs = InputMoments::new(2);
/// inputs.add(&[1.0, 1.0, 3.0, 3.0]);
/// let found = round_to_inputs(&[2.4, 2.4], &[1.0], &inputs, RoundingOptions::default())?;
/// assert_eq!(found.codes.iter().sum::<i8>(), 5); // nearest would be 2 + 2, for 4.8
/// # Ok::<(), compress_quant::QuantError>(())
/// ```
pub fn round_to_inputs(
    weights: &[f32],
    scales: &[f32],
    moments: &InputMoments,
    options: RoundingOptions,
) -> Result<Rounded, QuantError> {
    check(weights, scales, moments.width(), options)?;
    let k = moments.width();
    let q_max = f32::from(options.q_max);
    let codes = Codes {
        least: -q_max,
        greatest: q_max,
        neighbours: true,
    };
    if !moments.suffice() {
        let steps = scales.iter().flat_map(|&s| std::iter::repeat_n(s, k));
        let nearest = |(&w, s): (&f32, f32)| codes.nearest(w / s) as i8;
        return Ok(Rounded {
            codes: weights.iter().zip(steps).map(nearest).collect(),
            bias_shift: vec![0.0; scales.len()],
            product_sqnr_db: None,
        });
    }
    let problem = Problem::new(moments, options);
    let parts = weights.chunks(TOGETHER * k).zip(scales.chunks(TOGETHER));
    let found = problem.each(parts.collect(), k, |(weights, scales)| {
        let steps = scales.iter().flat_map(|&s| std::iter::repeat_n(s, k));
        let mut tile = Tile::new(&problem.hessian, codes, weights, steps.collect());
        tile.descend();
        problem.finish(tile, weights)
    });
    Ok(Rounded {
        codes: found
            .iter()
            .flat_map(|f| &f.codes)
            .map(|&q| q as i8)
            .collect(),
        bias_shift: found
            .iter()
            .flat_map(|f| f.shifts.iter().copied())
            .collect(),
        product_sqnr_db: Some(product_sqnr_db(&found)),
    })
}

/// What the channels of a layer have in common.
struct Problem {
    hessian: Hessian,
    /// Where the bias takes up the mean of the error.
    means: Option<Vec<f64>>,
    threads: usize,
}

/// Some channels that are done.
struct Found {
    codes: Vec<f32>,
    steps: Vec<f32>,
    shifts: Vec<f32>,
    signal: f64,
    noise: f64,
}

impl Problem {
    fn new(moments: &InputMoments, options: RoundingOptions) -> Self {
        let about = match options.mean {
            MeanError::Stays => About::Zero,
            MeanError::InBias => About::Mean,
        };
        let hessian = Hessian::of(moments, about, options.damping);
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        };
        Self {
            means: (options.mean == MeanError::InBias).then(|| moments.means()),
            hessian,
            threads,
        }
    }

    /// Does `work` for all parts, of `TOGETHER` channels of `k` weights, on threads where it is worth it.
    fn each<P: Send>(
        &self,
        parts: Vec<P>,
        k: usize,
        work: impl Fn(P) -> Found + Sync,
    ) -> Vec<Found> {
        let count = parts.len();
        let worth = (count * TOGETHER).saturating_mul(k * k) / WORTH_A_THREAD;
        let queue = Mutex::new(parts.into_iter().enumerate());
        let done = Mutex::new(Vec::with_capacity(count));
        let take = || {
            loop {
                let next = queue.lock().ok().and_then(|mut queue| queue.next());
                let Some((at, part)) = next else { break };
                let found = work(part);
                if let Ok(mut done) = done.lock() {
                    done.push((at, found));
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.threads.min(worth).min(count) {
                scope.spawn(take);
            }
            take();
        });
        let mut done = done.into_inner().unwrap_or_default();
        done.sort_by_key(|(at, _)| *at);
        done.into_iter().map(|(_, found)| found).collect()
    }

    fn finish(&self, mut tile: Tile<'_>, weights: &[f32]) -> Found {
        let k = self.hessian.width;
        let [signal, noise] = tile.signal_and_noise();
        let shift = |c: usize| {
            let Some(means) = &self.means else { return 0.0 };
            let each = weights[c * k..].iter().zip(&tile.steps[c * k..]);
            let each = each.zip(&tile.codes[c * k..]).zip(means);
            each.map(|(((&w, &s), &q), m)| (f64::from(w) - f64::from(s) * f64::from(q)) * m)
                .sum::<f64>() as f32
        };
        Found {
            shifts: (0..weights.len() / k.max(1)).map(shift).collect(),
            signal,
            noise,
            codes: tile.codes,
            steps: tile.steps,
        }
    }
}

fn product_sqnr_db(found: &[Found]) -> f64 {
    let signal: f64 = found.iter().map(|f| f.signal).sum();
    let noise: f64 = found.iter().map(|f| f.noise).sum();
    if noise > 0.0 {
        10.0 * (signal / noise).log10()
    } else {
        f64::INFINITY
    }
}

fn check(
    weights: &[f32],
    scales: &[f32],
    width: usize,
    options: RoundingOptions,
) -> Result<(), QuantError> {
    if options.q_max < 1 {
        return Err(QuantError::Setting {
            setting: "q_max",
            found: f64::from(options.q_max),
            rule: "it must lie in 1..=127",
        });
    }
    check_damping(options.damping)?;
    if weights.len() != scales.len() * width {
        return Err(QuantError::Length {
            what: "weights",
            found: weights.len(),
            expected: scales.len() * width,
        });
    }
    if let Some(&scale) = scales.iter().find(|s| !(s.is_finite() && **s > 0.0)) {
        return Err(QuantError::Setting {
            setting: "scale",
            found: f64::from(scale),
            rule: "it must be positive and finite",
        });
    }
    match weights.iter().enumerate().find(|(_, w)| !w.is_finite()) {
        Some((index, &value)) => Err(QuantError::NotFinite { index, value }),
        None => Ok(()),
    }
}

fn check_damping(damping: f64) -> Result<(), QuantError> {
    if damping.is_finite() && damping >= 0.0 {
        return Ok(());
    }
    Err(QuantError::Setting {
        setting: "damping",
        found: damping,
        rule: "it must not be negative",
    })
}

#[cfg(test)]
mod tests;
