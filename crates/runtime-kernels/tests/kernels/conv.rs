//! Convolutions on every instruction set and layout against the definition.

use runtime_kernels::conv::{
    ConvEpilogue, ConvParams, ConvShape, Int8Input, Layout, PackedConvF32, PackedConvInt8, conv,
    conv_int8,
};
use runtime_kernels::elementwise::Activation;
use runtime_kernels::quantized::{RawOutput, RequantRule, Requantization};
use runtime_kernels::{Context, Isa, Parallelism, Scratch};

/// Extents of one case, outermost first; two spatial dimensions unless said otherwise.
#[derive(Clone)]
struct Case {
    batch: usize,
    channels: usize,
    input: Vec<usize>,
    out: usize,
    kernel: Vec<usize>,
    params: ConvParams,
}

fn case(
    (batch, channels, out, groups): (usize, usize, usize, usize),
    input: &[usize],
    kernel: &[usize],
    strides: &[usize],
    dilations: &[usize],
    (begin, end): (&[usize], &[usize]),
) -> Case {
    let mut params = ConvParams::default();
    params.groups = groups;
    params.strides = strides.to_vec();
    params.dilations = dilations.to_vec();
    params.pads_begin = begin.to_vec();
    params.pads_end = end.to_vec();
    Case {
        batch,
        channels,
        input: input.to_vec(),
        out,
        kernel: kernel.to_vec(),
        params,
    }
}

