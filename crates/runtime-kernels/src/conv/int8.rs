//! Exact int8 convolution: `sum = Σ (image - z_x) (weights - z_w) + bias`, then an epilogue.
//!
//! The padding has the value of the image's zero point, so it adds nothing to the sums.

use super::depthwise::{Depthwise, Pixel, run_channels_first};
use super::depthwise_bytes::ByteDepthwise;
use super::depthwise_last::run_channels_last;
use super::float::{pointwise, result, runs_depthwise};
use super::image::Windows;
use super::int8_weights::{Int8Input, PackedConvInt8, signed, unsigned};
use super::patches::{BytePatches, Patches};
use super::shape::{ConvShape, Layout};
use crate::error::check_len;
use crate::gemm::arith::{Arith, Float, SignedUnsigned, UnsignedSigned};
use crate::gemm::bytes::{ByteLines, Role};
use crate::gemm::direct::DirectProduct;
use crate::gemm::driver::{Cut, Finish, Operand, Part, Product};
use crate::gemm::folding::{Folded, Folding};
use crate::gemm::panel::PanelSource;
use crate::gemm::{Int8Finish, Int8Matrix, Side};
use crate::isa::Simd;
use crate::quantized::{IntegerEpilogue, QuantByte, SumRule, SumTile, check_channels};
use crate::threads::Place;
use crate::{Context, Isa, KernelError, MatRef, Scratch};

/// Convolves `input` (zero point `zero_point`) and stores the sums, plus `bias` per output channel
/// (or empty), through `epilogue`.
///
/// # Errors
/// [`KernelError::Length`] or [`KernelError::Extent`] if a slice, the weights or the epilogue do
/// not have the extents of `shape`; [`KernelError::PackedFor`] if the weights were packed for
/// another instruction set.
#[expect(
    clippy::too_many_arguments,
    reason = "each is an operand of the operator"
)]
pub fn conv_int8<T: Send, E: IntegerEpilogue<T>>(
    ctx: &Context,
    scratch: &mut Scratch,
    shape: &ConvShape,
    input: Int8Input<'_>,
    zero_point: i32,
    weights: &PackedConvInt8,
    bias: &[i32],
    epilogue: &E,
    out: &mut [T],
) -> Result<(), KernelError> {
    check_len("input", input.len(), shape.input_len())?;
    check_len("result", out.len(), shape.output_len())?;
    weights.filters.check(shape)?;
    // All groups were packed together.
    if let Some(group) = weights.groups.first() {
        group.check(ctx.isa)?;
    }
    if !bias.is_empty() {
        check_len("bias", bias.len(), Some(shape.out_channels))?;
    }
    check_channels(epilogue, shape.out_channels)?;
    if out.is_empty() {
        return Ok(());
    }
    let (pixels, channels) = (shape.out_pixels(), shape.out_channels);
    let (rows, cols) = match shape.layout {
        Layout::ChannelsFirst => (shape.batch * channels, pixels),
        Layout::ChannelsLast => (shape.batch * pixels, channels),
    };
    let tile = E::tile(result(out, rows, cols)?);
    let op = Op {
        shape,
        zero_point,
        weights,
        bias,
        rule: epilogue.rule(),
    };
    match input {
        Int8Input::U8(x) => op.run(ctx, scratch, x, unsigned, tile),
        Int8Input::I8(x) => op.run(ctx, scratch, x, signed, tile),
    }
}

/// The operands beside the image.
struct Op<'a> {
    shape: &'a ConvShape,
    zero_point: i32,
    weights: &'a PackedConvInt8,
    bias: &'a [i32],
    rule: SumRule<'a>,
}

type AsMatrix<B> = for<'m> fn(MatRef<'m, B>) -> Int8Matrix<'m>;

