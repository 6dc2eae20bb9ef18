//! Single-precision convolution: `out = activation(weights * image + bias + residual)`.

use half::{bf16, f16};

use super::depthwise::{self, Depthwise, run_channels_first};
use super::depthwise_last::{self, run_channels_last};
use super::fft::{self, FftTile};
use super::filters::Filters;
use super::groups::Groups;
use super::image::{Staged, Windows};
use super::patches::Patches;
use super::shape::{ConvParams, ConvShape, Layout};
use super::winograd::{self, WinogradTile};
use crate::elementwise::{Activation, Half, widen_slice};
use crate::error::check_len;
use crate::gemm::arith::Float;
use crate::gemm::direct::DirectProduct;
use crate::gemm::driver::{Operand, Product};
use crate::gemm::half::{Bf16Pairs, Stored};
use crate::gemm::panel::{FloatLines, Packed, PanelSource};
use crate::gemm::{Bias, FloatFinish, PackedF32, PackedHalf, Side};
use crate::threads::TileMut;
use crate::{Context, Isa, KernelError, MatRef, Scratch};

/// Weights of a convolution, packed once for one instruction set and layout.
#[derive(Clone, Debug)]
pub struct PackedConvF32 {
    pub(super) filters: Filters,
    pub(super) groups: Groups,
    /// The weights in the order of the direct loop, where each group has one input channel.
    pub(super) depthwise: Vec<f32>,
    /// The transformed weights, in place of `groups`.
    pub(super) winograd: Option<winograd::Weights>,
    /// The transformed weights, in place of all of these.
    pub(super) fft: Option<fft::Weights>,
}

impl PackedConvF32 {
    /// Packs weights `[out_channels, in_channels / groups, kernel…]`.
    ///
    /// # Errors
    /// [`KernelError::Length`] if `weights` does not have that many elements,
    /// [`KernelError::Extent`] if the groups do not divide the output channels.
    pub fn new(
        isa: Isa,
        params: &ConvParams,
        weights: &[f32],
        out_channels: usize,
        in_per_group: usize,
        kernel: &[usize],
    ) -> Result<Self, KernelError> {
        let filters = Filters::new(params, weights.len(), out_channels, in_per_group, kernel)?;
        let (taps, depth) = (filters.taps(), filters.depth());
        let per_group = filters.out_per_group();
        let mut groups = Vec::with_capacity(params.groups);
        let depthwise = match (filters.is_depthwise(), params.layout) {
            (false, _) => Vec::new(),
            (true, Layout::ChannelsFirst) => weights.to_vec(),
            (true, Layout::ChannelsLast) => taps_first(weights, out_channels, taps),
        };
        for g in 0..params.groups {
            let weights = &weights[g * per_group * depth..(g + 1) * per_group * depth];
            let packed = match params.layout {
                Layout::ChannelsFirst => PackedF32::new(
                    isa,
                    Side::Lhs,
                    MatRef::row_major(weights, per_group, depth)?,
                )?,
                Layout::ChannelsLast => {
                    let reordered = taps_before_channels(weights, in_per_group, taps);
                    let matrix = MatRef::row_major(&reordered, per_group, depth)?;
                    PackedF32::new(isa, Side::Rhs, matrix.transposed())?
                }
            };
            groups.push(packed.into_panels());
        }
        Ok(Self {
            filters,
            groups: Groups::Single(groups),
            depthwise,
            winograd: None,
            fft: None,
        })
    }

    /// As [`PackedConvF32::new`], of weights of 16 bits: with channels last they stay so, which halves their memory, and
    /// the results are those of the widened weights. Those of channels first and those of the direct loop over single
    /// channels are widened.
    ///
    /// # Errors
    /// As [`PackedConvF32::new`].
    pub fn half<T: Half>(
        isa: Isa,
        params: &ConvParams,
        weights: &[T],
        out_channels: usize,
        in_per_group: usize,
        kernel: &[usize],
    ) -> Result<Self, KernelError> {
        Self::of_halves(
            isa,
            params,
            weights,
            out_channels,
            in_per_group,
            kernel,
            PackedHalf::new,
        )
    }

