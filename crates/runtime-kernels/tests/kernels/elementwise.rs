//! Functions of floats on every instruction set against double precision over dense grids.

use runtime_kernels::elementwise::{
    Activation, Binary, Broadcast, Order, Unary, binary, unary, unary_in_place,
};
use runtime_kernels::{Context, Isa, Parallelism};

fn contexts() -> impl Iterator<Item = Context> {
    Isa::available()
        .into_iter()
        .map(|isa| Context::default().with_isa(isa))
}

/// `from..=to` in `n` steps.
fn grid(from: f32, to: f32, n: usize) -> Vec<f32> {
    (0..=n)
        .map(|i| from + (to - from) * (i as f32 / n as f32))
        .collect()
}

/// The distance in units of the last place of the expected value.
fn ulps(got: f32, expected: f64) -> f64 {
    let rounded = expected as f32;
    if got == rounded {
        return 0.0;
    }
    let above = f32::from_bits(rounded.abs().to_bits() + 1);
    (f64::from(got) - expected).abs() / f64::from(above - rounded.abs())
}

/// The error function: its series below 3, the continued fraction of erfc above.
fn erf(x: f64) -> f64 {
    let t = x.abs();
    let value = if t < 3.0 {
        let (mut term, mut sum) = (t, t);
        for n in 1..80 {
            term *= -t * t / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    } else {
        let mut f = 0.0;
        for n in (1..60).rev() {
            f = f64::from(n) / 2.0 / (t + f);
        }
        1.0 - (-t * t).exp() / (t + f) / std::f64::consts::PI.sqrt()
    };
    value.copysign(x)
}

fn worst_ulps(f: Unary, x: &[f32], exact: impl Fn(f64) -> f64) -> f64 {
    let mut worst: f64 = 0.0;
    for ctx in contexts() {
        let mut y = vec![0.0; x.len()];
        unary(&ctx, f, x, &mut y).unwrap();
        for (&x, &y) in x.iter().zip(&y) {
            worst = worst.max(ulps(y, exact(f64::from(x))));
        }
    }
    worst
}

fn worst_difference(f: Unary, x: &[f32], exact: impl Fn(f64) -> f64) -> f64 {
    let mut worst: f64 = 0.0;
    for ctx in contexts() {
        let mut y = x.to_vec();
        unary_in_place(&ctx, f, &mut y);
        for (&x, &y) in x.iter().zip(&y) {
            worst = worst.max((f64::from(y) - exact(f64::from(x))).abs());
        }
    }
    worst
}

#[test]
fn exp_is_within_3_ulp_and_reaches_zero_and_infinity() {
    assert!(worst_ulps(Unary::Exp, &grid(-87.0, 88.5, 200_000), f64::exp) <= 3.0);
    for ctx in contexts() {
        let x = [
            -200.0,
            f32::NEG_INFINITY,
            89.0,
            f32::INFINITY,
            f32::NAN,
            0.0,
            -100.0,
        ];
        let mut y = [0.0; 7];
        unary(&ctx, Unary::Exp, &x, &mut y).unwrap();
        assert_eq!(y[..4], [0.0, 0.0, f32::INFINITY, f32::INFINITY]);
        assert!(y[4].is_nan());
        assert_eq!(y[5], 1.0);
        assert!((y[6] - 3.7835e-44).abs() < 3e-45);
    }
}

#[test]
fn ln_is_within_3_ulp_and_knows_its_edges() {
    assert!(worst_ulps(Unary::Log, &grid(1e-6, 4.0, 100_000), f64::ln) <= 3.0);
    assert!(worst_ulps(Unary::Log, &grid(1.0, 1e30, 1000), f64::ln) <= 3.0);
    let denormals: Vec<f32> = (1..1000).map(|i| f32::from_bits(i * 8000)).collect();
    assert!(worst_ulps(Unary::Log, &denormals, f64::ln) <= 3.0);
    for ctx in contexts() {
        let x = [0.0, -0.0, -1.0, f32::INFINITY, f32::NAN, 1.0];
        let mut y = [0.0; 6];
        unary(&ctx, Unary::Log, &x, &mut y).unwrap();
        assert_eq!(y[..2], [f32::NEG_INFINITY; 2]);
        assert!(y[2].is_nan() && y[4].is_nan(), "{}: {y:?}", ctx.isa);
        assert_eq!((y[3], y[5]), (f32::INFINITY, 0.0));
    }
}

#[test]
fn tanh_is_within_3_ulp_and_odd() {
    let tanh = Unary::Activation(Activation::Tanh);
    assert!(worst_ulps(tanh, &grid(1e-6, 12.0, 200_000), f64::tanh) <= 3.0);
    for ctx in contexts() {
        let mut y = [-0.3, 0.3, -20.0, f32::NAN];
        unary_in_place(&ctx, tanh, &mut y);
        assert_eq!((y[0], y[2]), (-y[1], -1.0));
        assert!(y[3].is_nan());
    }
}

#[test]
fn erf_and_gelu_are_within_their_absolute_bounds() {
    assert!(worst_difference(Unary::Erf, &grid(-6.0, 6.0, 100_000), erf) <= 2e-7);
    let gelu = |x: f64| x / 2.0 * (1.0 + erf(x / std::f64::consts::SQRT_2));
    let f = Unary::Activation(Activation::Gelu);
    assert!(worst_difference(f, &grid(-6.0, 6.0, 50_000), gelu) <= 8e-7);
}

#[test]
fn activations_follow_their_formulas() {
    let x = grid(-9.0, 9.0, 4000);
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let softplus = |x: f64| (1.0 + x.exp()).ln();
    type Exact = Box<dyn Fn(f64) -> f64>;
    let cases: Vec<(Activation, Exact)> = vec![
        (Activation::Relu, Box::new(|x| x.max(0.0))),
        (
            Activation::Clip {
                min: -1.0,
                max: 6.0,
            },
            Box::new(|x| x.clamp(-1.0, 6.0)),
        ),
        (
            Activation::LeakyRelu { alpha: 0.1 },
            Box::new(|x| if x < 0.0 { f64::from(0.1f32) * x } else { x }),
        ),
        (Activation::Sigmoid, Box::new(sigmoid)),
        (
            Activation::Swish { beta: 1.5 },
            Box::new(move |x| x * sigmoid(1.5 * x)),
        ),
        (
            Activation::GeluTanh,
            Box::new(|x| {
                let c = (2.0 / std::f64::consts::PI).sqrt();
                x / 2.0 * (1.0 + (c * (x + 0.044715 * x.powi(3))).tanh())
            }),
        ),
        (
            Activation::HardSwish,
            Box::new(|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0)),
        ),
        (
            Activation::HardSigmoid {
                alpha: 0.2,
                beta: 0.5,
            },
            Box::new(|x| (0.2 * x + 0.5).clamp(0.0, 1.0)),
        ),
        (
            Activation::Elu { alpha: 1.5 },
            Box::new(|x| if x < 0.0 { 1.5 * x.exp_m1() } else { x }),
        ),
        (
            Activation::Selu {
                alpha: 1.67,
                gamma: 1.05,
            },
            Box::new(|x| 1.05 * if x < 0.0 { 1.67 * x.exp_m1() } else { x }),
        ),
        (Activation::Softplus, Box::new(softplus)),
        (Activation::Softsign, Box::new(|x| x / (1.0 + x.abs()))),
        (Activation::Mish, Box::new(move |x| x * softplus(x).tanh())),
    ];
    for (activation, exact) in cases {
        let worst = worst_difference(Unary::Activation(activation), &x, exact);
        assert!(worst <= 2e-6, "{activation:?}: {worst}");
    }
}

