//! Rounding a weight so that the layer's outputs change least, not the weight itself.
//!
//! With the error `d = w - s·q` of one output channel, the mean squared error of its outputs over the calibration
//! inputs is `dᵀ·H·d`, `H` the inputs' second moments. Starting from the nearest codes, one code after the other
//! moves to where this is least, `q_i += round((H·d)_i / (s·H_ii))`, until none moves: the objective of
//! Nagel et al. 2020 (AdaRound, arXiv:2004.10568, eq. 13) and Frantar et al. 2022 (arXiv:2208.11580), solved by
//! coordinate descent. Each move lowers the error, so the result is never worse than rounding to nearest.
//!
//! Where the layer has a bias it takes up the mean error, `Δb = dᵀ·E[x]` (Nagel et al. 2019, arXiv:1906.04721,
//! sec. 4.2), and `H` are covariances: what remains is the variance.

use super::channels::nearest;
use super::moments::{About, InputMoments};

/// Rounds over all codes of a channel; most channels end after three or four.
const ROUNDS: usize = 10;
/// Share of the mean of `H`'s diagonal that is added to it: inputs that never varied stay at the nearest code.
const DAMPING: f64 = 1e-4;
/// Products below which threads cost more than they bring.
const WORTH_A_THREAD: usize = 1 << 24;

/// What a layer does with the mean of the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeanError {
    /// Nothing takes it up: it counts as error.
    Stays,
    /// The bias takes it up.
    InBias,
}

/// Codes of a weight and what they do to the outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Rounded {
    /// Codes, in the order of the weights given.
    pub codes: Vec<i8>,
    /// What the bias of each channel must grow by; all 0 for [`MeanError::Stays`].
    pub bias_shift: Vec<f32>,
    /// Signal to noise of the channels' products over the inputs in dB: `10·log10(Σ wᵀHw / Σ dᵀHd)`.
    pub product_sqnr_db: f64,
}

/// Chooses codes in `-q_max..=q_max` for rows of weights so that the products with the inputs change least.
///
/// * `weights`: `[channels, moments.width()]` in C order; `scales`: one per channel.
/// * channels whose inputs were never seen (`moments` without rows) are rounded to nearest.
///
/// # Examples
/// ```
/// use compress_quant::{InputMoments, MeanError, round_to_inputs};
/// // Two inputs that are always equal: only the sum of both weights matters.
/// let mut inputs = InputMoments::new(2);
/// inputs.add(&[1.0, 1.0, 3.0, 3.0]);
/// let found = round_to_inputs(&[2.4, 2.4], &[1.0], &inputs, 127, MeanError::Stays);
/// assert_eq!(found.codes.iter().sum::<i8>(), 5); // nearest would be 2 + 2, for 4.8
/// ```
pub fn round_to_inputs(
    weights: &[f32],
    scales: &[f32],
    moments: &InputMoments,
    q_max: i8,
    mean: MeanError,
) -> Rounded {
    let k = moments.width();
    let channels = scales.len();
    let about = match mean {
        MeanError::Stays => About::Zero,
        MeanError::InBias => About::Mean,
    };
    let h = damped(moments.matrix(about), k);
    let means = moments.means();
    let mut codes = vec![0i8; channels * k];
    let mut shifts = vec![0f32; channels];
    let mut sums = vec![(0f64, 0f64); channels];
    let worth = (channels * k * k / WORTH_A_THREAD).max(1);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = channels.div_ceil(threads.min(worth)).max(1);
    // Channels do not depend on one another, so neither does the result on how they are shared out.
    std::thread::scope(|scope| {
        let parts = codes
            .chunks_mut(share * k.max(1))
            .zip(weights.chunks(share * k.max(1)))
            .zip(scales.chunks(share))
            .zip(shifts.chunks_mut(share).zip(sums.chunks_mut(share)));
        let part = |(((codes, weights), scales), (shifts, sums))| Part {
            weights,
            scales,
            codes,
            shifts,
            sums,
        };
        let mut parts: Vec<Part<'_>> = parts.map(part).collect();
        let last = parts.pop();
        let (h, means) = (
            h.as_slice(),
            (mean == MeanError::InBias).then_some(&means[..]),
        );
        for part in parts {
            scope.spawn(move || part.round(h, means, f32::from(q_max)));
        }
        if let Some(part) = last {
            part.round(h, means, f32::from(q_max));
        }
    });
    let (signal, noise) = sums
        .iter()
        .fold((0.0, 0.0), |(s, n), (a, b)| (s + a, n + b));
    Rounded {
        codes,
        bias_shift: shifts,
        product_sqnr_db: if noise > 0.0 {
            10.0 * (signal / noise).log10()
        } else {
            f64::INFINITY
        },
    }
}

