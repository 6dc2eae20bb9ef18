//! The inventory: the kernels, a row per algorithm with its tolerance, runnable on every instruction set.
//!
//! One row per kernel and instruction set drives the agreement test below (and, through
//! [`Kernel::run`], benches and fault reports): a row's result must agree with the scalar one, bit
//! for bit where the row says [`Agreement::Exact`], and must not depend on the thread count.

mod attention;
mod backward;
mod fft;
mod half;
mod recurrent;
mod stages;

use self::Agreement::{Exact, Within};
use ::half::{bf16, f16};

use crate::conv::{
    ConvEpilogue, ConvParams, ConvShape, Int8Input, Layout, PackedConvF32, PackedConvInt8,
    WinogradTile,
};
use crate::elementwise::{Activation, Slope, Unary};
use crate::gemm::{
    Epilogue, FloatOperand, Int8Gemm, Int8Matrix, Int8Operand, NBitsActivations, NBitsMatrix,
    NBitsZeroPoints, PackedF32, PackedInt8, PackedNBits, Side,
};
use crate::norm::{Reduce, Softmax};
use crate::pool::Pool;
use crate::quantized::{Estimator, RawOutput, RequantRule, Requantization, ScaleZero};
use crate::recurrent::Cell;
use crate::{Context, Isa, KernelError, MatRef, Scratch, conv, elementwise, gemm, norm, quantized};

/// How far the results of two instruction sets may lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Agreement {
    /// Not at all.
    Exact,
    /// By this much, times one plus the magnitude: sums are taken in another order, or with fused
    /// multiply-adds.
    Within(f32),
}

/// One kernel family.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Kernel {
    /// Its name, `family/variant`.
    pub name: &'static str,
    /// How far instruction sets may differ.
    pub agreement: Agreement,
    run: fn(&Context) -> Result<Vec<f32>, KernelError>,
}

impl Kernel {
    /// Runs the kernel on a fixed problem with awkward extents; integers come as floats.
    ///
    /// # Errors
    /// None are expected: the problem is well formed.
    pub fn run(&self, ctx: &Context) -> Result<Vec<f32>, KernelError> {
        (self.run)(ctx)
    }
}

/// A row of the table.
const fn row(
    name: &'static str,
    agreement: Agreement,
    run: fn(&Context) -> Result<Vec<f32>, KernelError>,
) -> Kernel {
    Kernel {
        name,
        agreement,
        run,
    }
}

