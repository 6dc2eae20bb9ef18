//! Some channels of a weight on their way to codes.
//!
//! With the errors `d = w - s·q` of a channel, its squared error is `dᵀ·H·d` and `H·d` half the slope of it.

use super::hessian::{Factor, Hessian};
use crate::weight::channels::nearest;
use crate::weight::product::{Part, Turned, multiply};
use runtime_kernels::Scratch;

/// Rounds over all codes of a channel; most channels end after three or four.
const ROUNDS: usize = 10;
/// Weights that are rounded before their errors go to all others.
const BATCH: usize = 64;

/// Codes that a weight may be rounded to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Codes {
    pub least: f32,
    pub greatest: f32,
    /// Only the two codes about the weight, or all.
    pub neighbours: bool,
}

impl Codes {
    pub(super) fn nearest(self, steps: f32) -> f32 {
        nearest(steps.clamp(self.least, self.greatest))
    }

    /// The least and the greatest code for a weight in steps.
    fn about(self, steps: f32) -> (f32, f32) {
        let within = |x: f32| x.clamp(self.least, self.greatest);
        match self.neighbours {
            true => (within(steps.floor()), within(steps.ceil())),
            false => (self.least, self.greatest),
        }
    }
}

#[derive(Clone)]
pub(super) struct Tile<'a> {
    hessian: &'a Hessian,
    codes_of: Codes,
    /// `[channels, width]`, as all that follow.
    weights: &'a [f32],
    /// Real units per code.
    pub steps: Vec<f32>,
    pub codes: Vec<f32>,
    errors: Vec<f32>,
    slopes: Vec<f32>,
    scratch: Scratch,
}

impl<'a> Tile<'a> {
    /// Starts with the nearest codes.
    pub(super) fn new(
        hessian: &'a Hessian,
        codes_of: Codes,
        weights: &'a [f32],
        steps: Vec<f32>,
    ) -> Self {
        let mut tile = Self {
            hessian,
            codes_of,
            weights,
            steps,
            codes: vec![0.0; weights.len()],
            errors: vec![0.0; weights.len()],
            slopes: vec![0.0; weights.len()],
            scratch: Scratch::new(),
        };
        for ((code, &w), &s) in tile.codes.iter_mut().zip(weights).zip(&tile.steps) {
            *code = codes_of.nearest(w / s);
        }
        tile.look();
        tile
    }

    fn width(&self) -> usize {
        self.hessian.width
    }

    fn channels(&self) -> usize {
        self.weights.len() / self.width().max(1)
    }

    /// Errors and slopes of the codes.
    fn look(&mut self) {
        let each = self.errors.iter_mut().zip(self.weights);
        for ((error, &w), (&s, &q)) in each.zip(self.steps.iter().zip(&self.codes)) {
            *error = w - s * q;
        }
        times_hessian(
            self.hessian,
            &self.errors,
            &mut self.slopes,
            &mut self.scratch,
        );
    }

    /// `wᵀHw` and `dᵀHd`, all channels together, without what damping adds to the diagonal of `H`.
    pub(super) fn signal_and_noise(&mut self) -> [f64; 2] {
        let (signal, noise) = (self.signal(), self.noise());
        let own = |sums: Vec<f64>, values: &[f32]| {
            let sum: f64 = sums.iter().sum();
            let values = values.chunks(self.width().max(1)).flatten();
            let added = values.zip(self.hessian.added.iter().cycle());
            let added: f64 = added.map(|(&v, a)| a * f64::from(v) * f64::from(v)).sum();
            // The sums are of f32: what is left of them below their rounding is none of the inputs'.
            (sum - added).max(sum * f64::from(f32::EPSILON))
        };
        [own(signal, self.weights), own(noise, &self.errors)]
    }

    /// `dᵀHd` of each channel.
    pub(super) fn noise(&self) -> Vec<f64> {
        dots(&self.errors, &self.slopes, self.width())
    }

