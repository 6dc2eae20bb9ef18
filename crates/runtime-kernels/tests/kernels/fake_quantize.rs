//! Fake quantization and its adjoints against their definitions in double precision, on every instruction set, with the same bits on one
//! thread and on three.

use runtime_kernels::quantized::{Estimator, Grid, ScaleZero, fake_quantize, fake_quantize_grad};
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

const ESTIMATORS: [Estimator; 4] = [
    Estimator::StraightThrough,
    Estimator::Clipping,
    Estimator::Scaled { strength: 0.05 },
    Estimator::Soft { alpha: 0.2 },
];

/// The slopes of an element: of itself and of the step, from the formulas.
fn slopes(estimator: Estimator, grid: Grid, dy: f64, x: f64) -> [f64; 2] {
    let [step, low, high] = [grid.step, grid.low, grid.high].map(f64::from);
    let v = x / step;
    let q = v.clamp(low, high).round_ties_even();
    if v < low || v > high {
        return [0.0, q];
    }
    match estimator {
        Estimator::StraightThrough => [1.0, q - v],
        Estimator::Clipping => [1.0, 0.0],
        Estimator::Scaled { strength } => {
            let slope = 1.0 + f64::from(strength) * dy.signum() * (v - q);
            [slope, q - v * slope]
        }
        Estimator::Soft { alpha } => {
            let alpha = f64::from(alpha);
            let kappa = (2.0 / alpha - 1.0).ln();
            let t = (kappa * (v - v.floor() - 0.5)).tanh();
            let slope = kappa / (2.0 * (1.0 - alpha)) * (1.0 - t * t);
            let soft = v.floor() + 0.5 * (1.0 + t / (1.0 - alpha));
            [slope, soft - v * slope]
        }
        _ => unreachable!("all estimators are listed"),
    }
}

/// Three rounds of `channels` runs of `inner` elements, some far outside of their grids.
fn problem(channels: usize, inner: usize) -> (Vec<Grid>, Vec<f32>, Vec<f32>) {
    let grid = |c: usize| Grid {
        step: 0.03 + 0.02 * c as f32,
        low: -(c as f32) - 2.0,
        high: 5.0,
    };
    let count = 3 * channels * inner;
    (
        (0..channels).map(grid).collect(),
        numbers(count, 1),
        numbers(count, 2),
    )
}