/// All kernel families.
pub const KERNELS: &[Kernel] = &[
    Kernel {
        name: "gemm/f32",
        agreement: Agreement::Within(1e-5),
        run: |c| gemm_f32_of(c, [67, 301, 85]),
    },
    Kernel {
        name: "gemm/f32-deep",
        agreement: Agreement::Within(1e-4),
        run: |c| gemm_f32_of(c, [67, 1301, 85]),
    },
    Kernel {
        name: "gemm/f32-row",
        agreement: Agreement::Within(1e-4),
        run: |c| gemm_f32_of(c, [1, 1301, 1111]),
    },
    Kernel {
        name: "gemm/f16",
        agreement: Agreement::Within(1e-5),
        run: |c| half::product::<f16>(c, [67, 301, 85]),
    },
    Kernel {
        name: "gemm/f16-row",
        agreement: Agreement::Within(1e-4),
        run: |c| half::product::<f16>(c, [1, 1301, 1111]),
    },
    Kernel {
        name: "gemm/bf16",
        agreement: Agreement::Within(1e-5),
        run: |c| half::product::<bf16>(c, [67, 301, 85]),
    },
    Kernel {
        name: "gemm/bf16-dot",
        agreement: Agreement::Within(1e-5),
        run: |c| half::product_of_pairs(c, [67, 301, 85]),
    },
    Kernel {
        name: "gemm/int8",
        agreement: Agreement::Exact,
        run: gemm_int8,
    },
    Kernel {
        name: "gemm/nbits",
        agreement: Agreement::Within(1e-5),
        run: |c| gemm_nbits(c, [5, 301, 85], NBitsActivations::Float),
    },
    Kernel {
        name: "gemm/nbits-tall",
        agreement: Agreement::Within(1e-5),
        run: |c| gemm_nbits(c, [67, 301, 85], NBitsActivations::Float),
    },
    Kernel {
        name: "gemm/nbits-int8",
        agreement: Agreement::Within(1e-5),
        run: |c| gemm_nbits(c, [67, 301, 85], NBitsActivations::Int8),
    },
    Kernel {
        name: "conv/f32-channels-first",
        agreement: Agreement::Within(1e-5),
        run: |c| conv_f32(c, Layout::ChannelsFirst, 1),
    },
    Kernel {
        name: "conv/f32-channels-last",
        agreement: Agreement::Within(1e-5),
        run: |c| conv_f32(c, Layout::ChannelsLast, 1),
    },
    Kernel {
        name: "conv/f32-winograd-2",
        agreement: Agreement::Within(1e-5),
        run: |c| conv_winograd(c, WinogradTile::Two),
    },
    Kernel {
        name: "conv/f32-winograd-4",
        agreement: Agreement::Within(1e-4),
        run: |c| conv_winograd(c, WinogradTile::Four),
    },
    Kernel {
        name: "conv/f32-fft",
        agreement: Agreement::Within(1e-4),
        run: |c| fft::convolved(c, 1),
    },
    Kernel {
        name: "conv/f32-fft-depthwise",
        agreement: Agreement::Within(1e-5),
        run: |c| fft::convolved(c, 19),
    },
    Kernel {
        name: "conv/f32-depthwise",
        agreement: Agreement::Within(1e-5),
        run: |c| conv_f32(c, Layout::ChannelsFirst, 10),
    },
    Kernel {
        name: "conv/f32-depthwise-channels-last",
        agreement: Agreement::Within(1e-5),
        run: |c| conv_f32(c, Layout::ChannelsLast, 10),
    },
    Kernel {
        name: "conv/f16-channels-last",
        agreement: Agreement::Within(1e-5),
        run: half::conv_f16,
    },
    Kernel {
        name: "conv/bf16-dot-channels-last",
        agreement: Agreement::Within(1e-5),
        run: half::conv_of_pairs,
    },
    row("conv/f32-stages", Within(1e-5), stages::floats_by_bands),
    row("conv/int8-stages", Exact, stages::bytes_by_bands),
    row(
        "conv/f32-packing-weights",
        Within(1e-5),
        backward::packing_weights,
    ),
    row("conv/f32-input-grad", Within(1e-5), |c| {
        backward::input_grad(c, 1, 2)
    }),
    row("conv/f32-input-grad-winograd", Within(1e-4), |c| {
        backward::input_grad(c, 1, 1)
    }),
    row("conv/f32-input-grad-depthwise", Within(1e-5), |c| {
        backward::input_grad(c, 37, 2)
    }),
    row("conv/f32-weight-grad", Within(1e-4), |c| {
        backward::weight_grad(c, 1, 2)
    }),
    row("conv/f32-weight-grad-depthwise", Within(1e-4), |c| {
        backward::weight_grad(c, 37, 1)
    }),
    Kernel {
        name: "conv/int8-channels-first",
        agreement: Agreement::Exact,
        run: |c| conv_int8(c, Layout::ChannelsFirst, 1),
    },
    Kernel {
        name: "conv/int8-channels-last",
        agreement: Agreement::Exact,
        run: |c| conv_int8(c, Layout::ChannelsLast, 1),
    },
    Kernel {
        name: "conv/int8-depthwise",
        agreement: Agreement::Exact,
        run: |c| conv_int8(c, Layout::ChannelsFirst, 10),
    },
    Kernel {
        name: "conv/int8-depthwise-channels-last",
        agreement: Agreement::Exact,
        run: |c| conv_int8(c, Layout::ChannelsLast, 10),
    },
    Kernel {
        name: "elementwise/exp",
        agreement: Agreement::Within(1e-6),
        run: |c| unary(c, Unary::Exp),
    },
    Kernel {
        name: "elementwise/erf",
        agreement: Agreement::Within(1e-6),
        run: |c| unary(c, Unary::Erf),
    },
    Kernel {
        name: "elementwise/tanh",
        agreement: Agreement::Within(1e-6),
        run: |c| unary(c, Unary::Activation(Activation::Tanh)),
    },
    row("elementwise/f16", Exact, half::convert::<f16>),
    row("elementwise/bf16", Exact, half::convert::<bf16>),
    row("norm/softmax", Within(1e-6), softmax),
    row("attention/f32", Within(1e-5), attention::grouped),
    row("norm/layer", Within(1e-5), layer_norm),
    row("norm/sum", Within(1e-5), sum),
    Kernel {
        name: "recurrent/rnn",
        agreement: Agreement::Within(1e-5),
        run: |c| recurrent::recurrent_of(c, Cell::Rnn),
    },
    Kernel {
        name: "recurrent/gru",
        agreement: Agreement::Within(1e-5),
        run: |c| {
            let linear_before_reset = false;
            recurrent::recurrent_of(
                c,
                Cell::Gru {
                    linear_before_reset,
                },
            )
        },
    },
    Kernel {
        name: "recurrent/lstm",
        agreement: Agreement::Within(1e-5),
        run: |c| {
            let input_forget = false;
            recurrent::recurrent_of(c, Cell::Lstm { input_forget })
        },
    },
    row("elementwise/relu-grad", Exact, |c| {
        backward::slope(c, Slope::Relu)
    }),
    row("elementwise/gelu-grad", Within(1e-6), |c| {
        backward::slope(c, Slope::Gelu)
    }),
    row("elementwise/gelu-tanh-grad", Within(1e-6), |c| {
        backward::slope(c, Slope::GeluTanh)
    }),
    row("norm/batch-training", Within(1e-5), |c| {
        backward::batch_norm(c, 1)
    }),
    row("norm/batch-training-channels-first", Within(1e-5), |c| {
        backward::batch_norm(c, 3)
    }),
    row(
        "norm/batch-grad",
        Within(1e-5),
        backward::batch_norm_adjoint,
    ),
    row("norm/channel-sums", Within(1e-5), backward::sums),
    row(
        "norm/layer-grad",
        Within(1e-5),
        backward::layer_norm_adjoint,
    ),
    row("norm/softmax-grad", Within(1e-6), backward::softmax_adjoint),
    row("pool/average-grad", Exact, |c| {
        backward::pool_adjoint(c, Pool::Average)
    }),
    row("pool/max-grad", Exact, |c| {
        backward::pool_adjoint(c, Pool::Max)
    }),
    row("quantized/linear", Exact, quantize),
    row("quantized/fake-straight", Within(1e-5), |c| {
        backward::fake_quantized(c, Estimator::StraightThrough)
    }),
    row("quantized/fake-clipping", Within(1e-5), |c| {
        backward::fake_quantized(c, Estimator::Clipping)
    }),
    row("quantized/fake-scaled", Within(1e-5), |c| {
        backward::fake_quantized(c, Estimator::Scaled { strength: 0.02 })
    }),
    row("quantized/fake-soft", Within(1e-5), |c| {
        backward::fake_quantized(c, Estimator::Soft { alpha: 0.2 })
    }),
];