    /// `wᵀHw` of each channel.
    fn signal(&mut self) -> Vec<f64> {
        let mut products = vec![0f32; self.weights.len()];
        times_hessian(self.hessian, self.weights, &mut products, &mut self.scratch);
        dots(self.weights, &products, self.width())
    }

    /// Takes over the channels of `other` that have the smaller error.
    pub(super) fn keep_better(&mut self, other: &Tile<'_>) {
        let k = self.width();
        let pairs = self.noise().into_iter().zip(other.noise());
        for (c, (mine, theirs)) in pairs.enumerate() {
            if theirs < mine {
                let row = c * k..(c + 1) * k;
                for (to, from) in [
                    (&mut self.steps, &other.steps),
                    (&mut self.codes, &other.codes),
                    (&mut self.errors, &other.errors),
                    (&mut self.slopes, &other.slopes),
                ] {
                    to[row.clone()].copy_from_slice(&from[row.clone()]);
                }
            }
        }
    }

    /// Rounds one weight after the other, for the steps as they are, each to the nearest code of what is best once the errors of those before are
    /// known, all behind it being free still.
    ///
    /// The method of Frantar et al. 2022 (GPTQ, arXiv:2210.17323) in the form of Babai's nearest plane (Chen et al.
    /// 2025, arXiv:2507.18553): with `H = RᵀR` the error is `Σ_i R_ii²·(d_i + Σ_{j>i} R_ij/R_ii·d_j)²`, and the last
    /// weight comes first.
    pub(super) fn feed_back(&mut self, factor: &Factor) {
        let (k, channels) = (self.width(), self.channels());
        let mut errors = vec![0f32; self.weights.len()];
        let mut sums = vec![0f32; channels * BATCH];
        let mut end = k;
        while end > 0 {
            let start = end.saturating_sub(BATCH);
            let (rows, behind) = (end - start, k - end);
            let sums = &mut sums[..channels * rows];
            sums.fill(0.0);
            if behind > 0 {
                let done = Part {
                    data: &errors[end..],
                    rows: channels,
                    cols: behind,
                    stride: k,
                };
                let factors = Part {
                    data: &factor.unit[start * k + end..],
                    rows,
                    cols: behind,
                    stride: k,
                };
                multiply(done, factors, Turned::Right, &mut self.scratch, sums);
            }
            for c in 0..channels {
                let errors = &mut errors[c * k..][..k];
                for place in (start..end).rev() {
                    let row = &factor.unit[place * k..][place + 1..end];
                    let near: f32 = row
                        .iter()
                        .zip(&errors[place + 1..end])
                        .map(|(r, d)| r * d)
                        .sum();
                    let at = c * k + factor.order[place];
                    let (w, s) = (self.weights[at], self.steps[at]);
                    let (least, greatest) = self.codes_of.about(w / s);
                    let best = w + sums[c * rows + place - start] + near;
                    let code = nearest((best / s).clamp(least, greatest));
                    self.codes[at] = code;
                    errors[place] = w - s * code;
                }
            }
            end = start;
        }
        self.look();
    }

    /// Moves one code after the other to where the error is least, until none moves.
    pub(super) fn descend(&mut self) {
        let k = self.width();
        let diagonal: Vec<f32> = self.hessian.diagonal().collect();
        let channels = self.codes.chunks_exact_mut(k.max(1));
        let lines = self
            .errors
            .chunks_exact_mut(k.max(1))
            .zip(self.slopes.chunks_exact_mut(k.max(1)));
        let given = self
            .weights
            .chunks_exact(k.max(1))
            .zip(self.steps.chunks_exact(k.max(1)));
        for ((codes, (errors, slopes)), (weights, steps)) in channels.zip(lines).zip(given) {
            for _ in 0..ROUNDS {
                let mut moved = false;
                for i in 0..k {
                    let (s, h) = (steps[i], diagonal[i]);
                    let by = slopes[i] / (s * h);
                    if by.abs() <= 0.5 {
                        continue;
                    }
                    let (least, greatest) = self.codes_of.about(weights[i] / s);
                    let code = nearest((codes[i] + by).clamp(least, greatest));
                    let change = s * (code - codes[i]);
                    // The error changes by `change²·H_ii - 2·change·slope`.
                    if change * (change * h - 2.0 * slopes[i]) < 0.0 {
                        codes[i] = code;
                        errors[i] -= change;
                        add_scaled(slopes, -change, self.hessian.row(i));
                        moved = true;
                    }
                }
                if !moved {
                    break;
                }
            }
        }
    }