fn cases() -> Vec<Case> {
    let none: (&[usize], &[usize]) = (&[], &[]);
    let same: (&[usize], &[usize]) = (&[1, 1], &[1, 1]);
    // Rows that are one register tile, one vector of channels and several.
    let narrow = (1..=7).map(|w| case((2, 80, 80, 80), &[8 - w, w], &[3, 3], &[1, 1], &[], same));
    let others = vec![
        case((2, 3, 8, 1), &[9, 11], &[3, 3], &[1, 1], &[], same),
        case((1, 3, 16, 1), &[32, 32], &[3, 3], &[2, 2], &[], same),
        case((1, 17, 20, 1), &[5, 7], &[1, 1], &[], &[], none),
        case((1, 8, 12, 1), &[9, 9], &[1, 1], &[2, 2], &[], none),
        case(
            (2, 6, 4, 2),
            &[8, 10],
            &[3, 2],
            &[1, 2],
            &[2, 1],
            (&[2, 0], &[1, 1]),
        ),
        case((2, 19, 19, 19), &[12, 35], &[3, 3], &[1, 1], &[], same),
        case(
            (1, 9, 9, 9),
            &[13, 14],
            &[3, 3],
            &[2, 2],
            &[],
            (&[0, 0], &[1, 1]),
        ),
        case(
            (1, 4, 4, 4),
            &[17, 40],
            &[5, 3],
            &[1, 3],
            &[1, 2],
            (&[2, 2], &[2, 1]),
        ),
        case((1, 3, 6, 3), &[8, 8], &[3, 3], &[1, 1], &[], same),
        case((1, 5, 7, 1), &[23], &[4], &[2], &[1], (&[1], &[2])),
        case(
            (1, 2, 3, 1),
            &[4, 5, 6],
            &[2, 3, 3],
            &[1, 2, 1],
            &[],
            (&[1, 1, 0], &[0, 1, 1]),
        ),
        case((1, 70, 33, 1), &[10, 10], &[3, 3], &[1, 1], &[], same),
        case(
            (1, 1, 64, 1),
            &[49, 10],
            &[10, 4],
            &[2, 2],
            &[],
            (&[4, 1], &[5, 1]),
        ),
        // Dilated runs, odd channels and groups: words that would straddle taps.
        case(
            (2, 6, 10, 2),
            &[9, 13],
            &[3, 3],
            &[2, 1],
            &[2, 3],
            (&[1, 3], &[2, 2]),
        ),
        case((1, 3, 5, 1), &[7, 12], &[2, 3], &[1, 1], &[1, 2], none),
        case((1, 8, 24, 1), &[7, 12], &[3, 3], &[1, 2], &[1, 2], none),
        // No padding, and groups read in place.
        case((2, 16, 24, 1), &[9, 8], &[3, 3], &[1, 1], &[], none),
        case((1, 8, 20, 2), &[9, 8], &[1, 3], &[2, 1], &[], none),
        // Windows that leave pixels out.
        case((2, 5, 17, 1), &[11, 9], &[2, 2], &[3, 4], &[], none),
        // Padding wider than the window; more outputs than a tile, one line.
        case(
            (1, 4, 9, 1),
            &[2, 3],
            &[3, 3],
            &[1, 1],
            &[],
            (&[4, 5], &[3, 4]),
        ),
        case((2, 7, 40, 1), &[131], &[5], &[1], &[], (&[2], &[2])),
        case((1, 6, 13, 1), &[1, 1], &[1, 1], &[], &[], none),
        // Several bands of lines.
        case(
            (1, 12, 12, 12),
            &[200, 67],
            &[5, 5],
            &[2, 1],
            &[],
            (&[2, 2], &[2, 2]),
        ),
        case((1, 11, 18, 1), &[150, 60], &[3, 3], &[2, 1], &[], same),
        // Windows that span more than memory holds, and more than a number counts.
        case(
            (1, 2, 2, 2),
            &[1, 1],
            &[2, 2],
            &[1, 1],
            &[65536, 65536],
            (&[0, 0], &[65536, 65536]),
        ),
        case(
            (1, 1, 2, 1),
            &[1, 1],
            &[2, 2],
            &[1, 1],
            &[usize::MAX >> 31, (1 << 31) - 1],
            (&[0, 0], &[usize::MAX >> 31, (1 << 31) - 1]),
        ),
        case(
            (1, 2, 2, 2),
            &[3, 3],
            &[2, 2],
            &[usize::MAX >> 24, usize::MAX >> 24],
            &[],
            none,
        ),
        case(
            (1, 2, 3, 1),
            &[3, 3],
            &[2, 2],
            &[usize::MAX >> 24, usize::MAX >> 24],
            &[],
            (&[1, 1], &[0, 0]),
        ),
        // Several tiles: lines of whole ones, with a rest, shorter ones, and windows that are laid out.
        case((1, 16, 40, 1), &[5, 32], &[3, 3], &[1, 1], &[], same),
        case((2, 32, 17, 1), &[6, 24], &[3, 3], &[1, 1], &[], same),
        case((1, 64, 70, 1), &[9, 7], &[3, 3], &[1, 1], &[], same),
        case((1, 48, 16, 1), &[12, 11], &[1, 1], &[], &[], none),
        case((1, 48, 33, 1), &[19, 21], &[3, 3], &[2, 2], &[], same),
        case((1, 8, 36, 1), &[8, 40], &[3, 3], &[1, 1], &[2, 3], same),
        case(
            (1, 3, 50, 1),
            &[30, 40],
            &[7, 7],
            &[2, 2],
            &[],
            (&[3, 3], &[2, 2]),
        ),
        case((1, 64, 48, 2), &[9, 18], &[3, 3], &[1, 1], &[], same),
        // Pixels that would share a set of the cache; weights that few bands pass by.
        case((1, 1024, 64, 1), &[3, 5], &[1, 1], &[], &[], none),
        case((1, 128, 128, 1), &[6, 6], &[3, 3], &[1, 1], &[], same),
        // One output channel per group and several.
        case((1, 4, 12, 4), &[6, 7], &[3, 3], &[1, 1], &[], same),
    ];
    narrow.chain(others).collect()
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

fn numbers(n: usize, seed: u32, modulus: u32) -> Vec<i32> {
    let mut x = seed.wrapping_mul(747_796_405).wrapping_add(1);
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        (x >> 7) % modulus
    };
    (0..n).map(|_| next() as i32).collect()
}

fn wide(list: &[usize], rank: usize, default: usize) -> [i64; 3] {
    let mut out = [default as i64; 3];
    for (o, &x) in out[3 - rank..].iter_mut().zip(list) {
        *o = x as i64;
    }
    out
}

