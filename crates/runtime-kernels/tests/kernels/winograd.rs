//! Winograd convolutions on every instruction set against the sum in double precision.

use proptest::prelude::*;
use runtime_kernels::conv::{
    ConvEpilogue, ConvParams, ConvShape, Layout, PackedConvF32, WinogradTile, conv,
};
use runtime_kernels::elementwise::Activation;
use runtime_kernels::{Context, Isa, KernelError, Parallelism, Scratch};

/// Extents of an image, channels last, and of what is made of it.
#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    channels: usize,
    out: usize,
    size: [usize; 2],
    before: [usize; 2],
    after: [usize; 2],
}

impl Case {
    fn shape(&self) -> ConvShape {
        let mut params = ConvParams::default();
        params.layout = Layout::ChannelsLast;
        params.pads_begin = self.before.to_vec();
        params.pads_end = self.after.to_vec();
        ConvShape::new(
            &params,
            self.batch,
            self.channels,
            &self.size,
            self.out,
            &[3, 3],
        )
        .unwrap()
    }

    /// Each sum, in double precision.
    fn expected(&self, image: &[f32], weights: &[f32]) -> Vec<f64> {
        let shape = self.shape();
        let &[h, w] = shape.output_spatial() else {
            panic!("two axes");
        };
        let pixel = |n: usize, y: usize, x: usize, c: usize| {
            let y = y
                .checked_sub(self.before[0])
                .filter(|&y| y < self.size[0])?;
            let x = x
                .checked_sub(self.before[1])
                .filter(|&x| x < self.size[1])?;
            let at = ((n * self.size[0] + y) * self.size[1] + x) * self.channels + c;
            Some(f64::from(image[at]))
        };
        let mut sums = Vec::new();
        for at in 0..self.batch * h * w * self.out {
            let (o, x, y) = (at % self.out, at / self.out % w, at / self.out / w % h);
            let mut sum = 0.0;
            for c in 0..self.channels {
                for k in 0..9 {
                    let weight = f64::from(weights[(o * self.channels + c) * 9 + k]);
                    let pixel = pixel(at / self.out / w / h, y + k / 3, x + k % 3, c);
                    sum += weight * pixel.unwrap_or(0.0);
                }
            }
            sums.push(sum);
        }
        sums
    }
}

/// Deterministic numbers in `-1..1`.
fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// Runs a case by tiles; results must be within `bound` units of `2⁻²⁴` times the largest sum that there could be.
fn check(case: &Case, ctx: &Context, tile: WinogradTile, bound: f64) {
    let shape = case.shape();
    let image = numbers(shape.input_len().unwrap(), 1);
    let weights = numbers(case.out * case.channels * 9, 2);
    let bias = numbers(case.out, 3);
    let residual = numbers(shape.output_len().unwrap(), 4);
    let packed = PackedConvF32::winograd(ctx.isa, tile, &weights, case.out, case.channels).unwrap();
    let mut epilogue = ConvEpilogue::default();
    epilogue.bias = Some(&bias);
    epilogue.residual = Some(&residual);
    epilogue.activation = Activation::Relu;
    let mut found = vec![f32::NAN; residual.len()];
    let scratch = &mut Scratch::new();
    conv(ctx, scratch, &shape, &image, &packed, &epilogue, &mut found).unwrap();
    let expected = case.expected(&image, &weights);
    let unit = (9 * case.channels + 2) as f64 / f64::from(1 << 24);
    for (i, sum) in expected.into_iter().enumerate() {
        let exact = (sum + f64::from(bias[i % case.out]) + f64::from(residual[i])).max(0.0);
        let apart = (f64::from(found[i]) - exact).abs();
        assert!(
            apart <= bound * unit,
            "{case:?} {tile:?} {}: element {i} is {} for {exact}, {} units off",
            ctx.isa,
            found[i],
            apart / unit
        );
    }
}

const TILES: [(WinogradTile, f64); 2] = [(WinogradTile::Two, 2.0), (WinogradTile::Four, 6.0)];

#[test]
fn images_of_all_remainders_and_paddings_are_near_the_exact_sums() {
    for isa in Isa::available() {
        let ctx = Context::default().with_isa(isa);
        for (h, w, pad) in [
            (8, 8, 1),
            (7, 9, 1),
            (5, 3, 0),
            (3, 6, 2),
            (1, 1, 1),
            (2, 13, 4),
        ] {
            for (channels, out) in [(16, 32), (3, 5), (19, 40), (1, 1)] {
                let case = Case {
                    batch: 2,
                    channels,
                    out,
                    size: [h, w],
                    before: [pad, pad],
                    after: [pad, pad.saturating_sub(1).max(pad.min(1))],
                };
                for (tile, bound) in TILES {
                    check(&case, &ctx, tile, bound);
                }
            }
        }
    }
}

#[test]
fn several_blocks_and_threads_are_near_the_exact_sums() {
    let case = Case {
        batch: 1,
        channels: 40,
        out: 24,
        size: [37, 30],
        before: [1, 1],
        after: [1, 1],
    };
    for threads in [1, 3] {
        let ctx = Context::new(Parallelism::with_threads(threads).unwrap());
        for (tile, bound) in TILES {
            check(&case, &ctx, tile, bound);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_image_is_near_the_exact_sums(
        batch in 1usize..3,
        channels in 1usize..36,
        out in 1usize..36,
        size in [3usize..14, 3usize..14],
        before in [0usize..4, 0usize..4],
        after in [0usize..4, 0usize..4],
    ) {
        let case = Case { batch, channels, out, size, before, after };
        for (tile, bound) in TILES {
            check(&case, &Context::default(), tile, bound);
        }
    }
}

#[test]
fn infinite_and_undefined_pixels_stay_in_their_tiles() {
    let case = Case {
        batch: 1,
        channels: 1,
        out: 1,
        size: [12, 12],
        before: [1, 1],
        after: [1, 1],
    };
    let ctx = Context::default();
    let packed = PackedConvF32::winograd(ctx.isa, WinogradTile::Four, &[1.0; 9], 1, 1).unwrap();
    let mut image = vec![1.0; 144];
    image[0] = f32::INFINITY;
    let mut out = vec![0.0; 144];
    let shape = case.shape();
    let epilogue = ConvEpilogue::default();
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
    assert!(!out[0].is_finite() && !out[13].is_finite());
    assert!(
        out.iter()
            .enumerate()
            .all(|(i, x)| x.is_finite() || (i / 12 < 4 && i % 12 < 4))
    );
}

#[test]
fn other_convolutions_and_weights_are_refused() {
    let ctx = Context::default();
    let packed = PackedConvF32::winograd(ctx.isa, WinogradTile::Two, &[0.0; 54], 3, 2).unwrap();
    let mut params = ConvParams::default();
    params.layout = Layout::ChannelsLast;
    params.strides = vec![2, 1];
    let shape = ConvShape::new(&params, 1, 2, &[5, 5], 3, &[3, 3]).unwrap();
    let mut out = vec![7.0; shape.output_len().unwrap()];
    let result = conv(
        &ctx,
        &mut Scratch::new(),
        &shape,
        &[0.0; 50],
        &packed,
        &ConvEpilogue::default(),
        &mut out,
    );
    assert!(
        matches!(result, Err(KernelError::Invalid { .. })),
        "{result:?}"
    );
    assert!(out.iter().all(|&x| x == 7.0));
    assert_eq!(WinogradTile::fastest(ctx.isa, &shape), None);
    let short = PackedConvF32::winograd(ctx.isa, WinogradTile::Two, &[0.0; 53], 3, 2);
    assert!(matches!(short, Err(KernelError::Length { .. })));
}
