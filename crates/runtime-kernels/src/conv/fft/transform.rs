//! The fast Fourier transform of lines of complex vectors, and that of the weights.
//!
//! A line of `n = 2^k` places holds at each a vector of real parts and one of imaginary parts: as many transforms as a vector has
//! lanes, without a shuffle. Passes of radix 4 (one of radix 2 where `k` is odd) by decimation in frequency leave the
//! frequencies in the order of [`frequency`]; the way back takes them in that order, so that nothing is reordered (Gentleman &
//! Sande, "Fast Fourier transforms: for fun and profit", 1966).

use crate::isa::Simd;
use std::f64::consts::TAU;

/// `e^(-2πik/n)` for the `k` below `n`: real and imaginary part.
pub(super) fn roots(n: usize) -> Vec<[f32; 2]> {
    let rounded = exact_roots(n)
        .into_iter()
        .map(|root| root.map(|x| x as f32));
    rounded.collect()
}

/// The frequency that [`forward`] leaves at place `at` of a line of `n`.
pub(super) fn frequency(n: usize, at: usize) -> usize {
    if n <= 2 {
        return at;
    }
    let quarter = n / 4;
    4 * frequency(quarter, at % quarter) + at / quarter
}

/// A vector of complex numbers.
#[derive(Clone, Copy)]
pub(super) struct Complex<S: Simd> {
    pub(super) re: S::F,
    pub(super) im: S::F,
}

impl<S: Simd> Complex<S> {
    #[inline(always)]
    pub(super) fn load(s: S, from: &[f32]) -> Self {
        Self {
            re: s.load(from),
            im: s.load(&from[S::LANES..]),
        }
    }

    #[inline(always)]
    pub(super) fn store(self, s: S, to: &mut [f32]) {
        s.store(self.re, to);
        s.store(self.im, &mut to[S::LANES..]);
    }

    #[inline(always)]
    fn plus(self, s: S, other: Self) -> Self {
        Self {
            re: s.add(self.re, other.re),
            im: s.add(self.im, other.im),
        }
    }

    #[inline(always)]
    fn minus(self, s: S, other: Self) -> Self {
        Self {
            re: s.sub(self.re, other.re),
            im: s.sub(self.im, other.im),
        }
    }

    /// `self - i other`.
    #[inline(always)]
    fn minus_turned(self, s: S, other: Self) -> Self {
        Self {
            re: s.add(self.re, other.im),
            im: s.sub(self.im, other.re),
        }
    }

    /// `self + i other`.
    #[inline(always)]
    fn plus_turned(self, s: S, other: Self) -> Self {
        Self {
            re: s.sub(self.re, other.im),
            im: s.add(self.im, other.re),
        }
    }

    /// The product with one number.
    #[inline(always)]
    fn times(self, s: S, [re, im]: [f32; 2]) -> Self {
        let (re, plus, minus) = (s.splat(re), s.splat(im), s.splat(-im));
        Self {
            re: s.fma(self.im, minus, s.mul(self.re, re)),
            im: s.fma(self.re, plus, s.mul(self.im, re)),
        }
    }

    /// The product with the conjugate of `other`.
    #[inline(always)]
    pub(super) fn times_conjugate(self, s: S, other: Self) -> Self {
        let cross = s.mul(self.re, other.im);
        Self {
            re: s.fma(self.im, other.im, s.mul(self.re, other.re)),
            im: s.sub(s.mul(self.im, other.re), cross),
        }
    }
}

/// The transform of a line in place; `roots` are those of its length.
#[inline(always)]
pub(super) fn forward<S: Simd>(s: S, line: &mut [f32], roots: &[[f32; 2]]) {
    let n = roots.len();
    let mut block = n;
    while block >= 4 {
        for part in line.chunks_exact_mut(2 * S::LANES * block) {
            radix_4::<S, false>(s, part, roots, n / block);
        }
        block /= 4;
    }
    if block == 2 {
        radix_2(s, line);
    }
}

/// The transform back in place, times the length.
#[inline(always)]
pub(super) fn inverse<S: Simd>(s: S, line: &mut [f32], roots: &[[f32; 2]]) {
    let n = roots.len();
    let mut block = 4;
    if n.trailing_zeros() % 2 == 1 {
        radix_2(s, line);
        block = 8;
    }
    while block <= n {
        for part in line.chunks_exact_mut(2 * S::LANES * block) {
            radix_4::<S, true>(s, part, roots, n / block);
        }
        block *= 4;
    }
}

#[inline(always)]
fn radix_2<S: Simd>(s: S, line: &mut [f32]) {
    let width = 2 * S::LANES;
    for pair in line.chunks_exact_mut(2 * width) {
        let (a, b) = pair.split_at_mut(width);
        let (x, y) = (Complex::load(s, a), Complex::load(s, b));
        x.plus(s, y).store(s, a);
        x.minus(s, y).store(s, b);
    }
}

