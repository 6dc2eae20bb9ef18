//! Convolutions with weights that are packed on the way, and the adjoints, against their definitions in double precision.

use proptest::prelude::*;
use runtime_kernels::conv::{
    ConvEpilogue, ConvParams, ConvShape, ConvSums, Layout, conv_input_grad, conv_packing_weights,
    conv_weight_grad,
};
use runtime_kernels::{Context, Isa, KernelError, Parallelism, Scratch};

/// Extents of a convolution of two dimensions.
#[derive(Clone, Debug)]
struct Extents {
    batch: usize,
    groups: usize,
    per_group: [usize; 2],
    image: [usize; 2],
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    pads: [usize; 4],
}

impl Extents {
    fn shape(&self) -> Result<ConvShape, KernelError> {
        let mut params = ConvParams::default();
        params.strides = self.strides.to_vec();
        params.dilations = self.dilations.to_vec();
        params.pads_begin = self.pads[..2].to_vec();
        params.pads_end = self.pads[2..].to_vec();
        params.groups = self.groups;
        params.layout = Layout::ChannelsLast;
        let [inputs, outputs] = self.per_group.map(|c| c * self.groups);
        ConvShape::new(
            &params,
            self.batch,
            inputs,
            &self.image,
            outputs,
            &self.kernel,
        )
    }

    /// Calls `f(weight, image, result)` with the places of all that are multiplied: `result += weight * image`.
    fn for_each(&self, shape: &ConvShape, mut f: impl FnMut(usize, usize, usize)) {
        let [inputs, outputs] = self.per_group;
        let ([oh, ow], [h, w]) = (
            [shape.output_spatial()[0], shape.output_spatial()[1]],
            self.image,
        );
        let [kh, kw] = self.kernel;
        let (c_all, m_all) = (inputs * self.groups, outputs * self.groups);
        let place = |o: usize, k: usize, d: usize| {
            (o * self.strides[d] + k * self.dilations[d])
                .checked_sub(self.pads[d])
                .filter(|&i| i < [h, w][d])
        };
        for n in 0..self.batch {
            for (oy, ox) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
                for (ky, kx) in (0..kh).flat_map(|y| (0..kw).map(move |x| (y, x))) {
                    let (Some(y), Some(x)) = (place(oy, ky, 0), place(ox, kx, 1)) else {
                        continue;
                    };
                    for m in 0..m_all {
                        for c in 0..inputs {
                            let weight = ((m * inputs + c) * kh + ky) * kw + kx;
                            let image = ((n * h + y) * w + x) * c_all + m / outputs * inputs + c;
                            f(weight, image, ((n * oh + oy) * ow + ox) * m_all + m);
                        }
                    }
                }
            }
        }
    }
}

/// Numbers in -1..1.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(next).collect()
}

fn close(found: &[f32], expected: &[f64], sums: &[f64], what: &str, e: &Extents, isa: Isa) {
    // Winograd's transforms, where they apply, mix the pixels of a patch: a result is off by a share of the magnitudes around it, not of its own.
    let ones = [e.strides, e.dilations] == [[1, 1]; 2];
    let tiled = what != "dw" && e.groups == 1 && e.kernel == [3, 3] && ones;
    let largest = sums.iter().copied().fold(0.0, f64::max);
    for (i, ((&found, &expected), &sum)) in found.iter().zip(expected).zip(sums).enumerate() {
        let apart = (f64::from(found) - expected).abs();
        let sum = if tiled { largest } else { sum };
        assert!(
            apart <= 2e-6 * (1.0 + sum),
            "{what} on {isa}, {i}: {found} {expected} {e:?}"
        );
    }
}

