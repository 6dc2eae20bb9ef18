//! Extents of a convolution, checked once.

use crate::KernelError;
use crate::error::{check_extent, product};
use std::ops::Range;

/// Where the channels stand in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Layout {
    /// `[batch, channels, spatial…]` (NCHW).
    #[default]
    ChannelsFirst,
    /// `[batch, spatial…, channels]` (NHWC).
    ChannelsLast,
}

/// Attributes of a convolution; lists that are empty stand for their ONNX defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConvParams {
    /// Step of the window per spatial dimension; default 1.
    pub strides: Vec<usize>,
    /// Distance of the taps per spatial dimension; default 1.
    pub dilations: Vec<usize>,
    /// Elements of padding before each spatial dimension; default 0.
    pub pads_begin: Vec<usize>,
    /// Elements of padding after each spatial dimension; default 0.
    pub pads_end: Vec<usize>,
    /// Groups of channels that do not mix.
    pub groups: usize,
    /// Layout of the image and of the result. Weights are always `[out, in / groups, kernel…]`.
    pub layout: Layout,
}

impl Default for ConvParams {
    fn default() -> Self {
        Self {
            strides: Vec::new(),
            dilations: Vec::new(),
            pads_begin: Vec::new(),
            pads_end: Vec::new(),
            groups: 1,
            layout: Layout::ChannelsFirst,
        }
    }
}

/// The extents of one convolution; one and two spatial dimensions are widened to three.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvShape {
    pub(crate) batch: usize,
    pub(crate) in_channels: usize,
    pub(crate) out_channels: usize,
    pub(crate) groups: usize,
    pub(crate) layout: Layout,
    pub(crate) input: [usize; 3],
    pub(crate) kernel: [usize; 3],
    pub(crate) output: [usize; 3],
    pub(crate) strides: [usize; 3],
    pub(crate) dilations: [usize; 3],
    pub(crate) pads: [usize; 3],
    rank: usize,
}

impl ConvShape {
    /// Checks the attributes against the extents of the image and of the weights.
    ///
    /// # Errors
    /// [`KernelError::Extent`] if ranks or channel counts do not agree,
    /// [`KernelError::Invalid`] for a stride, dilation, kernel extent or group count of zero, or a
    /// window larger than the padded image.
    ///
    /// # Examples
    /// ```
    /// use runtime_kernels::conv::{ConvParams, ConvShape};
    ///
    /// let mut params = ConvParams::default();
    /// params.strides = vec![2, 2];
    /// params.pads_begin = vec![1, 1];
    /// params.pads_end = vec![1, 1];
    /// let shape = ConvShape::new(&params, 1, 3, &[224, 224], 32, &[3, 3])?;
    /// assert_eq!(shape.output_spatial(), &[112, 112]);
    /// # Ok::<(), runtime_kernels::KernelError>(())
    /// ```
    pub fn new(
        params: &ConvParams,
        batch: usize,
        in_channels: usize,
        input: &[usize],
        out_channels: usize,
        kernel: &[usize],
    ) -> Result<Self, KernelError> {
        let pads = [&params.pads_begin[..], &params.pads_end[..]];
        let image = (batch, in_channels, input);
        Self::with_pads(params, pads, image, (out_channels, kernel))
    }

