//! Bands against whole images.

use super::float::Floats;
use super::int8::Bytes;
use super::*;
use crate::Isa;
use crate::conv::{
    ConvEpilogue, ConvParams, Int8Input, Layout, PackedConvF32, PackedConvInt8, conv, conv_int8,
};
use crate::elementwise::Activation;
use crate::quantized::{QuantByte, RequantRule, Requantization};
use proptest::prelude::*;

/// Extents of one convolution: output channels, or one for each input channel, and a window.
#[derive(Clone, Debug)]
struct Window {
    channels: Option<usize>,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: usize,
    pads: [usize; 4],
}

fn window() -> impl Strategy<Value = Window> {
    let window = (1..4usize, 1..4usize, 1..3usize, 1..3usize, 1..3usize);
    let channels = prop::option::of(1..20usize);
    let pads = prop::array::uniform4(0..3usize);
    (channels, window, pads).prop_map(|(channels, (kh, kw, sh, sw, dilation), pads)| Window {
        channels,
        kernel: [kh, kw],
        stride: [sh, sw],
        dilation,
        pads,
    })
}

/// What stands between two floats, in `-1..1`.
fn numbers(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed | 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

struct Layer {
    shape: ConvShape,
    weights: PackedConvF32,
    bias: Vec<f32>,
    residual: Vec<f32>,
}

/// Batch, channels and size of an image.
type Image = (usize, usize, [usize; 2]);

impl Window {
    /// The convolution of an image, and the depth of its weights; `None` where the window does not fit.
    fn problem(&self, (batch, channels, size): Image) -> Option<(ConvParams, ConvShape, usize)> {
        let mut params = ConvParams {
            layout: Layout::ChannelsLast,
            strides: self.stride.to_vec(),
            dilations: vec![self.dilation; 2],
            pads_begin: self.pads[..2].to_vec(),
            pads_end: self.pads[2..].to_vec(),
            ..ConvParams::default()
        };
        let (out, depth) = match self.channels {
            Some(out) => (out, channels),
            None => {
                params.groups = channels;
                (channels, 1)
            }
        };
        let shape = ConvShape::new(&params, batch, channels, &size, out, &self.kernel).ok()?;
        Some((params, shape, depth))
    }
}

impl Layer {
    fn new(isa: Isa, image: Image, window: &Window) -> Option<Self> {
        let (params, shape, depth) = window.problem(image)?;
        let out = shape.out_channels;
        let [kh, kw] = window.kernel;
        let weights = numbers(out * depth * kh * kw, 7);
        let weights =
            PackedConvF32::new(isa, &params, &weights, out, depth, &window.kernel).unwrap();
        let residual = numbers(shape.output_len()?, 9);
        Some(Self {
            shape,
            weights,
            bias: numbers(out, 8),
            residual,
        })
    }

    fn stage(&self) -> ConvStage<'_> {
        let epilogue = ConvEpilogue {
            bias: Some(&self.bias),
            residual: Some(&self.residual),
            activation: Activation::Relu,
        };
        ConvStage::new(&self.shape, &self.weights, epilogue)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 200 }))]

    #[test]
    fn bands_give_what_whole_images_give(
        batch in 1..4usize,
        channels in 1..20usize,
        size in prop::array::uniform2(1..24usize),
        windows in prop::collection::vec(window(), 1..=MAX_STAGES),
        budget in 0..20_000usize,
        threads in 1..4usize,
    ) {
        for isa in Isa::available() {
            let mut layers: Vec<Layer> = Vec::new();
            let mut image = (batch, channels, size);
            for window in &windows {
                let Some(layer) = Layer::new(isa, image, window) else {
                    return Ok(());
                };
                let &[h, w] = layer.shape.output_spatial() else { unreachable!() };
                image = (batch, layer.shape.out_channels, [h, w]);
                layers.push(layer);
            }
            let ctx = Context::new(Parallelism::with_threads(threads).unwrap()).with_isa(isa);
            let mut scratch = Scratch::new();
            let input = numbers(batch * channels * size[0] * size[1], 5);
            let mut expected = input.clone();
            for layer in &layers {
                let mut next = vec![0.0; layer.shape.output_len().unwrap()];
                let ConvStage { shape, weights, epilogue } = layer.stage();
                conv(&ctx, &mut scratch, shape, &expected, weights, &epilogue, &mut next).unwrap();
                expected = next;
            }
            let stages: Vec<_> = layers.iter().map(Layer::stage).collect();
            let mut out = vec![f32::NAN; expected.len()];
            run(&ctx, &mut scratch, &Floats(&stages), budget, &input, &mut out).unwrap();
            prop_assert_eq!(&out, &expected);
        }
    }
}

