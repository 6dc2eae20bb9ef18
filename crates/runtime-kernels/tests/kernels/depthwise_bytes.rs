//! Depthwise convolutions of bytes that become bytes again, on every instruction set, against the definition.

use proptest::prelude::*;
use runtime_kernels::conv::{ConvParams, ConvShape, Int8Input, Layout, PackedConvInt8, conv_int8};
use runtime_kernels::quantized::{QuantByte, RequantRule, Requantization};
use runtime_kernels::{Context, Isa, KernelError, Parallelism, Scratch};

#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    channels: usize,
    image: [usize; 2],
    kernel: [usize; 2],
    strides: [usize; 2],
    row_dilation: usize,
    pads: [usize; 4],
    zero_point: i32,
    w_zero: i32,
    /// Of the scaled sums: past one half, sums are clamped before they are rounded.
    multiplier: f32,
    seed: u32,
}

fn case() -> impl Strategy<Value = Case> {
    let channels = prop_oneof![2usize..40, Just(64), Just(96), Just(128), 60usize..150];
    let window = (1usize..6, 1usize..8, 1usize..3, 1usize..4, 1usize..3);
    let pads = [0usize..4, 0usize..4, 0usize..4, 0usize..4];
    let values = (
        0i32..256,
        prop_oneof![3 => Just(0), 1 => -3i32..4],
        prop_oneof![Just(0.003f32), Just(0.07), Just(0.9)],
        any::<u32>(),
    );
    (
        1usize..3,
        channels,
        [1usize..12, 1usize..20],
        window,
        pads,
        values,
    )
        .prop_map(
            |(
                batch,
                channels,
                image,
                (kh, kw, sy, sx, row_dilation),
                pads,
                (zero_point, w_zero, multiplier, seed),
            )| Case {
                batch,
                channels,
                image,
                kernel: [kh, kw],
                strides: [sy, sx],
                row_dilation,
                pads,
                zero_point,
                w_zero,
                multiplier,
                seed,
            },
        )
}

/// Numbers of `0..256`.
fn bytes(n: usize, mut seed: u32) -> Vec<u8> {
    let mut next = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    (0..n).map(|_| next()).collect()
}

impl Case {
    fn params(&self) -> ConvParams {
        let mut params = ConvParams::default();
        params.groups = self.channels;
        params.strides = self.strides.to_vec();
        params.dilations = vec![self.row_dilation, 1];
        params.pads_begin = self.pads[..2].to_vec();
        params.pads_end = self.pads[2..].to_vec();
        params.layout = Layout::ChannelsLast;
        params
    }

    /// The sums without a bias, by the definition.
    fn sums(&self, shape: &ConvShape, image: &[u8], weights: &[i8]) -> Vec<i32> {
        let [h, w] = self.image;
        let [kh, kw] = self.kernel;
        let [oh, ow] = shape.output_spatial() else {
            panic!("two dimensions");
        };
        let mut sums = Vec::new();
        for i in 0..self.batch * oh * ow * self.channels {
            let (c, x) = (i % self.channels, i / self.channels % ow);
            let (y, n) = (i / self.channels / ow % oh, i / self.channels / ow / oh);
            let mut sum = 0;
            for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
                let row = (y * self.strides[0] + ky * self.row_dilation).wrapping_sub(self.pads[0]);
                let column = (x * self.strides[1] + kx).wrapping_sub(self.pads[1]);
                if row < h && column < w {
                    let pixel = i32::from(image[((n * h + row) * w + column) * self.channels + c]);
                    let weight = i32::from(weights[(c * kh + ky) * kw + kx]);
                    sum += (pixel - self.zero_point) * (weight - self.w_zero);
                }
            }
            sums.push(sum);
        }
        sums
    }

    fn check<T: QuantByte + std::fmt::Debug + PartialEq>(&self, threads: usize) {
        let params = self.params();
        let Ok(shape) = ConvShape::new(
            &params,
            self.batch,
            self.channels,
            &self.image,
            self.channels,
            &self.kernel,
        ) else {
            return; // The window is larger than the padded image.
        };
        let image = bytes(
            self.batch * self.channels * self.image[0] * self.image[1],
            self.seed,
        );
        let signed: Vec<i8> = image.iter().map(|&x| (i32::from(x) - 128) as i8).collect();
        let taps = self.kernel[0] * self.kernel[1];
        let weights: Vec<i8> = bytes(self.channels * taps, self.seed ^ 7)
            .iter()
            .map(|&w| w as i8)
            .collect();
        let bias: Vec<i32> = bytes(self.channels, self.seed ^ 9)
            .iter()
            .map(|&b| 40 * i32::from(b) - 5000)
            .collect();
        let scales: Vec<f32> = (0..self.channels)
            .map(|c| self.multiplier * (1.0 + c as f32 / 100.0))
            .collect();
        let rule = RequantRule::OnnxRuntime;
        let range = (T::MIN + 3, T::MAX);
        let requantization =
            Requantization::new(rule, 1.0, &scales, 1.0, T::MIN + 30, range).unwrap();
        let sums = self.sums(&shape, &image, &weights).into_iter().enumerate();
        let byte = |(i, sum): (usize, i32)| {
            let c = i % self.channels;
            T::from_i32(requantization.apply(sum + bias[c], c))
        };
        let expected: Vec<T> = sums.map(byte).collect();
        for isa in Isa::available() {
            let ctx = Context::new(Parallelism::with_threads(threads).unwrap()).with_isa(isa);
            let (w, zero) = (Int8Input::I8(&weights), [self.w_zero]);
            let packed =
                PackedConvInt8::new(isa, &params, w, &zero, self.channels, 1, &self.kernel)
                    .unwrap();
            for (input, zero_point) in [
                (Int8Input::U8(&image), self.zero_point),
                (Int8Input::I8(&signed), self.zero_point - 128),
            ] {
                let mut out = vec![T::default(); expected.len()];
                let scratch = &mut Scratch::new();
                conv_int8(
                    &ctx,
                    scratch,
                    &shape,
                    input,
                    zero_point,
                    &packed,
                    &bias,
                    &requantization,
                    &mut out,
                )
                .unwrap();
                assert_eq!(out, expected, "{isa}, {threads} threads");
                for other in Isa::available() {
                    let ctx = Context::default().with_isa(other);
                    let mut out = vec![T::default(); expected.len()];
                    let done = conv_int8(
                        &ctx,
                        &mut Scratch::new(),
                        &shape,
                        input,
                        zero_point,
                        &packed,
                        &bias,
                        &requantization,
                        &mut out,
                    );
                    match done {
                        Ok(()) => assert_eq!(out, expected, "packed for {isa}, on {other}"),
                        Err(KernelError::PackedFor { .. } | KernelError::PackedWords { .. }) => {
                            assert_ne!(isa, other);
                        }
                        Err(error) => panic!("packed for {isa}, on {other}: {error}"),
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn bytes_are_those_of_the_definition(case in case(), threads in 1usize..3) {
        case.check::<u8>(threads);
        case.check::<i8>(threads);
    }
}
