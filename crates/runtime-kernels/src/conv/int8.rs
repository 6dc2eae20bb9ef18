//! Exact int8 convolution: `sum = Σ (image - z_x) (weights - z_w) + bias`, then an epilogue.
//!
//! The padding has the value of the image's zero point, so it adds nothing to the sums.

use super::depthwise::{Depthwise, EXACT_TAPS, run_depthwise};
use super::float::{group_tile, pointwise, taps_before_channels, taps_first};
use super::patches::{BytePatches, Patches};
use super::shape::{ConvParams, ConvShape, Layout};
use crate::error::{check_extent, check_len, product};
use crate::gemm::arith::{Arith, Float, SignedUnsigned, UnsignedSigned};
use crate::gemm::bytes::{ByteLines, Role, line_sums};
use crate::gemm::driver::{Finish, Operand, Part, Product};
use crate::gemm::panel::PanelSource;
use crate::gemm::{FinishAs, Int8Finish, Int8Matrix, PackedInt8, Side};
use crate::isa::{MAX_LANES, Simd};
use crate::quantized::{IntegerEpilogue, QuantByte, check_channels};
use crate::{Context, Isa, KernelError, MatRef, Scratch};

/// An image or weights of `u8` or of `i8`.
#[derive(Clone, Copy, Debug)]
pub enum Int8Input<'a> {
    /// Unsigned.
    U8(&'a [u8]),
    /// Signed.
    I8(&'a [i8]),
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
    layout: Layout,
    out_channels: usize,
    depth: usize,
    /// One matrix per group.
    groups: Vec<PackedInt8>,
    /// The weights less their zero points in the order of the direct loop, where it applies.
    depthwise: Vec<f32>,
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
        let taps = product(kernel);
        let depth = taps.and_then(|t| t.checked_mul(in_per_group));
        check_len(
            "weights",
            weights.len(),
            depth.and_then(|d| d.checked_mul(out_channels)),
        )?;
        if params.groups == 0 {
            return Err(KernelError::Invalid {
                what: "groups",
                value: 0,
            });
        }
        check_extent(
            "output channels left over by the groups",
            out_channels % params.groups,
            0,
        )?;
        if zero_points.len() != 1 {
            check_len(
                "zero points of the weights",
                zero_points.len(),
                Some(out_channels),
            )?;
        }
        let extents = Extents {
            isa,
            params,
            out_channels,
            in_per_group,
            taps: taps.unwrap_or(0),
        };
        match weights {
            Int8Input::U8(w) => extents.pack(w, zero_points, unsigned),
            Int8Input::I8(w) => extents.pack(w, zero_points, signed),
        }
    }

    /// Bytes of the packed form.
    pub fn bytes(&self) -> usize {
        4 * self.depthwise.len() + self.groups.iter().map(PackedInt8::bytes).sum::<usize>()
    }
}

struct Extents<'p> {
    isa: Isa,
    params: &'p ConvParams,
    out_channels: usize,
    in_per_group: usize,
    taps: usize,
}

