//! The patches of an image as lines of a matrix product (im2col), cut panel by panel.

use std::ops::Range;

use super::shape::{ConvShape, Layout};
use crate::gemm::bytes::{Role, pack_line, pack_words};
use crate::gemm::panel::PanelSource;
use crate::isa::MAX_NR;
use crate::quantized::QuantByte;

/// The patches of one group of one image: line `p` is the window of output pixel `p`.
///
/// The reduction runs over `(channel, tap)` for channels first, `(tap, channel)` for channels last.
pub(crate) struct Patches<'a, T> {
    pub(crate) shape: &'a ConvShape,
    /// One image.
    pub(crate) image: &'a [T],
    /// First channel of the group.
    pub(crate) channel: usize,
    /// The value of the padding.
    pub(crate) pad: T,
}

impl<T: Copy> Patches<'_, T> {
    fn split(&self, tap: usize) -> [usize; 3] {
        let [_, kh, kw] = self.shape.kernel;
        [tap / (kh * kw), tap / kw % kh, tap % kw]
    }

    fn position(&self, pixel: usize) -> [usize; 3] {
        let [_, oh, ow] = self.shape.output;
        [pixel / (oh * ow), pixel / ow % oh, pixel % ow]
    }

    /// Channels first: the values of reduction step `k` for the pixels `lines`.
    #[inline(always)]
    fn step(&self, k: usize, lines: Range<usize>, out: &mut [T]) {
        let s = self.shape;
        let [kz, ky, kx] = self.split(k % s.taps());
        let [_, h, w] = s.input;
        let plane = (self.channel + k / s.taps()) * s.in_pixels();
        let mut pixel = lines.start;
        let mut out = &mut out[..lines.len()];
        while pixel < lines.end {
            let [z, y, x] = self.position(pixel);
            let run = (s.output[2] - x).min(lines.end - pixel);
            let (segment, rest) = out.split_at_mut(run);
            match (s.coordinate(0, z, kz), s.coordinate(1, y, ky)) {
                (Some(iz), Some(iy)) => {
                    let start = plane + (iz * h + iy) * w;
                    let row = self.image.get(start..start + w).unwrap_or(&[]);
                    self.segment(row, x, kx, segment);
                }
                _ => segment.fill(self.pad),
            }
            out = rest;
            pixel += run;
        }
    }

    /// Tap `kx` of the pixels from `x` on along one image row.
    #[inline(always)]
    fn segment(&self, row: &[T], x: usize, kx: usize, out: &mut [T]) {
        let s = self.shape;
        let (stride, pad) = (s.strides[2], s.pads[2]);
        let from = x * stride + kx * s.dilations[2];
        // Outputs before `first` fall into the padding on the left.
        let first = pad.saturating_sub(from).div_ceil(stride).min(out.len());
        let (left, out) = out.split_at_mut(first);
        left.fill(self.pad);
        let start = (from + first * stride).saturating_sub(pad);
        let live = row
            .len()
            .saturating_sub(start)
            .div_ceil(stride)
            .min(out.len());
        let (inside, right) = out.split_at_mut(live);
        right.fill(self.pad);
        if inside.is_empty() {
            return;
        }
        if stride == 1 {
            inside.copy_from_slice(&row[start..start + live]);
        } else {
            inside
                .iter_mut()
                .zip(row[start..].iter().step_by(stride))
                .for_each(|(o, &x)| *o = x);
        }
    }

    /// Channels last: calls `run(k, values)` for the runs of the reduction that pixel `line` has
    /// inside the image; what lies outside is left to the caller.
    #[inline(always)]
    fn runs(&self, line: usize, steps: Range<usize>, mut run: impl FnMut(usize, &[T])) {
        let s = self.shape;
        let channels = s.in_per_group();
        let [z, y, x] = self.position(line);
        let mut k = steps.start;
        while k < steps.end {
            let c = k % channels;
            let len = (channels - c).min(steps.end - k);
            let [kz, ky, kx] = self.split(k / channels);
            let at = (
                s.coordinate(0, z, kz),
                s.coordinate(1, y, ky),
                s.coordinate(2, x, kx),
            );
            if let (Some(iz), Some(iy), Some(ix)) = at {
                let pixel = (iz * s.input[1] + iy) * s.input[2] + ix;
                let start = pixel * s.in_channels + self.channel + c;
                if let Some(values) = self.image.get(start..start + len) {
                    run(k, values);
                }
            }
            k += len;
        }
    }
}