/// A convolution with one tap, or with one filter per channel and nine, that keeps the size.
fn square(channels: Option<usize>, kernel: usize) -> Window {
    Window {
        channels,
        kernel: [kernel; 2],
        stride: [1; 2],
        dilation: 1,
        pads: [kernel / 2; 4],
    }
}

#[test]
fn small_images_are_shared_out_by_rows_where_tasks_overlap_little() {
    let shared = |image: Image, windows: &[Window], threads: usize| {
        let ctx = Context::new(Parallelism::with_threads(threads).unwrap());
        let layers = windows.iter().scan(image, |image, window| {
            let layer = Layer::new(ctx.isa, *image, window)?;
            image.1 = layer.shape.out_channels;
            Some(layer)
        });
        let layers: Vec<Layer> = layers.collect();
        let stages: Vec<_> = layers.iter().map(Layer::stage).collect();
        let (batch, channels, [h, w]) = image;
        let input = numbers(batch * channels * h * w, 5);
        let results = [BAND_BYTES, usize::MAX].map(|budget| {
            let mut out = vec![f32::NAN; layers.last().unwrap().residual.len()];
            let mut scratch = Scratch::new();
            run(
                &ctx,
                &mut scratch,
                &Floats(&stages),
                budget,
                &input,
                &mut out,
            )
            .unwrap();
            out
        });
        assert_eq!(results[0], results[1]);
        let floats = Floats(&stages);
        let work = (0..stages.len()).map(|i| floats.shape(i));
        let work: usize = work
            .map(|s| product_work(s.batch * s.out_pixels(), s.depth(), s.out_channels))
            .sum();
        let lines = batch * h;
        let tasks = ctx.parallelism.tasks(work, lines);
        tasks > 1 && shares_evenly(&floats, lines.div_ceil(tasks), work / tasks)
    };
    let blocks = [square(Some(64), 1), square(None, 3), square(Some(64), 1)];
    for batch in 1..=2 {
        assert!(shared((batch, 64, [25, 5]), &blocks, 2));
        assert!(shared((batch, 64, [25, 5]), &blocks[1..], 3));
        assert!(!shared((batch, 64, [25, 5]), &blocks, 1));
    }
    // Of four rows, three are under two.
    let wide = [square(Some(256), 1), square(None, 3), square(Some(16), 1)];
    assert!(!shared((1, 64, [4, 40]), &wide, 2));
}

/// Bytes that look random.
fn bytes<T: QuantByte>(len: usize, seed: u32) -> Vec<T> {
    let real = numbers(len, seed).into_iter();
    let range = (T::MAX - T::MIN) as f32;
    real.map(|x| T::from_i32(T::MIN + ((x + 1.0) / 2.0 * range) as i32))
        .collect()
}

#[test]
fn images_between_stages_are_not_stored_whole() {
    const SIZE: usize = 96;
    let ctx = Context::default();
    let image = (1, 8, [SIZE, SIZE]);
    let wide = (1, 48, [SIZE, SIZE]);
    let layers = [
        (image, square(Some(48), 1)),
        (wide, square(None, 3)),
        (wide, square(Some(8), 1)),
    ];
    let layers = layers.map(|(image, window)| Layer::new(ctx.isa, image, &window).unwrap());
    let stages = layers.each_ref().map(Layer::stage);
    let input = numbers(8 * SIZE * SIZE, 5);
    let between = 2 * 48 * SIZE * SIZE * size_of::<f32>();
    let held = |budget: usize| {
        let (mut scratch, mut out) = (Scratch::new(), vec![0.0; input.len()]);
        run(
            &ctx,
            &mut scratch,
            &Floats(&stages),
            budget,
            &input,
            &mut out,
        )
        .unwrap();
        scratch.bytes()
    };
    assert!(held(usize::MAX) >= between);
    assert!(
        held(BAND_BYTES) < between / 3,
        "{} of {between}",
        held(BAND_BYTES)
    );
}