    /// As [`PackedConvF32::half`], with the image rounded to bfloat16 for the dot product of pairs (see
    /// [`PackedHalf::bf16_dot`]), where rows of taps have an even number of weights; else the image is not rounded.
    ///
    /// # Errors
    /// As [`PackedConvF32::new`].
    pub fn bf16_dot(
        isa: Isa,
        params: &ConvParams,
        weights: &[bf16],
        out_channels: usize,
        in_per_group: usize,
        kernel: &[usize],
    ) -> Result<Self, KernelError> {
        // The second half of a last word would meet what stands behind the window, which may not be finite.
        let run = kernel
            .last()
            .map_or(1, |taps| taps % 2 * (in_per_group % 2));
        let pack = if run == 0 {
            PackedHalf::bf16_dot
        } else {
            PackedHalf::new
        };
        Self::of_halves(
            isa,
            params,
            weights,
            out_channels,
            in_per_group,
            kernel,
            pack,
        )
    }

    fn of_halves<T: Half>(
        isa: Isa,
        params: &ConvParams,
        weights: &[T],
        out_channels: usize,
        in_per_group: usize,
        kernel: &[usize],
        pack: fn(Isa, MatRef<'_, T>) -> Result<PackedHalf, KernelError>,
    ) -> Result<Self, KernelError> {
        let filters = Filters::new(params, weights.len(), out_channels, in_per_group, kernel)?;
        if params.layout == Layout::ChannelsFirst || filters.is_depthwise() {
            let mut wide = vec![0.0; weights.len()];
            widen_slice(isa, weights, &mut wide);
            return Self::new(isa, params, &wide, out_channels, in_per_group, kernel);
        }
        let (per_group, depth) = (filters.out_per_group(), filters.depth());
        let group = |weights| {
            let reordered = taps_before_channels(weights, in_per_group, filters.taps());
            pack(
                isa,
                MatRef::row_major(&reordered, per_group, depth)?.transposed(),
            )
        };
        let size = per_group * depth;
        let groups = (0..params.groups).map(|g| group(&weights[g * size..(g + 1) * size]));
        Ok(Self {
            filters,
            groups: Groups::of_halves(groups.collect::<Result<_, _>>()?),
            depthwise: Vec::new(),
            winograd: None,
            fft: None,
        })
    }

    /// Packs weights `[out_channels, in_channels, 3, 3]` for channels last and tiles of Winograd's minimal filtering:
    /// [`conv`] with them sums by fewer products, with other roundings. They serve images of any size, strides,
    /// dilations and groups of 1 only; [`WinogradTile::fastest`] tells where they pay.
    ///
    /// # Errors
    /// [`KernelError::Length`] if `weights` does not have that many elements.
    pub fn winograd(
        isa: Isa,
        tile: WinogradTile,
        weights: &[f32],
        out_channels: usize,
        in_channels: usize,
    ) -> Result<Self, KernelError> {
        let params = ConvParams {
            layout: Layout::ChannelsLast,
            ..ConvParams::default()
        };
        let filters = Filters::new(&params, weights.len(), out_channels, in_channels, &[3, 3])?;
        Ok(Self {
            filters,
            groups: Groups::Single(Vec::new()),
            depthwise: Vec::new(),
            winograd: Some(winograd::Weights::new(
                isa,
                tile,
                weights,
                out_channels,
                in_channels,
            )?),
            fft: None,
        })
    }

    /// Packs weights `[out_channels, in_channels / groups, kernel…]` of one or two spatial axes for channels last and the fast Fourier
    /// transform of pieces: [`conv`] with them multiplies frequencies, with other roundings. They serve images of any size, strides
    /// of 1, and groups of 1 or of one channel in and out; [`FftTile::fastest`] tells where they pay.
    ///
    /// # Errors
    /// [`KernelError::Length`] if `weights` does not have that many elements, [`KernelError::Invalid`] for other groups, more than two
    /// axes, or pieces that do not hold a window.
    pub fn fft(
        isa: Isa,
        tile: FftTile,
        params: &ConvParams,
        weights: &[f32],
        out_channels: usize,
        in_per_group: usize,
        kernel: &[usize],
    ) -> Result<Self, KernelError> {
        let params = ConvParams {
            layout: Layout::ChannelsLast,
            ..params.clone()
        };
        let filters = Filters::new(&params, weights.len(), out_channels, in_per_group, kernel)?;
        let depthwise = filters.is_depthwise() && params.groups == out_channels;
        if params.groups != 1 && !depthwise {
            return Err(KernelError::Invalid {
                what: "groups of transformed weights",
                value: params.groups,
            });
        }
        let channels = (out_channels, in_per_group);
        Ok(Self {
            filters,
            groups: Groups::Single(Vec::new()),
            depthwise: Vec::new(),
            winograd: None,
            fft: Some(fft::Weights::new(
                isa, tile, &params, weights, channels, kernel,
            )?),
        })
    }

    /// Whether sums are taken tap by tap: the weights are packed by [`PackedConvF32::new`].
    pub fn is_direct(&self) -> bool {
        self.winograd.is_none() && self.fft.is_none()
    }

    /// Whether the weights are packed by [`PackedConvF32::winograd`].
    pub fn is_winograd(&self) -> bool {
        self.winograd.is_some()
    }

    /// Bytes of the packed form.
    pub fn bytes(&self) -> usize {
        let matrices = self.groups.bytes();
        let tiles = self.winograd.as_ref().map_or(0, winograd::Weights::bytes);
        let transformed = self.fft.as_ref().map_or(0, fft::Weights::bytes);
        4 * self.depthwise.len() + matrices + tiles + transformed
    }
}

/// `[out, in, taps]` as `[out, taps, in]`.
pub(super) fn taps_before_channels<T: Copy>(weights: &[T], channels: usize, taps: usize) -> Vec<T> {
    let filter = (channels * taps).max(1);
    let order = |i: usize| i % channels * taps + i / channels;
    weights
        .chunks_exact(filter)
        .flat_map(|w| (0..filter).map(move |i| w[order(i)]))
        .collect()
}

/// `[out, taps]` as `[taps, out]`.
pub(super) fn taps_first<T: Copy>(weights: &[T], out: usize, taps: usize) -> Vec<T> {
    (0..taps)
        .flat_map(|t| (0..out).map(move |o| weights[o * taps + t]))
        .collect()
}

/// What is done to the sums before they are stored.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ConvEpilogue<'a> {
    /// One summand per output channel.
    pub bias: Option<&'a [f32]>,
    /// Summand of the shape and layout of the result, added before the activation.
    pub residual: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
}

