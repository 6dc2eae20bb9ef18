//! Products with weights of a few bits against their definition, on every instruction set.

use proptest::prelude::*;
use runtime_kernels::elementwise::Activation;
use runtime_kernels::gemm::{
    Bias, Epilogue, NBitsActivations, NBitsMatrix, NBitsZeroPoints, PackedNBits, gemm_nbits,
};
use runtime_kernels::{Context, Isa, KernelError, MatRef, Parallelism, Scratch};

fn floats(n: usize, seed: u32) -> Vec<f32> {
    let mut x = seed;
    let mut next = || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn bytes(n: usize, seed: u32) -> Vec<u8> {
    floats(n, seed)
        .iter()
        .map(|x| (x * 128.0 + 128.0) as u8)
        .collect()
}

/// What zero points a matrix has.
#[derive(Clone, Copy, Debug)]
enum Zeros {
    Middle,
    Packed,
    Float,
}

/// A matrix of codes, its parts in memory.
struct Weights {
    rows: usize,
    depth: usize,
    bits: usize,
    block: usize,
    codes: Vec<u8>,
    scales: Vec<f32>,
    packed: Vec<u8>,
    floats: Vec<f32>,
    zeros: Zeros,
}

impl Weights {
    fn new(rows: usize, depth: usize, bits: usize, block: usize, zeros: Zeros) -> Self {
        let blocks = depth.div_ceil(block);
        Self {
            rows,
            depth,
            bits,
            block,
            codes: bytes(rows * blocks * block * bits / 8, 1),
            scales: floats(rows * blocks, 2),
            packed: bytes(rows * (blocks * bits).div_ceil(8), 3),
            floats: floats(rows * blocks, 4).iter().map(|z| z * 9.0).collect(),
            zeros,
        }
    }

    fn matrix(&self) -> NBitsMatrix<'_> {
        NBitsMatrix {
            rows: self.rows,
            depth: self.depth,
            bits: self.bits,
            block: self.block,
            codes: &self.codes,
            scales: &self.scales,
            zero_points: match self.zeros {
                Zeros::Middle => NBitsZeroPoints::Middle,
                Zeros::Packed => NBitsZeroPoints::Packed(&self.packed),
                Zeros::Float => NBitsZeroPoints::Float(&self.floats),
            },
        }
    }

    fn blocks(&self) -> usize {
        self.depth.div_ceil(self.block)
    }

    fn code(&self, bytes: &[u8], index: usize) -> f64 {
        let bit = index * self.bits;
        f64::from(bytes[bit / 8] >> (bit % 8) & ((1u16 << self.bits) - 1) as u8)
    }

    /// Code minus zero point, and the scale, of number `k` of row `n`.
    fn number(&self, n: usize, k: usize) -> (f64, f64) {
        let (blocks, b) = (self.blocks(), k / self.block);
        let code = self.code(&self.codes, n * blocks * self.block + k);
        let zero = match self.zeros {
            Zeros::Middle => f64::from(1u32 << (self.bits - 1)),
            Zeros::Packed => {
                let row = (blocks * self.bits).div_ceil(8);
                self.code(&self.packed[n * row..], b)
            }
            Zeros::Float => f64::from(self.floats[n * blocks + b]),
        };
        (code - zero, f64::from(self.scales[n * blocks + b]))
    }

    /// The product of one row of activations and row `n`, and the sum of its terms' magnitudes.
    fn dot(&self, x: &[f32], n: usize, activations: NBitsActivations) -> (f64, f64) {
        let (mut sum, mut size) = (0.0, 0.0);
        for (b, x) in x.chunks(self.block).enumerate() {
            let most = x.iter().fold(0f32, |m, x| m.max(x.abs()));
            for (i, &x) in x.iter().enumerate() {
                let (q, s) = self.number(n, b * self.block + i);
                let x = match activations {
                    NBitsActivations::Int8 if most > 0.0 => {
                        let rounded = (x * (127.0 / most)).round_ties_even();
                        f64::from(rounded) * f64::from(most / 127.0)
                    }
                    _ => f64::from(x),
                };
                sum += x * q * s;
                size += (x * s).abs() * (q.abs() + 16.0);
            }
        }
        (sum, size)
    }
}

