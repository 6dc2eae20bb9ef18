//! Matrix products and convolutions of any extents against the plain sums, on every instruction set of this CPU.
//!
//! All numbers are small integers, so that single precision is exact too and every comparison is of equality.
#![no_main]

use arbitrary::Arbitrary;
use half::{bf16, f16};
use libfuzzer_sys::fuzz_target;
use runtime_kernels::conv::{ConvEpilogue, ConvParams, ConvShape, FftTile, Layout, PackedConvF32};
use runtime_kernels::conv::{Int8Input, PackedConvInt8};
use runtime_kernels::conv::{conv, conv_int8};
use runtime_kernels::elementwise::{Half, narrow};
use runtime_kernels::gemm::{
    Epilogue, FloatOperand, Int8Gemm, Int8Matrix, Int8Operand, PackedF32, PackedHalf, PackedInt8, Side,
};
use runtime_kernels::gemm::{gemm, gemm_int8};
use runtime_kernels::quantized::RawOutput;
use runtime_kernels::{Context, Isa, MatRef, Scratch};

#[derive(Arbitrary, Debug)]
enum Case {
    Gemm { rows: u8, depth: u8, cols: u8, zero_points: (u8, i8), packed: bool, seed: u32 },
    Conv(Conv),
}

#[derive(Arbitrary, Debug)]
struct Conv {
    batch: bool,
    groups: u8,
    in_per_group: u8,
    out_per_group: u8,
    input: [u8; 2],
    kernel: [u8; 2],
    strides: [u8; 2],
    dilations: [u8; 2],
    pads: [u8; 4],
    channels_last: bool,
    zero_points: (u8, i8),
    seed: u32,
}

fuzz_target!(|case: Case| match case {
    Case::Gemm { rows, depth, cols, zero_points, packed, seed } => {
        let [rows, depth, cols] = [rows, depth, cols].map(|n| usize::from(n % 48));
        products([rows, depth, cols], zero_points, packed, seed);
    }
    Case::Conv(case) => convolutions(&case),
});

/// Pseudo-random numbers, the same for the same seed.
fn numbers(seed: u32, count: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as u8
    };
    (0..count).map(|_| next()).collect()
}

fn floats(ints: impl Iterator<Item = i32>) -> Vec<f32> {
    ints.map(|n| n as f32).collect()
}

fn products([rows, depth, cols]: [usize; 3], (za, zb): (u8, i8), packed: bool, seed: u32) {
    let a = numbers(seed, rows * depth);
    let b: Vec<i8> = numbers(!seed, depth * cols).into_iter().map(|n| n as i8).collect();
    let (za, zb) = (i32::from(za), i32::from(zb));
    let a_real: Vec<i32> = a.iter().map(|&n| i32::from(n) - za).collect();
    let b_real: Vec<i32> = b.iter().map(|&n| i32::from(n) - zb).collect();
    let sum = |i: usize, j: usize| (0..depth).map(|k| a_real[i * depth + k] * b_real[k * cols + j]).sum::<i32>();
    let expected: Vec<i32> = (0..rows * cols).map(|at| sum(at / cols, at % cols)).collect();
    let (a_float, b_float) = (floats(a_real.iter().copied()), floats(b_real.iter().copied()));

    for isa in Isa::available() {
        let ctx = Context::default().with_isa(isa);
        let scratch = &mut Scratch::new();
        let lhs = Int8Matrix::U8(MatRef::row_major(&a, rows, depth).expect("sized"));
        let rhs = Int8Matrix::I8(MatRef::row_major(&b, depth, cols).expect("sized"));
        let (zero_a, zero_b) = ([za], [zb]);
        let weights = PackedInt8::new(isa, Side::Rhs, rhs, &zero_b).expect("small");
        let rhs = if packed { Int8Operand::Packed(&weights) } else { Int8Operand::Matrix(rhs, &zero_b) };
        let product = Int8Gemm { lhs: Int8Operand::Matrix(lhs, &zero_a), rhs, bias: &[] };
        let mut out = vec![0i32; rows * cols];
        gemm_int8(&ctx, scratch, &product, &RawOutput, &mut out).expect("extents agree");
        assert_eq!(out, expected, "int8 product on {}", isa.name());

        let rhs = MatRef::row_major(&b_float, depth, cols).expect("sized");
        let weights = PackedF32::new(isa, Side::Rhs, rhs).expect("small");
        let lhs = FloatOperand::Matrix(MatRef::row_major(&a_float, rows, depth).expect("sized"));
        let rhs = if packed { FloatOperand::Packed(&weights) } else { FloatOperand::Matrix(rhs) };
        let mut out = vec![0f32; rows * cols];
        gemm(&ctx, scratch, lhs, rhs, &Epilogue::default(), &mut out).expect("extents agree");
        assert_eq!(out, floats(expected.iter().copied()), "float product on {}", isa.name());

        let (halves, brains) = (narrowed::<f16>(&ctx, &b_float), narrowed::<bf16>(&ctx, &b_float));
        let halves = MatRef::row_major(&halves, depth, cols).expect("sized");
        let brains = MatRef::row_major(&brains, depth, cols).expect("sized");
        for weights in [PackedHalf::new(isa, halves), PackedHalf::new(isa, brains), PackedHalf::bf16_dot(isa, brains)] {
            let weights = weights.expect("small");
            let mut out = vec![0f32; rows * cols];
            gemm(&ctx, scratch, lhs, FloatOperand::Half(&weights), &Epilogue::default(), &mut out)
                .expect("extents agree");
            assert_eq!(out, floats(expected.iter().copied()), "product of halves on {}", isa.name());
        }
    }
}