fn check(e: &Extents) {
    let Ok(shape) = e.shape() else { return };
    let (image, result) = (shape.input_len().unwrap(), shape.output_len().unwrap());
    let count = e.groups * e.per_group[0] * e.per_group[1] * e.kernel[0] * e.kernel[1];
    let (x, w, dy) = (numbers(image, 1), numbers(count, 2), numbers(result, 3));
    let mut y = [vec![0.0; result], vec![0.0; result]];
    let mut dx = [vec![0.0; image], vec![0.0; image]];
    let mut dw = [vec![0.0; count], vec![0.0; count]];
    e.for_each(&shape, |weight, image, result| {
        let [x, w, dy] = [x[image], w[weight], dy[result]].map(f64::from);
        for (sums, value) in [
            (&mut y, (result, w * x)),
            (&mut dx, (image, w * dy)),
            (&mut dw, (weight, x * dy)),
        ] {
            sums[0][value.0] += value.1;
            sums[1][value.0] += value.1.abs();
        }
    });
    let threads = Parallelism::with_threads(3).unwrap();
    // Kept from one instruction set to the next, with whatever the last one left.
    let mut scratch = Scratch::new();
    for isa in Isa::available() {
        let one = Context::default().with_isa(isa);
        let three = Context::new(threads.clone()).with_isa(isa);
        for sums in [ConvSums::Direct, ConvSums::Fastest] {
            let runs = [&one, &three].map(|ctx| {
                let (mut out, mut grad) = (vec![f32::NAN; result], vec![f32::NAN; image]);
                let epilogue = ConvEpilogue::default();
                conv_packing_weights(ctx, &mut scratch, &shape, &x, &w, sums, &epilogue, &mut out)
                    .unwrap();
                conv_input_grad(ctx, &mut scratch, &shape, &dy, &w, sums, &mut grad).unwrap();
                (out, grad)
            });
            assert_eq!(runs[0], runs[1], "{isa} {e:?}");
            close(&runs[0].0, &y[0], &y[1], "y", e, isa);
            close(&runs[0].1, &dx[0], &dx[1], "dx", e, isa);
        }
        let runs = [&one, &three].map(|ctx| {
            let mut grad = vec![f32::NAN; count];
            conv_weight_grad(ctx, &mut scratch, &shape, &dy, &x, &mut grad).unwrap();
            grad
        });
        assert_eq!(runs[0], runs[1], "{isa} {e:?}");
        close(&runs[0], &dw[0], &dw[1], "dw", e, isa);
    }
}

prop_compose! {
    fn extents()(
        batch in 0usize..4,
        (groups, per_group) in prop_oneof![
            (1usize..2, [1usize..20, 1usize..40]),
            (2usize..5, [1usize..6, 1usize..6]),
            (2usize..40, [1usize..2, 1usize..2]),
        ],
        image in [1usize..12, 1usize..14],
        kernel in [1usize..5, 1usize..5],
        strides in [1usize..4, 1usize..4],
        dilations in [1usize..3, 1usize..4],
        pads in [0usize..4, 0usize..4, 0usize..4, 0usize..4],
    ) -> Extents {
        Extents { batch, groups, per_group, image, kernel, strides, dilations, pads }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn convolutions_and_adjoints_are_their_sums(e in extents()) {
        check(&e);
    }
}

/// Extents of networks, large enough for pieces, vectors and Winograd's tiles.
#[test]
fn whole_layers_are_their_sums() {
    let layer = |groups, per_group, image, kernel, stride, pads| Extents {
        batch: 3,
        groups,
        per_group,
        image,
        kernel,
        strides: [stride; 2],
        dilations: [1; 2],
        pads,
    };
    for e in [
        layer(1, [3, 16], [32, 32], [3, 3], 1, [1; 4]),
        layer(1, [16, 32], [32, 31], [3, 3], 2, [0, 0, 1, 1]),
        layer(1, [64, 64], [8, 9], [3, 3], 1, [1; 4]),
        layer(1, [32, 64], [16, 16], [1, 1], 2, [0; 4]),
        layer(1, [1, 64], [49, 10], [10, 4], 2, [4, 1, 5, 1]),
        layer(64, [1, 1], [25, 5], [3, 3], 1, [1; 4]),
        layer(24, [1, 1], [13, 12], [5, 5], 2, [2; 4]),
        layer(1, [40, 200], [7, 7], [1, 1], 1, [0; 4]),
    ] {
        check(&e);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let e = Extents {
        batch: 1,
        groups: 1,
        per_group: [2, 3],
        image: [4, 4],
        kernel: [2, 2],
        strides: [1; 2],
        dilations: [1; 2],
        pads: [0; 4],
    };
    let shape = e.shape().unwrap();
    let (ctx, mut scratch) = (Context::default(), Scratch::new());
    let (w, dy, mut dx) = ([0.0; 24], [0.0; 27], [0.0; 32]);
    let sums = ConvSums::default();
    let error = conv_input_grad(&ctx, &mut scratch, &shape, &dy[1..], &w, sums, &mut dx);
    let expected = KernelError::Length {
        operand: "adjoint of the result",
        expected: 27,
        found: 26,
    };
    assert_eq!(error, Err(expected));
    let error = conv_input_grad(&ctx, &mut scratch, &shape, &dy, &w[1..], sums, &mut dx);
    assert!(matches!(
        error,
        Err(KernelError::Length {
            operand: "weights",
            ..
        })
    ));
    let error = conv_weight_grad(&ctx, &mut scratch, &shape, &dy, &dx, &mut [0.0; 23]);
    assert!(matches!(error, Err(KernelError::Length { found: 23, .. })));
    let first = ConvShape::new(&ConvParams::default(), 1, 2, &[4, 4], 3, &[2, 2]).unwrap();
    let error = conv_input_grad(&ctx, &mut scratch, &first, &dy, &w, sums, &mut dx);
    assert!(matches!(
        error,
        Err(KernelError::Extent { what: "layout", .. })
    ));
}