impl Extents<'_> {
    fn pack<T: QuantByte>(
        &self,
        weights: &[T],
        zero_points: &[i32],
        matrix: for<'m> fn(MatRef<'m, T>) -> Int8Matrix<'m>,
    ) -> Result<PackedConvInt8, KernelError> {
        let depth = self.taps * self.in_per_group;
        let per_group = self.out_channels / self.params.groups;
        let layout = self.params.layout;
        let mut groups = Vec::with_capacity(self.params.groups);
        let filters = weights
            .chunks_exact((per_group * depth).max(1))
            .take(self.params.groups);
        for (g, weights) in filters.enumerate() {
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
                    let reordered = taps_before_channels(weights, self.in_per_group, self.taps);
                    let m = matrix(MatRef::row_major(&reordered, per_group, depth)?.transposed());
                    PackedInt8::new(self.isa, Side::Rhs, m, zero_points)?
                }
            });
        }
        let direct = self.in_per_group == 1 && self.params.groups > 1 && self.taps <= EXACT_TAPS;
        let depthwise = if direct {
            self.direct(weights, zero_points)
        } else {
            Vec::new()
        };
        Ok(PackedConvInt8 {
            layout,
            out_channels: self.out_channels,
            depth,
            groups,
            depthwise,
        })
    }

    fn direct<T: QuantByte>(&self, weights: &[T], zero_points: &[i32]) -> Vec<f32> {
        let zero_point = |channel: usize| *zero_points.get(channel).unwrap_or(&zero_points[0]);
        let reals = weights.iter().enumerate();
        let reals: Vec<f32> = reals
            .map(|(i, w)| (w.to_i32() - zero_point(i / self.taps)) as f32)
            .collect();
        match self.params.layout {
            Layout::ChannelsFirst => reals,
            Layout::ChannelsLast => taps_first(&reals, self.out_channels, self.taps),
        }
    }
}

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
    check_extent(
        "layout of the packed weights",
        weights.layout as usize,
        shape.layout as usize,
    )?;
    check_extent(
        "output channels of the weights",
        weights.out_channels,
        shape.out_channels,
    )?;
    check_extent(
        "input channels times taps of the weights",
        weights.depth,
        shape.depth(),
    )?;
    if !bias.is_empty() {
        check_len("bias", bias.len(), Some(shape.out_channels))?;
    }
    check_channels(epilogue, shape.out_channels)?;
    if shape.depth() == 0 || out.is_empty() {
        return check_extent("elements of a result without input channels", out.len(), 0);
    }
    check_extent("groups of the weights", weights.groups.len(), shape.groups)?;
    let op = Op {
        shape,
        zero_point,
        weights,
        bias,
        epilogue,
    };
    match input {
        Int8Input::U8(x) => op.run(ctx, scratch, x, unsigned, out),
        Int8Input::I8(x) => op.run(ctx, scratch, x, signed, out),
    }
}

/// The operands beside the image.
struct Op<'a, E> {
    shape: &'a ConvShape,
    zero_point: i32,
    weights: &'a PackedConvInt8,
    bias: &'a [i32],
    epilogue: &'a E,
}

type AsMatrix<B> = for<'m> fn(MatRef<'m, B>) -> Int8Matrix<'m>;