    /// As [`ConvShape::new`], with the padding before and after each spatial dimension in place of that in `params`: it
    /// may depend on the image. An image is batch, channels and spatial extents; weights are output channels and kernel.
    ///
    /// # Errors
    /// As [`ConvShape::new`].
    pub fn with_pads(
        params: &ConvParams,
        [before, after]: [&[usize]; 2],
        (batch, in_channels, input): (usize, usize, &[usize]),
        (out_channels, kernel): (usize, &[usize]),
    ) -> Result<Self, KernelError> {
        let rank = input.len();
        if rank == 0 || rank > 3 {
            return Err(KernelError::Invalid {
                what: "number of spatial dimensions",
                value: rank,
            });
        }
        let groups = params.groups;
        if groups == 0 {
            return Err(KernelError::Invalid {
                what: "groups",
                value: 0,
            });
        }
        check_extent(
            "input channels left over by the groups",
            in_channels % groups,
            0,
        )?;
        check_extent(
            "output channels left over by the groups",
            out_channels % groups,
            0,
        )?;
        let input = widen("spatial dimensions of the input", input, rank, 1)?;
        let kernel = widen("spatial dimensions of the kernel", kernel, rank, 1)?;
        let strides = widen("strides", &params.strides, rank, 1)?;
        let dilations = widen("dilations", &params.dilations, rank, 1)?;
        let pads = widen("pads before", before, rank, 0)?;
        let after = widen("pads after", after, rank, 0)?;
        let mut output = [0; 3];
        for d in 0..3 {
            for (what, list) in [
                ("stride", strides),
                ("dilation", dilations),
                ("kernel extent", kernel),
            ] {
                if list[d] == 0 {
                    return Err(KernelError::Invalid { what, value: 0 });
                }
            }
            // An empty image has no windows, however it is padded.
            if input[d] == 0 {
                continue;
            }
            let invalid = KernelError::Invalid {
                what: "kernel extent past the padded input",
                value: kernel[d],
            };
            let window = (kernel[d] - 1)
                .checked_mul(dilations[d])
                .and_then(|w| w.checked_add(1));
            let padded = input[d]
                .checked_add(pads[d])
                .and_then(|p| p.checked_add(after[d]));
            let room = padded
                .zip(window)
                .and_then(|(p, w)| p.checked_sub(w))
                .ok_or(invalid)?;
            output[d] = room / strides[d] + 1;
        }
        let layout = params.layout;
        Ok(Self {
            batch,
            in_channels,
            out_channels,
            groups,
            layout,
            input,
            kernel,
            output,
            strides,
            dilations,
            pads,
            rank,
        })
    }

    /// Spatial extents of the result.
    pub fn output_spatial(&self) -> &[usize] {
        &self.output[3 - self.rank..]
    }

    /// Elements of the image.
    pub fn input_len(&self) -> Option<usize> {
        let [d, h, w] = self.input;
        product(&[self.batch, self.in_channels, d, h, w])
    }

    /// Elements of the result.
    pub fn output_len(&self) -> Option<usize> {
        let [d, h, w] = self.output;
        product(&[self.batch, self.out_channels, d, h, w])
    }

    pub(crate) fn in_per_group(&self) -> usize {
        self.in_channels / self.groups
    }

    pub(crate) fn out_per_group(&self) -> usize {
        self.out_channels / self.groups
    }

    pub(crate) fn taps(&self) -> usize {
        all(self.kernel)
    }

    pub(crate) fn in_pixels(&self) -> usize {
        all(self.input)
    }

    pub(crate) fn out_pixels(&self) -> usize {
        all(self.output)
    }

    /// Steps of the reduction of each result element.
    pub(crate) fn depth(&self) -> usize {
        self.in_per_group().saturating_mul(self.taps())
    }

    /// Elements of the padded input that the windows span along dimension `d`.
    pub(crate) fn reach(&self, d: usize) -> usize {
        (self.output[d] - 1) * self.strides[d] + (self.kernel[d] - 1) * self.dilations[d] + 1
    }

