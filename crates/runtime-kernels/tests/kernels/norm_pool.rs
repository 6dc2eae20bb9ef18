//! Reductions, normalisations and pooling on every instruction set against their definitions.

use runtime_kernels::elementwise::Activation;
use runtime_kernels::norm::{
    Reduce, Softmax, affine_channels, group_norm, layer_norm, reduce, rms_norm, softmax,
};
use runtime_kernels::pool::{
    Pool, PoolScales, PoolShape, average_pool_int8, global_average_pool_int8, global_pool,
    max_pool_int8, pool,
};
use runtime_kernels::{Context, Isa, Parallelism, Scratch};

fn contexts() -> impl Iterator<Item = Context> {
    let with =
        |isa, threads| Context::new(Parallelism::with_threads(threads).unwrap()).with_isa(isa);
    Isa::available()
        .into_iter()
        .flat_map(move |isa| [with(isa, 1), with(isa, 3)])
}

fn floats(n: usize, seed: u32) -> Vec<f32> {
    let mut x = seed.wrapping_mul(2_891_336_453).wrapping_add(7);
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        (x >> 8) as f32 / (1u32 << 22) as f32 - 2.0
    };
    (0..n).map(|_| next()).collect()
}

fn close(got: f32, expected: f64, bound: f64) -> bool {
    (f64::from(got) - expected).abs() <= bound * (1.0 + expected.abs())
}

#[test]
fn reductions_match_their_definitions_along_any_axis() {
    for [outer, axis, inner] in [[3, 37, 1], [2, 100, 1], [4, 5, 11], [1, 1, 3], [2, 64, 40]] {
        let x = floats(outer * axis * inner, 5);
        for ctx in contexts() {
            let column = |o: usize, i: usize| {
                let x = &x;
                (0..axis).map(move |a| f64::from(x[(o * axis + a) * inner + i]))
            };
            let check = |op, f: &dyn Fn(Vec<f64>) -> f64| {
                let mut y = vec![0.0; outer * inner];
                reduce(&ctx, op, [outer, axis, inner], &x, &mut y).unwrap();
                for (i, &y) in y.iter().enumerate() {
                    let expected = f(column(i / inner, i % inner).collect());
                    assert!(close(y, expected, 2e-6), "{op:?} {y} {expected}");
                }
            };
            check(Reduce::Sum, &|v| v.iter().sum());
            check(Reduce::Mean, &|v| v.iter().sum::<f64>() / v.len() as f64);
            check(Reduce::Max, &|v| {
                v.iter().copied().fold(f64::NEG_INFINITY, f64::max)
            });
            check(Reduce::Min, &|v| {
                v.iter().copied().fold(f64::INFINITY, f64::min)
            });
            check(Reduce::SumSquare, &|v| v.iter().map(|x| x * x).sum());
            check(Reduce::L1, &|v| v.iter().map(|x| x.abs()).sum());
            check(Reduce::L2, &|v| v.iter().map(|x| x * x).sum::<f64>().sqrt());
        }
    }
}

#[test]
fn a_nan_reaches_max_and_min_wherever_it_stands() {
    for ctx in contexts() {
        for at in [0, 9, 31, 40] {
            let mut x = vec![1.0; 41];
            x[at] = f32::NAN;
            for op in [Reduce::Max, Reduce::Min] {
                let mut y = [0.0];
                reduce(&ctx, op, [1, 41, 1], &x, &mut y).unwrap();
                assert!(y[0].is_nan(), "{op:?} {at} {}", ctx.isa);
            }
        }
    }
}

#[test]
fn softmax_sums_to_one_and_its_logarithm_agrees() {
    for [outer, axis, inner] in [[3, 37, 1], [2, 1000, 1], [2, 6, 5]] {
        let x = floats(outer * axis * inner, 6);
        for ctx in contexts() {
            let (mut y, mut log) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            let mut scratch = Scratch::new();
            softmax(
                &ctx,
                &mut scratch,
                Softmax::Plain,
                [outer, axis, inner],
                &x,
                &mut y,
            )
            .unwrap();
            softmax(
                &ctx,
                &mut scratch,
                Softmax::Log,
                [outer, axis, inner],
                &x,
                &mut log,
            )
            .unwrap();
            for o in 0..outer {
                for i in 0..inner {
                    let at = |a: usize| (o * axis + a) * inner + i;
                    let sum: f64 = (0..axis).map(|a| f64::from(x[at(a)]).exp()).sum();
                    for a in 0..axis {
                        let p = f64::from(x[at(a)]).exp() / sum;
                        assert!(close(y[at(a)], p, 1e-6) && close(log[at(a)], p.ln(), 1e-6));
                    }
                }
            }
        }
    }
}

