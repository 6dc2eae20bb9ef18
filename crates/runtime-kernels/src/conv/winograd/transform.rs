//! The one-dimensional transforms, of vectors of channels, and that of the weights.
//!
//! For the points `p` at which polynomials are multiplied, the last of which is infinity: a row of `G` is
//! `[1, p, p²] / prod(p - q)` over the other finite points `q`, a row of `Bᵀ` holds the coefficients of
//! `prod(x - q)`, row `i` of `Aᵀ` the powers `pⁱ` (Lavin & Gray, arXiv:1509.09308).

use super::WinogradTile;
use crate::isa::Simd;
use std::f64::consts::{FRAC_1_SQRT_2, SQRT_2};

/// Extent of the largest patch of the image.
pub(super) const MAX_PATCH: usize = 6;
/// Extent of the largest piece of the result.
pub(super) const MAX_TILE: usize = 4;

/// A line of vectors; a smaller tile uses the first ones.
pub(super) type Line<S> = [<S as Simd>::F; MAX_PATCH];

/// The transforms of one tile size.
pub(super) trait Transform: Copy {
    const TILE: WinogradTile;
    /// `Bᵀ d`.
    fn input<S: Simd>(s: S, d: Line<S>) -> Line<S>;
    /// `Aᵀ m`.
    fn output<S: Simd>(s: S, m: Line<S>) -> [S::F; MAX_TILE];
}

/// F(2, 3): the points 0, 1, -1.
#[derive(Clone, Copy)]
pub(super) struct Two;

impl Transform for Two {
    const TILE: WinogradTile = WinogradTile::Two;

    #[inline(always)]
    fn input<S: Simd>(s: S, d: Line<S>) -> Line<S> {
        [
            s.sub(d[0], d[2]),
            s.add(d[2], d[1]),
            s.sub(d[2], d[1]),
            s.sub(d[3], d[1]),
            d[4],
            d[5],
        ]
    }

    #[inline(always)]
    fn output<S: Simd>(s: S, m: Line<S>) -> [S::F; MAX_TILE] {
        let zero = s.splat(0.0);
        [
            s.add(m[0], s.add(m[1], m[2])),
            s.add(m[3], s.sub(m[1], m[2])),
            zero,
            zero,
        ]
    }
}

/// F(4, 3): the points 0, ±√½ and ±√2. Their powers stay near 1, so that less is lost to rounding than with
/// whole numbers.
#[derive(Clone, Copy)]
pub(super) struct Four;

const A: f32 = std::f32::consts::FRAC_1_SQRT_2;
const B: f32 = std::f32::consts::SQRT_2;

impl Transform for Four {
    const TILE: WinogradTile = WinogradTile::Four;

    #[inline(always)]
    fn input<S: Simd>(s: S, d: Line<S>) -> Line<S> {
        let (a, b) = (s.splat(A), s.splat(B));
        let middle = s.splat(-2.5);
        // The rows of ±p are the even powers plus or minus the odd ones.
        let even_a = s.fma(s.splat(-2.0), d[2], d[4]);
        let odd_a = s.sub(s.mul(a, d[3]), s.mul(b, d[1]));
        let even_b = s.fma(s.splat(-0.5), d[2], d[4]);
        let odd_b = s.sub(s.mul(b, d[3]), s.mul(a, d[1]));
        [
            s.fma(middle, d[2], s.add(d[0], d[4])),
            s.add(even_a, odd_a),
            s.sub(even_a, odd_a),
            s.add(even_b, odd_b),
            s.sub(even_b, odd_b),
            s.fma(middle, d[3], s.add(d[1], d[5])),
        ]
    }

    #[inline(always)]
    fn output<S: Simd>(s: S, m: Line<S>) -> [S::F; MAX_TILE] {
        let (plus_a, minus_a) = (s.add(m[1], m[2]), s.sub(m[1], m[2]));
        let (plus_b, minus_b) = (s.add(m[3], m[4]), s.sub(m[3], m[4]));
        let odd =
            |a: f32, b: f32, rest| s.fma(s.splat(a), minus_a, s.fma(s.splat(b), minus_b, rest));
        [
            s.add(m[0], s.add(plus_a, plus_b)),
            odd(A, B, s.splat(0.0)),
            s.fma(s.splat(0.5), plus_a, s.mul(s.splat(2.0), plus_b)),
            odd(A * 0.5, B * 2.0, m[5]),
        ]
    }
}

/// `G g Gᵀ` of one filter of 3 x 3 taps: a line of the patch's extent per row, in double precision.
pub(super) fn filter(tile: WinogradTile, taps: [f64; 9]) -> [[f64; MAX_PATCH]; MAX_PATCH] {
    let rows = |g: [f64; 3]| match tile {
        WinogradTile::Two => two_filter(g),
        WinogradTile::Four => four_filter(g),
    };
    // Each row of taps, then each column of what that gives.
    let lines = [0, 3, 6].map(|at| rows([taps[at], taps[at + 1], taps[at + 2]]));
    let mut out = [[0.0; MAX_PATCH]; MAX_PATCH];
    for j in 0..MAX_PATCH {
        let column = rows([lines[0][j], lines[1][j], lines[2][j]]);
        for (out, value) in out.iter_mut().zip(column) {
            out[j] = value;
        }
    }
    out
}

fn two_filter([a, b, c]: [f64; 3]) -> [f64; MAX_PATCH] {
    [a, (a + b + c) / 2.0, (a - b + c) / 2.0, c, 0.0, 0.0]
}

fn four_filter([a, b, c]: [f64; 3]) -> [f64; MAX_PATCH] {
    let at = |p: f64, divisor: f64| (a + p * b + p * p * c) / divisor;
    // 2 p² (p² - q²), of p² = ½ and q² = 2 or the other way.
    let (half, two) = (-1.5, 6.0);
    [
        a,
        at(FRAC_1_SQRT_2, half),
        at(-FRAC_1_SQRT_2, half),
        at(SQRT_2, two),
        at(-SQRT_2, two),
        c,
    ]
}