fn run(
    ctx: &Context,
    weights: &Weights,
    m: usize,
    x: &[f32],
    activations: NBitsActivations,
    epilogue: &Epilogue<'_>,
) -> Vec<f32> {
    let packed = PackedNBits::new(ctx.isa, &weights.matrix()).unwrap();
    let mut out = vec![f32::NAN; m * weights.rows];
    let x = MatRef::row_major(x, m, weights.depth).unwrap();
    let scratch = &mut Scratch::new();
    gemm_nbits(ctx, scratch, x, &packed, activations, epilogue, &mut out).unwrap();
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn products_follow_their_definition(
        (m, n, k) in (1..20usize, 1..70usize, 1..200usize),
        bits in prop::sample::select(vec![2usize, 4, 8]),
        block in prop::sample::select(vec![16usize, 32, 128]),
        zeros in prop::sample::select(vec![Zeros::Middle, Zeros::Packed, Zeros::Float]),
        int8 in any::<bool>(),
    ) {
        let activations = if int8 { NBitsActivations::Int8 } else { NBitsActivations::Float };
        let weights = Weights::new(n, k, bits, block, zeros);
        let (x, bias) = (floats(m * k, 5), floats(n, 6));
        let mut epilogue = Epilogue::default();
        epilogue.bias = Bias::PerCol(&bias);
        epilogue.activation = Activation::Relu;
        for isa in Isa::available() {
            let ctx = Context::default().with_isa(isa);
            let out = run(&ctx, &weights, m, &x, activations, &epilogue);
            let threads = Context::new(Parallelism::with_threads(3).unwrap()).with_isa(isa);
            prop_assert_eq!(&run(&threads, &weights, m, &x, activations, &epilogue), &out);
            for (i, &got) in out.iter().enumerate() {
                let (sum, size) = weights.dot(&x[i / n * k..(i / n + 1) * k], i % n, activations);
                let expected = (sum + f64::from(bias[i % n])).max(0.0);
                let apart = (f64::from(got) - expected).abs();
                prop_assert!(apart <= 1e-6 * (1.0 + size), "{isa}: {got} is not {expected}");
            }
        }
    }
}

#[test]
fn threads_do_not_change_a_large_product() {
    let weights = Weights::new(1000, 1024, 4, 32, Zeros::Middle);
    let x = floats(3 * 1024, 7);
    for activations in [NBitsActivations::Float, NBitsActivations::Int8] {
        let run = |ctx| run(ctx, &weights, 3, &x, activations, &Epilogue::default());
        let threads = Parallelism::with_threads(3).unwrap();
        assert_eq!(run(&Context::default()), run(&Context::new(threads)));
    }
}

#[test]
fn integer_sums_are_the_same_bits_in_any_order_of_rows() {
    let weights = Weights::new(33, 64, 4, 32, Zeros::Packed);
    let x = floats(9 * 64, 8);
    for isa in Isa::available() {
        let ctx = Context::default().with_isa(isa);
        let all = run(
            &ctx,
            &weights,
            9,
            &x,
            NBitsActivations::Int8,
            &Epilogue::default(),
        );
        for (row, x) in x.chunks_exact(64).enumerate() {
            let one = run(
                &ctx,
                &weights,
                1,
                x,
                NBitsActivations::Int8,
                &Epilogue::default(),
            );
            assert_eq!(one, all[row * 33..(row + 1) * 33], "{isa}");
        }
    }
}

#[test]
fn what_is_not_finite_stays_so() {
    let weights = Weights::new(5, 64, 4, 32, Zeros::Middle);
    for bad in [f32::NAN, f32::INFINITY] {
        let mut x = floats(64, 9);
        x[40] = bad;
        for isa in Isa::available() {
            let ctx = Context::default().with_isa(isa);
            for activations in [NBitsActivations::Float, NBitsActivations::Int8] {
                let out = run(&ctx, &weights, 1, &x, activations, &Epilogue::default());
                assert!(out.iter().all(|y| !y.is_finite()), "{isa}: {out:?}");
            }
        }
    }
    let zero = run(
        &Context::default(),
        &weights,
        1,
        &[0.0; 64],
        NBitsActivations::Int8,
        &Epilogue::default(),
    );
    assert_eq!(zero, [0.0; 5]);
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let weights = Weights::new(5, 64, 4, 32, Zeros::Middle);
    let ctx = Context::default();
    let packed = PackedNBits::new(ctx.isa, &weights.matrix()).unwrap();
    let x = floats(65, 1);
    let run = |ctx: &Context, cols: usize, out: &mut [f32]| {
        let x = MatRef::row_major(&x, 1, cols).unwrap();
        let (scratch, epilogue) = (&mut Scratch::new(), &Epilogue::default());
        gemm_nbits(
            ctx,
            scratch,
            x,
            &packed,
            NBitsActivations::Float,
            epilogue,
            out,
        )
    };
    assert_eq!(run(&ctx, 64, &mut [0.0; 5]), Ok(()));
    assert!(matches!(
        run(&ctx, 65, &mut [0.0; 5]),
        Err(KernelError::Extent { .. })
    ));
    assert!(matches!(
        run(&ctx, 64, &mut [0.0; 4]),
        Err(KernelError::Length { .. })
    ));
    let expected = {
        let mut out = [0.0; 5];
        run(&ctx, 64, &mut out).unwrap();
        out
    };
    for isa in Isa::available() {
        let mut out = [0.0; 5];
        match run(&Context::default().with_isa(isa), 64, &mut out) {
            Ok(()) => assert!(out.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-3)),
            Err(error) => {
                assert_ne!(isa.name(), ctx.isa.name());
                let (tiles, words) = (
                    matches!(error, KernelError::PackedFor { .. }),
                    matches!(error, KernelError::PackedWords { .. }),
                );
                assert!(tiles || words, "{error}");
            }
        }
    }
}
