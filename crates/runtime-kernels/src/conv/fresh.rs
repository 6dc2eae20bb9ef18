//! Convolutions whose weights change from call to call: packed on the way, in memory that is kept.

use std::ops::Range;

use super::filters::Filters;
use super::float::{ConvEpilogue, PackedConvF32, conv, runs_depthwise};
use super::groups::Groups;
use super::shape::{ConvShape, Layout};
use super::winograd::{self, WinogradTile};
use crate::error::{check_extent, check_len, product};
use crate::gemm::Side;
use crate::gemm::panel::{Packed, PanelSource};
use crate::{Context, Isa, KernelError, Scratch};

/// How the sums of a convolution may be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConvSums {
    /// Tap by tap.
    Direct,
    /// By Winograd's minimal filtering where it is expected to be faster ([`WinogradTile::fastest`]), with other roundings.
    #[default]
    Fastest,
}

/// Weights that were packed last, for their memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct FreshWeights {
    direct: Option<PackedConvF32>,
    two: Option<PackedConvF32>,
    four: Option<PackedConvF32>,
    /// Taps in the order in which they are read.
    taps: Vec<usize>,
}

impl FreshWeights {
    pub(crate) fn bytes(&self) -> usize {
        let kept = [&self.direct, &self.two, &self.four];
        let packed: usize = kept.into_iter().flatten().map(PackedConvF32::bytes).sum();
        packed + size_of::<usize>() * self.taps.len()
    }

    /// The weights in the form in which a convolution of this shape reads them, taps in the given order.
    ///
    /// # Errors
    /// [`KernelError::OutOfBounds`] if their size does not fit the address space.
    pub(super) fn pack(
        &mut self,
        isa: Isa,
        shape: &ConvShape,
        sums: ConvSums,
        weights: &Weights<'_>,
        taps: impl Iterator<Item = usize>,
    ) -> Result<&PackedConvF32, KernelError> {
        let tile = match sums {
            ConvSums::Direct => None,
            ConvSums::Fastest => WinogradTile::fastest(isa, shape),
        };
        self.taps.clear();
        self.taps.extend(taps);
        let kept = match tile {
            None => &mut self.direct,
            Some(WinogradTile::Two) => &mut self.two,
            Some(WinogradTile::Four) => &mut self.four,
        };
        let packed = kept.get_or_insert_with(|| PackedConvF32::empty(tile));
        let oriented = Oriented {
            weights: *weights,
            taps: &self.taps,
        };
        packed.repack(isa, shape, &oriented)?;
        Ok(packed)
    }
}

/// Weights `[out, in / groups, taps]`, and which way they are gone through.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a> {
    data: &'a [f32],
    out_per_group: usize,
    in_per_group: usize,
    taps: usize,
    way: Way,
}

/// From which channels to which ones a convolution leads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// From input to output channels.
    Forward,
    /// From output to input channels: the adjoint.
    Backward,
}

impl<'a> Weights<'a> {
    /// # Errors
    /// [`KernelError::Length`] if `data` does not have the elements that the shape gives.
    pub(super) fn new(shape: &ConvShape, data: &'a [f32], way: Way) -> Result<Self, KernelError> {
        let sizes = [shape.out_channels, shape.in_per_group(), shape.taps()];
        check_len("weights", data.len(), product(&sizes))?;
        Ok(Self {
            data,
            out_per_group: shape.out_per_group(),
            in_per_group: shape.in_per_group(),
            taps: shape.taps(),
            way,
        })
    }
}

/// Weights as a convolution reads them: for each of its output channels, tap by tap, each of its input channels.
pub(super) struct Oriented<'a> {
    weights: Weights<'a>,
    taps: &'a [usize],
}

impl<'a> Oriented<'a> {
    /// The weights of a group.
    fn group(&self, group: usize) -> TapLines<'a> {
        let w = &self.weights;
        let filter = w.in_per_group * w.taps;
        let from = group * w.out_per_group * filter;
        let (line_step, channel_step, channels) = match w.way {
            Way::Forward => (filter, w.taps, w.in_per_group),
            Way::Backward => (w.taps, filter, w.out_per_group),
        };
        TapLines {
            weights: w.data.get(from..).unwrap_or_default(),
            line_step,
            channel_step,
            channels,
            taps: self.taps,
        }
    }

    /// The taps of one output and one input channel of a convolution of nine taps without groups.
    fn nine_taps(&self, out: usize, channel: usize) -> [f32; 9] {
        let lines = self.group(0);
        let at = out * lines.line_step + channel * lines.channel_step;
        std::array::from_fn(|tap| lines.weights[at + self.taps[tap]])
    }

    /// `[tap][channel]`, where each channel is convolved on its own.
    fn taps_first(&self, channels: usize) -> impl Iterator<Item = f32> {
        let (data, all) = (self.weights.data, self.weights.taps);
        let taps = self.taps.iter();
        taps.flat_map(move |tap| (0..channels).map(move |c| data[c * all + tap]))
    }
}

