//! Weights of 16 bits on every instruction set: against the widened weights, and the definition.

use half::{bf16, f16};
use runtime_kernels::conv::{ConvEpilogue, ConvParams, ConvShape, Layout, PackedConvF32, conv};
use runtime_kernels::elementwise::{Half, narrow, widen};
use runtime_kernels::gemm::{
    Bias, Epilogue, FloatOperand, PackedF32, PackedHalf, Side, gemm, gemm_batched,
    gemm_packing_rows,
};
use runtime_kernels::{Context, Isa, KernelError, MatRef, Parallelism, Scratch};

/// A fixed pseudo-random sequence in -1..1.
fn floats(n: usize, seed: u32) -> Vec<f32> {
    let mut x = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        (x >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn contexts() -> Vec<Context> {
    let mut all = Vec::new();
    for isa in Isa::available() {
        for threads in [1, 3] {
            let parallelism = Parallelism::with_threads(threads).expect("threads start");
            all.push(Context::new(parallelism).with_isa(isa));
        }
    }
    all
}

fn narrowed<T: Half>(x: &[f32]) -> Vec<T> {
    let mut y = vec![T::default(); x.len()];
    narrow(&Context::default(), x, &mut y).unwrap();
    y
}

fn widened<T: Half>(x: &[T]) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    widen(&Context::default(), x, &mut y).unwrap();
    y
}

/// Rows, depth, columns: rows alone, tall and deep products, odd depths, nothing at all.
const SHAPES: [[usize; 3]; 10] = [
    [1, 1, 1],
    [1, 301, 40],
    [5, 7, 3],
    [13, 600, 33],
    [65, 129, 50],
    [3, 0, 4],
    [0, 3, 4],
    [3, 4, 0],
    [60, 3100, 35],
    [130, 300, 200],
];

fn product(ctx: &Context, a: MatRef<'_, f32>, rhs: FloatOperand<'_>, cols: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; a.rows() * cols];
    let bias = floats(cols, 9);
    let mut epilogue = Epilogue::default();
    epilogue.bias = Bias::PerCol(&bias);
    let scratch = &mut Scratch::new();
    gemm(
        ctx,
        scratch,
        FloatOperand::Matrix(a),
        rhs,
        &epilogue,
        &mut out,
    )
    .unwrap();
    out
}

fn products_are_those_of_widened_weights<T: Half>() {
    for [m, k, n] in SHAPES {
        let a = floats(m * k, 1);
        let b = narrowed::<T>(&floats(k * n, 2));
        let wide = widened(&b);
        let transposed: Vec<f32> = (0..k * m)
            .map(|i| a[i % m.max(1) * k + i / m.max(1)])
            .collect();
        for ctx in contexts() {
            let half = PackedHalf::new(ctx.isa, MatRef::row_major(&b, k, n).unwrap()).unwrap();
            let single = MatRef::row_major(&wide, k, n).unwrap();
            let single = PackedF32::new(ctx.isa, Side::Rhs, single).unwrap();
            assert_eq!((half.rows(), half.cols()), (k, n));
            assert_eq!(2 * half.bytes(), single.bytes());
            let rows = MatRef::row_major(&a, m, k).unwrap();
            let cols = MatRef::row_major(&transposed, k, m).unwrap().transposed();
            for lhs in [rows, cols] {
                let got = product(&ctx, lhs, FloatOperand::Half(&half), n);
                let expected = product(&ctx, lhs, FloatOperand::Packed(&single), n);
                assert_eq!(got, expected, "{m}x{k}x{n} on {}", ctx.isa);
            }
        }
    }
}

#[test]
fn products_with_f16_weights_are_those_of_the_widened_weights_bit_for_bit() {
    products_are_those_of_widened_weights::<f16>();
}

#[test]
fn products_with_bf16_weights_are_those_of_the_widened_weights_bit_for_bit() {
    products_are_those_of_widened_weights::<bf16>();
}

