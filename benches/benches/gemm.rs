//! Matrix products on one thread: ours (weights packed before, and packed on the way) beside the
//! crates `gemm` and `matrixmultiply`, the exact int8 product, weights of 16 and of 4 bits.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use half::{bf16, f16};
use runtime_kernels::gemm::{
    Epilogue, FloatOperand, Int8Gemm, Int8Matrix, Int8Operand, NBitsActivations, NBitsMatrix,
    NBitsZeroPoints, PackedF32, PackedHalf, PackedInt8, PackedNBits, Side, gemm, gemm_int8,
    gemm_nbits,
};
use runtime_kernels::quantized::RawOutput;
use runtime_kernels::{Context, MatRef, Scratch};

/// Rows, depth, columns: square ones, a transformer's, and a vector.
const SHAPES: [(usize, usize, usize); 6] = [
    (256, 256, 256),
    (512, 512, 512),
    (128, 384, 384),
    (128, 384, 1536),
    (64, 576, 3136),
    (1, 2048, 1000),
];

/// Numbers that share a scale in the rows of 4 bits.
const BLOCK: usize = 32;

fn products(c: &mut Criterion) {
    let ctx = Context::default();
    for (m, k, n) in SHAPES {
        let mut group = c.benchmark_group(format!("{m}x{k}x{n}"));
        group.throughput(Throughput::Elements(2 * (m * k * n) as u64));
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(200))
            .measurement_time(Duration::from_millis(600));
        let (a, b) = (vec![0.5f32; m * k], vec![0.25f32; k * n]);
        let mut out = vec![0f32; m * n];
        let lhs = MatRef::row_major(&a, m, k).expect("the slice holds the matrix");
        let rhs = MatRef::row_major(&b, k, n).expect("the slice holds the matrix");
        let packed = PackedF32::new(ctx.isa, Side::Rhs, rhs).expect("the matrix is small");
        let (halves, brains) = (vec![f16::ONE; k * n], vec![bf16::ONE; k * n]);
        let halves = MatRef::row_major(&halves, k, n).expect("the slice holds the matrix");
        let brains = MatRef::row_major(&brains, k, n).expect("the slice holds the matrix");
        let of_f16 = PackedHalf::new(ctx.isa, halves).expect("the matrix is small");
        let of_bf16 = PackedHalf::new(ctx.isa, brains).expect("the matrix is small");
        let of_pairs = PackedHalf::bf16_dot(ctx.isa, brains).expect("the matrix is small");
        let mut scratch = Scratch::new();
        for (name, rhs) in [
            ("packed", FloatOperand::Packed(&packed)),
            ("packed f16", FloatOperand::Half(&of_f16)),
            ("packed bf16", FloatOperand::Half(&of_bf16)),
            ("packed bf16 pairs", FloatOperand::Half(&of_pairs)),
            ("unpacked", FloatOperand::Matrix(rhs)),
        ] {
            group.bench_function(format!("ours {name}"), |bench| {
                bench.iter(|| {
                    gemm(
                        &ctx,
                        &mut scratch,
                        FloatOperand::Matrix(lhs),
                        rhs,
                        &Epilogue::default(),
                        &mut out,
                    )
                });
            });
        }
        group.bench_function("matrixmultiply", |bench| {
            bench.iter(|| {
                // SAFETY: the strides describe the row-major slices above.
                unsafe {
                    matrixmultiply::sgemm(
                        m,
                        k,
                        n,
                        1.0,
                        a.as_ptr(),
                        k as isize,
                        1,
                        b.as_ptr(),
                        n as isize,
                        1,
                        0.0,
                        out.as_mut_ptr(),
                        n as isize,
                        1,
                    );
                }
            });
        });
        group.bench_function("gemm", |bench| {
            bench.iter(|| {
                // SAFETY: the strides describe the row-major slices above.
                unsafe {
                    gemm::gemm(
                        m,
                        n,
                        k,
                        out.as_mut_ptr(),
                        1,
                        n as isize,
                        false,
                        a.as_ptr(),
                        1,
                        k as isize,
                        b.as_ptr(),
                        1,
                        n as isize,
                        0.0,
                        1.0,
                        false,
                        false,
                        false,
                        gemm::Parallelism::None,
                    );
                }
            });
        });
        let (a, b) = (vec![3u8; m * k], vec![-2i8; k * n]);
        let lhs = Int8Matrix::U8(MatRef::row_major(&a, m, k).expect("the slice holds the matrix"));
        let rhs = Int8Matrix::I8(MatRef::row_major(&b, k, n).expect("the slice holds the matrix"));
        let packed = PackedInt8::new(ctx.isa, Side::Rhs, rhs, &[0]).expect("the matrix is small");
        let product = Int8Gemm {
            lhs: Int8Operand::Matrix(lhs, &[5]),
            rhs: Int8Operand::Packed(&packed),
            bias: &[],
        };
        let mut sums = vec![0i32; m * n];
        group.bench_function("ours int8", |bench| {
            bench.iter(|| gemm_int8(&ctx, &mut scratch, &product, &RawOutput, &mut sums));
        });
        let blocks = n * k.div_ceil(BLOCK);
        let weights = NBitsMatrix {
            rows: n,
            depth: k,
            bits: 4,
            block: BLOCK,
            codes: &vec![0x93; blocks * BLOCK / 2],
            scales: &vec![0.01; blocks],
            zero_points: NBitsZeroPoints::Middle,
        };
        let packed = PackedNBits::new(ctx.isa, &weights).expect("the codes fill the matrix");
        let a = vec![0.5f32; m * k];
        let lhs = MatRef::row_major(&a, m, k).expect("the slice holds the matrix");
        for (name, activations) in [
            ("ours 4-bit", NBitsActivations::Float),
            ("ours 4-bit, int8 activations", NBitsActivations::Int8),
        ] {
            let epilogue = Epilogue::default();
            group.bench_function(name, |bench| {
                bench.iter(|| {
                    let scratch = &mut scratch;
                    gemm_nbits(
                        &ctx,
                        scratch,
                        lhs,
                        &packed,
                        activations,
                        &epilogue,
                        &mut out,
                    )
                });
            });
        }
    }
}

criterion_group!(benches, products);
criterion_main!(benches);