/// The definition, channels first, in integers; the padding is zero.
fn reference(c: &Case, output: &[usize], image: &[i64], weights: &[i64]) -> Vec<i64> {
    let rank = c.input.len();
    let (i, k, o) = (
        wide(&c.input, rank, 1),
        wide(&c.kernel, rank, 1),
        wide(output, rank, 1),
    );
    let (s, d) = (
        wide(&c.params.strides, rank, 1),
        wide(&c.params.dilations, rank, 1),
    );
    let p = wide(&c.params.pads_begin, rank, 0);
    let (icg, ocg) = (c.channels / c.params.groups, c.out / c.params.groups);
    let mut out = Vec::new();
    for n in 0..c.batch {
        for oc in 0..c.out {
            for oz in 0..o[0] {
                for oy in 0..o[1] {
                    for ox in 0..o[2] {
                        let mut sum = 0;
                        for ic in 0..icg {
                            for t in 0..k[0] * k[1] * k[2] {
                                let tap = [t / (k[1] * k[2]), t / k[2] % k[1], t % k[2]];
                                let at = [oz, oy, ox];
                                let x: Vec<i64> = (0..3)
                                    .map(|a| at[a] * s[a] + tap[a] * d[a] - p[a])
                                    .collect();
                                if (0..3).all(|a| x[a] >= 0 && x[a] < i[a]) {
                                    let plane = (n * c.channels + oc / ocg * icg + ic) as i64;
                                    let at = ((plane * i[0] + x[0]) * i[1] + x[1]) * i[2] + x[2];
                                    let w = ((oc * icg + ic) as i64) * k[0] * k[1] * k[2] + t;
                                    sum += image[at as usize] * weights[w as usize];
                                }
                            }
                        }
                        out.push(sum);
                    }
                }
            }
        }
    }
    out
}

/// `[batch, channels, pixels]` as `[batch, pixels, channels]`.
fn channels_last<T: Copy>(x: &[T], batch: usize, channels: usize) -> Vec<T> {
    let pixels = x.len() / (batch * channels);
    let at = |i: usize| {
        let (n, p, c) = (i / (pixels * channels), i / channels % pixels, i % channels);
        (n * channels + c) * pixels + p
    };
    (0..x.len()).map(|i| x[at(i)]).collect()
}

#[test]
fn float_convolutions_match_the_definition_in_both_layouts() {
    for (index, mut c) in cases().into_iter().enumerate() {
        let pixels: usize = c.input.iter().product();
        let taps: usize = c.kernel.iter().product();
        let icg = c.channels / c.params.groups;
        let image = numbers(c.batch * c.channels * pixels, index as u32 + 1, 17);
        let weights = numbers(c.out * icg * taps, index as u32 + 50, 9);
        let bias = numbers(c.out, 99, 100);
        // Small integers: every sum is exact in f32 whatever its order.
        let real = |x: &[i32], z: i32| x.iter().map(|&x| (x - z) as f32).collect::<Vec<f32>>();
        let whole = |x: &[i32], z: i32| x.iter().map(|&x| i64::from(x - z)).collect::<Vec<i64>>();
        let shape =
            ConvShape::new(&c.params, c.batch, c.channels, &c.input, c.out, &c.kernel).unwrap();
        let sums = reference(
            &c,
            shape.output_spatial(),
            &whole(&image, 8),
            &whole(&weights, 4),
        );
        let out_pixels = sums.len() / (c.batch * c.out);
        let residual = real(&numbers(sums.len(), 7, 50), 25);
        let expected: Vec<f32> = (0..sums.len())
            .map(|i| (sums[i] as f32 + bias[i / out_pixels % c.out] as f32 + residual[i]).max(0.0))
            .collect();
        let (image, weights, bias) = (real(&image, 8), real(&weights, 4), real(&bias, 0));
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            c.params.layout = layout;
            let last = layout == Layout::ChannelsLast;
            let order = |x: &[f32], channels| {
                if last {
                    channels_last(x, c.batch, channels)
                } else {
                    x.to_vec()
                }
            };
            let (image, residual, expected) = (
                order(&image, c.channels),
                order(&residual, c.out),
                order(&expected, c.out),
            );
            let shape =
                ConvShape::new(&c.params, c.batch, c.channels, &c.input, c.out, &c.kernel).unwrap();
            for ctx in contexts() {
                let packed =
                    PackedConvF32::new(ctx.isa, &c.params, &weights, c.out, icg, &c.kernel)
                        .unwrap();
                let mut epilogue = ConvEpilogue::default();
                epilogue.bias = Some(&bias);
                epilogue.residual = Some(&residual);
                epilogue.activation = Activation::Relu;
                let mut out = vec![f32::NAN; expected.len()];
                conv(
                    &ctx,
                    &mut Scratch::new(),
                    &shape,
                    &image,
                    &packed,
                    &epilogue,
                    &mut out,
                )
                .unwrap();
                assert_eq!(out, expected, "case {index}, {layout:?}, {}", ctx.isa);
            }
        }
    }
}

