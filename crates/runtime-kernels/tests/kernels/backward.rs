//! Adjoints of elementwise functions, normalisations and pooling against their definitions in double precision, on every instruction
//! set, with the same bits on one thread and on three.

use proptest::prelude::*;
use runtime_kernels::elementwise::{Slope, multiply_slope};
use runtime_kernels::norm::{
    Centre, Softmax, Statistics, batch_norm_grad, batch_norm_training, channel_sums,
    layer_norm_grad, softmax_grad,
};
use runtime_kernels::pool::{Pool, PoolShape, average_pool_grad, max_pool_grad};
use runtime_kernels::{Context, Isa, KernelError, Parallelism, Scratch};

/// Numbers in -1..1.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(next).collect()
}

/// Runs on every instruction set, on one thread and on three, and compares with what is expected, by the greatest magnitude.
fn check(tolerance: f64, expected: &[f64], run: impl Fn(&Context, &mut Scratch) -> Vec<f32>) {
    let threads = Parallelism::with_threads(3).unwrap();
    let mut scratch = Scratch::new();
    let most = expected.iter().fold(1.0, |most: f64, x| most.max(x.abs()));
    for isa in Isa::available() {
        let one = run(&Context::default().with_isa(isa), &mut scratch);
        let three = run(&Context::new(threads.clone()).with_isa(isa), &mut scratch);
        assert_eq!(one, three, "{isa}");
        assert_eq!(one.len(), expected.len());
        for (i, (&found, &expected)) in one.iter().zip(expected).enumerate() {
            let apart = (f64::from(found) - expected).abs();
            assert!(apart <= tolerance * most, "{isa}, {i}: {found} {expected}");
        }
    }
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| x.into()).collect()
}