/// The weights of a group as lines of a matrix product, without a copy in between.
struct TapLines<'a> {
    weights: &'a [f32],
    line_step: usize,
    channel_step: usize,
    channels: usize,
    taps: &'a [usize],
}

impl PanelSource<f32> for TapLines<'_> {
    fn pack(&self, lines: Range<usize>, groups: Range<usize>, width: usize, out: &mut [f32]) {
        if lines.len() < width {
            out.fill(0.0);
        }
        for (k, out) in groups.zip(out.chunks_exact_mut(width)) {
            let at = k % self.channels * self.channel_step + self.taps[k / self.channels];
            for (line, out) in lines.clone().zip(out) {
                *out = self.weights[line * self.line_step + at];
            }
        }
    }
}

impl PackedConvF32 {
    /// No weights, to be packed later: for tiles of Winograd's minimal filtering, or for direct sums.
    fn empty(tile: Option<WinogradTile>) -> Self {
        Self {
            filters: Filters::EMPTY,
            groups: Groups::Single(Vec::new()),
            depthwise: Vec::new(),
            winograd: tile.map(winograd::Weights::empty),
            fft: None,
        }
    }

    /// Packs other weights for channels last, in the memory that is there where it suffices.
    ///
    /// # Errors
    /// [`KernelError::OutOfBounds`] if their size does not fit the address space.
    fn repack(
        &mut self,
        isa: Isa,
        shape: &ConvShape,
        weights: &Oriented<'_>,
    ) -> Result<(), KernelError> {
        let (out, depth) = (shape.out_per_group(), shape.in_per_group());
        let too_large = KernelError::OutOfBounds {
            operand: "weights",
            rows: shape.out_channels,
            cols: shape.depth(),
            len: usize::MAX,
        };
        self.filters = Filters::of(shape);
        self.depthwise.clear();
        if let Some(winograd) = &mut self.winograd {
            let taps = |out, channel| weights.nine_taps(out, channel);
            return winograd.repack(isa, (out, depth), taps).ok_or(too_large);
        }
        if runs_depthwise(isa, shape) {
            self.depthwise
                .extend(weights.taps_first(shape.out_channels));
            return Ok(());
        }
        let Groups::Single(groups) = &mut self.groups else {
            return Err(too_large);
        };
        if groups.len() < shape.groups {
            groups.resize_with(shape.groups, Packed::empty);
        }
        for (group, packed) in groups.iter_mut().take(shape.groups).enumerate() {
            let lines = weights.group(group);
            let width = Side::Rhs.width(isa);
            packed
                .repack(&lines, out, shape.depth(), width)
                .ok_or_else(|| too_large.clone())?;
        }
        Ok(())
    }
}

/// As [`conv`](super::conv), with channels last and weights `[out_channels, in_channels / groups, kernel…]` that are packed on the
/// way, in memory that `scratch` keeps.
///
/// # Errors
/// [`KernelError::Length`] if a slice does not have the extents of `shape`, [`KernelError::Extent`] for channels first,
/// [`KernelError::OutOfBounds`] if the packed weights do not fit the address space.
///
/// # Examples
/// ```
/// use runtime_kernels::conv::{ConvEpilogue, ConvParams, ConvShape, ConvSums, Layout, conv_packing_weights};
/// use runtime_kernels::{Context, Scratch};
///
/// let mut params = ConvParams::default();
/// params.layout = Layout::ChannelsLast;
/// let shape = ConvShape::new(&params, 1, 2, &[2], 1, &[1])?;
/// let (mut scratch, mut out) = (Scratch::new(), [0.0; 2]);
/// let epilogue = ConvEpilogue::default();
/// let (image, weights) = ([1.0, 2.0, 3.0, 4.0], [10.0, 1.0]);
/// conv_packing_weights(
///     &Context::default(), &mut scratch, &shape, &image, &weights, ConvSums::Direct, &epilogue, &mut out,
/// )?;
/// assert_eq!(out, [12.0, 34.0]);
/// # Ok::<(), runtime_kernels::KernelError>(())
/// ```
#[expect(
    clippy::too_many_arguments,
    reason = "the operands of a convolution, and how its sums are taken"
)]
pub fn conv_packing_weights(
    ctx: &Context,
    scratch: &mut Scratch,
    shape: &ConvShape,
    input: &[f32],
    weights: &[f32],
    sums: ConvSums,
    epilogue: &ConvEpilogue<'_>,
    out: &mut [f32],
) -> Result<(), KernelError> {
    check_last(shape)?;
    let weights = Weights::new(shape, weights, Way::Forward)?;
    let mut kept = std::mem::take(&mut scratch.weights);
    let packed = kept.pack(ctx.isa, shape, sums, &weights, 0..shape.taps());
    let done = packed.and_then(|packed| conv(ctx, scratch, shape, input, packed, epilogue, out));
    scratch.weights = kept;
    done
}

/// Refuses channels first.
pub(super) fn check_last(shape: &ConvShape) -> Result<(), KernelError> {
    let (found, expected) = (shape.layout as usize, Layout::ChannelsLast as usize);
    check_extent("layout", found, expected)
}