/// Convolves `input` into `out`.
///
/// # Errors
/// [`KernelError::Length`] or [`KernelError::Extent`] if a slice or the weights do not have the
/// extents of `shape`, [`KernelError::PackedFor`] if the weights were packed for another
/// instruction set.
pub fn conv(
    ctx: &Context,
    scratch: &mut Scratch,
    shape: &ConvShape,
    input: &[f32],
    weights: &PackedConvF32,
    epilogue: &ConvEpilogue<'_>,
    out: &mut [f32],
) -> Result<(), KernelError> {
    check(shape, input, weights, epilogue, out)?;
    if out.is_empty() {
        return Ok(());
    }
    let (pixels, channels) = (shape.out_pixels(), shape.out_channels);
    let direct = !weights.depthwise.is_empty() && runs_depthwise(ctx.isa, shape);
    let depthwise = direct.then_some(Depthwise {
        shape,
        weights: &weights.depthwise,
        zero_point: 0,
    });
    if shape.layout == Layout::ChannelsLast {
        let finish = finish_of(shape, epilogue, epilogue.residual, 0);
        let tile = result(out, shape.batch * pixels, channels)?;
        if let Some(weights) = &weights.fft {
            return fft::run(ctx, scratch, shape, input, weights, &finish, tile);
        }
        if let Some(depthwise) = depthwise {
            run_channels_last(ctx, scratch, &depthwise, input, &finish, tile);
            return Ok(());
        }
        if let Some(weights) = &weights.winograd {
            return winograd::run(ctx, scratch, shape, input, weights, &finish, tile);
        }
        return conv_direct(ctx, scratch, shape, input, weights, &finish, tile);
    }
    let mut rest = result(out, shape.batch * channels, pixels)?;
    let image = shape.in_channels * shape.in_pixels();
    for n in 0..shape.batch {
        let input = &input[n * image..(n + 1) * image];
        let size = channels * pixels;
        let residual = epilogue.residual.map(|r| &r[n * size..(n + 1) * size]);
        if let Some(depthwise) = &depthwise {
            let (tile, after) = rest.split_rows(channels);
            let finish = finish_of(shape, epilogue, residual, 0);
            run_channels_first(ctx, scratch, depthwise, input, &finish, tile);
            rest = after;
            continue;
        }
        for group in 0..shape.groups {
            let (tile, after) = rest.split_rows(shape.out_per_group());
            let finish = finish_of(shape, epilogue, residual, group * shape.out_per_group());
            conv_group(ctx, scratch, shape, input, weights, group, &finish, tile)?;
            rest = after;
        }
    }
    Ok(())
}