/// Every kernel on every instruction set of this CPU.
pub fn rows() -> impl Iterator<Item = (&'static Kernel, Isa)> {
    KERNELS
        .iter()
        .flat_map(|kernel| Isa::available().into_iter().map(move |isa| (kernel, isa)))
}

/// A fixed sequence in -1..1.
fn floats(n: usize, seed: u32) -> Vec<f32> {
    bytes(2 * n, seed)
        .chunks(2)
        .map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0)
        .collect()
}

/// A fixed sequence of bytes (a linear congruential generator's high bits).
fn bytes(n: usize, seed: u32) -> Vec<u8> {
    let mut x = seed;
    let mut next = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 24) as u8
    };
    (0..n).map(|_| next()).collect()
}

fn gemm_f32_of(ctx: &Context, [m, k, n]: [usize; 3]) -> Result<Vec<f32>, KernelError> {
    let (a, b) = (floats(m * k, 1), floats(k * n, 2));
    let packed = PackedF32::new(ctx.isa, Side::Rhs, MatRef::row_major(&b, k, n)?)?;
    let lhs = FloatOperand::Matrix(MatRef::row_major(&a, m, k)?);
    let epilogue = Epilogue {
        activation: Activation::Gelu,
        ..Epilogue::default()
    };
    let mut out = vec![0.0; m * n];
    gemm::gemm(
        ctx,
        &mut Scratch::new(),
        lhs,
        FloatOperand::Packed(&packed),
        &epilogue,
        &mut out,
    )?;
    Ok(out)
}

