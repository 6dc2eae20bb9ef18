//! The windows of a pooling operator.

use std::ops::Range;

use crate::KernelError;
use crate::error::{check_extent, product};

/// Extents of one pooling; the caller gives the output extents (and so the rounding mode).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolShape {
    /// `batch * channels`.
    pub(crate) planes: usize,
    pub(crate) input: [usize; 3],
    pub(crate) output: [usize; 3],
    kernel: [usize; 3],
    strides: [usize; 3],
    dilations: [usize; 3],
    pads_begin: [usize; 3],
    pads_end: [usize; 3],
}

impl PoolShape {
    /// `planes` is batch times channels; the lists have one entry per spatial dimension (1 to 3),
    /// or none for their default (stride 1, dilation 1, no padding).
    ///
    /// # Errors
    /// [`KernelError::Extent`] if ranks do not agree, [`KernelError::Invalid`] for a stride,
    /// dilation or kernel extent of zero.
    pub fn new(
        planes: usize,
        (input, output): (&[usize], &[usize]),
        kernel: &[usize],
        strides: &[usize],
        dilations: &[usize],
        (pads_begin, pads_end): (&[usize], &[usize]),
    ) -> Result<Self, KernelError> {
        let rank = input.len();
        if rank == 0 || rank > 3 {
            return Err(KernelError::Invalid {
                what: "number of spatial dimensions",
                value: rank,
            });
        }
        let widen = |what, list: &[usize], default| {
            let mut wide = [default; 3];
            if !list.is_empty() {
                check_extent(what, list.len(), rank)?;
                wide[3 - rank..].copy_from_slice(list);
            }
            Ok::<_, KernelError>(wide)
        };
        check_extent("rank of the output", output.len(), rank)?;
        check_extent("rank of the kernel", kernel.len(), rank)?;
        let shape = Self {
            planes,
            input: widen("rank of the input", input, 1)?,
            output: widen("rank of the output", output, 1)?,
            kernel: widen("rank of the kernel", kernel, 1)?,
            strides: widen("strides", strides, 1)?,
            dilations: widen("dilations", dilations, 1)?,
            pads_begin: widen("pads before", pads_begin, 0)?,
            pads_end: widen("pads after", pads_end, 0)?,
        };
        for (what, list) in [
            ("stride", shape.strides),
            ("dilation", shape.dilations),
            ("kernel", shape.kernel),
        ] {
            if list.contains(&0) {
                return Err(KernelError::Invalid { what, value: 0 });
            }
        }
        for d in 0..3 {
            let last = shape.output[d].checked_mul(shape.strides[d]);
            let reach = shape.kernel[d].checked_mul(shape.dilations[d]);
            let span = last.zip(reach).and_then(|(l, r)| l.checked_add(r));
            let padded = shape.input[d].checked_add(shape.pads_begin[d]);
            let padded = padded.and_then(|p| p.checked_add(shape.pads_end[d]));
            if span.is_none() || padded.is_none() {
                return Err(KernelError::Invalid {
                    what: "window extent",
                    value: usize::MAX,
                });
            }
        }
        Ok(shape)
    }

    /// Elements of the image.
    pub fn input_len(&self) -> Option<usize> {
        product(&[self.planes, self.in_pixels()?])
    }

    /// Elements of the result.
    pub fn output_len(&self) -> Option<usize> {
        product(&[self.planes, product(&self.output)?])
    }

    fn in_pixels(&self) -> Option<usize> {
        product(&self.input)
    }

    /// Taps of dimension `d` that lie in the image at output position `at`.
    #[inline(always)]
    pub(crate) fn taps(&self, d: usize, at: usize) -> Range<usize> {
        let start = at * self.strides[d];
        let (step, pad) = (self.dilations[d], self.pads_begin[d]);
        let first = pad.saturating_sub(start).div_ceil(step).min(self.kernel[d]);
        let room = (self.input[d] + pad).saturating_sub(start);
        first..room.div_ceil(step).clamp(first, self.kernel[d])
    }

    /// From a tap of dimension `d` to the next.
    #[inline(always)]
    pub(crate) fn dilation(&self, d: usize) -> usize {
        self.dilations[d]
    }

    /// The image coordinate of a tap that [`PoolShape::taps`] gave.
    #[inline(always)]
    pub(crate) fn coordinate(&self, d: usize, at: usize, tap: usize) -> usize {
        at * self.strides[d] + tap * self.dilations[d] - self.pads_begin[d]
    }

    /// Taps of dimension `d` that lie in the padded image: those that `count_include_pad` counts.
    #[inline(always)]
    pub(crate) fn padded_taps(&self, d: usize, at: usize) -> usize {
        let end = self.input[d] + self.pads_begin[d] + self.pads_end[d];
        end.saturating_sub(at * self.strides[d])
            .div_ceil(self.dilations[d])
            .min(self.kernel[d])
    }

    /// Calls `visit(index, position)` with the image index of each tap of the window at
    /// `position`, in row-major order.
    #[inline(always)]
    pub(crate) fn for_each_tap(&self, [z, y, x]: [usize; 3], mut visit: impl FnMut(usize)) {
        let [_, h, w] = self.input;
        let columns = self.taps(2, x);
        for kz in self.taps(0, z) {
            let iz = self.coordinate(0, z, kz);
            for ky in self.taps(1, y) {
                let row = (iz * h + self.coordinate(1, y, ky)) * w;
                for kx in columns.clone() {
                    visit(row + self.coordinate(2, x, kx));
                }
            }
        }
    }

    /// Work per plane, for the decision to wake threads.
    pub(crate) fn work(&self) -> usize {
        self.output
            .iter()
            .chain(&self.kernel)
            .fold(1, |p: usize, &e| p.saturating_mul(e))
    }

    /// The position of output element `i` of a plane.
    #[inline(always)]
    pub(crate) fn position(&self, i: usize) -> [usize; 3] {
        let [_, h, w] = self.output;
        [i / (h * w), i / w % h, i % w]
    }
}
