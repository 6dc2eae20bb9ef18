//! A channels-last image as the left operand of a [`DirectProduct`]: row `p` is the window of
//! output pixel `p`.
//!
//! The window of a pixel is one run of `kernel width * channels` elements per kernel row, at the
//! same distances for every pixel, once the padding is part of the image. A band of output lines
//! at a time is staged that way in scratch memory, so that borders cost nothing in the product and
//! bytes are widened once; a float image without padding is read in place. Where windows do not
//! overlap, or the taps of a run lie apart, the windows themselves are gathered, and so are pixels that would
//! drive each other out of the first cache.

use std::ops::Range;

use half::{bf16, f16};

use super::shape::ConvShape;
use crate::gemm::arith::{Arith, Float, UnsignedSigned};
use crate::gemm::direct::{FAR_WEIGHTS, Source, Walk};
use crate::gemm::half::Bf16Pairs;
use crate::gemm::rows::{APART, BLOCK_BYTES, share_a_set, unit_bytes, widen};
use crate::isa::{Isa, MAX_LANES, Simd, simd_dispatch};
use crate::quantized::QuantByte;

/// Bytes of a band under weights that a core's own cache does not hold: the fewer bands, the less often they are read.
const LARGE_BAND: usize = 448 * 1024;
/// Output channels from which on windows that would drive each other out of the first cache are set apart.
const WORTH_GATHERING: usize = 64;

/// How a band is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    InPlace,
    Padded,
    Gathered,
}

/// An image element that a product reads as words of `A`.
pub(super) trait Staged<A: Arith>: Copy + Send + Sync {
    /// Writes a run of elements as units.
    fn stage<S: Simd>(s: S, src: &[Self], out: &mut [A::Unit]);
    /// Elements of a word.
    fn per_word(isa: Isa) -> usize;
    /// The same where the instruction set is known.
    fn per_word_of<S: Simd>() -> usize;
    /// The image itself, where its elements are units.
    fn units(image: &[Self]) -> Option<&[A::Unit]>;
}

/// Images of floats, for weights of any form that is multiplied with floats.
macro_rules! staged_floats {
    ($($form:ty),*) => {$(
impl Staged<Float<$form>> for f32 {
    #[inline(always)]
    fn stage<S: Simd>(_: S, src: &[f32], out: &mut [f32]) {
        if src.len() > 32 {
            out.copy_from_slice(src);
        } else {
            out.iter_mut().zip(src).for_each(|(o, &x)| *o = x);
        }
    }
    fn per_word(_: Isa) -> usize {
        1
    }
    #[inline(always)]
    fn per_word_of<S: Simd>() -> usize {
        1
    }
    fn units(image: &[f32]) -> Option<&[f32]> {
        Some(image)
    }
}
    )*};
}

staged_floats!(f32, f16, bf16);

/// Rounded where they are staged.
impl Staged<Float<Bf16Pairs>> for f32 {
    #[inline(always)]
    fn stage<S: Simd>(s: S, src: &[f32], out: &mut [bf16]) {
        let (whole, rest) = src.as_chunks::<MAX_LANES>();
        let (out, last) = out.split_at_mut(whole.len() * MAX_LANES);
        let steps = whole.as_flattened().chunks_exact(S::LANES);
        for (x, out) in steps.zip(out.chunks_exact_mut(S::LANES)) {
            s.store_bf16(s.load(x), out);
        }
        for (out, &x) in last.iter_mut().zip(rest) {
            *out = bf16::from_f32(x);
        }
    }
    fn per_word(_: Isa) -> usize {
        2
    }
    #[inline(always)]
    fn per_word_of<S: Simd>() -> usize {
        2
    }
    fn units(_: &[f32]) -> Option<&[bf16]> {
        None
    }
}