#[test]
fn products_of_pairs_round_the_left_side_and_nothing_else() {
    for [m, k, n] in SHAPES {
        let a = floats(m * k, 1);
        let b = narrowed::<bf16>(&floats(k * n, 2));
        let (rounded, wide) = (widened(&narrowed::<bf16>(&a)), widened(&b));
        let bias = floats(n, 9);
        for ctx in contexts() {
            let packed = PackedHalf::bf16_dot(ctx.isa, MatRef::row_major(&b, k, n).unwrap());
            let packed = packed.unwrap();
            let lhs = MatRef::row_major(&a, m, k).unwrap();
            let of = FloatOperand::Half(&packed);
            let direct = product(&ctx, lhs, of, n);
            let (blocked, batched) = by_other_ways(&ctx, lhs, of, &bias);
            let all = direct.into_iter().chain(blocked).chain(batched);
            for (at, got) in all.enumerate() {
                let at = at % (m * n);
                let (i, j) = (at / n, at % n);
                let terms =
                    (0..k).map(|p| f64::from(rounded[i * k + p]) * f64::from(wide[p * n + j]));
                let magnitude = terms.clone().map(f64::abs).sum::<f64>() + 1.0;
                let expected = terms.sum::<f64>() + f64::from(bias[j]);
                // Each of the k + 1 sums rounds once, by half a unit of at most the sum of all magnitudes.
                let bound = magnitude * (k + 2) as f64 * f64::from(f32::EPSILON) / 2.0;
                let apart = (f64::from(got) - expected).abs();
                assert!(
                    apart <= bound,
                    "{m}x{k}x{n} on {}: {got} {expected}",
                    ctx.isa
                );
            }
        }
    }
}

/// The product with its left operand packed on the way, and the same in a batch of two.
fn by_other_ways(
    ctx: &Context,
    lhs: MatRef<'_, f32>,
    rhs: FloatOperand<'_>,
    bias: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let (size, scratch) = (lhs.rows() * bias.len(), &mut Scratch::new());
    let mut epilogue = Epilogue::default();
    epilogue.bias = Bias::PerCol(bias);
    let lhs = FloatOperand::Matrix(lhs);
    let (mut blocked, mut batched) = (vec![f32::NAN; size], vec![f32::NAN; 2 * size]);
    gemm_packing_rows(ctx, scratch, lhs, rhs, &epilogue, &mut blocked).unwrap();
    let out = &mut batched;
    gemm_batched(ctx, scratch, 2, |_| lhs, |_| rhs, &epilogue, out).unwrap();
    (blocked, batched)
}

#[test]
fn weights_for_which_the_left_side_is_rounded_refuse_one_that_was_packed() {
    let ctx = Context::default();
    let (a, b) = (floats(12, 1), narrowed::<bf16>(&floats(12, 2)));
    let lhs = MatRef::row_major(&a, 4, 3).unwrap();
    let packed = PackedF32::new(ctx.isa, Side::Lhs, lhs).unwrap();
    let rhs = PackedHalf::bf16_dot(ctx.isa, MatRef::row_major(&b, 3, 4).unwrap()).unwrap();
    let (lhs, rhs) = (FloatOperand::Packed(&packed), FloatOperand::Half(&rhs));
    let (scratch, out) = (&mut Scratch::new(), &mut [0.0; 16]);
    let done = gemm(&ctx, scratch, lhs, rhs, &Epilogue::default(), out);
    assert!(matches!(done, Err(KernelError::Invalid { .. })), "{done:?}");
}