#[test]
fn simple_functions_are_correctly_rounded() {
    let x = grid(-5.0, 5.0, 1001);
    for (f, exact) in [
        (Unary::Neg, (|x: f32| -x) as fn(f32) -> f32),
        (Unary::Abs, f32::abs),
        (Unary::Square, |x| x * x),
        (Unary::Round, f32::round_ties_even),
        (Unary::Floor, f32::floor),
        (Unary::Ceil, f32::ceil),
        (Unary::Reciprocal, |x| 1.0 / x),
    ] {
        for ctx in contexts() {
            let mut y = vec![0.0; x.len()];
            unary(&ctx, f, &x, &mut y).unwrap();
            let expected: Vec<f32> = x.iter().map(|&x| exact(x)).collect();
            assert_eq!(y, expected, "{f:?} {}", ctx.isa);
        }
    }
}

#[test]
fn binary_operators_spread_the_second_operand() {
    let a: Vec<f32> = (0..2 * 5 * 7).map(|i| i as f32 - 30.0).collect();
    let b = [1.0, -2.0, 3.0, 0.5, 4.0];
    let parallel = Context::new(Parallelism::with_threads(3).unwrap());
    for ctx in contexts().chain([parallel]) {
        for (op, f) in [
            (Binary::Add, (|a, b| a + b) as fn(f32, f32) -> f32),
            (Binary::Sub, |a, b| a - b),
            (Binary::Mul, |a, b| a * b),
            (Binary::Div, |a, b| a / b),
            (Binary::Min, f32::min),
            (Binary::Max, f32::max),
        ] {
            let mut y = vec![0.0; a.len()];
            let channels = Broadcast::Channels {
                channels: 5,
                inner: 7,
            };
            binary(
                &ctx,
                op,
                channels,
                Order::Reversed,
                Activation::None,
                &a,
                &b,
                &mut y,
            )
            .unwrap();
            for i in 0..a.len() {
                assert_eq!(y[i], f(b[i / 7 % 5], a[i]), "{op:?}");
            }
            let last = Broadcast::Channels {
                channels: 5,
                inner: 1,
            };
            binary(
                &ctx,
                op,
                last,
                Order::Forward,
                Activation::Relu,
                &a,
                &b,
                &mut y,
            )
            .unwrap();
            for i in 0..a.len() {
                assert_eq!(y[i], f(a[i], b[i % 5]).max(0.0), "{op:?}");
            }
            binary(
                &ctx,
                op,
                Broadcast::Same,
                Order::Forward,
                Activation::None,
                &a,
                &a,
                &mut y,
            )
            .unwrap();
            assert_eq!(y[3], f(a[3], a[3]));
            binary(
                &ctx,
                op,
                Broadcast::Scalar,
                Order::Forward,
                Activation::None,
                &a,
                &[3.0],
                &mut y,
            )
            .unwrap();
            assert_eq!(y[69], f(39.0, 3.0));
        }
        let mut y = [0.0; 4];
        let (nan, one) = (f32::NAN, 1.0);
        for op in [Binary::Min, Binary::Max] {
            let (a, b) = (
                [nan, one, f32::INFINITY, one],
                [one, nan, one, f32::INFINITY],
            );
            binary(
                &ctx,
                op,
                Broadcast::Same,
                Order::Forward,
                Activation::None,
                &a,
                &b,
                &mut y,
            )
            .unwrap();
            assert!(y[0].is_nan() && y[1].is_nan());
            assert_eq!(y[2], y[3]);
        }
    }
}