/// Whether the direct loops over planes apply, and do not stage more than they save.
pub(super) fn runs_depthwise(isa: Isa, shape: &ConvShape) -> bool {
    shape.is_depthwise()
        && match shape.layout {
            Layout::ChannelsFirst => depthwise::stages_little(shape),
            Layout::ChannelsLast => depthwise_last::stages_little(isa, shape),
        }
}

/// Channels last: the image itself is the left operand.
fn conv_direct(
    ctx: &Context,
    scratch: &mut Scratch,
    shape: &ConvShape,
    image: &[f32],
    weights: &PackedConvF32,
    finish: &FloatFinish<'_>,
    out: TileMut<'_, f32>,
) -> Result<(), KernelError> {
    let direct = Direct {
        shape,
        image,
        finish,
    };
    match &weights.groups {
        Groups::Single(groups) => direct.run::<f32>(ctx, scratch, groups, out),
        Groups::F16(groups) => direct.run::<f16>(ctx, scratch, groups, out),
        Groups::Bf16(groups) => direct.run::<bf16>(ctx, scratch, groups, out),
        Groups::Bf16Pairs(groups) => direct.run::<Bf16Pairs>(ctx, scratch, groups, out),
    }
}

/// A convolution whose image is the left operand.
struct Direct<'a> {
    shape: &'a ConvShape,
    image: &'a [f32],
    finish: &'a FloatFinish<'a>,
}

impl Direct<'_> {
    fn run<W: Stored>(
        &self,
        ctx: &Context,
        scratch: &mut Scratch,
        groups: &[Packed<W::Weight>],
        out: TileMut<'_, f32>,
    ) -> Result<(), KernelError>
    where
        f32: Staged<Float<W>>,
    {
        let windows = Windows::new::<Float<W>>(ctx.isa, self.shape, self.image, 0.0);
        let panels = |group: usize| &groups[group];
        let product = DirectProduct::<Float<W>, _> {
            rows: out.rows(),
            row_unit: self.shape.output[2],
            groups: self.shape.groups,
            weights: &panels,
            source: &windows,
            finish: self.finish,
        };
        product.check(ctx.isa)?;
        let units = W::scratch(scratch, product.scratch_units(ctx));
        product.run(ctx, out, units);
        Ok(())
    }
}

/// The result as a matrix.
pub(super) fn result<T>(
    out: &mut [T],
    rows: usize,
    cols: usize,
) -> Result<TileMut<'_, T>, KernelError> {
    let len = out.len();
    TileMut::new(out, rows, cols, cols).ok_or(KernelError::OutOfBounds {
        operand: "result",
        rows,
        cols,
        len,
    })
}