fn damped(mut h: Vec<f32>, k: usize) -> Vec<f32> {
    let trace: f64 = (0..k).map(|i| f64::from(h[i * k + i])).sum();
    let extra = (trace * DAMPING / k.max(1) as f64).max(f64::from(f32::MIN_POSITIVE));
    for i in 0..k {
        h[i * k + i] = (f64::from(h[i * k + i]).max(0.0) + extra) as f32;
    }
    h
}

/// Some of the channels, and where their results go.
struct Part<'a> {
    weights: &'a [f32],
    scales: &'a [f32],
    codes: &'a mut [i8],
    shifts: &'a mut [f32],
    /// `wᵀHw` and `dᵀHd` of each channel.
    sums: &'a mut [(f64, f64)],
}

impl Part<'_> {
    /// `means` are given where the bias takes up the mean of the error.
    fn round(self, h: &[f32], means: Option<&[f64]>, q_max: f32) {
        let k = self.weights.len() / self.scales.len().max(1);
        let mut channel = Channel::new(k);
        for (c, &scale) in self.scales.iter().enumerate() {
            let (w, q) = (&self.weights[c * k..][..k], &mut self.codes[c * k..][..k]);
            self.sums[c] = channel.round(w, scale, h, q_max, q);
            if let Some(means) = means {
                let d = w.iter().zip(q.iter());
                let error = d.map(|(&w, &q)| f64::from(w) - f64::from(scale) * f64::from(q));
                self.shifts[c] = error.zip(means).map(|(d, m)| d * m).sum::<f64>() as f32;
            }
        }
    }
}

/// Room for one channel.
struct Channel {
    /// The error in steps.
    d: Vec<f32>,
    /// `H·d`.
    slope: Vec<f32>,
}

impl Channel {
    fn new(k: usize) -> Self {
        Self {
            d: vec![0.0; k],
            slope: vec![0.0; k],
        }
    }

    /// Fills `codes`; gives `wᵀHw` and `dᵀHd`.
    fn round(
        &mut self,
        w: &[f32],
        scale: f32,
        h: &[f32],
        q_max: f32,
        codes: &mut [i8],
    ) -> (f64, f64) {
        let k = w.len();
        let row = |i: usize| &h[i * k..][..k];
        self.slope.fill(0.0);
        for (i, &w) in w.iter().enumerate() {
            add_scaled(&mut self.slope, w / scale, row(i));
        }
        let signal = w.iter().zip(&self.slope);
        let signal: f64 = signal
            .map(|(&w, &g)| f64::from(w / scale) * f64::from(g))
            .sum();
        self.slope.fill(0.0);
        for (i, &w) in w.iter().enumerate() {
            let q = nearest((w / scale).clamp(-q_max, q_max));
            codes[i] = q as i8;
            self.d[i] = w / scale - q;
            add_scaled(&mut self.slope, self.d[i], row(i));
        }
        for _ in 0..ROUNDS {
            let mut moved = false;
            for (i, code) in codes.iter_mut().enumerate() {
                let wish = self.slope[i] / row(i)[i];
                if wish.abs() <= 0.5 {
                    continue;
                }
                let q = f32::from(*code);
                let step = (q + wish.round_ties_even()).clamp(-q_max, q_max) - q;
                if step != 0.0 {
                    *code = (q + step) as i8;
                    self.d[i] -= step;
                    add_scaled(&mut self.slope, -step, row(i));
                    moved = true;
                }
            }
            if !moved {
                break;
            }
        }
        let noise = self.d.iter().zip(&self.slope);
        let noise: f64 = noise.map(|(&d, &g)| f64::from(d) * f64::from(g)).sum();
        (signal, noise.max(0.0))
    }
}