#[test]
fn adjoints_are_those_of_the_formulas() {
    let threads = Parallelism::with_threads(3).unwrap();
    for (channels, inner) in [
        (1, 70_001),
        (5, 9_001),
        (40, 9),
        (33, 1),
        (20_000, 1),
        (1, 1),
    ] {
        let (grids, x, dy) = problem(channels, inner);
        for estimator in ESTIMATORS {
            let mut expected = [
                vec![0f64; x.len()],
                vec![0.0; channels],
                vec![0.0; channels],
            ];
            for (i, (&x, &dy)) in x.iter().zip(&dy).enumerate() {
                let c = if channels == 1 {
                    0
                } else {
                    i / inner % channels
                };
                let dy = f64::from(dy);
                let [of_x, of_step] = slopes(estimator, grids[c], dy, f64::from(x));
                expected[0][i] = dy * of_x;
                expected[1][c] += dy * of_step;
                expected[2][c] += dy - dy * of_x;
            }
            for isa in Isa::available() {
                let run = |ctx: Context| {
                    let mut dx = vec![f32::NAN; x.len()];
                    let (mut dstep, mut rest) =
                        (vec![f32::NAN; channels], vec![f32::NAN; channels]);
                    fake_quantize_grad(
                        &ctx.with_isa(isa),
                        &mut Scratch::new(),
                        estimator,
                        &grids,
                        inner,
                        (&dy, &x),
                        (&mut dx, &mut dstep, &mut rest),
                    )
                    .unwrap();
                    [dx, dstep, rest]
                };
                let found = run(Context::default());
                assert_eq!(found, run(Context::new(threads.clone())), "{isa}");
                for (found, expected) in found.iter().zip(&expected) {
                    let most = expected.iter().fold(1.0, |most: f64, v| most.max(v.abs()));
                    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
                        let apart = (f64::from(found) - expected).abs();
                        assert!(
                            apart <= 2e-5 * most,
                            "{isa}, {estimator:?}, {channels} x {inner}, {i}: {found} {expected}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn columns_have_the_values_and_gradients_of_x_of_rows_to_the_bit() {
    // The same numbers with a grid for each column of `[rows, columns]`, and for each row of its transpose.
    let (rows, columns) = (2_000, 45);
    let (grids, x, dy) = problem(columns, rows);
    let (x, dy) = (&x[..rows * columns], &dy[..rows * columns]);
    let turned = |from: &[f32]| -> Vec<f32> {
        let each = (0..columns).flat_map(|c| (0..rows).map(move |r| r * columns + c));
        each.map(|i| from[i]).collect()
    };
    let threads = Parallelism::with_threads(3).unwrap();
    for isa in Isa::available() {
        let ctx = Context::new(threads.clone()).with_isa(isa);
        let run = |ctx: &Context, estimator, inner, x: &[f32], dy: &[f32]| {
            let (mut y, mut dx) = (vec![0f32; x.len()], vec![0f32; x.len()]);
            let (mut dstep, mut rest) = (vec![0f32; columns], vec![0f32; columns]);
            fake_quantize(ctx, &grids, inner, x, &mut y).unwrap();
            let outputs = (&mut dx[..], &mut dstep[..], &mut rest[..]);
            let scratch = &mut Scratch::new();
            fake_quantize_grad(ctx, scratch, estimator, &grids, inner, (dy, x), outputs).unwrap();
            [y, dx, dstep, rest]
        };
        for estimator in ESTIMATORS {
            let found = run(&ctx, estimator, 1, x, dy);
            let alone = run(&Context::default().with_isa(isa), estimator, 1, x, dy);
            assert_eq!(found, alone, "{isa}");
            let mut expected = [vec![0f64; columns], vec![0.0; columns]];
            for (i, (&x, &dy)) in x.iter().zip(dy).enumerate() {
                let (c, dy) = (i % columns, f64::from(dy));
                let [of_x, of_step] = slopes(estimator, grids[c], dy, f64::from(x));
                expected[0][c] += dy * of_step;
                expected[1][c] += dy - dy * of_x;
            }
            let [y, dx, dstep, rest] = run(&ctx, estimator, rows, &turned(x), &turned(dy));
            assert_eq!(turned(&found[0]), y, "{isa}");
            assert_eq!(turned(&found[1]), dx, "{isa}");
            for sums in [[&found[2], &found[3]], [&dstep, &rest]] {
                for (sums, expected) in sums.into_iter().zip(&expected) {
                    let most = expected.iter().fold(1.0, |most: f64, v| most.max(v.abs()));
                    for (&found, &expected) in sums.iter().zip(expected) {
                        let apart = (f64::from(found) - expected).abs();
                        assert!(
                            apart <= 2e-5 * most,
                            "{isa}, {estimator:?}: {found} {expected}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn values_are_those_of_quantizing_and_dequantizing_to_the_bit() {
    let x: Vec<f32> = numbers(1003, 3).iter().map(|x| 40.0 * x).collect();
    let mut x = x;
    x.extend([
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        0.0,
        -0.0,
        0.05,
        0.15,
    ]);
    let (scale, zero_point) = (0.1f32, 37);
    let grid = Grid {
        step: scale,
        low: -37.0,
        high: 218.0,
    };
    for isa in Isa::available() {
        let ctx = Context::default().with_isa(isa);
        let mut codes = vec![0u8; x.len()];
        let params = ScaleZero { scale, zero_point };
        runtime_kernels::quantized::quantize(&ctx, params, &x, &mut codes).unwrap();
        let mut back = vec![0f32; x.len()];
        runtime_kernels::quantized::dequantize(&ctx, params, &codes, &mut back).unwrap();
        let mut y = vec![0f32; x.len()];
        fake_quantize(&ctx, &[grid], 1, &x, &mut y).unwrap();
        for (i, (a, b)) in y.iter().zip(&back).enumerate() {
            assert_eq!(a.to_bits(), b.to_bits(), "{isa}, {}", x[i]);
        }
    }
}

#[test]
fn runs_that_do_not_go_with_the_grids_are_refused() {
    let grid = Grid {
        step: 1.0,
        low: -1.0,
        high: 1.0,
    };
    let mut y = [0.0; 6];
    let error = fake_quantize(&Context::default(), &[grid; 2], 2, &[0.0; 6], &mut y).unwrap_err();
    assert!(matches!(error, KernelError::Length { .. }), "{error}");
    let error = fake_quantize(&Context::default(), &[], 2, &[0.0; 6], &mut y).unwrap_err();
    assert!(matches!(error, KernelError::Length { .. }), "{error}");
}