fn check(
    shape: &ConvShape,
    input: &[f32],
    weights: &PackedConvF32,
    epilogue: &ConvEpilogue<'_>,
    out: &[f32],
) -> Result<(), KernelError> {
    check_len("input", input.len(), shape.input_len())?;
    check_len("result", out.len(), shape.output_len())?;
    weights.filters.check(shape)?;
    if weights.winograd.is_some() {
        let what =
            "other than 3 x 3 taps of stride, dilation and groups 1, for weights packed by tiles,";
        if !winograd::applies(shape) {
            return Err(KernelError::Invalid { what, value: 0 });
        }
    }
    if let Some(weights) = &weights.fft {
        weights.check(shape)?;
    }
    if let Some(bias) = epilogue.bias {
        check_len("bias", bias.len(), Some(shape.out_channels))?;
    }
    if let Some(residual) = epilogue.residual {
        check_len("residual", residual.len(), shape.output_len())?;
    }
    Ok(())
}

/// Channels first: the patches of one group are the right operand.
#[expect(
    clippy::too_many_arguments,
    reason = "the operands of one group, used in one place"
)]
fn conv_group(
    ctx: &Context,
    scratch: &mut Scratch,
    shape: &ConvShape,
    image: &[f32],
    weights: &PackedConvF32,
    group: usize,
    finish: &FloatFinish<'_>,
    out: TileMut<'_, f32>,
) -> Result<(), KernelError> {
    let channel = group * shape.in_per_group();
    let patches = Patches {
        shape,
        image,
        channel,
        pad: 0.0,
    };
    let pointwise = shape
        .is_pointwise()
        .then(|| pointwise(shape, image, channel))
        .transpose()?
        .map(FloatLines);
    let source: &dyn PanelSource<f32> = match &pointwise {
        Some(lines) => lines,
        None => &patches,
    };
    let Groups::Single(groups) = &weights.groups else {
        let what = "weights of 16 bits for channels first";
        return Err(KernelError::Invalid { what, value: group });
    };
    let product = Product::<Float, _> {
        rows: out.rows(),
        cols: out.cols(),
        groups: shape.depth(),
        lhs: Operand::Packed(&groups[group]),
        rhs: Operand::Source(source),
        finish,
    };
    let (floats, _) = scratch.parts(product.scratch_words(ctx), 0);
    product.run(ctx, out, floats)
}

/// The image of a 1x1 convolution as lines: one per pixel.
pub(super) fn pointwise<'a, T: Copy>(
    shape: &ConvShape,
    image: &'a [T],
    channel: usize,
) -> Result<MatRef<'a, T>, KernelError> {
    let (pixels, channels) = (shape.out_pixels(), shape.in_per_group());
    match shape.layout {
        Layout::ChannelsFirst => {
            let planes = image.get(channel * pixels..).unwrap_or(&[]);
            MatRef::strided(planes, pixels, channels, 1, pixels)
        }
        Layout::ChannelsLast => MatRef::strided(
            image.get(channel..).unwrap_or(&[]),
            pixels,
            channels,
            shape.in_channels,
            1,
        ),
    }
}

/// The epilogue from output channel `channel` on.
fn finish_of<'a>(
    shape: &ConvShape,
    epilogue: &ConvEpilogue<'a>,
    residual: Option<&'a [f32]>,
    channel: usize,
) -> FloatFinish<'a> {
    let bias = epilogue.bias.map(|b| &b[channel..]);
    let (bias, residual) = match shape.layout {
        Layout::ChannelsFirst => {
            let pixels = shape.out_pixels();
            (
                bias.map_or(Bias::None, Bias::PerRow),
                residual.map(|r| (&r[channel * pixels..], pixels)),
            )
        }
        Layout::ChannelsLast => {
            let stride = shape.out_channels;
            (
                bias.map_or(Bias::None, Bias::PerCol),
                residual.map(|r| (&r[channel..], stride)),
            )
        }
    };
    FloatFinish {
        alpha: 1.0,
        bias,
        residual,
        activation: epilogue.activation,
    }
}