#[test]
fn products_of_small_integers_are_exact_in_every_form() {
    let (m, k, n) = (17, 43, 37);
    let integers = |count, seed| -> Vec<f32> {
        floats(count, seed)
            .iter()
            .map(|x| (x * 255.0).round())
            .collect()
    };
    let (a, b) = (integers(m * k, 3), integers(k * n, 4));
    let cell = |i: usize, j: usize| (0..k).map(|p| a[i * k + p] * b[p * n + j]).sum::<f32>();
    let expected: Vec<f32> = (0..m * n).map(|at| cell(at / n, at % n)).collect();
    let (halves, brains) = (narrowed::<f16>(&b), narrowed::<bf16>(&b));
    for ctx in contexts() {
        let brains = MatRef::row_major(&brains, k, n).unwrap();
        for packed in [
            PackedHalf::new(ctx.isa, MatRef::row_major(&halves, k, n).unwrap()),
            PackedHalf::new(ctx.isa, brains),
            PackedHalf::bf16_dot(ctx.isa, brains),
        ] {
            let mut out = vec![0.0; m * n];
            let lhs = FloatOperand::Matrix(MatRef::row_major(&a, m, k).unwrap());
            let packed = packed.unwrap();
            let (rhs, scratch) = (FloatOperand::Half(&packed), &mut Scratch::new());
            gemm(&ctx, scratch, lhs, rhs, &Epilogue::default(), &mut out).unwrap();
            assert_eq!(out, expected, "on {}", ctx.isa);
            // Through blocks of widened panels.
            let of = |_| (lhs, rhs);
            let (l, r) = (|i| of(i).0, |i| of(i).1);
            gemm_batched(&ctx, scratch, 1, l, r, &Epilogue::default(), &mut out).unwrap();
            assert_eq!(out, expected, "in a batch on {}", ctx.isa);
        }
    }
}

#[test]
fn a_half_matrix_stands_on_the_right_of_its_own_instruction_set_only() {
    let b = narrowed::<f16>(&floats(12, 1));
    let a = floats(12, 2);
    let ctx = Context::default();
    let scratch = &mut Scratch::new();
    let packed = PackedHalf::new(ctx.isa, MatRef::row_major(&b, 3, 4).unwrap()).unwrap();
    let left = FloatOperand::Half(&packed);
    let right = FloatOperand::Matrix(MatRef::row_major(&a, 4, 3).unwrap());
    let refused = gemm(
        &ctx,
        scratch,
        left,
        right,
        &Epilogue::default(),
        &mut [0.0; 9],
    );
    assert!(
        matches!(refused, Err(KernelError::Extent { .. })),
        "{refused:?}"
    );
    for isa in Isa::available() {
        let packed = PackedHalf::new(isa, MatRef::row_major(&b, 3, 4).unwrap()).unwrap();
        let ctx = Context::default().with_isa(Isa::scalar());
        let rhs = FloatOperand::Half(&packed);
        let mut out = [0.0; 16];
        let e = Epilogue::default();
        let single = gemm(&ctx, scratch, right, rhs, &e, &mut out);
        let batched = gemm_batched(&ctx, scratch, 1, |_| right, |_| rhs, &e, &mut out);
        let blocked = gemm_packing_rows(&ctx, scratch, right, rhs, &e, &mut out);
        for done in [single, batched, blocked] {
            match isa.name() {
                "avx512" | "avx512vnni" | "avx512amx" => {
                    assert!(
                        matches!(done, Err(KernelError::PackedFor { .. })),
                        "{done:?}"
                    );
                }
                _ => assert_eq!(done, Ok(())),
            }
        }
    }
}

/// Groups, input channels and output channels of a group, taps, strides, dilations, padding.
type ConvCase = (usize, [usize; 2], [usize; 2], [usize; 2], [usize; 2], usize);

const CONVS: [ConvCase; 7] = [
    (1, [10, 13], [3, 3], [2, 2], [1, 1], 1),
    (1, [10, 40], [1, 1], [1, 1], [1, 1], 0),
    (2, [6, 9], [3, 2], [1, 1], [1, 2], 2),
    (1, [3, 16], [3, 3], [2, 2], [1, 1], 1),
    (1, [7, 5], [2, 5], [1, 1], [2, 2], 1),
    (5, [1, 2], [3, 3], [1, 1], [1, 1], 1),
    (1, [4, 8], [3, 3], [4, 4], [1, 1], 0),
];