impl<T: QuantByte> Staged<UnsignedSigned> for T {
    #[inline(always)]
    fn stage<S: Simd>(s: S, src: &[T], out: &mut [u8]) {
        debug_assert_eq!(out.len(), src.len() * unit_bytes::<S>());
        widen(s, src, out);
    }
    fn per_word(isa: Isa) -> usize {
        isa.tile().k_group
    }
    #[inline(always)]
    fn per_word_of<S: Simd>() -> usize {
        S::K_GROUP
    }
    fn units(_: &[T]) -> Option<&[u8]> {
        None
    }
}

/// A batch of images of one convolution.
pub(super) struct Windows<'a, T> {
    shape: &'a ConvShape,
    image: &'a [T],
    pad: T,
    mode: Mode,
    per_word: usize,
    /// Units of one element.
    unit: usize,
    /// Bytes of the weights of a group.
    weights: usize,
}

/// The product, or the largest number where it is larger.
fn product<const N: usize>(factors: [usize; N]) -> usize {
    factors.into_iter().fold(1, usize::saturating_mul)
}

/// Part of the result: output lines of one depth plane of one image.
#[derive(Clone, Copy)]
struct Band {
    image: usize,
    z: usize,
    y: usize,
    lines: usize,
}

impl<'a, T> Windows<'a, T> {
    pub(super) fn new<A: Arith>(isa: Isa, shape: &'a ConvShape, image: &'a [T], pad: T) -> Self
    where
        T: Staged<A>,
    {
        let per_word = T::per_word(isa);
        let mut windows = Self {
            shape,
            image,
            pad,
            mode: Mode::Padded,
            per_word,
            unit: A::UNITS / per_word,
            weights: product([shape.depth(), shape.out_per_group(), size_of::<A::Weight>()])
                / per_word,
        };
        let [_, _, kw] = shape.kernel;
        let apart = kw > 1 && shape.dilations[2] > 1;
        let inside = (0..3).all(|d| shape.pads[d] == 0 && shape.reach(d) <= shape.input[d]);
        let [d, h, w] = windows.padded(1);
        // Dilations can spread a window over more than memory holds.
        let staged = product([d, h, w, shape.in_per_group()]);
        if inside && T::units(image).is_some() {
            let is_crowded = shape.taps() == 1
                && share_a_set(product([
                    shape.strides[2],
                    shape.in_channels,
                    windows.unit_bytes(),
                ]));
            windows.mode = match is_crowded && shape.out_per_group() >= WORTH_GATHERING {
                true => Mode::Gathered,
                false => Mode::InPlace,
            };
        } else if (apart && !shape.in_per_group().is_multiple_of(per_word))
            || shape.output[2] * shape.depth() < staged
        {
            windows.mode = Mode::Gathered;
        }
        windows
    }

    /// Words of one run: the taps of a kernel row.
    pub(super) fn run_words(shape: &ConvShape, per_word: usize) -> usize {
        (shape.kernel[2] * shape.in_per_group()).div_ceil(per_word)
    }

    /// Extents of the padded image under a band of `lines` output lines.
    fn padded(&self, lines: usize) -> [usize; 3] {
        let s = self.shape;
        let span = |d: usize, outputs: usize| {
            (outputs - 1) * s.strides[d] + (s.kernel[d] - 1) * s.dilations[d] + 1
        };
        [s.kernel[0], span(1, lines), span(2, s.output[2])]
    }

    /// Units from a gathered window to the next.
    fn window_units(&self) -> usize {
        let [kd, kh, _] = self.shape.kernel;
        let units =
            kd * kh * Self::run_words(self.shape, self.per_word) * self.per_word * self.unit;
        match share_a_set(units * self.unit_bytes()) {
            true => units + APART / self.unit_bytes(),
            false => units,
        }
    }

    fn unit_bytes(&self) -> usize {
        4 / (self.unit * self.per_word)
    }

    /// Units of scratch memory under a band.
    fn band_units(&self, lines: usize) -> usize {
        match self.mode {
            Mode::InPlace => 0,
            Mode::Padded => {
                let [d, h, w] = self.padded(lines);
                // The last word of the last run may reach past the end.
                (d * h * w * self.shape.in_per_group() + self.per_word) * self.unit
            }
            Mode::Gathered => lines * self.shape.output[2] * self.window_units(),
        }
    }