impl Op<'_> {
    fn run<B: QuantByte + Pixel>(
        &self,
        ctx: &Context,
        scratch: &mut Scratch,
        input: &[B],
        matrix: AsMatrix<B>,
        out: SumTile<'_>,
    ) -> Result<(), KernelError> {
        if !(B::MIN..=B::MAX).contains(&self.zero_point) {
            let value = self.zero_point.unsigned_abs() as usize;
            return Err(KernelError::Invalid {
                what: "zero point outside the input's type: its magnitude",
                value,
            });
        }
        let shape = self.shape;
        if !self.weights.depthwise.is_empty() && runs_depthwise(ctx.isa, shape) {
            self.run_depthwise(ctx, scratch, input, out);
            return Ok(());
        }
        let asymmetric = self
            .weights
            .groups
            .iter()
            .any(|g| !g.zero_points().is_empty());
        if shape.layout == Layout::ChannelsLast && !asymmetric {
            return self.run_direct(ctx, scratch, input, out);
        }
        let image = shape.in_channels * shape.in_pixels();
        let mut rest = out;
        for n in 0..shape.batch {
            let input = &input[n * image..(n + 1) * image];
            if shape.layout == Layout::ChannelsFirst {
                for group in 0..shape.groups {
                    let (tile, after) = rest.split_rows(shape.out_per_group());
                    self.run_group::<SignedUnsigned, B>(ctx, scratch, input, matrix, group, tile)?;
                    rest = after;
                }
            } else {
                let (mut columns, after) = rest.split_rows(shape.out_pixels());
                for group in 0..shape.groups {
                    let (tile, others) = columns.split_cols(shape.out_per_group());
                    self.run_group::<UnsignedSigned, B>(ctx, scratch, input, matrix, group, tile)?;
                    columns = others;
                }
                rest = after;
            }
        }
        Ok(())
    }

    /// The side of the weights, whose lines are the output channels.
    fn weights_side(&self) -> Side {
        match self.shape.layout {
            Layout::ChannelsFirst => Side::Lhs,
            Layout::ChannelsLast => Side::Rhs,
        }
    }

    /// The epilogue; `offsets` holds the summand of every channel.
    fn finish<'f>(&'f self, offsets: &'f [i32]) -> Int8Finish<'f> {
        Int8Finish {
            signed: self.weights_side(),
            zero_points: &[],
            summands: Folded {
                offsets,
                ..Folded::default()
            },
            first: 0,
            rule: self.rule,
        }
    }

    fn run_depthwise<B: QuantByte + Pixel>(
        &self,
        ctx: &Context,
        scratch: &mut Scratch,
        image: &[B],
        out: SumTile<'_>,
    ) {
        let shape = self.shape;
        if let (Some(taps), SumRule::Requantize(rule)) = (&self.weights.byte_taps, self.rule) {
            let op = ByteDepthwise {
                shape,
                taps,
                zero_point: self.zero_point,
                bias: self.bias,
                rule,
            };
            if op.applies(ctx.isa, &out) {
                return op.run(ctx, scratch, image, out);
            }
        }
        let finish = FromExactFloats(self.finish(self.bias));
        let op = Depthwise {
            shape,
            weights: &self.weights.depthwise,
            zero_point: self.zero_point,
        };
        if shape.layout == Layout::ChannelsLast {
            return run_channels_last(ctx, scratch, &op, image, &finish, out);
        }
        let size = shape.in_channels * shape.in_pixels();
        let mut rest = out;
        for n in 0..shape.batch {
            let image = &image[n * size..(n + 1) * size];
            let (tile, after) = rest.split_rows(shape.out_channels);
            run_channels_first(ctx, scratch, &op, image, &finish, tile);
            rest = after;
        }
    }

    /// The summand of every channel: bias and zero points.
    fn offsets<B: QuantByte>(&self, isa: Isa, out: &mut [i32]) {
        let per_group = self.shape.out_per_group();
        let zero_point = self.zero_point + Role::activations(isa).shift::<B>();
        for (g, out) in out.chunks_exact_mut(per_group.max(1)).enumerate() {
            let bias = self.bias.get(g * per_group..(g + 1) * per_group);
            self.weights.groups[g].offsets(zero_point, bias.unwrap_or(&[]), out);
        }
    }

    /// Channels last: the image itself is the left operand.
    fn run_direct<B: QuantByte>(
        &self,
        ctx: &Context,
        scratch: &mut Scratch,
        image: &[B],
        out: SumTile<'_>,
    ) -> Result<(), KernelError> {
        let shape = self.shape;
        let pad = B::from_i32(self.zero_point);
        let windows = Windows::new::<UnsignedSigned>(ctx.isa, shape, image, pad);
        let panels = |group: usize| self.weights.groups[group].panels();
        let rows = out.rows();
        let product = |finish| DirectProduct::<UnsignedSigned, _> {
            rows,
            row_unit: shape.output[2],
            groups: shape.groups,
            weights: &panels,
            source: &windows,
            finish,
        };
        let bare = self.finish(&[]);
        product(&bare).check(ctx.isa)?;
        let units = product(&bare).scratch_units(ctx);
        let (offsets, bytes) = scratch.words_and_bytes(shape.out_channels, units);
        self.offsets::<B>(ctx.isa, offsets);
        let finish = self.finish(offsets);
        product(&finish).run(ctx, out, bytes);
        Ok(())
    }

    fn run_group<A: Arith<Word = i32>, B: QuantByte>(
        &self,
        ctx: &Context,
        scratch: &mut Scratch,
        image: &[B],
        matrix: AsMatrix<B>,
        group: usize,
        out: SumTile<'_>,
    ) -> Result<(), KernelError> {
        let shape = self.shape;
        let k_group = ctx.isa.tile().k_group;
        let role = Role::activations(ctx.isa);
        let (per_group, pixels) = (shape.out_per_group(), shape.out_pixels());
        let channel = group * shape.in_per_group();
        let weights = &self.weights.groups[group];
        let patches = BytePatches {
            patches: Patches {
                shape,
                image,
                channel,
                pad: B::from_i32(self.zero_point),
            },
            k_group,
            role,
        };
        let lines;
        let source: &dyn PanelSource<i32> = if shape.is_pointwise() {
            lines = ByteLines::new(matrix(pointwise(shape, image, channel)?), role, k_group);
            lines.panels()
        } else {
            &patches
        };
        let groups = weights.panels().groups();
        let folding = Folding {
            weights,
            source,
            lines: pixels,
            groups,
            k_group,
            role,
        };
        let bare = Int8Finish {
            first: group * per_group,
            zero_points: weights.zero_points(),
            ..self.finish(&[])
        };
        let (packed, source) = (Operand::Packed(weights.panels()), Operand::Source(source));
        let (lhs, rhs) = match shape.layout {
            Layout::ChannelsFirst => (packed, source),
            Layout::ChannelsLast => (source, packed),
        };
        let (rows, cols) = (out.rows(), out.cols());
        let product = |finish| Product::<A, _> {
            rows,
            cols,
            groups,
            lhs,
            rhs,
            finish,
        };
        let words = product(&bare).scratch_words(ctx);
        let (_, words) = scratch.parts(0, words + folding.words());
        let (summands, words) = words.split_at_mut(folding.words());
        let zero_point = self.zero_point + role.shift::<B>();
        let bias = self.bias.get(group * per_group..(group + 1) * per_group);
        let summands = folding.fold(zero_point, bias.unwrap_or(&[]), summands);
        let finish = Int8Finish { summands, ..bare };
        product(&finish).run(ctx, out, words)
    }
}

/// Turns sums that are exact integers in f32 back into `i32`.
struct FromExactFloats<'a>(Int8Finish<'a>);

impl Finish<Float> for FromExactFloats<'_> {
    type Out<'o> = SumTile<'o>;
    const K_BLOCK: usize = usize::MAX;

    #[inline(always)]
    fn tile<S: Simd>(
        &self,
        s: S,
        _: Part,
        row: usize,
        col: usize,
        acc: &[f32],
        at: Place,
        out: &mut SumTile<'_>,
    ) {
        self.0.store(s, (row, col), acc, at, out);
    }
}