#[test]
fn slopes_are_derivatives() {
    let x: Vec<f32> = numbers(1003, 1).iter().map(|x| 6.0 * x).collect();
    let dy = numbers(1003, 2);
    // By a difference of the function in double precision.
    let gelu_tanh = |x: f64| {
        let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
        0.5 * x * (1.0 + u.tanh())
    };
    // The integral of the density by Simpson's rule.
    let phi = |x: f64| {
        let density = |t: f64| (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
        let (steps, h) = (2000, x / 2000.0);
        let weight = |i: i32| match i {
            0 | 2000 => 1.0,
            i if i % 2 == 1 => 4.0,
            _ => 2.0,
        };
        let sum: f64 = (0..=steps)
            .map(|i| weight(i) * density(f64::from(i) * h))
            .sum();
        0.5 + sum * h / 3.0
    };
    let gelu = |x: f64| x * phi(x);
    let slope = |f: &dyn Fn(f64) -> f64, x: f64| (f(x + 1e-4) - f(x - 1e-4)) / 2e-4;
    for (of, f) in [
        (Slope::Gelu, &gelu as &dyn Fn(f64) -> f64),
        (Slope::GeluTanh, &gelu_tanh),
    ] {
        let expected = wide(&x)
            .into_iter()
            .zip(wide(&dy))
            .map(|(x, dy)| dy * slope(f, x));
        let expected: Vec<f64> = expected.collect();
        check(1e-6, &expected, |ctx, _| {
            let mut dx = vec![f32::NAN; x.len()];
            multiply_slope(ctx, of, &dy, &x, &mut dx).unwrap();
            dx
        });
    }
    let expected: Vec<f64> = x
        .iter()
        .zip(wide(&dy))
        .map(|(&x, dy)| if x > 0.0 { dy } else { 0.0 })
        .collect();
    check(0.0, &expected, |ctx, _| {
        let mut dx = vec![f32::NAN; x.len()];
        multiply_slope(ctx, Slope::Relu, &dy, &x, &mut dx).unwrap();
        dx
    });
}

/// The places of the elements of channel `c`.
fn members([outer, channels, inner]: [usize; 3], c: usize) -> Vec<usize> {
    (0..outer)
        .flat_map(|o| (0..inner).map(move |i| (o * channels + c) * inner + i))
        .collect()
}

fn batch_norm_of(extents: [usize; 3], offset: f32) {
    let [outer, channels, inner] = extents;
    let count = outer * channels * inner;
    let x: Vec<f32> = numbers(count, 1).iter().map(|x| x + offset).collect();
    let (dy, gamma, beta) = (
        numbers(count, 2),
        numbers(channels, 3),
        numbers(channels, 4),
    );
    let epsilon = 1e-3;
    let (mut y, mut dx) = (vec![0.0; count], vec![0.0; count]);
    let mut per_channel = vec![vec![0.0; channels]; 4];
    for c in 0..channels {
        let at = members(extents, c);
        let m = at.len() as f64;
        let value = |i: &usize| f64::from(x[*i]);
        let mean = at.iter().map(value).sum::<f64>() / m;
        let variance = at.iter().map(|i| (value(i) - mean).powi(2)).sum::<f64>() / m;
        let d = 1.0 / (variance + epsilon).sqrt();
        let z = |i: &usize| (value(i) - mean) * d;
        let dbeta: f64 = at.iter().map(|i| f64::from(dy[*i])).sum();
        let dgamma: f64 = at.iter().map(|i| f64::from(dy[*i]) * z(i)).sum();
        for i in &at {
            y[*i] = z(i) * f64::from(gamma[c]) + f64::from(beta[c]);
            let apart = f64::from(dy[*i]) - dbeta / m - z(i) * dgamma / m;
            dx[*i] = f64::from(gamma[c]) * d * apart;
        }
        for (all, one) in per_channel.iter_mut().zip([mean, variance, dgamma, dbeta]) {
            all[c] = one;
        }
    }
    let forward = [y, per_channel[0].clone(), per_channel[1].clone()].concat();
    check(1e-5, &forward, |ctx, scratch| {
        let mut y = vec![f32::NAN; count];
        let (mut mean, mut variance) = (vec![f32::NAN; channels], vec![f32::NAN; channels]);
        batch_norm_training(
            ctx,
            scratch,
            extents,
            epsilon as f32,
            &x,
            (&gamma, &beta),
            (&mut mean, &mut variance),
            &mut y,
        )
        .unwrap();
        [y, mean, variance].concat()
    });
    let backward = [dx, per_channel[2].clone(), per_channel[3].clone()].concat();
    check(1e-5, &backward, |ctx, scratch| {
        let mut dx = vec![f32::NAN; count];
        let (mut dgamma, mut dbeta) = (vec![f32::NAN; channels], vec![f32::NAN; channels]);
        batch_norm_grad(
            ctx,
            scratch,
            extents,
            epsilon as f32,
            Statistics::OfBatch,
            (&dy, &x, &gamma),
            (&mut dgamma, &mut dbeta),
            &mut dx,
        )
        .unwrap();
        [dx, dgamma, dbeta].concat()
    });
    check(1e-5, &per_channel[3], |ctx, scratch| {
        let mut sums = vec![f32::NAN; channels];
        channel_sums(ctx, scratch, extents, &dy, &mut sums).unwrap();
        sums
    });
}

#[test]
fn batch_normalisation_and_its_adjoint_are_their_formulas() {
    for extents in [
        [3, 5, 7],
        [4, 19, 1],
        [1, 1, 1],
        [2000, 33, 1],
        [6, 3, 4099],
        [40_000, 16, 1],
    ] {
        batch_norm_of(extents, 0.0);
    }
    // Far from zero, where sums of squares would lose the variance.
    batch_norm_of([3000, 5, 1], 50.0);
}

#[test]
fn a_batch_without_elements_has_no_statistics() {
    let (ctx, mut scratch) = (Context::default(), Scratch::new());
    let (mut mean, mut variance) = ([0.0; 2], [0.0; 2]);
    let error = batch_norm_training(
        &ctx,
        &mut scratch,
        [0, 2, 3],
        0.1,
        &[],
        (&[1.0; 2], &[0.0; 2]),
        (&mut mean, &mut variance),
        &mut [],
    );
    assert!(matches!(error, Err(KernelError::Invalid { .. })));
    let mut sums = [f32::NAN; 2];
    channel_sums(&ctx, &mut scratch, [0, 2, 3], &[], &mut sums).unwrap();
    assert_eq!(sums, [0.0; 2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn adjoints_of_rows_are_their_formulas(rows in 1usize..200, n in 1usize..70, seed in 0u32..1000) {
        let (dy, x, gamma) = (numbers(rows * n, seed), numbers(rows * n, seed + 1), numbers(n, seed + 2));
        for kind in [Softmax::Plain, Softmax::Log] {
            let mut expected = Vec::new();
            for (dy, y) in wide(&dy).chunks(n).zip(wide(&x).chunks(n)) {
                let sum: f64 = match kind {
                    Softmax::Plain => dy.iter().zip(y).map(|(dy, y)| dy * y).sum(),
                    Softmax::Log => dy.iter().sum(),
                };
                expected.extend(dy.iter().zip(y).map(|(dy, y)| match kind {
                    Softmax::Plain => y * (dy - sum),
                    Softmax::Log => dy - y.exp() * sum,
                }));
            }
            check(1e-6, &expected, |ctx, _| {
                let mut dx = vec![f32::NAN; dy.len()];
                softmax_grad(ctx, kind, n, (&dy, &x), &mut dx).unwrap();
                dx
            });
        }
        for centre in [Centre::Mean, Centre::Zero] {
            let (mut dx, mut dgamma, mut dbeta) = (Vec::new(), vec![0.0; n], vec![0.0; n]);
            let gamma_wide = wide(&gamma);
            for (dy, x) in wide(&dy).chunks(n).zip(wide(&x).chunks(n)) {
                let m = n as f64;
                let of_mean = if centre == Centre::Mean { 1.0 } else { 0.0 };
                let mean = of_mean * x.iter().sum::<f64>() / m;
                let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / m;
                let d = 1.0 / (variance + 0.1).sqrt();
                let z: Vec<f64> = x.iter().map(|x| (x - mean) * d).collect();
                let g: Vec<f64> = dy.iter().zip(&gamma_wide).map(|(dy, g)| dy * g).collect();
                let along = of_mean * g.iter().sum::<f64>() / m;
                let turned = g.iter().zip(&z).map(|(g, z)| g * z).sum::<f64>() / m;
                dx.extend(g.iter().zip(&z).map(|(g, z)| d * (g - along - z * turned)));
                for i in 0..n {
                    dgamma[i] += dy[i] * z[i];
                    dbeta[i] += dy[i];
                }
            }
            check(1e-5, &[dx, dgamma, dbeta].concat(), |ctx, scratch| {
                let mut dx = vec![f32::NAN; dy.len()];
                let (mut dgamma, mut dbeta) = (vec![f32::NAN; n], vec![f32::NAN; n]);
                layer_norm_grad(
                    ctx, scratch, centre, 0.1, (&dy, &x, &gamma), (&mut dgamma, &mut dbeta), &mut dx,
                )
                .unwrap();
                [dx, dgamma, dbeta].concat()
            });
        }
    }

    #[test]
    fn adjoints_of_pooling_are_their_formulas(
        planes in 1usize..4,
        channels in prop_oneof![Just(1usize), 2usize..90],
        image in [1usize..9, 1usize..9],
        kernel in [1usize..4, 1usize..4],
        strides in [1usize..4, 1usize..4],
        pads in [0usize..2, 0usize..2],
        seed in 0u32..1000,
    ) {
        let room = |d: usize| (image[d] + 2 * pads[d]).checked_sub(kernel[d]);
        let (Some(h), Some(w)) = (room(0), room(1)) else { return Ok(()) };
        let result = [h / strides[0] + 1, w / strides[1] + 1];
        let shape = PoolShape::new(planes, (&image, &result), &kernel, &strides, &[], (&pads, &pads)).unwrap();
        let count = planes * image[0] * image[1] * channels;
        // Coarse numbers, so that there are equal ones.
        let x: Vec<f32> = numbers(count, seed).iter().map(|x| (x * 3.0).round()).collect();
        let dy = numbers(planes * result[0] * result[1] * channels, seed + 1);
        for op in [Pool::Average, Pool::AverageWithPadding, Pool::Max] {
            let mut expected = vec![0.0; count];
            for (o, &dy) in dy.iter().enumerate() {
                let (c, p) = (o % channels, o / channels);
                let (ox, oy, n) = (p % result[1], p / result[1] % result[0], p / result[1] / result[0]);
                let mut taps = Vec::new();
                let mut padded = 0;
                for (ky, kx) in (0..kernel[0]).flat_map(|y| (0..kernel[1]).map(move |x| (y, x))) {
                    let (y, x) = (oy * strides[0] + ky, ox * strides[1] + kx);
                    padded += usize::from(y < image[0] + 2 * pads[0] && x < image[1] + 2 * pads[1]);
                    let inside = |at: usize, d: usize| at.checked_sub(pads[d]).filter(|&i| i < image[d]);
                    if let (Some(y), Some(x)) = (inside(y, 0), inside(x, 1)) {
                        taps.push(((n * image[0] + y) * image[1] + x) * channels + c);
                    }
                }
                let dy = f64::from(dy);
                match op {
                    Pool::Max => {
                        let most = taps.iter().map(|&i| x[i]).fold(f32::NEG_INFINITY, f32::max);
                        if let Some(&i) = taps.iter().find(|&&i| x[i] == most) {
                            expected[i] += dy;
                        }
                    }
                    Pool::Average => taps.iter().for_each(|&i| expected[i] += dy / taps.len() as f64),
                    _ => taps.iter().for_each(|&i| expected[i] += dy / f64::from(padded as u32)),
                }
            }
            check(1e-6, &expected, |ctx, _| {
                let mut dx = vec![f32::NAN; count];
                match op {
                    Pool::Max => max_pool_grad(ctx, &shape, channels, (&dy, &x), &mut dx).unwrap(),
                    _ => average_pool_grad(ctx, op, &shape, channels, &dy, &mut dx).unwrap(),
                }
                dx
            });
        }
    }
}

#[test]
fn slices_of_other_lengths_are_refused() {
    let ctx = Context::default();
    let error = multiply_slope(&ctx, Slope::Relu, &[1.0], &[1.0, 2.0], &mut [0.0; 2]);
    assert!(matches!(
        error,
        Err(KernelError::Length {
            found: 1,
            expected: 2,
            ..
        })
    ));
    let error = softmax_grad(
        &ctx,
        Softmax::Plain,
        2,
        (&[0.0; 3], &[0.0; 3]),
        &mut [0.0; 3],
    );
    assert!(matches!(error, Err(KernelError::Length { .. })));
    let shape = PoolShape::new(1, (&[4], &[2]), &[2], &[2], &[], (&[], &[])).unwrap();
    let error = average_pool_grad(&ctx, Pool::Max, &shape, 1, &[0.0; 2], &mut [0.0; 4]);
    assert!(matches!(error, Err(KernelError::Invalid { .. })));
    let error = max_pool_grad(&ctx, &shape, 2, (&[0.0; 2], &[0.0; 8]), &mut [0.0; 8]);
    assert!(matches!(error, Err(KernelError::Length { .. })));
}