fn gemm_int8(ctx: &Context) -> Result<Vec<f32>, KernelError> {
    let (m, k, n) = (67, 301, 85);
    let (a, b) = (bytes(m * k, 1), bytes(k * n, 2));
    let weights = Int8Matrix::U8(MatRef::row_major(&b, k, n)?);
    let packed = PackedInt8::new(ctx.isa, Side::Rhs, weights, &[121])?;
    let product = Int8Gemm {
        lhs: Int8Operand::Matrix(Int8Matrix::U8(MatRef::row_major(&a, m, k)?), &[17]),
        rhs: Int8Operand::Packed(&packed),
        bias: &[],
    };
    let mut out = vec![0i32; m * n];
    gemm::gemm_int8(ctx, &mut Scratch::new(), &product, &RawOutput, &mut out)?;
    Ok(out.into_iter().map(|x| x as f32).collect())
}

fn gemm_nbits(
    ctx: &Context,
    [m, k, n]: [usize; 3],
    activations: NBitsActivations,
) -> Result<Vec<f32>, KernelError> {
    let (block, blocks) = (32, k.div_ceil(32));
    let scales: Vec<f32> = floats(n * blocks, 2).iter().map(|s| s * 0.1).collect();
    let weights = NBitsMatrix {
        rows: n,
        depth: k,
        bits: 4,
        block,
        codes: &bytes(n * blocks * block / 2, 3),
        scales: &scales,
        zero_points: NBitsZeroPoints::Packed(&bytes(n * blocks.div_ceil(2), 4)),
    };
    let packed = PackedNBits::new(ctx.isa, &weights)?;
    let a = floats(m * k, 1);
    let mut out = vec![0.0; m * n];
    gemm::gemm_nbits(
        ctx,
        &mut Scratch::new(),
        MatRef::row_major(&a, m, k)?,
        &packed,
        activations,
        &Epilogue::default(),
        &mut out,
    )?;
    Ok(out)
}

/// 10 channels of 45 x 49, 3 x 3 taps, stride 2, padding 1.
fn conv_problem(layout: Layout, groups: usize) -> Result<(ConvParams, ConvShape), KernelError> {
    let two = |x| vec![x; 2];
    let params = ConvParams {
        strides: two(2),
        pads_begin: vec![1; 2],
        pads_end: vec![1; 2],
        groups,
        layout,
        ..ConvParams::default()
    };
    // Channels last, a depthwise convolution has one filter per channel.
    let direct = layout == Layout::ChannelsLast && groups > 1;
    let out = if direct { 10 } else { 20 };
    let shape = ConvShape::new(&params, 2, 10, &[45, 49], out, &[3, 3])?;
    Ok((params, shape))
}

fn conv_f32(ctx: &Context, layout: Layout, groups: usize) -> Result<Vec<f32>, KernelError> {
    let (params, shape) = conv_problem(layout, groups)?;
    let per_group = 10 / groups;
    let weights = PackedConvF32::new(
        ctx.isa,
        &params,
        &floats(shape.out_channels * per_group * 9, 3),
        shape.out_channels,
        per_group,
        &[3, 3],
    )?;
    let mut out = vec![0.0; shape.output_len().unwrap_or(0)];
    let image = floats(2 * 10 * 45 * 49, 4);
    conv::conv(
        ctx,
        &mut Scratch::new(),
        &shape,
        &image,
        &weights,
        &ConvEpilogue::default(),
        &mut out,
    )?;
    Ok(out)
}

fn conv_winograd(ctx: &Context, tile: WinogradTile) -> Result<Vec<f32>, KernelError> {
    let params = ConvParams {
        pads_begin: vec![1; 2],
        pads_end: vec![1; 2],
        layout: Layout::ChannelsLast,
        ..ConvParams::default()
    };
    let shape = ConvShape::new(&params, 2, 19, &[45, 49], 37, &[3, 3])?;
    let weights = floats(37 * 19 * 9, 3);
    let weights = PackedConvF32::winograd(ctx.isa, tile, &weights, 37, 19)?;
    let mut out = vec![0.0; shape.output_len().unwrap_or(0)];
    let image = floats(2 * 19 * 45 * 49, 4);
    conv::conv(
        ctx,
        &mut Scratch::new(),
        &shape,
        &image,
        &weights,
        &ConvEpilogue::default(),
        &mut out,
    )?;
    Ok(out)
}

