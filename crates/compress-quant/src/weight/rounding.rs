//! Rounding a weight so that the layer's outputs change least, not the weight itself.
//!
//! With the error `d = w - s·q` of one output channel, the mean squared error of its outputs over the calibration
//! inputs is `dᵀ·H·d`, `H` the inputs' second moments. Each code is one of the two about `w / s`, as in Nagel et al.
//! 2020 (AdaRound, arXiv:2004.10568, eq. 13); starting from the nearest codes, one after the other goes over to its
//! other code where that lowers the error, until none does: coordinate descent, as in Frantar et al. 2022
//! (arXiv:2208.11580). With `H` damped, `H + λ·diag`, each move lowers the damped error, so this is never worse than
//! rounding to nearest, and no weight is off by a whole step.
//!
//! Where the layer has a bias it takes up the mean error, `Δb = dᵀ·E[x]` (Nagel et al. 2019, arXiv:1906.04721,
//! sec. 4.2), and `H` are covariances: what remains is the variance.

use super::channels::nearest;
use super::moments::{About, InputMoments};
use crate::QuantError;

/// Rounds over all codes of a channel; most channels end after three or four.
const ROUNDS: usize = 10;
/// Share of the mean of `H`'s diagonal that is added to it: inputs that hardly vary stay at the nearest code.
const DAMPING: f64 = 1e-4;
/// Share of each input's mean square that is added: what a covariance owes to the rounding of sums decides nothing.
const NOISE: f64 = 1e-8;
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

/// How [`round_to_inputs`] works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoundingOptions {
    /// Codes lie in `-q_max..=q_max`; 1 to 127.
    pub q_max: i8,
    /// What the layer does with the mean of the error.
    pub mean: MeanError,
    /// The most threads to work on; 0 for as many as there are processors. The result does not depend on it.
    pub threads: usize,
}