    /// Whether the patches are the image itself.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel == [1; 3] && self.strides == [1; 3] && self.output == self.input
    }

    /// Whether a direct loop over planes applies: one input channel per group, two dimensions.
    pub(crate) fn is_depthwise(&self) -> bool {
        let flat = self.input[0] == 1 && self.output[0] == 1 && self.kernel[0] == 1;
        let one_to_one =
            self.layout == Layout::ChannelsFirst || self.out_channels == self.in_channels;
        flat && one_to_one && self.groups > 1 && self.in_per_group() == 1
    }

    /// Whether output rows can be computed from the rows of the image under them, with the same result: two dimensions,
    /// channels last, no window in the padding alone, and rows of more than one pixel, which alone would be summed in
    /// another order.
    pub(crate) fn runs_by_rows(&self) -> bool {
        let flat = self.input[0] == 1 && self.output[0] == 1 && self.kernel[0] == 1;
        let window = (self.kernel[1] - 1) * self.dilations[1];
        let last = self.output[1].saturating_sub(1) * self.strides[1];
        flat && self.layout == Layout::ChannelsLast
            && self.output[2] > 1
            && self.pads[1] <= window
            && last < self.input[1] + self.pads[1]
    }

    /// The rows of the image that output rows `rows` see, if it [runs by rows](ConvShape::runs_by_rows).
    pub(crate) fn rows_under(&self, rows: &Range<usize>) -> Range<usize> {
        if rows.is_empty() {
            return 0..0;
        }
        let window = (self.kernel[1] - 1) * self.dilations[1];
        let first = (rows.start * self.strides[1]).saturating_sub(self.pads[1]);
        let end = ((rows.end - 1) * self.strides[1] + window + 1).saturating_sub(self.pads[1]);
        first..end.min(self.input[1])
    }

    /// The most rows of the image that so many output rows see.
    pub(crate) fn rows_at_most(&self, rows: usize) -> usize {
        let window = (self.kernel[1] - 1) * self.dilations[1];
        (rows.saturating_sub(1) * self.strides[1] + window + 1).min(self.input[1])
    }

    /// The convolution that gives output rows `rows` of one image from the [rows under](ConvShape::rows_under) them.
    pub(crate) fn of_rows(&self, rows: &Range<usize>) -> Self {
        let under = self.rows_under(rows);
        let mut part = self.clone();
        part.batch = 1;
        part.input[1] = under.len();
        part.output[1] = rows.len();
        part.pads[1] = self.pads[1] + under.start - rows.start * self.strides[1];
        part
    }

    /// The input coordinate of tap `tap` at output position `at`, if it lies in the image.
    #[inline(always)]
    pub(crate) fn coordinate(&self, d: usize, at: usize, tap: usize) -> Option<usize> {
        let padded = at * self.strides[d] + tap * self.dilations[d];
        padded
            .checked_sub(self.pads[d])
            .filter(|&x| x < self.input[d])
    }
}

/// The product of three extents, or the largest number where there is none: a shape may be declared of which no image is
/// ever held.
fn all(extents: [usize; 3]) -> usize {
    extents.into_iter().fold(1, usize::saturating_mul)
}

/// Three values from `rank` ones (or from none, the default for all).
fn widen(
    what: &'static str,
    list: &[usize],
    rank: usize,
    default: usize,
) -> Result<[usize; 3], KernelError> {
    let mut wide = [default; 3];
    if !list.is_empty() {
        check_extent(what, list.len(), rank)?;
        wide[3 - rank..].copy_from_slice(list);
    }
    Ok(wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_that_have_no_meaning_are_refused() {
        let mut p = ConvParams::default();
        assert!(ConvShape::new(&p, 1, 4, &[5, 5], 4, &[3]).is_err());
        assert!(ConvShape::new(&p, 1, 4, &[2, 5], 4, &[3, 3]).is_err());
        assert!(ConvShape::new(&p, 1, 4, &[usize::MAX, 5], 4, &[1, usize::MAX]).is_err());
        p.strides = vec![0, 1];
        assert!(ConvShape::new(&p, 1, 4, &[5, 5], 4, &[3, 3]).is_err());
        p = ConvParams {
            groups: 3,
            ..ConvParams::default()
        };
        assert!(ConvShape::new(&p, 1, 4, &[5, 5], 3, &[3, 3]).is_err());
    }
}