struct Int8Layer {
    shape: ConvShape,
    weights: PackedConvInt8,
    bias: Vec<i32>,
    epilogue: Requantization,
}

impl Int8Layer {
    fn new<T: QuantByte>(isa: Isa, image: Image, window: &Window) -> Option<Self> {
        let (params, shape, depth) = window.problem(image)?;
        let out = shape.out_channels;
        let [kh, kw] = window.kernel;
        let weights = bytes::<i8>(out * depth * kh * kw, 7);
        let weights = Int8Input::I8(&weights);
        let weights =
            PackedConvInt8::new(isa, &params, weights, &[0], out, depth, &window.kernel).unwrap();
        let rule = RequantRule::OnnxRuntime;
        let middle = (T::MIN + T::MAX) / 2;
        let epilogue =
            Requantization::new(rule, 0.02, &[0.01], 0.05, middle, (T::MIN, T::MAX)).unwrap();
        Some(Self {
            shape,
            weights,
            bias: (0..out as i32).map(|i| 100 * i - 300).collect(),
            epilogue,
        })
    }

    fn stage(&self, zero_point: i32) -> Int8ConvStage<'_> {
        Int8ConvStage::new(&self.shape, &self.weights, zero_point, &self.epilogue)
            .with_bias(&self.bias)
    }
}

fn bytes_by_bands<T: QuantByte + std::fmt::Debug>(
    image: Image,
    windows: &[Window],
    budget: usize,
    threads: usize,
) -> Result<(), TestCaseError> {
    let zero_point = (T::MIN + T::MAX) / 2;
    let ctx = Context::new(Parallelism::with_threads(threads).unwrap());
    let mut next = image;
    let mut layers = Vec::new();
    for window in windows {
        let Some(layer) = Int8Layer::new::<T>(ctx.isa, next, window) else {
            return Ok(());
        };
        let &[h, w] = layer.shape.output_spatial() else {
            unreachable!()
        };
        next = (image.0, layer.shape.out_channels, [h, w]);
        layers.push(layer);
    }
    let (batch, channels, [h, w]) = image;
    let input = bytes::<T>(batch * channels * h * w, 5);
    let mut scratch = Scratch::new();
    let mut expected = input.clone();
    for layer in &layers {
        let mut next = vec![T::default(); layer.shape.output_len().unwrap()];
        let Int8ConvStage {
            shape,
            weights,
            bias,
            epilogue,
            ..
        } = layer.stage(zero_point);
        let image = T::image(&expected);
        conv_int8(
            &ctx,
            &mut scratch,
            shape,
            image,
            zero_point,
            weights,
            bias,
            epilogue,
            &mut next,
        )
        .unwrap();
        expected = next;
    }
    let stages: Vec<_> = layers.iter().map(|layer| layer.stage(zero_point)).collect();
    let mut out = vec![T::default(); expected.len()];
    run(
        &ctx,
        &mut scratch,
        &Bytes(&stages),
        budget,
        &input,
        &mut out,
    )
    .unwrap();
    prop_assert_eq!(out, expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 200 }))]

    #[test]
    fn bands_of_bytes_give_what_whole_images_give(
        image in (1..3usize, 1..20usize, prop::array::uniform2(1..24usize)),
        windows in prop::collection::vec(window(), 1..=MAX_STAGES),
        budget in 0..5_000usize,
        threads in 1..4usize,
    ) {
        bytes_by_bands::<u8>(image, &windows, budget, threads)?;
        bytes_by_bands::<i8>(image, &windows, budget, threads)?;
    }
}
