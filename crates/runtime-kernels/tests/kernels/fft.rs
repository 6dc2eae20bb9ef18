//! Convolutions by the fast Fourier transform on every instruction set against the sum in double precision.

use proptest::prelude::*;
use runtime_kernels::conv::{
    ConvEpilogue, ConvParams, ConvShape, FftTile, Layout, PackedConvF32, conv,
};
use runtime_kernels::elementwise::Activation;
use runtime_kernels::{Context, Isa, KernelError, Parallelism, Scratch};

/// Extents of an image, channels last, and of what is made of it.
#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    channels: usize,
    /// Output channels; as many as channels, each from its own, where there are none.
    out: usize,
    size: Vec<usize>,
    kernel: Vec<usize>,
    dilations: Vec<usize>,
    before: Vec<usize>,
    after: Vec<usize>,
    tile: [usize; 2],
}

impl Case {
    fn groups(&self) -> usize {
        if self.out == 0 { self.channels } else { 1 }
    }

    fn out(&self) -> usize {
        if self.out == 0 {
            self.channels
        } else {
            self.out
        }
    }

    fn depth(&self) -> usize {
        self.channels / self.groups()
    }

    fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    fn params(&self) -> ConvParams {
        let mut params = ConvParams::default();
        params.layout = Layout::ChannelsLast;
        params.groups = self.groups();
        params.dilations.clone_from(&self.dilations);
        params.pads_begin.clone_from(&self.before);
        params.pads_end.clone_from(&self.after);
        params
    }

    fn shape(&self) -> ConvShape {
        let (size, kernel) = (&self.size, &self.kernel);
        ConvShape::new(
            &self.params(),
            self.batch,
            self.channels,
            size,
            self.out(),
            kernel,
        )
        .unwrap()
    }

    fn packed(&self, isa: Isa, weights: &[f32]) -> Result<PackedConvF32, KernelError> {
        let tile = FftTile::new(self.tile[0], self.tile[1])?;
        let (out, depth) = (self.out(), self.depth());
        PackedConvF32::fft(isa, tile, &self.params(), weights, out, depth, &self.kernel)
    }

    /// Rows and columns of a list by axis.
    fn flat(list: &[usize], missing: usize) -> [usize; 2] {
        match *list {
            [x] => [missing, x],
            [y, x] => [y, x],
            _ => panic!("{list:?}"),
        }
    }