    /// Output lines of a band at most.
    fn band_lines(&self) -> usize {
        let s = self.shape;
        let units = match self.mode {
            Mode::InPlace => product([s.strides[1], s.input[2], s.in_channels]),
            Mode::Padded => {
                let [d, _, w] = self.padded(1);
                product([d, s.strides[1], w, s.in_per_group(), self.unit])
            }
            Mode::Gathered => self.band_units(1),
        };
        let bytes = |units: usize| units.saturating_mul(self.unit_bytes());
        let limit = match self.weights > FAR_WEIGHTS {
            true => LARGE_BAND,
            false => BLOCK_BYTES,
        };
        (limit / bytes(units).max(1)).clamp(1, s.output[1])
    }

    fn band(&self, rows: Range<usize>) -> Band {
        let [od, oh, ow] = self.shape.output;
        let line = rows.start / ow;
        Band {
            image: line / (od * oh),
            z: line / oh % od,
            y: line % oh,
            lines: rows.len() / ow,
        }
    }

    fn walk(&self, lines: usize) -> Walk {
        let s = self.shape;
        let ([kd, kh, kw], [_, dy, dx]) = (s.kernel, s.dilations);
        let words = Self::run_words(s, self.per_word);
        if self.mode == Mode::Gathered {
            let step = self.window_units();
            let mut walk = Walk::rows(step, kd * kh * words);
            walk.line = s.output[2];
            walk.line_step = s.output[2] * step;
            return walk;
        }
        let (pixel, row, plane) = if self.mode == Mode::InPlace {
            let pixel = s.in_channels;
            let row = s.input[2] * pixel;
            (pixel, row, s.dilations[0] * s.input[1] * row)
        } else {
            let [_, h, w] = self.padded(lines);
            let pixel = s.in_per_group() * self.unit;
            (pixel, w * pixel, h * w * pixel)
        };
        let together = kw == 1 || (dx == 1 && pixel == s.in_per_group() * self.unit);
        Walk {
            line: s.output[2],
            step: s.strides[2] * pixel,
            line_step: s.strides[1] * row,
            runs: [kd, kh, if together { 1 } else { kw }],
            run_steps: [plane, dy * row, dx * pixel],
            words: if together {
                words
            } else {
                s.in_per_group() / self.per_word
            },
        }
    }

    /// The elements of one image row: `None` in the padding.
    #[inline(always)]
    fn image_row(&self, image: usize, z: usize, y: usize) -> Option<&[T]> {
        let s = self.shape;
        let [d, h, w] = s.input;
        let z = z.checked_sub(s.pads[0]).filter(|&z| z < d)?;
        let y = y.checked_sub(s.pads[1]).filter(|&y| y < h)?;
        let len = w * s.in_channels;
        let start = ((image * d + z) * h + y) * len;
        Some(&self.image[start..start + len])
    }
}

impl<A: Arith, T: Staged<A>> Source<A> for Windows<'_, T> {
    fn block_end(&self, row: usize, end: usize) -> usize {
        let [_, oh, ow] = self.shape.output;
        let y = row / ow % oh;
        let lines = self.band_lines().min(oh - y);
        end.min(row + lines * ow)
    }

    fn scratch_units(&self) -> usize {
        self.band_units(self.band_lines())
    }

    fn block<'b>(
        &'b self,
        isa: Isa,
        rows: Range<usize>,
        group: usize,
        scratch: &'b mut [A::Unit],
    ) -> (&'b [A::Unit], Walk) {
        let s = self.shape;
        let band = self.band(rows);
        let walk = self.walk(band.lines);
        let channel = group * s.in_per_group();
        if let (Mode::InPlace, Some(units)) = (self.mode, T::units(self.image)) {
            let [d, h, w] = s.input;
            let line = (band.image * d + band.z * s.strides[0]) * h + band.y * s.strides[1];
            return (&units[line * w * s.in_channels + channel..], walk);
        }
        let scratch = &mut scratch[..self.band_units(band.lines)];
        match self.mode {
            Mode::Gathered => gather::<A, T>(isa, self, band, channel, scratch),
            _ => copy_padded::<A, T>(isa, self, band, channel, scratch),
        }
        (scratch, walk)
    }
}

