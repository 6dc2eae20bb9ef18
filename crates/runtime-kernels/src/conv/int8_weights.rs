//! Weights of an int8 convolution, packed.

use super::depthwise::EXACT_TAPS;
use super::depthwise_bytes::ByteTaps;
use super::filters::Filters;
use super::float::{taps_before_channels, taps_first};
use super::shape::{ConvParams, Layout};
use crate::error::check_len;
use crate::gemm::bytes::Role;
use crate::gemm::{Int8Matrix, PackedInt8, Side};
use crate::quantized::QuantByte;
use crate::{Isa, KernelError, MatRef};

/// An image or weights of `u8` or of `i8`.
#[derive(Clone, Copy, Debug)]
pub enum Int8Input<'a> {
    /// Unsigned.
    U8(&'a [u8]),
    /// Signed.
    I8(&'a [i8]),
}

impl<'a> From<&'a [u8]> for Int8Input<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::U8(bytes)
    }
}

impl<'a> From<&'a [i8]> for Int8Input<'a> {
    fn from(bytes: &'a [i8]) -> Self {
        Self::I8(bytes)
    }
}

impl Int8Input<'_> {
    /// Elements.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(x) => x.len(),
            Self::I8(x) => x.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Weights of an int8 convolution, packed once for one instruction set and layout.
#[derive(Clone, Debug)]
pub struct PackedConvInt8 {
    pub(super) filters: Filters,
    /// One matrix per group.
    pub(super) groups: Vec<PackedInt8>,
    /// The weights less their zero points in the order of the direct loop, where it applies.
    pub(super) depthwise: Vec<f32>,
    /// The same as words of the dot product, where the direct loop over bytes applies.
    pub(super) byte_taps: Option<ByteTaps>,
}

impl PackedConvInt8 {
    /// Packs weights `[out_channels, in_channels / groups, kernel…]` with one zero point, or one
    /// per output channel.
    ///
    /// # Errors
    /// [`KernelError::Length`] if `weights` or `zero_points` do not have that many elements,
    /// [`KernelError::Extent`] if the groups do not divide the output channels.
    pub fn new(
        isa: Isa,
        params: &ConvParams,
        weights: Int8Input<'_>,
        zero_points: &[i32],
        out_channels: usize,
        in_per_group: usize,
        kernel: &[usize],
    ) -> Result<Self, KernelError> {
        let filters = Filters::new(params, weights.len(), out_channels, in_per_group, kernel)?;
        if zero_points.len() != 1 {
            check_len(
                "zero points of the weights",
                zero_points.len(),
                Some(out_channels),
            )?;
        }
        let extents = Extents {
            isa,
            filters,
            params,
        };
        match weights {
            Int8Input::U8(w) => extents.pack(w, zero_points, unsigned),
            Int8Input::I8(w) => extents.pack(w, zero_points, signed),
        }
    }

    /// Bytes of the packed form.
    pub fn bytes(&self) -> usize {
        let groups: usize = self.groups.iter().map(PackedInt8::bytes).sum();
        let byte_taps = self.byte_taps.as_ref().map_or(0, ByteTaps::bytes);
        4 * self.depthwise.len() + byte_taps + groups
    }
}

struct Extents<'p> {
    isa: Isa,
    filters: Filters,
    params: &'p ConvParams,
}

/// The runs of a channels-last window: the taps of a kernel row, filled up to whole words of the
/// dot product, because the product reads a run from wherever its pixel stands.
struct Runs {
    len: usize,
    padded: usize,
    count: usize,
}

impl Runs {
    fn new(isa: Isa, channels: usize, taps: usize, row_taps: usize) -> Self {
        let len = channels * row_taps;
        Self {
            len,
            padded: len.next_multiple_of(isa.tile().k_group),
            count: taps.checked_div(row_taps).unwrap_or(0),
        }
    }

    fn depth(&self) -> usize {
        self.count * self.padded
    }

    /// Fills up each run of filters `[out, run, len]` with what becomes zero as a signed byte.
    fn pad<T: QuantByte>(&self, weights: &[T]) -> Vec<T> {
        let zero = T::from_i32(-Role::Signed.shift::<T>());
        weights
            .chunks_exact(self.len.max(1))
            .flat_map(|run| {
                let fill = std::iter::repeat_n(zero, self.padded - self.len);
                run.iter().copied().chain(fill)
            })
            .collect()
    }
}

impl Extents<'_> {
    fn pack<T: QuantByte>(
        &self,
        weights: &[T],
        zero_points: &[i32],
        matrix: for<'m> fn(MatRef<'m, T>) -> Int8Matrix<'m>,
    ) -> Result<PackedConvInt8, KernelError> {
        let filters = &self.filters;
        let (depth, taps) = (filters.depth(), filters.taps());
        let (layout, per_group) = (filters.layout, filters.out_per_group());
        let mut groups = Vec::with_capacity(filters.groups);
        for g in 0..filters.groups {
            let weights = &weights[g * per_group * depth..(g + 1) * per_group * depth];
            let zero_points = match zero_points {
                [one] => std::slice::from_ref(one),
                z => &z[g * per_group..(g + 1) * per_group],
            };
            groups.push(match layout {
                Layout::ChannelsFirst => {
                    let m = matrix(MatRef::row_major(weights, per_group, depth)?);
                    PackedInt8::new(self.isa, Side::Lhs, m, zero_points)?
                }
                Layout::ChannelsLast => {
                    let channels = filters.in_per_group;
                    let runs = Runs::new(self.isa, channels, taps, filters.row_taps());
                    let reordered = taps_before_channels(weights, channels, taps);
                    let padded = runs.pad(&reordered);
                    let m = MatRef::row_major(&padded, per_group, runs.depth())?;
                    let packed =
                        PackedInt8::new(self.isa, Side::Rhs, matrix(m.transposed()), zero_points)?;
                    packed.with_depth(depth)
                }
            });
        }
        // Sums of other zero points would not all be exact in f32.
        let fits = |z: &i32| (T::MIN..=T::MAX).contains(z);
        let direct = filters.is_depthwise() && taps <= EXACT_TAPS && zero_points.iter().all(fits);
        let reals = if direct {
            Self::reals(weights, zero_points, taps)
        } else {
            Vec::new()
        };
        let byte_taps = match direct {
            true => ByteTaps::new(self.isa, self.params, filters, &reals),
            false => None,
        };
        let depthwise: Vec<f32> = reals.iter().map(|&w| w as f32).collect();
        let is_last = direct && layout == Layout::ChannelsLast;
        Ok(PackedConvInt8 {
            filters: self.filters,
            groups,
            depthwise: if is_last {
                taps_first(&depthwise, filters.out_channels, taps)
            } else {
                depthwise
            },
            byte_taps,
        })
    }

    /// The weights less their zero points.
    fn reals<T: QuantByte>(weights: &[T], zero_points: &[i32], taps: usize) -> Vec<i32> {
        let zero_point = |channel: usize| *zero_points.get(channel).unwrap_or(&zero_points[0]);
        let weights = weights.iter().enumerate();
        let real = |(i, w): (usize, &T)| w.to_i32() - zero_point(i / taps);
        weights.map(real).collect()
    }
}

pub(super) fn unsigned(matrix: MatRef<'_, u8>) -> Int8Matrix<'_> {
    Int8Matrix::U8(matrix)
}

pub(super) fn signed(matrix: MatRef<'_, i8>) -> Int8Matrix<'_> {
    Int8Matrix::I8(matrix)
}