#[test]
fn pow_handles_signs_zero_and_fractions() {
    for ctx in contexts() {
        let a = [2.0, -2.0, -2.0, 9.0, 0.0, -8.0, 5.0, 0.0];
        let b = [10.0, 3.0, 2.0, 0.5, 2.0, 0.5, 0.0, 0.0];
        let mut y = [0.0; 8];
        binary(
            &ctx,
            Binary::Pow,
            Broadcast::Same,
            Order::Forward,
            Activation::None,
            &a,
            &b,
            &mut y,
        )
        .unwrap();
        for (got, expected) in y.iter().zip([1024.0, -8.0, 4.0, 3.0, 0.0]) {
            assert!(
                (got - expected).abs() <= 1e-5 * expected.abs(),
                "{}: {y:?}",
                ctx.isa
            );
        }
        assert!(y[5].is_nan());
        assert_eq!(y[6..], [1.0, 1.0]);
    }
}

#[test]
fn mismatched_lengths_are_refused() {
    let ctx = Context::default();
    assert!(unary(&ctx, Unary::Neg, &[1.0, 2.0], &mut [0.0]).is_err());
    let channels = Broadcast::Channels {
        channels: 2,
        inner: 2,
    };
    let mut y = [0.0; 6];
    assert!(
        binary(
            &ctx,
            Binary::Add,
            channels,
            Order::Forward,
            Activation::None,
            &[0.0; 6],
            &[0.0; 2],
            &mut y
        )
        .is_err()
    );
}