simd_dispatch! {
    /// Copies the image rows under a band, with their padding.
    fn copy_padded[A: Arith, T: Staged<A>](
        s: S,
        windows: &Windows<'_, T>,
        band: Band,
        channel: usize,
        out: &mut [A::Unit],
    ) {
        let shape = windows.shape;
        let [_, h, w] = windows.padded(band.lines);
        let (channels, unit) = (shape.in_per_group(), windows.unit);
        let pixel = channels * unit;
        let left = shape.pads[2].min(w);
        let live = shape.input[2].min(w - left);
        for (i, out) in out.chunks_exact_mut((w * pixel).max(1)).enumerate() {
            if i >= shape.kernel[0] * h {
                break;
            }
            let z = band.z * shape.strides[0] + i / h * shape.dilations[0];
            let y = band.y * shape.strides[1] + i % h;
            let Some(row) = windows.image_row(band.image, z, y) else {
                fill::<S, A, T>(s, windows.pad, out);
                continue;
            };
            let (before, rest) = out.split_at_mut(left * pixel);
            let (inside, after) = rest.split_at_mut(live * pixel);
            fill::<S, A, T>(s, windows.pad, before);
            fill::<S, A, T>(s, windows.pad, after);
            if channels == shape.in_channels {
                T::stage(s, &row[..live * channels], inside);
            } else {
                let pixels = row.chunks_exact(shape.in_channels);
                for (out, pixel) in inside.chunks_exact_mut(pixel).zip(pixels) {
                    T::stage(s, &pixel[channel..channel + channels], out);
                }
            }
        }
    }
}

simd_dispatch! {
    /// Copies the windows of a band one after another, each run in whole words.
    fn gather[A: Arith, T: Staged<A>](
        s: S,
        windows: &Windows<'_, T>,
        band: Band,
        channel: usize,
        out: &mut [A::Unit],
    ) {
        let shape = windows.shape;
        let [kd, kh, kw] = shape.kernel;
        let [sz, sy, _] = shape.strides;
        let [dz, dy, _] = shape.dilations;
        let (channels, unit) = (shape.in_per_group(), windows.unit);
        let pixel = channels * unit;
        let run = Windows::<T>::run_words(shape, windows.per_word) * windows.per_word * unit;
        let mut windows_of = out.chunks_exact_mut(windows.window_units().max(1));
        for y in band.y..band.y + band.lines {
            for x in 0..shape.output[2] {
                let Some(out) = windows_of.next() else {
                    return;
                };
                for (k, out) in out.chunks_exact_mut(run.max(1)).enumerate().take(kd * kh) {
                    let (z, y) = (band.z * sz + k / kh * dz, y * sy + k % kh * dy);
                    let Some(row) = windows.image_row(band.image, z, y) else {
                        fill::<S, A, T>(s, windows.pad, out);
                        continue;
                    };
                    let (taps, rest) = out.split_at_mut(kw * pixel);
                    fill::<S, A, T>(s, windows.pad, rest);
                    for (kx, out) in taps.chunks_exact_mut(pixel.max(1)).enumerate() {
                        match shape.coordinate(2, x, kx) {
                            None => fill::<S, A, T>(s, windows.pad, out),
                            Some(ix) => {
                                let at = ix * shape.in_channels + channel;
                                T::stage(s, &row[at..at + channels], out);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Fills whole elements with the value of the padding.
#[inline(always)]
fn fill<S: Simd, A: Arith, T: Staged<A>>(s: S, pad: T, out: &mut [A::Unit]) {
    // Units of one element, at most two.
    let mut one = [A::Unit::default(); 2];
    let unit = A::UNITS / T::per_word_of::<S>();
    T::stage(s, &[pad], &mut one[..unit]);
    for out in out.chunks_exact_mut(unit) {
        out.copy_from_slice(&one[..unit]);
    }
}