impl<E> Op<'_, E> {
    fn run<B: QuantByte + super::depthwise::Pixel, T: Send>(
        &self,
        ctx: &Context,
        scratch: &mut Scratch,
        input: &[B],
        matrix: AsMatrix<B>,
        out: &mut [T],
    ) -> Result<(), KernelError>
    where
        E: IntegerEpilogue<T>,
    {
        if !(B::MIN..=B::MAX).contains(&self.zero_point) {
            let value = self.zero_point.unsigned_abs() as usize;
            return Err(KernelError::Invalid {
                what: "zero point outside the input's type: its magnitude",
                value,
            });
        }
        let shape = self.shape;
        let image = shape.in_channels * shape.in_pixels();
        let result = shape.out_channels * shape.out_pixels();
        for (input, out) in input.chunks_exact(image).zip(out.chunks_exact_mut(result)) {
            if shape.is_depthwise() && !self.weights.depthwise.is_empty() {
                self.run_direct(ctx, scratch, input, out);
                continue;
            }
            for group in 0..shape.groups {
                match shape.layout {
                    Layout::ChannelsFirst => {
                        self.run_group::<SignedUnsigned, B, T>(
                            ctx, scratch, input, matrix, group, out,
                        )?;
                    }
                    Layout::ChannelsLast => {
                        self.run_group::<UnsignedSigned, B, T>(
                            ctx, scratch, input, matrix, group, out,
                        )?;
                    }
                }
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

    fn run_direct<B: super::depthwise::Pixel, T: Send>(
        &self,
        ctx: &Context,
        scratch: &mut Scratch,
        image: &[B],
        out: &mut [T],
    ) where
        E: IntegerEpilogue<T>,
    {
        let zeros;
        let offsets = if self.bias.is_empty() {
            zeros = vec![0; self.shape.out_channels];
            &zeros
        } else {
            self.bias
        };
        let finish = Int8Finish {
            signed: self.weights_side(),
            offsets,
            zero_points: &[],
            unsigned_sums: &[],
            channel: 0,
            epilogue: self.epilogue,
        };
        let op = Depthwise {
            shape: self.shape,
            weights: &self.weights.depthwise,
            zero_point: self.zero_point,
        };
        run_depthwise(
            ctx,
            scratch,
            &op,
            image,
            &FromExactFloats(FinishAs::new(&finish)),
            out,
        );
    }

    fn run_group<A: Arith<Word = i32>, B: QuantByte, T: Send>(
        &self,
        ctx: &Context,
        scratch: &mut Scratch,
        image: &[B],
        matrix: AsMatrix<B>,
        group: usize,
        out: &mut [T],
    ) -> Result<(), KernelError>
    where
        E: IntegerEpilogue<T>,
    {
        let shape = self.shape;
        let k_group = ctx.isa.tile().k_group;
        let (per_group, pixels) = (shape.out_per_group(), shape.out_pixels());
        let channel = group * shape.in_per_group();
        let weights = &self.weights.groups[group];
        let pad = B::from_i32(self.zero_point.clamp(B::MIN, B::MAX));
        let patches = BytePatches {
            patches: Patches {
                shape,
                image,
                channel,
                pad,
            },
            k_group,
        };
        let lines;
        let source: &dyn PanelSource<i32> = if shape.is_pointwise() {
            lines = ByteLines::new(
                matrix(pointwise(shape, image, channel)?),
                Role::Unsigned,
                k_group,
            );
            lines.panels()
        } else {
            &patches
        };
        let groups = shape.depth().div_ceil(k_group);
        let mut offsets = vec![0; per_group];
        let bias = self
            .bias
            .get(group * per_group..(group + 1) * per_group)
            .unwrap_or(&[]);
        weights.offsets(
            self.zero_point + Role::Unsigned.shift::<B>(),
            bias,
            &mut offsets,
        );
        let unsigned_sums = if weights.zero_points().is_empty() {
            Vec::new()
        } else {
            line_sums(source, pixels, groups, Role::Unsigned, k_group)
        };
        let finish = Int8Finish {
            signed: self.weights_side(),
            offsets: &offsets,
            zero_points: weights.zero_points(),
            unsigned_sums: &unsigned_sums,
            channel: group * per_group,
            epilogue: self.epilogue,
        };
        let finish = FinishAs::new(&finish);
        let (packed, source) = (Operand::Packed(weights.panels()), Operand::Source(source));
        let (lhs, rhs, rows, cols) = match shape.layout {
            Layout::ChannelsFirst => (packed, source, per_group, pixels),
            Layout::ChannelsLast => (source, packed, pixels, per_group),
        };
        let product = Product::<A, _> {
            rows,
            cols,
            groups,
            lhs,
            rhs,
            finish: &finish,
        };
        let (_, words) = scratch.parts(0, product.scratch_words(ctx));
        product.run(ctx, group_tile(shape, group, out)?, words)
    }
}

fn unsigned(matrix: MatRef<'_, u8>) -> Int8Matrix<'_> {
    Int8Matrix::U8(matrix)
}

fn signed(matrix: MatRef<'_, i8>) -> Int8Matrix<'_> {
    Int8Matrix::I8(matrix)
}

/// Turns sums that are exact integers in f32 back into `i32`.
struct FromExactFloats<'f, 'a, E, T>(FinishAs<'f, 'a, E, T>);

impl<T: Send, E: IntegerEpilogue<T>> Finish<Float> for FromExactFloats<'_, '_, E, T> {
    type Out = T;
    const K_BLOCK: usize = usize::MAX;

    #[inline(always)]
    fn row<S: Simd>(
        &self,
        s: S,
        part: Part,
        row: usize,
        col: usize,
        acc: &mut [f32],
        out: &mut [T],
    ) {
        let mut words = [0; MAX_LANES];
        for (i, out) in out.chunks_mut(S::LANES).enumerate() {
            s.store_i32(s.to_i32(s.load(&acc[i * S::LANES..])), &mut words);
            Finish::<SignedUnsigned>::row(
                &self.0,
                s,
                part,
                row,
                col + i * S::LANES,
                &mut words,
                out,
            );
        }
    }
}