fn conv_case(case: &ConvCase, layout: Layout) -> (ConvParams, ConvShape) {
    let (groups, [inner, outer], kernel, strides, dilations, pad) = *case;
    let mut params = ConvParams::default();
    params.layout = layout;
    params.groups = groups;
    params.strides = strides.to_vec();
    params.dilations = dilations.to_vec();
    params.pads_begin = vec![pad; 2];
    params.pads_end = vec![pad; 2];
    let shape = ConvShape::new(
        &params,
        2,
        groups * inner,
        &[14, 19],
        groups * outer,
        &kernel,
    );
    (params, shape.unwrap())
}

fn convolved(ctx: &Context, shape: &ConvShape, image: &[f32], weights: &PackedConvF32) -> Vec<f32> {
    let mut out = vec![f32::NAN; shape.output_len().unwrap()];
    let (scratch, epilogue) = (&mut Scratch::new(), ConvEpilogue::default());
    conv(ctx, scratch, shape, image, weights, &epilogue, &mut out).unwrap();
    out
}

fn convolutions_are_those_of_widened_weights<T: Half>() {
    for (case, layout) in CONVS
        .iter()
        .flat_map(|case| [Layout::ChannelsFirst, Layout::ChannelsLast].map(|layout| (case, layout)))
    {
        let (params, shape) = conv_case(case, layout);
        let (inner, outer, kernel) = (case.1[0], case.0 * case.1[1], case.2);
        let image = floats(shape.input_len().unwrap(), 5);
        let weights = narrowed::<T>(&floats(outer * inner * kernel[0] * kernel[1], 6));
        for ctx in contexts() {
            let half = PackedConvF32::half(ctx.isa, &params, &weights, outer, inner, &kernel);
            let wide = widened(&weights);
            let single = PackedConvF32::new(ctx.isa, &params, &wide, outer, inner, &kernel);
            let got = convolved(&ctx, &shape, &image, &half.unwrap());
            let expected = convolved(&ctx, &shape, &image, &single.unwrap());
            assert_eq!(got, expected, "{case:?} {layout:?} on {}", ctx.isa);
        }
    }
}

#[test]
fn convolutions_with_f16_weights_are_those_of_the_widened_weights_bit_for_bit() {
    convolutions_are_those_of_widened_weights::<f16>();
}

#[test]
fn convolutions_with_bf16_weights_are_those_of_the_widened_weights_bit_for_bit() {
    convolutions_are_those_of_widened_weights::<bf16>();
}

#[test]
fn convolutions_of_pairs_round_the_image_where_rows_of_taps_are_even() {
    for case in &CONVS {
        let (params, shape) = conv_case(case, Layout::ChannelsLast);
        let (inner, outer, kernel) = (case.1[0], case.0 * case.1[1], case.2);
        let image = floats(shape.input_len().unwrap(), 5);
        let rounded = widened(&narrowed::<bf16>(&image));
        let weights = narrowed::<bf16>(&floats(outer * inner * kernel[0] * kernel[1], 6));
        let rounds = (inner * kernel[1]).is_multiple_of(2);
        for ctx in contexts() {
            let pairs = PackedConvF32::bf16_dot(ctx.isa, &params, &weights, outer, inner, &kernel);
            let half = PackedConvF32::half(ctx.isa, &params, &weights, outer, inner, &kernel);
            let got = convolved(&ctx, &shape, &image, &pairs.unwrap());
            let of = if rounds { &rounded } else { &image };
            let expected = convolved(&ctx, &shape, of, &half.unwrap());
            let depth = (inner * kernel[0] * kernel[1]) as f32;
            let bound = if rounds {
                2.0 * depth * depth * f32::EPSILON
            } else {
                0.0
            };
            for (got, expected) in got.iter().zip(&expected) {
                assert!((got - expected).abs() <= bound, "{case:?} on {}", ctx.isa);
            }
        }
    }
}