#[test]
fn integer_convolutions_are_exact_in_both_layouts() {
    let twice = cases()
        .into_iter()
        .flat_map(|c| [(c.clone(), true), (c, false)]);
    for (index, (mut c, is_symmetric)) in twice.enumerate() {
        let pixels: usize = c.input.iter().product();
        let taps: usize = c.kernel.iter().product();
        let icg = c.channels / c.params.groups;
        let image = numbers(c.batch * c.channels * pixels, index as u32 + 1, 256);
        let weights = numbers(c.out * icg * taps, index as u32 + 50, 256);
        let bias: Vec<i32> = numbers(c.out, 99, 20000)
            .iter()
            .map(|x| x - 10000)
            .collect();
        let w_zeros = if is_symmetric {
            vec![0]
        } else {
            numbers(c.out, 3, 9)
        };
        let w_zero = |i: usize| {
            if w_zeros.len() == 1 {
                0
            } else {
                w_zeros[i / (icg * taps)]
            }
        };
        let unsigned: Vec<u8> = image.iter().map(|&x| x as u8).collect();
        let signed: Vec<i8> = image.iter().map(|&x| (x - 128) as i8).collect();
        let w8: Vec<i8> = weights.iter().map(|&x| (x - 128) as i8).collect();
        let z = 117;
        let wholes: Vec<i64> = image.iter().map(|&x| i64::from(x - z)).collect();
        let w_wholes: Vec<i64> = w8
            .iter()
            .enumerate()
            .map(|(i, &w)| i64::from(i32::from(w) - w_zero(i)))
            .collect();
        let shape =
            ConvShape::new(&c.params, c.batch, c.channels, &c.input, c.out, &c.kernel).unwrap();
        let sums = reference(&c, shape.output_spatial(), &wholes, &w_wholes);
        let out_pixels = sums.len() / (c.batch * c.out);
        let channel = |i: usize| i / out_pixels % c.out;
        let expected: Vec<i32> = (0..sums.len())
            .map(|i| sums[i] as i32 + bias[channel(i)])
            .collect();
        let scales: Vec<f32> = (0..c.out).map(|i| 1e-4 * (i + 3) as f32).collect();
        let requantization = Requantization::new(
            RequantRule::OnnxRuntime,
            0.05,
            &scales,
            0.02,
            3,
            (-128, 127),
        )
        .unwrap();
        let bytes: Vec<i8> = expected
            .iter()
            .enumerate()
            .map(|(i, &x)| requantization.apply(x, channel(i)) as i8)
            .collect();
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            c.params.layout = layout;
            let last = layout == Layout::ChannelsLast;
            let shape =
                ConvShape::new(&c.params, c.batch, c.channels, &c.input, c.out, &c.kernel).unwrap();
            let (unsigned, signed, expected, bytes) = if last {
                (
                    channels_last(&unsigned, c.batch, c.channels),
                    channels_last(&signed, c.batch, c.channels),
                    channels_last(&expected, c.batch, c.out),
                    channels_last(&bytes, c.batch, c.out),
                )
            } else {
                (
                    unsigned.clone(),
                    signed.clone(),
                    expected.clone(),
                    bytes.clone(),
                )
            };
            for ctx in contexts() {
                let weights = Int8Input::I8(&w8);
                let packed = PackedConvInt8::new(
                    ctx.isa, &c.params, weights, &w_zeros, c.out, icg, &c.kernel,
                )
                .unwrap();
                let what = format!("case {index}, {layout:?}, {}", ctx.isa);
                let mut scratch = Scratch::new();
                for (input, z) in [
                    (Int8Input::U8(&unsigned), z),
                    (Int8Input::I8(&signed), z - 128),
                ] {
                    let mut out = vec![0i32; expected.len()];
                    conv_int8(
                        &ctx,
                        &mut scratch,
                        &shape,
                        input,
                        z,
                        &packed,
                        &bias,
                        &RawOutput,
                        &mut out,
                    )
                    .unwrap();
                    assert_eq!(out, expected, "{what}");
                    let mut out = vec![0i8; expected.len()];
                    conv_int8(
                        &ctx,
                        &mut scratch,
                        &shape,
                        input,
                        z,
                        &packed,
                        &bias,
                        &requantization,
                        &mut out,
                    )
                    .unwrap();
                    assert_eq!(out, bytes, "{what}");
                }
            }
        }
    }
}