impl PanelSource<f32> for Patches<'_, f32> {
    fn pack(&self, lines: Range<usize>, groups: Range<usize>, width: usize, out: &mut [f32]) {
        if self.shape.layout == Layout::ChannelsFirst {
            if lines.len() < width {
                out.fill(0.0);
            }
            for (k, out) in groups.zip(out.chunks_exact_mut(width)) {
                self.step(k, lines.clone(), out);
            }
        } else {
            out.fill(self.pad);
            for (l, line) in lines.enumerate() {
                self.runs(line, groups.clone(), |k, values| {
                    let at = (k - groups.start) * width + l;
                    out[at..]
                        .iter_mut()
                        .step_by(width)
                        .zip(values)
                        .for_each(|(o, &x)| *o = x);
                });
            }
        }
    }
}

/// [`Patches`] of bytes, as words of activations.
pub(crate) struct BytePatches<'a, T> {
    pub(crate) patches: Patches<'a, T>,
    pub(crate) k_group: usize,
    pub(crate) role: Role,
}

/// Reduction steps that are gathered at a time; a multiple of every group size.
const CHUNK: usize = 256;

impl<T: QuantByte> PanelSource<i32> for BytePatches<'_, T> {
    fn pack(&self, lines: Range<usize>, groups: Range<usize>, width: usize, out: &mut [i32]) {
        if lines.len() < width {
            out.fill(0);
        }
        if self.patches.shape.layout == Layout::ChannelsFirst {
            self.pack_first(lines, groups, width, out);
        } else {
            self.pack_last(lines, groups, width, out);
        }
    }
}

impl<T: QuantByte> BytePatches<'_, T> {
    fn pack_first(&self, lines: Range<usize>, groups: Range<usize>, width: usize, out: &mut [i32]) {
        let (depth, count) = (self.patches.shape.depth(), lines.len());
        let mut values = [T::default(); MAX_NR];
        let mut rows = [[0u8; MAX_NR]; 4];
        for (g, out) in groups.zip(out.chunks_exact_mut(width)) {
            for (i, row) in rows.iter_mut().enumerate().take(self.k_group) {
                let k = g * self.k_group + i;
                if k < depth {
                    self.patches.step(k, lines.clone(), &mut values);
                    row.iter_mut()
                        .zip(&values[..count])
                        .for_each(|(o, &x)| *o = self.role.byte(x));
                } else {
                    row.fill(0);
                }
            }
            pack_words(self.role, self.k_group, &rows, &mut out[..count]);
        }
    }

    /// Each run (the taps of a kernel row) starts a new word, as the weights do.
    fn pack_last(&self, lines: Range<usize>, groups: Range<usize>, width: usize, out: &mut [i32]) {
        let (shape, kg) = (self.patches.shape, self.k_group);
        let run = shape.kernel[2] * shape.in_per_group();
        let words = run.div_ceil(kg);
        let mut values = [T::default(); CHUNK];
        for (l, line) in lines.enumerate() {
            for r in 0..shape.kernel[0] * shape.kernel[1] {
                for from in (0..run).step_by(CHUNK) {
                    let steps = r * run + from..r * run + run.min(from + CHUNK);
                    let first = steps.start;
                    let values = &mut values[..steps.len()];
                    values.fill(self.patches.pad);
                    self.patches.runs(line, steps, |k, part| {
                        values[k - first..k - first + part.len()].copy_from_slice(part);
                    });
                    let group = r * words + from / kg;
                    debug_assert!(groups.contains(&group), "integer products are not cut");
                    let at = (group - groups.start) * width + l;
                    pack_line(self.role, kg, values, &mut out[at..], width);
                }
            }
        }
    }
}