#[test]
fn softmax_of_large_numbers_and_of_masked_entries_is_finite() {
    for ctx in contexts() {
        let x = [1e30, 1e30, f32::NEG_INFINITY];
        let mut y = [0.0; 3];
        softmax(
            &ctx,
            &mut Scratch::new(),
            Softmax::Plain,
            [1, 3, 1],
            &x,
            &mut y,
        )
        .unwrap();
        assert_eq!(y, [0.5, 0.5, 0.0]);
    }
}

#[test]
fn layer_and_rms_norm_match_their_formulas() {
    for n in [5, 16, 384] {
        let (x, gamma, beta) = (floats(7 * n, 1), floats(n, 2), floats(n, 3));
        for ctx in contexts() {
            let (mut layer, mut rms) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            layer_norm(&ctx, 1e-5, &x, &gamma, &beta, &mut layer).unwrap();
            rms_norm(&ctx, 1e-5, &x, &gamma, &mut rms).unwrap();
            for (r, row) in x.chunks(n).enumerate() {
                let row: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
                let mean = row.iter().sum::<f64>() / n as f64;
                let var = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
                let square = row.iter().map(|x| x * x).sum::<f64>() / n as f64;
                for i in 0..n {
                    let (g, b) = (f64::from(gamma[i]), f64::from(beta[i]));
                    let y = (row[i] - mean) / (var + f64::from(1e-5f32)).sqrt() * g + b;
                    assert!(close(layer[r * n + i], y, 4e-6));
                    let y = row[i] / (square + f64::from(1e-5f32)).sqrt() * g;
                    assert!(close(rms[r * n + i], y, 4e-6));
                }
            }
        }
    }
}

#[test]
fn group_norm_and_channel_affine_match_their_formulas() {
    let [batch, channels, inner] = [2, 6, 13];
    let x = floats(batch * channels * inner, 8);
    let (gamma, beta) = (floats(channels, 9), floats(channels, 10));
    for ctx in contexts() {
        let mut y = vec![0.0; x.len()];
        affine_channels(
            &ctx,
            [batch, channels, inner],
            &x,
            (&gamma, &beta),
            Activation::Relu,
            &mut y,
        )
        .unwrap();
        for (i, &y) in y.iter().enumerate() {
            let c = i / inner % channels;
            let expected = (f64::from(x[i]) * f64::from(gamma[c]) + f64::from(beta[c])).max(0.0);
            assert!(close(y, expected, 1e-6));
        }
        group_norm(
            &ctx,
            [batch, channels, inner],
            3,
            1e-5,
            &x,
            (&gamma, &beta),
            &mut y,
        )
        .unwrap();
        for (g, group) in x.chunks(2 * inner).enumerate() {
            let group: Vec<f64> = group.iter().map(|&x| f64::from(x)).collect();
            let mean = group.iter().sum::<f64>() / group.len() as f64;
            let var = group.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / group.len() as f64;
            for i in 0..group.len() {
                let c = g % 3 * 2 + i / inner;
                let expected = (group[i] - mean) / (var + 1e-5).sqrt() * f64::from(gamma[c])
                    + f64::from(beta[c]);
                assert!(close(y[g * 2 * inner + i], expected, 4e-6));
            }
        }
    }
}