#[test]
fn images_without_elements_give_the_activated_bias_or_nothing() {
    let ctx = Context::default();
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let mut params = ConvParams::default();
        params.layout = layout;
        // No channels, no images, and an image that is all padding.
        for (batch, channels, extent, pad) in [
            (2, 0, 4, 0),
            (0, 3, 4, 0),
            (1, 3, 0, 2),
            (2, 0, 0, 2),
            (2, 0, 4, 1),
        ] {
            params.pads_begin = vec![pad; 2];
            params.pads_end = vec![pad; 2];
            let shape = ConvShape::new(&params, batch, channels, &[extent; 2], 3, &[3, 3]).unwrap();
            let (len, count) = (shape.output_len().unwrap(), 3 * channels * 9);
            let at = |i: usize| {
                let pixels = len / (batch * 3).max(1);
                if layout == Layout::ChannelsLast {
                    i % 3
                } else {
                    i / pixels % 3
                }
            };
            let what = format!("{layout:?} {batch} {channels} {extent}");
            let bias = [-1.0, 2.0, 3.0];
            let mut epilogue = ConvEpilogue::default();
            epilogue.bias = Some(&bias);
            epilogue.activation = Activation::Relu;
            let weights = vec![1.0; count];
            let packed =
                PackedConvF32::new(ctx.isa, &params, &weights, 3, channels, &[3, 3]).unwrap();
            let mut out = vec![f32::NAN; len];
            let mut scratch = Scratch::new();
            conv(
                &ctx,
                &mut scratch,
                &shape,
                &[],
                &packed,
                &epilogue,
                &mut out,
            )
            .unwrap();
            let expected: Vec<f32> = (0..len).map(|i| bias[at(i)].max(0.0)).collect();
            assert_eq!(out, expected, "{what}");

            let bias = [-1, 2, 3];
            for zero_points in [[0; 3], [4, 0, -7]] {
                let weights = vec![1i8; count];
                let packed = PackedConvInt8::new(
                    ctx.isa,
                    &params,
                    Int8Input::I8(&weights),
                    &zero_points,
                    3,
                    channels,
                    &[3, 3],
                )
                .unwrap();
                let mut out = vec![9i32; len];
                conv_int8(
                    &ctx,
                    &mut scratch,
                    &shape,
                    Int8Input::U8(&[]),
                    5,
                    &packed,
                    &bias,
                    &RawOutput,
                    &mut out,
                )
                .unwrap();
                let expected: Vec<i32> = (0..len).map(|i| bias[at(i)]).collect();
                assert_eq!(out, expected, "{what}");
            }
        }
    }
}

#[test]
fn slices_of_the_wrong_size_are_refused() {
    let ctx = Context::default();
    let params = ConvParams::default();
    let shape = ConvShape::new(&params, 1, 2, &[4, 4], 3, &[3, 3]).unwrap();
    let packed = PackedConvF32::new(ctx.isa, &params, &[0.0; 54], 3, 2, &[3, 3]).unwrap();
    let (mut scratch, epilogue) = (Scratch::new(), ConvEpilogue::default());
    assert!(
        conv(
            &ctx,
            &mut scratch,
            &shape,
            &[0.0; 31],
            &packed,
            &epilogue,
            &mut [0.0; 12]
        )
        .is_err()
    );
    assert!(
        conv(
            &ctx,
            &mut scratch,
            &shape,
            &[0.0; 32],
            &packed,
            &epilogue,
            &mut [0.0; 11]
        )
        .is_err()
    );
    assert!(
        conv(
            &ctx,
            &mut scratch,
            &shape,
            &[0.0; 32],
            &packed,
            &epilogue,
            &mut [0.0; 12]
        )
        .is_ok()
    );
    assert!(PackedConvF32::new(ctx.isa, &params, &[0.0; 53], 3, 2, &[3, 3]).is_err());
}