/// Small integers are numbers of both half types.
fn narrowed<T: Half>(ctx: &Context, x: &[f32]) -> Vec<T> {
    let mut y = vec![T::default(); x.len()];
    narrow(ctx, x, &mut y).expect("of one length");
    y
}

fn convolutions(case: &Conv) {
    let small = |n: u8, most: u8| usize::from(n % most);
    let two = |n: [u8; 2], most: u8| n.map(|n| small(n, most) + 1);
    let (batch, groups) = (1 + usize::from(case.batch), small(case.groups, 6) + 1);
    // Integer convolutions refuse images without channels.
    let (in_per_group, out_per_group) = (small(case.in_per_group, 8) + 1, small(case.out_per_group, 9));
    let (input, kernel) = (two(case.input, 12), two(case.kernel, 5));
    let params = {
        let mut params = ConvParams::default();
        params.strides = two(case.strides, 3).to_vec();
        params.dilations = two(case.dilations, 3).to_vec();
        params.pads_begin = case.pads[..2].iter().map(|&n| small(n, 5)).collect();
        params.pads_end = case.pads[2..].iter().map(|&n| small(n, 5)).collect();
        params.groups = groups;
        params.layout = if case.channels_last { Layout::ChannelsLast } else { Layout::ChannelsFirst };
        params
    };
    let (channels, filters) = (groups * in_per_group, groups * out_per_group);
    let Ok(shape) = ConvShape::new(&params, batch, channels, &input, filters, &kernel) else { return };
    let x = numbers(case.seed, batch * channels * input[0] * input[1]);
    let taps = kernel[0] * kernel[1];
    let w: Vec<i8> = numbers(!case.seed, filters * in_per_group * taps).into_iter().map(|n| n as i8).collect();
    let (zx, zw) = (i32::from(case.zero_points.0), i32::from(case.zero_points.1));
    let x_real: Vec<i32> = x.iter().map(|&n| i32::from(n) - zx).collect();
    let w_real: Vec<i32> = w.iter().map(|&n| i32::from(n) - zw).collect();
    let output = [shape.output_spatial()[0], shape.output_spatial()[1]];
    let at = |n: usize, c: usize, y: usize, x: usize, of: usize, [h, w]: [usize; 2]| match params.layout {
        Layout::ChannelsFirst => ((n * of + c) * h + y) * w + x,
        Layout::ChannelsLast => ((n * h + y) * w + x) * of + c,
    };
    let mut expected = vec![0i32; batch * filters * output[0] * output[1]];
    for n in 0..batch {
        for f in 0..filters {
            for oy in 0..output[0] {
                for ox in 0..output[1] {
                    let mut sum = 0;
                    for c in 0..in_per_group {
                        for tap in 0..taps {
                            let place = |d: usize, o: usize, k: usize| {
                                (o * params.strides[d] + k * params.dilations[d])
                                    .checked_sub(params.pads_begin[d])
                                    .filter(|&i| i < input[d])
                            };
                            let (ky, kx) = (tap / kernel[1], tap % kernel[1]);
                            let (Some(iy), Some(ix)) = (place(0, oy, ky), place(1, ox, kx)) else { continue };
                            let channel = f / out_per_group * in_per_group + c;
                            let image = x_real[at(n, channel, iy, ix, channels, input)];
                            sum += image * w_real[(f * in_per_group + c) * taps + tap];
                        }
                    }
                    expected[at(n, f, oy, ox, filters, output)] = sum;
                }
            }
        }
    }
    let (x_float, w_float) = (floats(x_real.iter().copied()), floats(w_real.iter().copied()));

    for isa in Isa::available() {
        let ctx = Context::default().with_isa(isa);
        let scratch = &mut Scratch::new();
        let weights = PackedConvInt8::new(isa, &params, Int8Input::I8(&w), &[zw], filters, in_per_group, &kernel);
        let weights = weights.expect("extents agree");
        let mut out = vec![0i32; expected.len()];
        conv_int8(&ctx, scratch, &shape, Int8Input::U8(&x), zx, &weights, &[], &RawOutput, &mut out)
            .expect("extents agree");
        assert_eq!(out, expected, "int8 convolution on {}", isa.name());

        let weights = PackedConvF32::new(isa, &params, &w_float, filters, in_per_group, &kernel);
        let weights = weights.expect("extents agree");
        let mut out = vec![0f32; expected.len()];
        conv(&ctx, scratch, &shape, &x_float, &weights, &ConvEpilogue::default(), &mut out).expect("extents agree");
        assert_eq!(out, floats(expected.iter().copied()), "float convolution on {}", isa.name());

        let (halves, brains) = (narrowed::<f16>(&ctx, &w_float), narrowed::<bf16>(&ctx, &w_float));
        for weights in [
            PackedConvF32::half(isa, &params, &halves, filters, in_per_group, &kernel),
            PackedConvF32::half(isa, &params, &brains, filters, in_per_group, &kernel),
            PackedConvF32::bf16_dot(isa, &params, &brains, filters, in_per_group, &kernel),
        ] {
            let weights = weights.expect("extents agree");
            let mut out = vec![0f32; expected.len()];
            conv(&ctx, scratch, &shape, &x_float, &weights, &ConvEpilogue::default(), &mut out).expect("extents agree");
            assert_eq!(out, floats(expected.iter().copied()), "convolution of halves on {}", isa.name());
        }

        let Some(tile) = FftTile::candidate(isa, &shape) else { continue };
        let weights = PackedConvF32::fft(isa, tile, &params, &w_float, filters, in_per_group, &kernel);
        let weights = weights.expect("the transform applies");
        conv(&ctx, scratch, &shape, &x_float, &weights, &ConvEpilogue::default(), &mut out).expect("extents agree");
        let bound = fft_bound(tile, in_per_group, &x_real, &w_real);
        for (found, &exact) in out.iter().zip(&expected) {
            let apart = (f64::from(*found) - f64::from(exact)).abs();
            assert!(apart <= bound, "transformed convolution on {}: {apart} of {bound}", isa.name());
        }
        }
    }
}

/// The bound that stands at [`FftTile`], by the largest pixel and the sum of all taps.
fn fft_bound(tile: FftTile, channels: usize, x: &[i32], w: &[i32]) -> f64 {
    let places = (tile.rows() * tile.columns()) as f64;
    let largest = x.iter().map(|n| n.abs()).max().map_or(0.0, f64::from);
    let taps: f64 = w.iter().map(|n| f64::from(n.abs())).sum();
    let units = 10.0 * places.log2() + 3.0 * channels as f64 + 10.0;
    units / f64::from(1 << 24) * (2.0 * places).sqrt() * largest * taps
}