impl Default for RoundingOptions {
    fn default() -> Self {
        Self {
            q_max: 127,
            mean: MeanError::Stays,
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
    /// [`MeanError`] asks for; `None` where the moments did not suffice.
    pub product_sqnr_db: Option<f64>,
}

/// Chooses codes in `-q_max..=q_max` for rows of weights so that the products with the inputs change least.
///
/// * `weights`: `[channels, moments.width()]` in C order; `scales`: one per channel, real units per step.
/// * returns for each weight one of the two codes about `w / s`; the nearest of them, and no change of the bias, where
///   the moments do not [suffice](InputMoments::suffice).
///
/// # Errors
/// [`QuantError::Length`] where the weights are not as many as channels and inputs say; [`QuantError::NotFinite`] with
/// the position of a weight; [`QuantError::Setting`] for a `q_max` below 1 or a scale that is not positive and finite.
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
    let channels = scales.len();
    let mut codes = vec![0i8; weights.len()];
    let mut bias_shift = vec![0f32; channels];
    if !moments.suffice() {
        let rows = codes.chunks_mut(k.max(1)).zip(weights.chunks(k.max(1)));
        for ((codes, weights), &scale) in rows.zip(scales) {
            for (code, &w) in codes.iter_mut().zip(weights) {
                *code = nearest((w / scale).clamp(-q_max, q_max)) as i8;
            }
        }
        return Ok(Rounded {
            codes,
            bias_shift,
            product_sqnr_db: None,
        });
    }
    let about = match options.mean {
        MeanError::Stays => About::Zero,
        MeanError::InBias => About::Mean,
    };
    let h = damped(moments.matrix(about), &moments.squares());
    let means = moments.means();
    let mut sums = vec![(0f64, 0f64); channels];
    let worth = (channels.saturating_mul(k * k) / WORTH_A_THREAD).max(1);
    let threads = match options.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let share = channels.div_ceil(threads.min(worth)).max(1);
    // Channels do not depend on one another, so neither does the result on how they are shared out.
    std::thread::scope(|scope| {
        let parts = codes
            .chunks_mut(share * k)
            .zip(weights.chunks(share * k))
            .zip(scales.chunks(share))
            .zip(bias_shift.chunks_mut(share).zip(sums.chunks_mut(share)));
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
            (options.mean == MeanError::InBias).then_some(&means[..]),
        );
        for part in parts {
            scope.spawn(move || part.round(h, means, q_max));
        }
        if let Some(part) = last {
            part.round(h, means, q_max);
        }
    });
    let (signal, noise) = sums
        .iter()
        .fold((0.0, 0.0), |(s, n), (a, b)| (s + a, n + b));
    Ok(Rounded {
        codes,
        bias_shift,
        product_sqnr_db: Some(if noise > 0.0 {
            10.0 * (signal / noise).log10()
        } else {
            f64::INFINITY
        }),
    })
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

/// `H` with more on its diagonal.
fn damped(mut h: Vec<f32>, squares: &[f64]) -> Vec<f32> {
    let k = squares.len();
    let trace: f64 = (0..k).map(|i| f64::from(h[i * k + i])).sum();
    let mean = trace / k.max(1) as f64;
    for (i, square) in squares.iter().enumerate() {
        let extra = (DAMPING * mean + NOISE * square).max(f64::from(f32::MIN_POSITIVE));
        h[i * k + i] = (f64::from(h[i * k + i]) + extra) as f32;
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
    /// What a code would change by if it went over to the other one: 1, -1, or 0 where there is none.
    step: Vec<f32>,
    /// `H·d`.
    slope: Vec<f32>,
}

impl Channel {
    fn new(k: usize) -> Self {
        Self {
            d: vec![0.0; k],
            step: vec![0.0; k],
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
            // Towards the weight, and nowhere from a code that is the weight or the end of the range.
            self.step[i] = match self.d[i] {
                d if d > 0.0 && q < q_max => 1.0,
                d if d < 0.0 && q > -q_max => -1.0,
                _ => 0.0,
            };
            add_scaled(&mut self.slope, self.d[i], row(i));
        }
        for _ in 0..ROUNDS {
            let mut moved = false;
            for (i, code) in codes.iter_mut().enumerate() {
                // The error changes by `step²·H_ii - 2·step·slope`.
                let step = self.step[i];
                if step * self.slope[i] <= 0.5 * row(i)[i] || step == 0.0 {
                    continue;
                }
                *code = (f32::from(*code) + step) as i8;
                self.d[i] -= step;
                self.step[i] = -step;
                add_scaled(&mut self.slope, -step, row(i));
                moved = true;
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

    fn options(q_max: i8, mean: MeanError) -> RoundingOptions {
        RoundingOptions {
            q_max,
            mean,
            threads: 1,
        }
    }

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
                let found = round_to_inputs(&w, &[scale; 3], &moments, options(7, mean)).unwrap();
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
        let found =
            round_to_inputs(&w, &[scale], &moments, options(127, MeanError::InBias)).unwrap();
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
    fn no_single_move_that_lowers_the_error_is_left() {
        // All 2^8 choices of codes about the weights.
        let (k, rows) = (8, inputs(8, 200, 21));
        let w = inputs(k, 1, 4);
        let scale = 0.3f32;
        let mut moments = InputMoments::new(k);
        moments.add(&rows);
        let found =
            round_to_inputs(&w, &[scale], &moments, options(127, MeanError::Stays)).unwrap();
        let floor: Vec<i8> = w.iter().map(|w| (w / scale).floor() as i8).collect();
        let errors = (0..1u32 << k).map(|choice| {
            let codes: Vec<i8> = floor
                .iter()
                .enumerate()
                .map(|(i, &q)| q + (choice >> i & 1) as i8)
                .collect();
            (error(&w, &codes, scale, 0.0, &rows), codes)
        });
        let errors: Vec<(f64, Vec<i8>)> = errors.collect();
        let of = |codes: &[i8]| errors.iter().find(|(_, c)| c == codes).unwrap().0;
        let own = of(&found.codes);
        for i in 0..k {
            let mut other = found.codes.clone();
            other[i] = 2 * floor[i] + 1 - other[i];
            assert!(of(&other) >= own * 0.999, "{i}");
        }
        let nearest: Vec<i8> = w
            .iter()
            .map(|w| (w / scale).round_ties_even() as i8)
            .collect();
        assert!(own < 0.8 * of(&nearest), "{own} {}", of(&nearest));
    }

    #[test]
    fn without_enough_rows_codes_are_the_nearest() {
        let w = [1.4, -2.6, 300.0];
        let mut moments = InputMoments::new(3);
        for _ in 0..3 {
            let found =
                round_to_inputs(&w, &[1.0], &moments, options(127, MeanError::InBias)).unwrap();
            assert_eq!(found.codes, [1, -3, 127]);
            assert_eq!(found.bias_shift, [0.0]);
            assert_eq!(found.product_sqnr_db, None);
            moments.add(&[1.0, 1.0, 1.0]);
        }
        let found = round_to_inputs(&w, &[1.0], &moments, options(127, MeanError::Stays)).unwrap();
        assert!(found.product_sqnr_db.is_some());
    }

    #[test]
    fn a_weight_moves_to_the_code_on_its_other_side_at_most() {
        // The second input is a hundredth of the first: 26 steps of it would make up for an error of 0.26 there.
        let mut moments = InputMoments::new(2);
        moments.add(&[1.0, 0.01, 1.0, 0.01]);
        let found = round_to_inputs(
            &[2.4, 2.4],
            &[1.0],
            &moments,
            options(127, MeanError::Stays),
        )
        .unwrap();
        assert_eq!(found.codes, [2, 3]);
        // Nor beyond the range, nor off a weight that is a code.
        let found =
            round_to_inputs(&[6.4, 3.0], &[1.0], &moments, options(6, MeanError::Stays)).unwrap();
        assert_eq!(found.codes, [6, 3]);
    }

    #[test]
    fn inputs_that_never_vary_leave_the_nearest_codes_and_go_into_the_bias() {
        let mut moments = InputMoments::new(3);
        moments.add(&[1000.1, -3.7, 0.0].repeat(500));
        let w = [2.4, -1.3, 0.6];
        let found = round_to_inputs(&w, &[1.0], &moments, options(127, MeanError::InBias)).unwrap();
        assert_eq!(found.codes, [2, -1, 1]);
        let expected = 0.4 * 1000.1 + 0.3 * 3.7;
        assert!((found.bias_shift[0] - expected).abs() < 1e-2, "{found:?}");
    }

    #[test]
    fn a_large_mean_hides_nothing() {
        // The same variation about 0 and about 64 gives the same codes, as the bias takes the mean.
        let (k, rows) = (12, inputs(12, 400, 5));
        let w = inputs(k, 4, 8);
        let of = |mean: f32| {
            let mut moments = InputMoments::new(k);
            // Deviations that are multiples of 2^-10 survive the sum.
            let shifted = rows.iter().map(|x| (x * 1024.0).round() / 1024.0 + mean);
            moments.add(&shifted.collect::<Vec<f32>>());
            round_to_inputs(&w, &[0.25; 4], &moments, options(127, MeanError::InBias)).unwrap()
        };
        let nearest: Vec<i8> = w
            .iter()
            .map(|w| (w / 0.25).round_ties_even() as i8)
            .collect();
        assert_ne!(of(0.0).codes, nearest);
        assert_eq!(of(64.0).codes, of(0.0).codes);
    }

    #[test]
    fn what_cannot_be_rounded_is_an_error() {
        let moments = InputMoments::new(2);
        let of = |w: &[f32], s: &[f32], q_max| {
            round_to_inputs(w, s, &moments, options(q_max, MeanError::Stays)).unwrap_err()
        };
        let (found, expected) = (3, 4);
        let what = "weights";
        let short = QuantError::Length {
            what,
            found,
            expected,
        };
        assert_eq!(of(&[0.0; 3], &[1.0; 2], 127), short);
        let infinity = of(&[0.0, f32::INFINITY], &[1.0], 127);
        assert!(matches!(infinity, QuantError::NotFinite { index: 1, .. }));
        for scale in [0.0, -1.0, f32::NAN] {
            let error = of(&[0.0; 2], &[scale], 127);
            assert!(matches!(
                error,
                QuantError::Setting {
                    setting: "scale",
                    ..
                }
            ));
        }
        let error = of(&[0.0; 2], &[1.0], -1);
        assert!(matches!(
            error,
            QuantError::Setting {
                setting: "q_max",
                ..
            }
        ));
    }

    #[test]
    fn channels_do_not_depend_on_how_they_are_shared_out() {
        let (k, channels) = (300, 400);
        let mut moments = InputMoments::new(k);
        moments.add(&inputs(k, 320, 1));
        let w = inputs(k, channels, 2);
        let scales = vec![0.05; channels];
        let on = |threads| {
            let options = RoundingOptions {
                threads,
                ..options(127, MeanError::InBias)
            };
            round_to_inputs(&w, &scales, &moments, options).unwrap()
        };
        let one = on(1);
        assert_eq!(on(3), one);
        assert_eq!(on(0), one);
        let options = options(127, MeanError::InBias);
        let alone = round_to_inputs(&w[7 * k..8 * k], &scales[..1], &moments, options).unwrap();
        assert_eq!(one.codes[7 * k..8 * k], alone.codes);
        assert_eq!(one.bias_shift[7], alone.bias_shift[0]);
    }
}