    /// Makes each step, shared by `block` neighbours, the best for the codes as they are, one block after the other.
    pub(super) fn fit_steps(&mut self, block: usize) {
        let (k, channels) = (self.width(), self.channels());
        let mut products = vec![0f32; self.slopes.len()];
        for start in (0..k).step_by(block) {
            let places = start..(start + block).min(k);
            let mut changes = Vec::with_capacity(channels * block);
            for row in (0..channels).map(|c| c * k) {
                let at = row + places.start..row + places.end;
                let step = self.fitted_step(row, places.clone());
                for (i, s) in at.clone().zip(std::iter::repeat(step)) {
                    let error = self.weights[i] - s * self.codes[i];
                    changes.push(error - self.errors[i]);
                    self.errors[i] = error;
                }
                self.steps[at].fill(step);
            }
            let left = Part {
                data: &changes,
                rows: channels,
                cols: places.len(),
                stride: places.len(),
            };
            let right = Part {
                data: &self.hessian.values[start * k..],
                rows: places.len(),
                cols: k,
                stride: k,
            };
            let out = &mut products;
            multiply(left, right, Turned::Neither, &mut self.scratch, out);
            for (slope, by) in self.slopes.iter_mut().zip(&products) {
                *slope += by;
            }
        }
    }

    /// The step of the weights at `places` of the channel that starts at `row`: with `q` their codes the error changes
    /// by `δ²·qᵀHq - 2·δ·qᵀ·slope` where it grows by `δ`.
    fn fitted_step(&self, row: usize, places: std::ops::Range<usize>) -> f32 {
        let at = row + places.start..row + places.end;
        let codes = &self.codes[at.clone()];
        let (mut along, mut curve) = (0f64, 0f64);
        for ((&q, &slope), i) in codes
            .iter()
            .zip(&self.slopes[at.clone()])
            .zip(places.clone())
        {
            let h = &self.hessian.row(i)[places.clone()];
            let sum: f32 = h.iter().zip(codes).map(|(h, q)| h * q).sum();
            along += f64::from(q) * f64::from(slope);
            curve += f64::from(q) * f64::from(sum);
        }
        let old = self.steps[at.start];
        let new = (f64::from(old) + along / curve) as f32;
        // Of the same sign, and neither beyond twice nor half of it: codes are not to be read in another way.
        if new / old > 0.5 && new / old < 2.0 {
            new
        } else {
            old
        }
    }
}

/// `out = rows·H`.
fn times_hessian(hessian: &Hessian, rows: &[f32], out: &mut [f32], scratch: &mut Scratch) {
    let k = hessian.width;
    let left = Part {
        data: rows,
        rows: rows.len() / k.max(1),
        cols: k,
        stride: k,
    };
    let right = Part {
        data: &hessian.values,
        rows: k,
        cols: k,
        stride: k,
    };
    multiply(left, right, Turned::Neither, scratch, out);
}

/// The inner product of each row of two matrices.
fn dots(a: &[f32], b: &[f32], width: usize) -> Vec<f64> {
    let rows = a
        .chunks_exact(width.max(1))
        .zip(b.chunks_exact(width.max(1)));
    rows.map(|(a, b)| {
        let each = a.iter().zip(b);
        each.map(|(&a, &b)| f64::from(a) * f64::from(b))
            .sum::<f64>()
            .max(0.0)
    })
    .collect()
}

fn add_scaled(out: &mut [f32], by: f32, row: &[f32]) {
    if by == 0.0 {
        return;
    }
    for (out, &h) in out.iter_mut().zip(row) {
        *out += by * h;
    }
}
