//! The pixels of an image that see the same taps of a strided convolution.
//!
//! Pixel `i = q * stride + r` of the image is under tap `k` of window `o` where `o * stride + k * dilation - pad = i`. For one
//! residue `r` those taps are `first, first + step, ...`, whatever `q` is, and their windows lie evenly apart: the adjoint at
//! these pixels is a convolution of stride 1 of the windows' adjoints with these taps, backwards.

use crate::conv::ConvShape;

/// The pixels of one residue along one dimension, and the taps that reach them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Phase {
    pub(super) residue: usize,
    /// Pixels.
    pub(super) pixels: usize,
    /// The first tap, and from each tap to the next.
    first: usize,
    step: usize,
    /// How many taps there are.
    pub(super) taps: usize,
    /// From the window of a tap to that of the next.
    dilation: usize,
    /// Windows before the first one that the first pixel's last tap is in.
    pad: usize,
    /// The windows from this one on reach the pixels.
    pub(super) cut: usize,
}

impl Phase {
    /// Of a residue below the stride and the image's extent.
    pub(super) fn new(shape: &ConvShape, d: usize, residue: usize) -> Self {
        let (stride, dilation, pad) = (shape.strides[d], shape.dilations[d], shape.pads[d]);
        let common = gcd(stride, dilation);
        let step = stride / common;
        let wide = |n: usize| n as i128;
        // The window of tap `k` over the first pixel is `(residue + pad - k * dilation) / stride`.
        let reach = |tap: usize| wide(residue) + wide(pad) - wide(tap) * wide(dilation);
        let mut candidates = 0..step.min(shape.kernel[d]);
        let first = candidates.find(|&tap| reach(tap).rem_euclid(wide(stride)) == 0);
        let taps = first.map_or(0, |first| (shape.kernel[d] - first).div_ceil(step));
        let first = first.unwrap_or(0);
        let last = reach(first + taps.saturating_sub(1) * step).div_euclid(wide(stride));
        let size = |n: i128| usize::try_from(n.max(0)).unwrap_or(usize::MAX);
        Self {
            residue,
            pixels: shape.input[d].saturating_sub(residue).div_ceil(stride),
            first,
            step,
            taps,
            dilation: dilation / common,
            pad: size(-last),
            cut: size(last),
        }
    }

    /// The taps in the order of their windows.
    pub(super) fn taps(self) -> impl Iterator<Item = usize> + Clone {
        (0..self.taps)
            .rev()
            .map(move |tap| self.first + tap * self.step)
    }

    /// Whether no window reaches the pixels: their adjoint is zero.
    pub(super) fn is_unseen(&self, windows: usize) -> bool {
        self.taps == 0 || self.cut >= windows
    }
}

/// The convolution of the windows' adjoints that gives the adjoint at the pixels of a phase.
pub(super) fn convolution(shape: &ConvShape, phases: &[Phase; 3]) -> ConvShape {
    let mut of = shape.clone();
    (of.in_channels, of.out_channels) = (shape.out_channels, shape.in_channels);
    for (d, phase) in phases.iter().enumerate() {
        of.input[d] = shape.output[d] - phase.cut.min(shape.output[d]);
        of.output[d] = phase.pixels;
        of.kernel[d] = phase.taps;
        of.strides[d] = 1;
        of.dilations[d] = phase.dilation;
        of.pads[d] = phase.pad;
    }
    of
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conv::{ConvParams, Layout};

    /// Every pair of a window and a tap over a pixel is in the pixel's phase, in its place, and no other.
    #[test]
    fn phases_hold_the_taps_of_their_pixels() {
        for (stride, dilation, pad, kernel, input) in [
            (1, 1, 1, 3, 7),
            (2, 1, 0, 3, 8),
            (2, 1, 1, 3, 7),
            (3, 1, 1, 3, 9),
            (3, 2, 2, 4, 11),
            (4, 6, 3, 3, 17),
            (2, 1, 1, 1, 6),
            (5, 1, 0, 2, 9),
        ] {
            let params = ConvParams {
                strides: vec![stride],
                dilations: vec![dilation],
                pads_begin: vec![pad],
                pads_end: vec![pad],
                layout: Layout::ChannelsLast,
                ..ConvParams::default()
            };
            let shape = ConvShape::new(&params, 1, 1, &[input], 1, &[kernel]).unwrap();
            let windows = shape.output[2];
            for i in 0..input {
                let phase = Phase::new(&shape, 2, i % stride);
                let q = i / stride;
                assert!(q < phase.pixels);
                let mut found = Vec::new();
                for (j, tap) in phase.taps().enumerate() {
                    let window = (q + j * phase.dilation + phase.cut).checked_sub(phase.pad);
                    found.extend(window.filter(|&o| o < windows).map(|o| (o, tap)));
                }
                let mut expected = Vec::new();
                for o in 0..windows {
                    let taps = 0..kernel;
                    let over = taps.filter(|k| o * stride + k * dilation == i + pad);
                    expected.extend(over.map(|tap| (o, tap)));
                }
                assert_eq!(found, expected, "{stride} {dilation} {pad} {kernel}: {i}");
            }
        }
    }
}