fn conv_int8(ctx: &Context, layout: Layout, groups: usize) -> Result<Vec<f32>, KernelError> {
    let (params, shape) = conv_problem(layout, groups)?;
    let (per_group, isa) = (10 / groups, ctx.isa);
    let weights = bytes(shape.out_channels * per_group * 9, 3);
    let weights = PackedConvInt8::new(
        isa,
        &params,
        Int8Input::U8(&weights),
        &[128],
        shape.out_channels,
        per_group,
        &[3, 3],
    )?;
    let epilogue = Requantization::new(RequantRule::OnnxRuntime, 0.02, &[0.01], 0.7, 30, (0, 255))?;
    let mut out = vec![0u8; shape.output_len().unwrap_or(0)];
    let image = bytes(2 * 10 * 45 * 49, 4);
    let input = Int8Input::U8(&image);
    conv::conv_int8(
        ctx,
        &mut Scratch::new(),
        &shape,
        input,
        99,
        &weights,
        &[],
        &epilogue,
        &mut out,
    )?;
    Ok(out.into_iter().map(f32::from).collect())
}

fn unary(ctx: &Context, f: Unary) -> Result<Vec<f32>, KernelError> {
    let x: Vec<f32> = floats(70_001, 5).iter().map(|x| x * 8.0).collect();
    let mut y = vec![0.0; x.len()];
    elementwise::unary(ctx, f, &x, &mut y)?;
    Ok(y)
}

fn softmax(ctx: &Context) -> Result<Vec<f32>, KernelError> {
    let x = floats(300 * 37, 6);
    let mut y = vec![0.0; x.len()];
    norm::softmax(
        ctx,
        &mut Scratch::new(),
        Softmax::Plain,
        [300, 37, 1],
        &x,
        &mut y,
    )?;
    Ok(y)
}

fn layer_norm(ctx: &Context) -> Result<Vec<f32>, KernelError> {
    let (x, gamma, beta) = (floats(300 * 77, 7), floats(77, 8), floats(77, 9));
    let mut y = vec![0.0; x.len()];
    norm::layer_norm(ctx, 1e-5, &x, &gamma, &beta, &mut y)?;
    Ok(y)
}

fn sum(ctx: &Context) -> Result<Vec<f32>, KernelError> {
    let x = floats(61 * 29 * 41, 10);
    let mut y = vec![0.0; 61 * 41];
    norm::reduce(ctx, Reduce::Sum, [61, 29, 41], &x, &mut y)?;
    Ok(y)
}

fn quantize(ctx: &Context) -> Result<Vec<f32>, KernelError> {
    let x = floats(70_001, 11);
    let mut q = vec![0i8; x.len()];
    quantized::quantize(
        ctx,
        ScaleZero {
            scale: 0.0071,
            zero_point: -5,
        },
        &x,
        &mut q,
    )?;
    Ok(q.into_iter().map(f32::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Parallelism;

    #[test]
    fn every_row_agrees_with_the_scalar_kernel_at_any_thread_count() {
        for (kernel, isa) in rows() {
            let expected = kernel
                .run(&Context::default().with_isa(Isa::scalar()))
                .unwrap();
            let one = kernel.run(&Context::default().with_isa(isa)).unwrap();
            let parallelism = Parallelism::with_threads(3).unwrap();
            let three = kernel
                .run(&Context::new(parallelism).with_isa(isa))
                .unwrap();
            assert_eq!(one, three, "{} on {isa}: threads", kernel.name);
            let bound = match kernel.agreement {
                Agreement::Exact => 0.0,
                Agreement::Within(bound) => bound,
            };
            for (i, (&got, &e)) in one.iter().zip(&expected).enumerate() {
                let apart = (got - e).abs();
                assert!(
                    apart <= bound * (1.0 + e.abs()),
                    "{} on {isa}, element {i}: {got} {e}",
                    kernel.name
                );
            }
            assert!(
                expected.iter().any(|&x| x != expected[0]),
                "{}: a constant result",
                kernel.name
            );
        }
    }
}