    /// Each sum, in double precision.
    fn expected(&self, image: &[f32], weights: &[f32]) -> Vec<f64> {
        let shape = self.shape();
        let [oh, ow] = Self::flat(shape.output_spatial(), 1);
        let [h, w] = Self::flat(&self.size, 1);
        let [kh, kw] = Self::flat(&self.kernel, 1);
        let [dy, dx] = Self::flat(&self.dilations, 1);
        let [py, px] = Self::flat(&self.before, 0);
        let (out, depth) = (self.out(), self.depth());
        let mut sums = Vec::new();
        for at in 0..self.batch * oh * ow * out {
            let (o, x, y, n) = (
                at % out,
                at / out % ow,
                at / out / ow % oh,
                at / out / ow / oh,
            );
            let mut sum = 0.0;
            for k in 0..kh * kw {
                let row = (y + k / kw * dy).checked_sub(py).filter(|&row| row < h);
                let col = (x + k % kw * dx).checked_sub(px).filter(|&col| col < w);
                let (Some(row), Some(col)) = (row, col) else {
                    continue;
                };
                for c in 0..depth {
                    let channel = if self.out == 0 { o } else { c };
                    let pixel = image[((n * h + row) * w + col) * self.channels + channel];
                    sum += f64::from(weights[(o * depth + c) * kh * kw + k]) * f64::from(pixel);
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

/// Runs a case; results must be within the bound that stands at [`FftTile`] of the exact ones.
fn check(case: &Case, ctx: &Context) -> Vec<f32> {
    let shape = case.shape();
    let image = numbers(shape.input_len().unwrap(), 1);
    let weights = numbers(case.out() * case.depth() * case.taps(), 2);
    let bias = numbers(case.out(), 3);
    let residual = numbers(shape.output_len().unwrap(), 4);
    let packed = case.packed(ctx.isa, &weights).unwrap();
    let mut epilogue = ConvEpilogue::default();
    epilogue.bias = Some(&bias);
    epilogue.residual = Some(&residual);
    epilogue.activation = Activation::Relu;
    let mut found = vec![f32::NAN; residual.len()];
    let scratch = &mut Scratch::new();
    conv(ctx, scratch, &shape, &image, &packed, &epilogue, &mut found).unwrap();
    let passes = f64::from((case.tile[0] * case.tile[1]).ilog2());
    let summed = (case.depth() * case.taps()) as f64;
    let bound = (passes * summed.sqrt() + 4.0) / f64::from(1 << 24);
    for (i, sum) in case.expected(&image, &weights).into_iter().enumerate() {
        let exact = sum + f64::from(bias[i % case.out()]) + f64::from(residual[i]);
        let apart = (f64::from(found[i]) - exact.max(0.0)).abs();
        let bound = bound + exact.abs() / f64::from(1 << 24);
        assert!(
            apart <= bound,
            "{case:?} {}: element {i} is {} for {exact}, {apart} off of {bound}",
            ctx.isa,
            found[i],
        );
    }
    found
}

fn image(channels: usize, out: usize, size: [usize; 2], kernel: [usize; 2]) -> Case {
    Case {
        batch: 1,
        channels,
        out,
        size: size.to_vec(),
        kernel: kernel.to_vec(),
        dilations: vec![1, 1],
        before: kernel.map(|k| k / 2).to_vec(),
        after: kernel.map(|k| (k - 1) / 2).to_vec(),
        tile: [16, 16],
    }
}

#[test]
fn images_of_all_kinds_of_pieces_are_near_the_exact_sums() {
    for isa in Isa::available() {
        let ctx = Context::default().with_isa(isa);
        for (channels, out) in [(19, 0), (3, 5), (17, 35), (1, 1), (33, 1)] {
            // One piece, rows of an odd number of them, columns only, and pieces of other shapes.
            for (size, kernel, tile) in [
                ([9, 8], [5, 7], [16, 16]),
                ([23, 50], [7, 5], [16, 16]),
                ([41, 6], [9, 6], [16, 16]),
                ([20, 21], [11, 3], [32, 8]),
                ([6, 30], [1, 13], [1, 32]),
                ([13, 4], [4, 4], [4, 4]),
            ] {
                let mut case = image(channels, out, size, kernel);
                case.tile = tile;
                case.batch = 2;
                check(&case, &ctx);
            }
        }
    }
}

#[test]
fn signals_and_dilated_windows_are_near_the_exact_sums() {
    for (channels, out) in [(2, 3), (20, 0)] {
        let signal = Case {
            batch: 2,
            channels,
            out,
            size: vec![701],
            kernel: vec![100],
            dilations: vec![1],
            before: vec![50],
            after: vec![120],
            tile: [1, 256],
        };
        check(&signal, &Context::default());
        let mut dilated = image(channels, out, [30, 31], [5, 4]);
        dilated.dilations = vec![2, 3];
        dilated.before = vec![4, 9];
        dilated.after = vec![0, 1];
        check(&dilated, &Context::default());
    }
}

#[test]
fn results_do_not_depend_on_the_threads() {
    for (size, out) in [([61, 37], 24), ([61, 37], 0), ([50, 8], 24)] {
        let case = image(40, out, size, [7, 7]);
        let one = check(&case, &Context::default());
        for threads in [2, 3] {
            let ctx = Context::new(Parallelism::with_threads(threads).unwrap());
            assert_eq!(check(&case, &ctx), one);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_image_is_near_the_exact_sums(
        channels in 1usize..24,
        out in 0usize..24,
        size in [3usize..24, 3usize..24],
        kernel in [1usize..8, 1usize..8],
        before in [0usize..9, 0usize..9],
        after in [4usize..9, 4usize..9],
        powers in [3u32..6, 3u32..6],
    ) {
        let mut case = image(channels, out, size, kernel);
        case.before = before.to_vec();
        case.after = after.to_vec();
        case.tile = powers.map(|power| 1 << power);
        check(&case, &Context::default());
    }
}

#[test]
fn the_transform_is_chosen_for_large_windows_only() {
    let isa = Isa::best();
    let fastest = |case: &Case| FftTile::fastest(isa, &case.shape());
    assert_eq!(fastest(&image(64, 64, [56, 56], [1, 1])), None);
    assert_eq!(fastest(&image(64, 0, [56, 56], [5, 5])), None);
    assert!(fastest(&image(64, 64, [56, 56], [15, 15])).is_some());
    assert!(fastest(&image(64, 0, [56, 56], [31, 31])).is_some());
    let mut strided = image(64, 64, [56, 56], [15, 15]).params();
    strided.strides = vec![2, 2];
    let shape = ConvShape::new(&strided, 1, 64, &[56, 56], 64, &[15, 15]).unwrap();
    assert_eq!(FftTile::candidate(isa, &shape), None);
}

#[test]
fn other_pieces_weights_and_convolutions_are_refused() {
    for [rows, columns] in [[3, 8], [0, 8], [16384, 1], [128, 128]] {
        let tile = FftTile::new(rows, columns);
        assert!(matches!(tile, Err(KernelError::Invalid { .. })), "{tile:?}");
    }
    let isa = Isa::best();
    let mut case = image(2, 3, [12, 12], [5, 5]);
    case.tile = [4, 16];
    let small = case.packed(isa, &[0.0; 150]);
    assert!(
        matches!(small, Err(KernelError::Invalid { .. })),
        "{small:?}"
    );
    case.tile = [16, 16];
    assert!(matches!(
        case.packed(isa, &[0.0; 149]),
        Err(KernelError::Length { .. })
    ));
    let mut grouped = case.params();
    grouped.groups = 2;
    let tile = FftTile::new(16, 16).unwrap();
    let grouped = PackedConvF32::fft(isa, tile, &grouped, &[0.0; 200], 4, 2, &[5, 5]);
    assert!(
        matches!(grouped, Err(KernelError::Invalid { .. })),
        "{grouped:?}"
    );
    let packed = case.packed(isa, &[0.0; 150]).unwrap();
    assert!(packed.bytes() > 0 && !packed.is_direct());
    let mut strided = case.params();
    strided.strides = vec![2, 1];
    let shape = ConvShape::new(&strided, 1, 2, &[12, 12], 3, &[5, 5]).unwrap();
    let mut out = vec![7.0; shape.output_len().unwrap()];
    let epilogue = ConvEpilogue::default();
    let scratch = &mut Scratch::new();
    let image = [0.0; 288];
    let refused = conv(
        &Context::default(),
        scratch,
        &shape,
        &image,
        &packed,
        &epilogue,
        &mut out,
    );
    assert!(
        matches!(refused, Err(KernelError::Invalid { .. })),
        "{refused:?}"
    );
    assert!(out.iter().all(|&x| x == 7.0));
}
