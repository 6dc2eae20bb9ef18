//! Extents of the weights of a convolution, checked once.

use super::shape::{ConvParams, ConvShape, Layout};
use crate::KernelError;
use crate::error::{check_extent, check_len, product};

/// What weights `[out_channels, in_channels / groups, kernel…]` were packed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Filters {
    pub(super) layout: Layout,
    pub(super) groups: usize,
    pub(super) out_channels: usize,
    pub(super) in_per_group: usize,
    /// One and two dimensions are widened to three.
    kernel: [usize; 3],
}

impl Filters {
    /// Checks that `len` weights are there and that the groups divide the output channels.
    ///
    /// # Errors
    /// [`KernelError::Length`], [`KernelError::Extent`], [`KernelError::Invalid`] for no groups and for more than three
    /// dimensions.
    pub(super) fn new(
        params: &ConvParams,
        len: usize,
        out_channels: usize,
        in_per_group: usize,
        kernel: &[usize],
    ) -> Result<Self, KernelError> {
        let expected =
            product(kernel).and_then(|taps| product(&[out_channels, in_per_group, taps]));
        check_len("weights", len, expected)?;
        let groups = params.groups;
        if groups == 0 {
            return Err(KernelError::Invalid {
                what: "groups",
                value: 0,
            });
        }
        check_extent(
            "output channels left over by the groups",
            out_channels % groups,
            0,
        )?;
        let Some(free) = 3usize.checked_sub(kernel.len()) else {
            return Err(KernelError::Invalid {
                what: "number of spatial dimensions",
                value: kernel.len(),
            });
        };
        let mut wide = [1; 3];
        wide[free..].copy_from_slice(kernel);
        Ok(Self {
            layout: params.layout,
            groups,
            out_channels,
            in_per_group,
            kernel: wide,
        })
    }

    /// Of no weights.
    pub(super) const EMPTY: Self = Self {
        layout: Layout::ChannelsLast,
        groups: 1,
        out_channels: 0,
        in_per_group: 0,
        kernel: [1; 3],
    };

    /// Of weights that fit a convolution.
    pub(super) fn of(shape: &ConvShape) -> Self {
        Self {
            layout: shape.layout,
            groups: shape.groups,
            out_channels: shape.out_channels,
            in_per_group: shape.in_per_group(),
            kernel: shape.kernel,
        }
    }

    /// Refuses a convolution that the weights were not packed for.
    pub(super) fn check(&self, shape: &ConvShape) -> Result<(), KernelError> {
        let [depth, height, width] = self.kernel;
        for (what, found, expected) in [
            (
                "layout of the packed weights",
                self.layout as usize,
                shape.layout as usize,
            ),
            ("groups of the weights", self.groups, shape.groups),
            (
                "output channels of the weights",
                self.out_channels,
                shape.out_channels,
            ),
            (
                "input channels of a group of the weights",
                self.in_per_group,
                shape.in_per_group(),
            ),
            ("depth of the weights' kernel", depth, shape.kernel[0]),
            ("height of the weights' kernel", height, shape.kernel[1]),
            ("width of the weights' kernel", width, shape.kernel[2]),
        ] {
            check_extent(what, found, expected)?;
        }
        Ok(())
    }

    pub(super) fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Taps of a kernel row.
    pub(super) fn row_taps(&self) -> usize {
        self.kernel[2]
    }

    /// Weights of a filter.
    pub(super) fn depth(&self) -> usize {
        self.in_per_group * self.taps()
    }

    pub(super) fn out_per_group(&self) -> usize {
        self.out_channels / self.groups
    }

    /// Whether each group has one input channel.
    pub(super) fn is_depthwise(&self) -> bool {
        self.in_per_group == 1 && self.groups > 1
    }
}
