//! The register tiles of depthwise convolutions, channels last: the sums of some pixels and one or two vectors of channels.

use super::depthwise_last::Line;
use super::shape::ConvShape;
use crate::gemm::arith::Float;
use crate::gemm::register_tile::Sink;
use crate::isa::Simd;

/// The operands of a row of the result.
#[derive(Clone, Copy)]
pub(super) struct Taps<'a> {
    pub(super) shape: &'a ConvShape,
    pub(super) line: &'a Line<'a>,
    /// `[tap][channel]`, whole vectors of channels.
    pub(super) weights: &'a [f32],
}

/// A way of computing a tile.
pub(super) trait Way {
    /// The sums of `P` pixels from `x` on and `V` vectors of channels from `c` on.
    fn sums<S: Simd, const P: usize, const V: usize>(
        s: S,
        taps: &Taps<'_>,
        x: usize,
        c: usize,
        to: impl Sink<Float>,
    );
}

/// Pixels whose windows reach over no side.
pub(super) struct Apart;

/// Those, with windows of three neighbours: each pixel of the image is loaded once for the three.
pub(super) struct Neighbours;

/// All pixels of a row, with windows of three neighbours: taps beside the image are left out.
pub(super) struct Whole;

/// A pixel whose window reaches over a side; of `P` the first one alone.
pub(super) struct AtSide;

impl Way for Apart {
    #[inline(always)]
    fn sums<S: Simd, const P: usize, const V: usize>(
        s: S,
        taps: &Taps<'_>,
        x: usize,
        c: usize,
        to: impl Sink<Float>,
    ) {
        let [_, _, kw] = taps.shape.kernel;
        let (image, channels) = (taps.line.image, taps.line.channels);
        let step = taps.shape.strides[2] * channels;
        let tap_step = taps.shape.dilations[2] * channels;
        let first = taps.first(x, c);
        let reach = (kw - 1) * tap_step + V * S::LANES;
        let weight_reach = (kw - 1) * channels + V * S::LANES;
        let mut acc = [[s.splat(0.0); V]; P];
        for (i, ky) in taps.line.taps.clone().enumerate() {
            let at = first + i * taps.row_step();
            // Slices of one length, so that one check in the loop serves all pixels.
            let mut rows = [&image[..0]; P];
            for (p, row) in rows.iter_mut().enumerate() {
                *row = &image[at + p * step..][..reach];
            }
            let weights = &taps.weights[ky * kw * channels + c..][..weight_reach];
            for kx in 0..kw {
                let w = &weights[kx * channels..][..V * S::LANES];
                for v in 0..V {
                    let w = s.load(&w[v * S::LANES..]);
                    for p in 0..P {
                        let x = &rows[p][kx * tap_step..][..V * S::LANES];
                        acc[p][v] = s.fma(s.load(&x[v * S::LANES..]), w, acc[p][v]);
                    }
                }
            }
        }
        to.take(s, &acc);
    }
}

impl Way for Neighbours {
    #[inline(always)]
    fn sums<S: Simd, const P: usize, const V: usize>(
        s: S,
        taps: &Taps<'_>,
        x: usize,
        c: usize,
        to: impl Sink<Float>,
    ) {
        let (image, channels) = (taps.line.image, taps.line.channels);
        let first = taps.first(x, c);
        let mut acc = [[s.splat(0.0); V]; P];
        for (i, ky) in taps.line.taps.clone().enumerate() {
            let at = first + i * taps.row_step();
            let row = &image[at..][..(P + 1) * channels + V * S::LANES];
            let weights = taps.three::<S, V>(ky, c);
            for v in 0..V {
                let at = |from: &[f32], i: usize| s.load(&from[i * channels + v * S::LANES..]);
                let taps = [at(weights, 0), at(weights, 1), at(weights, 2)];
                let (mut left, mut middle) = (at(row, 0), at(row, 1));
                for (p, acc) in acc.iter_mut().enumerate() {
                    let right = at(row, p + 2);
                    // In the order of the taps.
                    let sum = s.fma(left, taps[0], acc[v]);
                    acc[v] = s.fma(right, taps[2], s.fma(middle, taps[1], sum));
                    (left, middle) = (middle, right);
                }
            }
        }
        to.take(s, &acc);
    }
}

impl Way for Whole {
    #[inline(always)]
    fn sums<S: Simd, const P: usize, const V: usize>(
        s: S,
        taps: &Taps<'_>,
        _x: usize,
        c: usize,
        to: impl Sink<Float>,
    ) {
        let (image, channels) = (taps.line.image, taps.line.channels);
        let mut acc = [[s.splat(0.0); V]; P];
        for (i, ky) in taps.line.taps.clone().enumerate() {
            let row = &image[c + i * taps.row_step()..][..(P - 1) * channels + V * S::LANES];
            let weights = taps.three::<S, V>(ky, c);
            for v in 0..V {
                let at = |from: &[f32], i: usize| s.load(&from[i * channels + v * S::LANES..]);
                let taps = [at(weights, 0), at(weights, 1), at(weights, 2)];
                let (mut left, mut middle) = (s.splat(0.0), at(row, 0));
                for (p, acc) in acc.iter_mut().enumerate() {
                    let mut sum = acc[v];
                    if p > 0 {
                        sum = s.fma(left, taps[0], sum);
                    }
                    sum = s.fma(middle, taps[1], sum);
                    if p + 1 < P {
                        (left, middle) = (middle, at(row, p + 1));
                        sum = s.fma(middle, taps[2], sum);
                    }
                    acc[v] = sum;
                }
            }
        }
        to.take(s, &acc);
    }
}

impl Way for AtSide {
    #[inline(always)]
    fn sums<S: Simd, const P: usize, const V: usize>(
        s: S,
        taps: &Taps<'_>,
        x: usize,
        c: usize,
        to: impl Sink<Float>,
    ) {
        let [_, _, kw] = taps.shape.kernel;
        let (image, channels) = (taps.line.image, taps.line.channels);
        let start = x * taps.shape.strides[2];
        let mut acc = [[s.splat(0.0); V]; 1];
        for (i, ky) in taps.line.taps.clone().enumerate() {
            for kx in 0..kw {
                let column = (start + kx * taps.shape.dilations[2]).checked_sub(taps.line.left);
                let Some(column) = column.filter(|&x| x < taps.line.width) else {
                    continue;
                };
                let at = i * taps.row_step() + column * channels + c;
                let x = &image[at..][..V * S::LANES];
                let w = &taps.weights[(ky * kw + kx) * channels + c..][..V * S::LANES];
                for v in 0..V {
                    let (x, w) = (s.load(&x[v * S::LANES..]), s.load(&w[v * S::LANES..]));
                    acc[0][v] = s.fma(x, w, acc[0][v]);
                }
            }
        }
        to.take(s, &acc);
    }
}

impl Taps<'_> {
    /// Elements from a row of taps to the next.
    #[inline(always)]
    fn row_step(&self) -> usize {
        self.shape.dilations[1] * self.line.row_len
    }

    /// Where the first tap of a pixel inside the image reads.
    #[inline(always)]
    fn first(&self, x: usize, c: usize) -> usize {
        (x * self.shape.strides[2] - self.line.left) * self.line.channels + c
    }

    /// A row of three taps.
    #[inline(always)]
    fn three<S: Simd, const V: usize>(&self, ky: usize, c: usize) -> &[f32] {
        let channels = self.line.channels;
        &self.weights[3 * ky * channels + c..][..2 * channels + V * S::LANES]
    }
}