fn add_scaled(out: &mut [f32], by: f32, row: &[f32]) {
    if by == 0.0 {
        return;
    }
    for (out, &h) in out.iter_mut().zip(row) {
        *out += by * h;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Inputs that hang together, as neighbouring pixels do.
    fn inputs(k: usize, rows: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let mut all = Vec::new();
        for _ in 0..rows {
            let common = 2.0 * next() + 0.5;
            all.extend((0..k).map(|_| common + next()));
        }
        all
    }

    /// Mean squared error of the products over the rows, with a bias that grows by `shift`.
    fn error(w: &[f32], codes: &[i8], scale: f32, shift: f32, rows: &[f32]) -> f64 {
        let n = rows.len() / w.len();
        let each = rows.chunks(w.len()).map(|x| {
            let d = w.iter().zip(codes).map(|(&w, &q)| w - scale * f32::from(q));
            let e: f64 = d.zip(x).map(|(d, &x)| f64::from(d * x)).sum();
            (e - f64::from(shift)).powi(2)
        });
        each.sum::<f64>() / n as f64
    }

    proptest! {
        #[test]
        fn the_outputs_change_no_more_than_with_nearest_codes(seed in 0u32..1000, k in 1usize..24) {
            let rows = inputs(k, 64, seed);
            let w: Vec<f32> = inputs(k, 3, seed ^ 77);
            let mut moments = InputMoments::new(k);
            moments.add(&rows);
            let scale = 0.3;
            for mean in [MeanError::Stays, MeanError::InBias] {
                let found = round_to_inputs(&w, &[scale; 3], &moments, 7, mean);
                for c in 0..3 {
                    let w = &w[c * k..][..k];
                    let q = &found.codes[c * k..][..k];
                    let nearest: Vec<i8> = w.iter().map(|w| (w / scale).round_ties_even().clamp(-7.0, 7.0) as i8).collect();
                    let before = error(w, &nearest, scale, 0.0, &rows);
                    let after = error(w, q, scale, found.bias_shift[c], &rows);
                    // Damping may trade a ten-thousandth.
                    prop_assert!(after <= before * 1.01 + 1e-6, "{before} {after}");
                }
            }
        }
    }

    #[test]
    fn inputs_that_hang_together_gain_much_and_the_bias_takes_the_mean() {
        let (k, rows) = (32, inputs(32, 500, 3));
        let w = inputs(k, 1, 9);
        let scale = 0.25f32;
        let mut moments = InputMoments::new(k);
        moments.add(&rows);
        let nearest: Vec<i8> = w.iter().map(|w| (w / scale).round() as i8).collect();
        let before = error(&w, &nearest, scale, 0.0, &rows);
        let found = round_to_inputs(&w, &[scale], &moments, 127, MeanError::InBias);
        let after = error(&w, &found.codes, scale, found.bias_shift[0], &rows);
        assert!(after * 3.0 < before, "{before} {after}");
        // The mean of the remaining error is zero.
        let mean: f64 = rows
            .chunks(k)
            .map(|x| {
                let d = w
                    .iter()
                    .zip(&found.codes)
                    .map(|(&w, &q)| w - scale * f32::from(q));
                d.zip(x).map(|(d, &x)| f64::from(d * x)).sum::<f64>()
            })
            .sum::<f64>()
            / 500.0
            - f64::from(found.bias_shift[0]);
        assert!(mean.abs() < 1e-5, "{mean}");
    }

    #[test]
    fn without_inputs_codes_are_the_nearest() {
        let w = [1.4, -2.6, 300.0];
        let found = round_to_inputs(&w, &[1.0], &InputMoments::new(3), 127, MeanError::InBias);
        assert_eq!(found.codes, [1, -3, 127]);
        assert_eq!(found.bias_shift, [0.0]);
    }

    #[test]
    fn channels_do_not_depend_on_how_they_are_shared_out() {
        let (k, channels) = (300, 400);
        let mut moments = InputMoments::new(k);
        moments.add(&inputs(k, 50, 1));
        let w = inputs(k, channels, 2);
        let scales = vec![0.05; channels];
        let whole = round_to_inputs(&w, &scales, &moments, 127, MeanError::InBias);
        let alone = round_to_inputs(
            &w[7 * k..8 * k],
            &scales[..1],
            &moments,
            127,
            MeanError::InBias,
        );
        assert_eq!(whole.codes[7 * k..8 * k], alone.codes);
        assert_eq!(whole.bias_shift[7], alone.bias_shift[0]);
    }
}