#[test]
fn pooling_counts_padding_only_when_asked() {
    // 1 2 3 / 4 5 6 / 7 8 9, windows of 2x2, stride 2, one row and column of padding before.
    let x: Vec<f32> = (1..=9).map(|x| x as f32).collect();
    let shape = PoolShape::new(
        1,
        (&[3, 3], &[2, 2]),
        &[2, 2],
        &[2, 2],
        &[],
        (&[1, 1], &[0, 0]),
    )
    .unwrap();
    for ctx in contexts() {
        let run = |op| {
            let mut y = [0.0; 4];
            pool(&ctx, op, &shape, &x, &mut y).unwrap();
            y
        };
        assert_eq!(run(Pool::Max), [1.0, 3.0, 7.0, 9.0]);
        assert_eq!(run(Pool::Average), [1.0, 2.5, 5.5, 7.0]);
        assert_eq!(run(Pool::AverageWithPadding), [0.25, 1.25, 2.75, 7.0]);
        let l2 = run(Pool::Lp { p: 2.0 });
        assert!((l2[3] - (25f32 + 36.0 + 64.0 + 81.0).sqrt()).abs() < 1e-5);
    }
}

#[test]
fn dilated_windows_skip_elements_and_ceil_mode_may_leave_the_image() {
    let x: Vec<f32> = (0..6).map(|x| x as f32).collect();
    let shape = PoolShape::new(1, (&[6], &[2]), &[2], &[3], &[3], (&[], &[])).unwrap();
    let mut y = [0.0; 2];
    pool(&Context::default(), Pool::Max, &shape, &x, &mut y).unwrap();
    assert_eq!(y, [3.0, 3.0]);
    // Three windows of three with stride two over six: the last one holds two elements.
    let shape = PoolShape::new(1, (&[6], &[3]), &[3], &[2], &[], (&[], &[])).unwrap();
    let mut y = [0.0; 3];
    pool(&Context::default(), Pool::Average, &shape, &x, &mut y).unwrap();
    assert_eq!(y, [1.0, 3.0, 4.5]);
    pool(
        &Context::default(),
        Pool::AverageWithPadding,
        &shape,
        &x,
        &mut y,
    )
    .unwrap();
    assert_eq!(y, [1.0, 3.0, 4.5]);
}

#[test]
fn global_pooling_equals_one_window_over_the_plane() {
    let x = floats(4 * 50, 11);
    let shape = PoolShape::new(4, (&[5, 10], &[1, 1]), &[5, 10], &[], &[], (&[], &[])).unwrap();
    for op in [Pool::Max, Pool::Average, Pool::Lp { p: 3.0 }] {
        let (mut a, mut b) = ([0.0; 4], [0.0; 4]);
        pool(&Context::default(), op, &shape, &x, &mut a).unwrap();
        global_pool(&Context::default(), op, (4, 50), &x, &mut b).unwrap();
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() < 1e-5);
        }
    }
}

#[test]
fn byte_pooling_keeps_scale_for_max_and_requantises_means() {
    let x: Vec<i8> = vec![-128, 5, 7, 100, -3, 4, 9, 2, 1];
    let shape = PoolShape::new(1, (&[3, 3], &[2, 2]), &[2, 2], &[], &[], (&[], &[])).unwrap();
    let ctx = Context::default();
    let mut y = [0i8; 4];
    max_pool_int8(&ctx, &shape, &x, &mut y).unwrap();
    assert_eq!(y, [100, 7, 100, 4]);
    let scales = PoolScales {
        x_scale: 0.5,
        x_zero_point: -1,
        y_scale: 0.25,
        y_zero_point: 3,
    };
    average_pool_int8(&ctx, &shape, scales, &x, &mut y).unwrap();
    // Windows sum to -26, 13, 108, 4; (sum + 4) * 0.5 + 3, halves to even.
    assert_eq!(y, [-8, 11, 59, 7]);
    let mut y = [0i8; 1];
    global_average_pool_int8(&ctx, (1, 9), scales, &x, &mut y).unwrap();
    assert_eq!(y, [4]);
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let ctx = Context::default();
    assert!(reduce(&ctx, Reduce::Sum, [2, 3, 1], &[0.0; 5], &mut [0.0; 2]).is_err());
    assert!(layer_norm(&ctx, 0.0, &[0.0; 7], &[0.0; 3], &[], &mut [0.0; 7]).is_err());
    assert!(PoolShape::new(1, (&[3], &[3]), &[0], &[], &[], (&[], &[])).is_err());
    assert!(PoolShape::new(1, (&[3], &[3, 3]), &[1], &[], &[], (&[], &[])).is_err());
}