#[test]
fn what_is_not_finite_stays_in_its_own_windows() {
    let case = (1, [4, 3], [1, 3], [1, 1], [1, 1], 0);
    let (params, shape) = conv_case(&case, Layout::ChannelsLast);
    let mut image = floats(shape.input_len().unwrap(), 5);
    let at = (3 * 19 + 10) * 4;
    image[at..at + 4].fill(f32::NAN);
    let weights = narrowed::<bf16>(&floats(3 * 4 * 3, 6));
    for ctx in contexts() {
        let pairs = PackedConvF32::bf16_dot(ctx.isa, &params, &weights, 3, 4, &[1, 3]).unwrap();
        let out = convolved(&ctx, &shape, &image, &pairs);
        let touched: Vec<usize> = (0..out.len() / 3)
            .filter(|&p| out[3 * p].is_nan())
            .collect();
        let row = 3 * 17;
        assert_eq!(touched, [row + 8, row + 9, row + 10], "on {}", ctx.isa);
    }
}

#[test]
fn every_number_of_16_bits_survives_widening_and_rounding() {
    fn check<T: Half + PartialEq>(of: fn(u16) -> T, bits: fn(T) -> u16, single: fn(T) -> f32) {
        let all: Vec<T> = (0..=u16::MAX).map(of).collect();
        for ctx in contexts() {
            let (mut wide, mut back) = (vec![0.0; all.len()], vec![T::default(); all.len()]);
            widen(&ctx, &all, &mut wide).unwrap();
            narrow(&ctx, &wide, &mut back).unwrap();
            for ((&x, &wide), &back) in all.iter().zip(&wide).zip(&back) {
                if single(x).is_nan() {
                    assert!(
                        wide.is_nan() && single(back).is_nan(),
                        "{:#x} on {}",
                        bits(x),
                        ctx.isa
                    );
                } else {
                    assert_eq!(
                        wide.to_bits(),
                        single(x).to_bits(),
                        "{:#x} on {}",
                        bits(x),
                        ctx.isa
                    );
                    assert_eq!(bits(back), bits(x), "on {}", ctx.isa);
                }
            }
        }
    }
    check(f16::from_bits, f16::to_bits, f16::to_f32);
    check(bf16::from_bits, bf16::to_bits, bf16::to_f32);
}

#[test]
fn rounding_is_to_nearest_with_halves_to_even() {
    // The middle of each pair of neighbours, and the floats beside it.
    let mut x = vec![
        65519.99,
        65520.0,
        f32::MAX,
        f32::INFINITY,
        f32::MIN_POSITIVE,
        1e-45,
        -0.0,
    ];
    for bits in (0..0x7c00u16).step_by(7) {
        let (a, b) = (
            f16::from_bits(bits).to_f32(),
            f16::from_bits(bits + 1).to_f32(),
        );
        if b.is_finite() {
            let middle = ((a + b) / 2.0).to_bits();
            x.extend([middle - 1, middle, middle + 1].map(f32::from_bits));
        }
        let middle = u32::from(bits) << 16 | 0x8000;
        x.extend([middle - 1, middle, middle + 1].map(f32::from_bits));
    }
    x.extend(x.clone().iter().map(|x| -x));
    for ctx in contexts() {
        let (mut halves, mut brains) = (vec![f16::ZERO; x.len()], vec![bf16::ZERO; x.len()]);
        narrow(&ctx, &x, &mut halves).unwrap();
        narrow(&ctx, &x, &mut brains).unwrap();
        for ((&x, half), brain) in x.iter().zip(halves).zip(brains) {
            assert_eq!(
                half.to_bits(),
                f16::from_f32_const(x).to_bits(),
                "{x} on {}",
                ctx.isa
            );
            assert_eq!(
                brain.to_bits(),
                bf16::from_f32_const(x).to_bits(),
                "{x} on {}",
                ctx.isa
            );
        }
    }
}
