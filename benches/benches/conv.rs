//! Convolutions of well-known layers on one thread, `f32` and int8, both layouts; large windows, summed directly and transformed.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use runtime_kernels::conv::{
    ConvEpilogue, ConvParams, ConvShape, FftTile, Int8Input, Layout, PackedConvF32, PackedConvInt8,
    conv, conv_int8,
};
use runtime_kernels::quantized::{RequantRule, Requantization};
use runtime_kernels::{Context, Scratch};

/// Name; input channels, output channels, groups; image extent, kernel extent, stride.
const LAYERS: [(&str, [usize; 3], [usize; 3]); 10] = [
    ("resnet-8 3x3 3-16", [3, 16, 1], [32, 3, 1]),
    ("resnet-8 3x3 16", [16, 16, 1], [32, 3, 1]),
    ("resnet-8 3x3 32", [32, 32, 1], [16, 3, 1]),
    ("resnet-8 3x3 64", [64, 64, 1], [8, 3, 1]),
    ("ds-cnn depthwise 64", [64, 64, 64], [11, 3, 1]),
    ("ds-cnn 1x1 64", [64, 64, 1], [11, 1, 1]),
    ("resnet-50 3x3 64", [64, 64, 1], [56, 3, 1]),
    ("resnet-50 1x1 256-64", [256, 64, 1], [56, 1, 1]),
    ("mobilenet depthwise 96 s2", [96, 96, 96], [112, 3, 2]),
    ("mobilenet depthwise 192", [192, 192, 192], [28, 3, 1]),
];

fn layers(c: &mut Criterion) {
    let ctx = Context::default();
    for (name, [channels, out_channels, groups], [extent, kernel, stride]) in LAYERS {
        let mut group = c.benchmark_group(name);
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(200))
            .measurement_time(Duration::from_millis(600));
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            let mut params = ConvParams::default();
            params.groups = groups;
            params.layout = layout;
            params.strides = vec![stride; 2];
            params.pads_begin = vec![kernel / 2; 2];
            params.pads_end = vec![kernel / 2; 2];
            let (image, per_group) = ([extent; 2], channels / groups);
            let shape = ConvShape::new(&params, 1, channels, &image, out_channels, &[kernel; 2])
                .expect("the layer is well formed");
            let weights = vec![1i8; out_channels * per_group * kernel * kernel];
            let reals = vec![1f32; weights.len()];
            let outputs = shape.output_len().expect("the layer is small");
            group.throughput(Throughput::Elements(
                (2 * outputs * per_group * kernel * kernel) as u64,
            ));
            let mut scratch = Scratch::new();
            let x = vec![0.5f32; channels * extent * extent];
            let packed = PackedConvF32::new(
                ctx.isa,
                &params,
                &reals,
                out_channels,
                per_group,
                &[kernel; 2],
            )
            .expect("the weights fit");
            let mut y = vec![0f32; outputs];
            group.bench_function(format!("f32 {layout:?}"), |bench| {
                bench.iter(|| {
                    conv(
                        &ctx,
                        &mut scratch,
                        &shape,
                        &x,
                        &packed,
                        &ConvEpilogue::default(),
                        &mut y,
                    )
                });
            });
            let x = vec![7u8; channels * extent * extent];
            let packed = PackedConvInt8::new(
                ctx.isa,
                &params,
                Int8Input::I8(&weights),
                &[0],
                out_channels,
                per_group,
                &[kernel; 2],
            )
            .expect("the weights fit");
            let scales = vec![0.01; out_channels];
            let requantization =
                Requantization::new(RequantRule::OnnxRuntime, 0.1, &scales, 0.2, 3, (0, 255))
                    .expect("scales");
            let mut y = vec![0u8; outputs];
            group.bench_function(format!("int8 {layout:?}"), |bench| {
                bench.iter(|| {
                    let input = Int8Input::U8(&x);
                    conv_int8(
                        &ctx,
                        &mut scratch,
                        &shape,
                        input,
                        9,
                        &packed,
                        &[],
                        &requantization,
                        &mut y,
                    )
                });
            });
        }
    }
}

/// Name; input channels, output channels, groups; image extent, kernel extent.
const LARGE_WINDOWS: [(&str, [usize; 3], [usize; 2]); 5] = [
    ("5x5 64", [64, 64, 1], [56, 5]),
    ("11x11 64", [64, 64, 1], [56, 11]),
    ("depthwise 13x13 64", [64, 64, 64], [56, 13]),
    ("depthwise 31x31 128", [128, 128, 128], [56, 31]),
    ("depthwise 29x29 256", [256, 256, 256], [28, 29]),
];

/// The direct sum beside the fast Fourier transform.
fn large_windows(c: &mut Criterion) {
    let ctx = Context::default();
    for (name, [channels, out_channels, groups], [extent, kernel]) in LARGE_WINDOWS {
        let mut group = c.benchmark_group(name);
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(200))
            .measurement_time(Duration::from_millis(600));
        let mut params = ConvParams::default();
        params.groups = groups;
        params.layout = Layout::ChannelsLast;
        params.pads_begin = vec![kernel / 2; 2];
        params.pads_end = vec![kernel / 2; 2];
        let (image, window, depth) = ([extent; 2], [kernel; 2], channels / groups);
        let shape = ConvShape::new(&params, 1, channels, &image, out_channels, &window)
            .expect("the layer is well formed");
        let weights = vec![1f32; out_channels * depth * kernel * kernel];
        let tile = FftTile::candidate(ctx.isa, &shape).expect("the window is large");
        let direct = PackedConvF32::new(ctx.isa, &params, &weights, out_channels, depth, &window);
        let transformed = PackedConvF32::fft(
            ctx.isa,
            tile,
            &params,
            &weights,
            out_channels,
            depth,
            &window,
        );
        let x = vec![0.5f32; channels * extent * extent];
        let mut y = vec![0f32; shape.output_len().expect("the layer is small")];
        let mut scratch = Scratch::new();
        for (way, packed) in [("direct", direct), ("fft", transformed)] {
            let packed = packed.expect("the weights fit");
            let epilogue = ConvEpilogue::default();
            group.bench_function(way, |bench| {
                bench.iter(|| conv(&ctx, &mut scratch, &shape, &x, &packed, &epilogue, &mut y));
            });
        }
    }
}

criterion_group!(benches, layers, large_windows);
criterion_main!(benches);