/// One pass over a part of a line, whose quarters hold every fourth frequency on the side of the frequencies.
#[inline(always)]
fn radix_4<S: Simd, const BACK: bool>(s: S, part: &mut [f32], roots: &[[f32; 2]], step: usize) {
    let (width, quarter) = (2 * S::LANES, part.len() / 4);
    let (front, rear) = part.split_at_mut(2 * quarter);
    let (a, b) = front.split_at_mut(quarter);
    let (c, d) = rear.split_at_mut(quarter);
    let places = a
        .chunks_exact_mut(width)
        .zip(b.chunks_exact_mut(width))
        .zip(c.chunks_exact_mut(width))
        .zip(d.chunks_exact_mut(width));
    for (j, (((a, b), c), d)) in places.enumerate() {
        let mut x = [
            Complex::load(s, a),
            Complex::load(s, b),
            Complex::load(s, c),
            Complex::load(s, d),
        ];
        // All roots of the first place are 1.
        if BACK && j > 0 {
            x = turned::<S, BACK>(s, x, roots, j * step);
        }
        let (e, f) = (x[0].plus(s, x[2]), x[0].minus(s, x[2]));
        let (g, h) = (x[1].plus(s, x[3]), x[1].minus(s, x[3]));
        let (first, third) = (f.minus_turned(s, h), f.plus_turned(s, h));
        let (first, third) = if BACK { (third, first) } else { (first, third) };
        x = [e.plus(s, g), first, e.minus(s, g), third];
        if !BACK && j > 0 {
            x = turned::<S, BACK>(s, x, roots, j * step);
        }
        x[0].store(s, a);
        x[1].store(s, b);
        x[2].store(s, c);
        x[3].store(s, d);
    }
}

/// Four numbers times the powers of a root, or of its conjugate on the way back.
#[inline(always)]
fn turned<S: Simd, const BACK: bool>(
    s: S,
    x: [Complex<S>; 4],
    roots: &[[f32; 2]],
    at: usize,
) -> [Complex<S>; 4] {
    let root = |power: usize| {
        let [re, im] = roots[power * at];
        [re, if BACK { -im } else { im }]
    };
    [
        x[0],
        x[1].times(s, root(1)),
        x[2].times(s, root(2)),
        x[3].times(s, root(3)),
    ]
}

/// `e^(-2πik/n)` for the `k` below `n`, in double precision.
pub(super) fn exact_roots(n: usize) -> Vec<[f64; 2]> {
    let root = |k: usize| {
        let (sin, cos) = (TAU * k as f64 / n as f64).sin_cos();
        [cos, -sin]
    };
    (0..n).map(root).collect()
}

/// The transform of a line of numbers in double precision, with the frequencies in their natural order; `roots` are those of its length.
pub(super) fn exact(line: &mut [[f64; 2]], roots: &[[f64; 2]]) {
    let n = line.len();
    if n < 2 {
        return;
    }
    let unused = usize::BITS - n.ilog2();
    for at in 0..n {
        let reversed = at.reverse_bits() >> unused;
        if at < reversed {
            line.swap(at, reversed);
        }
    }
    let mut half = 1;
    while half < n {
        for part in line.chunks_exact_mut(2 * half) {
            let (front, rear) = part.split_at_mut(half);
            let turns = roots.iter().step_by(n / (2 * half));
            for (([a, b], [c, d]), [re, im]) in front.iter_mut().zip(rear).zip(turns) {
                let turned = [*c * re - *d * im, *c * im + *d * re];
                (*c, *d) = (*a - turned[0], *b - turned[1]);
                (*a, *b) = (*a + turned[0], *b + turned[1]);
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, MAX_LANES, simd_dispatch};

    simd_dispatch! {
        /// The transform of a line of which all lanes are the same, and its way back.
        fn both(s: S, line: &[[f32; 2]]) -> (Vec<[f32; 2]>, Vec<[f32; 2]>) {
            let table = roots(line.len());
            let spread = |x: f32| [x; MAX_LANES];
            let mut places: Vec<f32> = line
                .iter()
                .flat_map(|[re, im]| [spread(*re), spread(*im)].map(|v| v[..S::LANES].to_vec()))
                .flatten()
                .collect();
            let taken = |places: &[f32]| {
                let last = S::LANES - 1;
                let place = |p: &[f32]| [p[last], p[S::LANES + last]];
                places.chunks_exact(2 * S::LANES).map(place).collect::<Vec<_>>()
            };
            forward(s, &mut places, &table);
            let there = taken(&places);
            inverse(s, &mut places, &table);
            (there, taken(&places))
        }
    }

    #[test]
    fn lines_of_all_lengths_are_transformed_and_come_back() {
        for power in 0..9 {
            let n = 1usize << power;
            let line: Vec<[f32; 2]> = (0..n)
                .map(|k| [(k as f32 * 0.7).sin(), (k as f32 * 1.3 + 1.0).cos()])
                .collect();
            let mut expected: Vec<[f64; 2]> = line.iter().map(|x| x.map(f64::from)).collect();
            exact(&mut expected, &exact_roots(n));
            for isa in Isa::available() {
                let (there, back) = both(isa, &line);
                for at in 0..n {
                    let k = frequency(n, at);
                    for part in 0..2 {
                        let apart = (f64::from(there[at][part]) - expected[k][part]).abs();
                        assert!(apart < 1e-6 * n as f64, "{isa} {n} {at}: {apart}");
                        let apart = (back[at][part] / n as f32 - line[at][part]).abs();
                        assert!(apart < 1e-6, "{isa} {n} {at}: {apart}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_exact_transform_is_the_sum_of_its_definition() {
        let line: Vec<[f64; 2]> = (0..8)
            .map(|k| [f64::from(k * k % 5), f64::from(k)])
            .collect();
        let mut found = line.clone();
        exact(&mut found, &exact_roots(8));
        for (f, found) in found.into_iter().enumerate() {
            let mut sum = [0.0; 2];
            for (t, [a, b]) in line.iter().enumerate() {
                let (sin, cos) = (-TAU * (f * t) as f64 / 8.0).sin_cos();
                sum[0] += a * cos - b * sin;
                sum[1] += a * sin + b * cos;
            }
            assert!((sum[0] - found[0]).abs() < 1e-12 && (sum[1] - found[1]).abs() < 1e-12);
        }
    }
}
