//! Matrix products on every instruction set against the definition, at several thread counts.

use proptest::prelude::*;
use runtime_kernels::elementwise::Activation;
use runtime_kernels::gemm::{
    Bias, Epilogue, FloatOperand, Int8Gemm, Int8Matrix, Int8Operand, PackedF32, PackedInt8, Side,
    gemm, gemm_batched, gemm_int8,
};
use runtime_kernels::quantized::{Dequantize, RawOutput, RequantRule, Requantization};
use runtime_kernels::{Context, Isa, KernelError, MatRef, Parallelism, Scratch};

/// A fixed pseudo-random sequence in -1..1.
fn floats(n: usize, seed: u32) -> Vec<f32> {
    bits(n, seed)
        .map(|x| (x >> 8) as f32 / (1u32 << 23) as f32 - 1.0)
        .collect()
}

fn bits(n: usize, seed: u32) -> impl Iterator<Item = u32> {
    let mut x = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    (0..n).map(move |_| {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x
    })
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

fn reference(a: &[f32], b: &[f32], m: usize, k: usize, n: usize) -> Vec<f64> {
    let mut out = vec![0.0; m * n];
    for i in 0..m {
        for j in 0..n {
            out[i * n + j] = (0..k)
                .map(|p| f64::from(a[i * k + p]) * f64::from(b[p * n + j]))
                .sum();
        }
    }
    out
}

fn assert_close(got: &[f32], expected: &[f64], depth: usize, what: &str) {
    let bound = 1e-6 * (depth as f64 + 8.0);
    for (i, (&g, &e)) in got.iter().zip(expected).enumerate() {
        assert!(
            (f64::from(g) - e).abs() <= bound,
            "{what}: element {i}: {g} against {e}"
        );
    }
}

const SHAPES: [(usize, usize, usize); 13] = [
    (1, 1, 1),
    (1, 300, 40),
    (5, 7, 3),
    (6, 16, 16),
    (13, 600, 33),
    (65, 129, 50),
    (3, 0, 4),
    (0, 3, 4),
    (3, 4, 0),
    (130, 300, 200),
    (2, 17, 900),
    (7, 0, 4),
    // Weights of more than a large page.
    (13, 600, 900),
];

#[test]
fn float_products_match_the_definition_in_all_packings() {
    for (m, k, n) in SHAPES {
        let (a, b) = (floats(m * k, 1), floats(k * n, 2));
        let expected = reference(&a, &b, m, k, n);
        let ma = MatRef::row_major(&a, m, k).unwrap();
        let mb = MatRef::row_major(&b, k, n).unwrap();
        for ctx in contexts() {
            let (pa, pb) = (
                PackedF32::new(ctx.isa, Side::Lhs, ma).unwrap(),
                PackedF32::new(ctx.isa, Side::Rhs, mb).unwrap(),
            );
            assert_eq!((pa.rows(), pa.cols(), pb.rows(), pb.cols()), (m, k, k, n));
            for lhs in [FloatOperand::Matrix(ma), FloatOperand::Packed(&pa)] {
                for rhs in [FloatOperand::Matrix(mb), FloatOperand::Packed(&pb)] {
                    let mut out = vec![f32::NAN; m * n];
                    gemm(
                        &ctx,
                        &mut Scratch::new(),
                        lhs,
                        rhs,
                        &Epilogue::default(),
                        &mut out,
                    )
                    .unwrap();
                    assert_close(&out, &expected, k, &format!("{} {m}x{k}x{n}", ctx.isa));
                }
            }
        }
    }
}

#[test]
fn float_results_do_not_depend_on_the_thread_count() {
    let (m, k, n) = (150, 700, 130);
    let (a, b) = (floats(m * k, 3), floats(k * n, 4));
    let lhs = FloatOperand::Matrix(MatRef::row_major(&a, m, k).unwrap());
    let rhs = FloatOperand::Matrix(MatRef::row_major(&b, k, n).unwrap());
    for isa in Isa::available() {
        let mut results = Vec::new();
        for threads in [1, 2, 5] {
            let ctx = Context::new(Parallelism::with_threads(threads).unwrap()).with_isa(isa);
            let mut out = vec![0.0; m * n];
            gemm(
                &ctx,
                &mut Scratch::new(),
                lhs,
                rhs,
                &Epilogue::default(),
                &mut out,
            )
            .unwrap();
            results.push(out.iter().map(|x| x.to_bits()).collect::<Vec<_>>());
        }
        assert_eq!(results[0], results[1]);
        assert_eq!(results[0], results[2]);
    }
}

#[test]
fn transposed_and_strided_operands_are_read_through_their_strides() {
    let (m, k, n) = (9, 21, 19);
    let (a, b) = (floats(m * k, 5), floats(k * n, 6));
    let expected = reference(&a, &b, m, k, n);
    let at: Vec<f32> = (0..k * m).map(|i| a[i % m * k + i / m]).collect();
    let bt: Vec<f32> = (0..n * k).map(|i| b[i % k * n + i / k]).collect();
    let spread: Vec<f32> = b.iter().flat_map(|&x| [x, f32::NAN]).collect();
    let lhs = MatRef::row_major(&at, k, m).unwrap().transposed();
    let rhs = MatRef::row_major(&bt, n, k).unwrap().transposed();
    let wide = MatRef::strided(&spread, k, n, 2 * n, 2).unwrap();
    for ctx in contexts() {
        for rhs in [rhs, wide] {
            let mut out = vec![0.0; m * n];
            let (l, r) = (FloatOperand::Matrix(lhs), FloatOperand::Matrix(rhs));
            gemm(
                &ctx,
                &mut Scratch::new(),
                l,
                r,
                &Epilogue::default(),
                &mut out,
            )
            .unwrap();
            assert_close(&out, &expected, k, "strided");
        }
    }
}

#[test]
fn the_epilogue_scales_adds_bias_and_residual_then_activates() {
    let (m, k, n) = (7, 520, 21);
    let (a, b, r) = (floats(m * k, 7), floats(k * n, 8), floats(m * n, 9));
    let (rows, cols) = (floats(m, 10), floats(n, 11));
    let product = reference(&a, &b, m, k, n);
    for ctx in contexts() {
        for per_row in [false, true] {
            let mut epilogue = Epilogue::default();
            epilogue.alpha = 0.5;
            epilogue.bias = if per_row {
                Bias::PerRow(&rows)
            } else {
                Bias::PerCol(&cols)
            };
            epilogue.residual = Some(&r);
            epilogue.activation = Activation::Relu;
            let expected: Vec<f64> = (0..m * n)
                .map(|i| {
                    let bias = if per_row { rows[i / n] } else { cols[i % n] };
                    (0.5 * product[i] + f64::from(bias) + f64::from(r[i])).max(0.0)
                })
                .collect();
            let mut out = vec![0.0; m * n];
            let lhs = FloatOperand::Matrix(MatRef::row_major(&a, m, k).unwrap());
            let rhs = FloatOperand::Matrix(MatRef::row_major(&b, k, n).unwrap());
            gemm(&ctx, &mut Scratch::new(), lhs, rhs, &epilogue, &mut out).unwrap();
            assert_close(&out, &expected, k, "epilogue");
        }
    }
}

#[test]
fn batched_products_equal_single_ones() {
    let (count, m, k, n) = (5, 17, 40, 23);
    let (a, b) = (floats(count * m * k, 12), floats(count * k * n, 13));
    let lhs = |i: usize| FloatOperand::Matrix(MatRef::row_major(&a[i * m * k..], m, k).unwrap());
    let rhs = |i: usize| FloatOperand::Matrix(MatRef::row_major(&b[i * k * n..], k, n).unwrap());
    for ctx in contexts() {
        let mut out = vec![0.0; count * m * n];
        gemm_batched(
            &ctx,
            &mut Scratch::new(),
            count,
            lhs,
            rhs,
            &Epilogue::default(),
            &mut out,
        )
        .unwrap();
        for i in 0..count {
            let mut one = vec![0.0; m * n];
            gemm(
                &ctx,
                &mut Scratch::new(),
                lhs(i),
                rhs(i),
                &Epilogue::default(),
                &mut one,
            )
            .unwrap();
            assert_eq!(out[i * m * n..(i + 1) * m * n], one);
        }
    }
}

#[test]
fn wrong_shapes_and_foreign_packings_are_refused() {
    let ctx = Context::default();
    let data = vec![0.0f32; 100];
    let a = MatRef::row_major(&data, 2, 3).unwrap();
    let b = MatRef::row_major(&data, 4, 2).unwrap();
    let mut out = vec![0.0; 4];
    let e = Epilogue::default();
    let (fa, fb) = (FloatOperand::Matrix(a), FloatOperand::Matrix(b));
    let refused = gemm(&ctx, &mut Scratch::new(), fa, fb, &e, &mut out);
    assert_eq!(
        refused,
        Err(KernelError::Extent {
            what: "rows of the right operand",
            expected: 3,
            found: 4
        })
    );
    let b = MatRef::row_major(&data, 3, 2).unwrap();
    let packed = PackedF32::new(ctx.isa, Side::Lhs, b).unwrap();
    assert!(
        gemm(
            &ctx,
            &mut Scratch::new(),
            fa,
            FloatOperand::Packed(&packed),
            &e,
            &mut out
        )
        .is_err()
    );
    let refused = gemm(
        &ctx,
        &mut Scratch::new(),
        fa,
        FloatOperand::Matrix(b),
        &e,
        &mut out[..3],
    );
    assert_eq!(
        refused,
        Err(KernelError::Length {
            operand: "result",
            expected: 4,
            found: 3
        })
    );
}

/// Bytes as both types see them.
struct Case {
    m: usize,
    k: usize,
    n: usize,
    a: Vec<u8>,
    b: Vec<u8>,
    a_signed: bool,
    b_signed: bool,
    za: i32,
    zb: Vec<i32>,
    bias: Vec<i32>,
}

fn case(m: usize, k: usize, n: usize, seed: u32) -> Case {
    let byte = |n, seed| bits(n, seed).map(|x| (x >> 11) as u8).collect::<Vec<u8>>();
    let zb = if seed.is_multiple_of(3) {
        vec![0]
    } else {
        bits(n, seed + 9).map(|x| (x % 17) as i32 - 4).collect()
    };
    Case {
        m,
        k,
        n,
        a: byte(m * k, seed + 1),
        b: byte(k * n, seed + 2),
        a_signed: seed & 1 == 1,
        b_signed: seed & 2 == 0,
        za: (seed % 7) as i32 * 5 - 9,
        zb,
        bias: bits(n, seed + 3)
            .map(|x| (x >> 4) as i32 - (1 << 27))
            .collect(),
    }
}

impl Case {
    fn sums(&self) -> Vec<i32> {
        let value = |x: u8, signed: bool| {
            if signed {
                i32::from(x as i8)
            } else {
                i32::from(x)
            }
        };
        let mut out = vec![0i32; self.m * self.n];
        for i in 0..self.m {
            for j in 0..self.n {
                let zb = if self.zb.len() == 1 {
                    self.zb[0]
                } else {
                    self.zb[j]
                };
                let mut sum = self.bias[j];
                for p in 0..self.k {
                    let a = value(self.a[i * self.k + p], self.a_signed) - self.za;
                    let b = value(self.b[p * self.n + j], self.b_signed) - zb;
                    sum = sum.wrapping_add(a * b);
                }
                out[i * self.n + j] = sum;
            }
        }
        out
    }
}

fn as_i8(x: &[u8]) -> Vec<i8> {
    x.iter().map(|&x| x as i8).collect()
}

fn check_int8(case: &Case) {
    let (m, k, n) = (case.m, case.k, case.n);
    let (a8, b8) = (as_i8(&case.a), as_i8(&case.b));
    let (at8, bt8): (Vec<i8>, Vec<i8>);
    let expected = case.sums();
    let lhs = if case.a_signed {
        Int8Matrix::I8(MatRef::row_major(&a8, m, k).unwrap())
    } else {
        Int8Matrix::U8(MatRef::row_major(&case.a, m, k).unwrap())
    };
    let rhs = if case.b_signed {
        Int8Matrix::I8(MatRef::row_major(&b8, k, n).unwrap())
    } else {
        Int8Matrix::U8(MatRef::row_major(&case.b, k, n).unwrap())
    };
    // The transposed problem has the weights on the left.
    let at: Vec<u8> = (0..k * m).map(|i| case.a[i % m * k + i / m]).collect();
    let bt: Vec<u8> = (0..n * k).map(|i| case.b[i % k * n + i / k]).collect();
    (at8, bt8) = (as_i8(&at), as_i8(&bt));
    let right = if case.a_signed {
        Int8Matrix::I8(MatRef::row_major(&at8, k, m).unwrap())
    } else {
        Int8Matrix::U8(MatRef::row_major(&at, k, m).unwrap())
    };
    let left = if case.b_signed {
        Int8Matrix::I8(MatRef::row_major(&bt8, n, k).unwrap())
    } else {
        Int8Matrix::U8(MatRef::row_major(&bt, n, k).unwrap())
    };
    for ctx in contexts() {
        let za = [case.za];
        let packed = PackedInt8::new(ctx.isa, Side::Rhs, rhs, &case.zb).unwrap();
        for rhs in [
            Int8Operand::Matrix(rhs, &case.zb),
            Int8Operand::Packed(&packed),
        ] {
            let product = Int8Gemm {
                lhs: Int8Operand::Matrix(lhs, &za),
                rhs,
                bias: &case.bias,
            };
            let mut out = vec![0i32; m * n];
            gemm_int8(&ctx, &mut Scratch::new(), &product, &RawOutput, &mut out).unwrap();
            assert_eq!(out, expected, "{} {m}x{k}x{n}", ctx.isa);
        }
        let packed = PackedInt8::new(ctx.isa, Side::Lhs, left, &case.zb).unwrap();
        let product = Int8Gemm {
            lhs: Int8Operand::Packed(&packed),
            rhs: Int8Operand::Matrix(right, &za),
            bias: &case.bias,
        };
        let mut out = vec![0i32; m * n];
        gemm_int8(&ctx, &mut Scratch::new(), &product, &RawOutput, &mut out).unwrap();
        let transposed: Vec<i32> = (0..n * m).map(|i| expected[i % m * n + i / m]).collect();
        assert_eq!(out, transposed, "left weights, {} {m}x{k}x{n}", ctx.isa);
    }
}

#[test]
fn integer_products_are_exact_for_every_signedness_and_packing() {
    for (i, (m, k, n)) in SHAPES.into_iter().enumerate() {
        for seed in 0..4 {
            check_int8(&case(m, k, n, i as u32 * 4 + seed));
        }
    }
}

#[test]
fn integer_products_of_many_tiles_are_exact() {
    for (m, k, n) in [
        // Rows that would share a set of the cache, in several blocks and panels; by columns; as many steps as are taken, and more.
        (170, 4096, 70),
        (40, 1200, 130),
        (8, 16384, 17),
        (8, 16388, 33),
        (8, 16400, 33),
    ] {
        check_int8(&case(m, k, n, m as u32));
    }
}

#[test]
fn integer_products_do_not_saturate_at_the_extremes() {
    let mut c = case(7, 300, 18, 4);
    c.a.fill(255);
    c.b.fill(127);
    (c.a_signed, c.b_signed) = (false, true);
    check_int8(&c);
    c.b.fill(128);
    check_int8(&c);
}

#[test]
fn requantised_and_dequantised_results_follow_their_formulas() {
    let c = case(11, 37, 21, 6);
    assert!(!c.a_signed);
    let sums = c.sums();
    let lhs = MatRef::row_major(&c.a, c.m, c.k).unwrap();
    let rhs = as_i8(&c.b);
    let rhs = MatRef::row_major(&rhs, c.k, c.n).unwrap();
    let (lhs, rhs) = (
        Int8Matrix::U8(lhs),
        if c.b_signed {
            Int8Matrix::I8(rhs)
        } else {
            Int8Matrix::U8(MatRef::row_major(&c.b, c.k, c.n).unwrap())
        },
    );
    let scales: Vec<f32> = floats(c.n, 20).iter().map(|x| (x + 1.5) * 1e-7).collect();
    let bias = floats(c.n, 21);
    let requantization =
        Requantization::new(RequantRule::OnnxRuntime, 0.02, &scales, 1e-3, 7, (0, 255)).unwrap();
    let za = [c.za];
    for ctx in contexts() {
        let packed = PackedInt8::new(ctx.isa, Side::Rhs, rhs, &c.zb).unwrap();
        let product = Int8Gemm {
            lhs: Int8Operand::Matrix(lhs, &za),
            rhs: Int8Operand::Packed(&packed),
            bias: &c.bias,
        };
        let mut bytes = vec![0u8; c.m * c.n];
        gemm_int8(
            &ctx,
            &mut Scratch::new(),
            &product,
            &requantization,
            &mut bytes,
        )
        .unwrap();
        let mut reals = vec![0f32; c.m * c.n];
        let epilogue = Dequantize::new(&scales)
            .with_bias(&bias)
            .with_activation(Activation::Relu);
        gemm_int8(&ctx, &mut Scratch::new(), &product, &epilogue, &mut reals).unwrap();
        for i in 0..c.m * c.n {
            let channel = i % c.n;
            assert_eq!(i32::from(bytes[i]), requantization.apply(sums[i], channel));
            let real = (sums[i] as f32 * scales[channel] + bias[channel]).max(0.0);
            assert_eq!(reals[i], real);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn integer_products_are_exact(m in 1usize..20, k in 0usize..70, n in 1usize..40, seed in 0u32..1000) {
        check_int8(&case(m, k, n, seed));
    }

    /// Several tiles of rows, steps and columns.
    #[test]
    fn larger_integer_products_are_exact(m in 6usize..90, k in 1usize..60, n in 1usize..80, seed in 0u32..1000) {
        check_int8(&case(m, 4 * k, n, seed));
    }
}
