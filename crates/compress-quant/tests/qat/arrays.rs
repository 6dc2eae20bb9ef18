//! Gradients of fake quantization against finite differences, of the functions that the estimators stand for.

use compress_quant::qat::{CodeRange, FakeQuantizer, StepMethod, least_squares_step, mean_step};
use compress_quant::{QuantError, Tensor};
use ndarray::{ArrayD, ArrayView1, arr1};

/// A fixed stream of numbers in `[-1, 1)`.
fn noise(seed: u32, n: usize) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// What the methods differentiate: `value(v, q)` in place of `round`, `q` the code that `v` becomes.
fn loss(
    quantizer: &FakeQuantizer,
    (x, dy): (&[f64], &[f64]),
    codes: &[f64],
    (step, offset): (f64, f64),
    value: &dyn Fn(f64, f64) -> f64,
) -> f64 {
    let CodeRange { q_min, q_max } = quantizer.range;
    let zero = if quantizer.method == StepMethod::LsqPlus {
        -offset / step
    } else {
        f64::from(quantizer.zero_point)
    };
    let each = x.iter().zip(dy).zip(codes).map(|((x, dy), q)| {
        let v = x / step + zero;
        let y = if v < f64::from(q_min) {
            f64::from(q_min)
        } else if v > f64::from(q_max) {
            f64::from(q_max)
        } else {
            value(v, *q)
        };
        dy * (y - zero) * step
    });
    each.sum()
}

/// Gradients of the input, the step and the offset by central differences, less the scale of the steps' gradients.
fn differences(
    quantizer: &FakeQuantizer,
    (x, dy): (&[f32], &[f32]),
    (step, offset): (f32, f32),
    value: &dyn Fn(f64, f64) -> f64,
) -> (Vec<f64>, f64, f64) {
    let wide = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let (x, dy) = (wide(x), wide(dy));
    let (step, offset) = (f64::from(step), f64::from(offset));
    let CodeRange { q_min, q_max } = quantizer.range;
    // Codes stay as they are while numbers move a little.
    let zero = if quantizer.method == StepMethod::LsqPlus {
        -offset / step
    } else {
        f64::from(quantizer.zero_point)
    };
    let codes: Vec<f64> = x
        .iter()
        .map(|x| {
            (x / step + zero)
                .clamp(q_min.into(), q_max.into())
                .round_ties_even()
                - (x / step + zero)
        })
        .collect();
    let f = |x: &[f64], step, offset| loss(quantizer, (x, &dy), &codes, (step, offset), value);
    let h = 1e-6;
    let of_x = (0..x.len()).map(|i| {
        let moved = |by: f64| {
            let mut moved = x.clone();
            moved[i] += by;
            f(&moved, step, offset)
        };
        (moved(h) - moved(-h)) / (2.0 * h)
    });
    (
        of_x.collect(),
        (f(&x, step + h, offset) - f(&x, step - h, offset)) / (2.0 * h),
        (f(&x, step, offset + h) - f(&x, step, offset - h)) / (2.0 * h),
    )
}

fn array(values: &[f32]) -> ArrayD<f32> {
    arr1(values).into_dyn()
}

fn near(found: f32, expected: f64) -> bool {
    (f64::from(found) - expected).abs() <= 2e-4 * expected.abs().max(1.0)
}

/// Rounding as a shift that stays.
fn straight(v: f64, shift: f64) -> f64 {
    v + shift
}

#[test]
fn straight_through_is_the_derivative_with_rounding_as_a_shift() {
    let x: Vec<f32> = noise(1, 101).iter().map(|x| 3.0 * x).collect();
    let dy = noise(2, 101);
    let (step, offset) = (0.21f32, -0.42f32);
    for method in [
        StepMethod::StraightThrough,
        StepMethod::Lsq,
        StepMethod::LsqPlus,
    ] {
        let quantizer = FakeQuantizer::new(CodeRange::signed(4).unwrap(), method);
        let offsets = [offset];
        let offsets = (method == StepMethod::LsqPlus).then_some(&offsets[..]);
        let found = quantizer
            .backward(array(&dy).view(), array(&x).view(), &[step], offsets)
            .unwrap();
        let (of_x, of_step, of_offset) =
            differences(&quantizer, (&x, &dy), (step, offset), &straight);
        for (found, expected) in found.input.iter().zip(of_x) {
            assert!(near(*found, expected), "{method:?}: {found} {expected}");
        }
        // 7 - z codes are above 0, and 101 elements share the step.
        let high = if offsets.is_some() { 5.0 } else { 7.0 };
        let scale = match method {
            StepMethod::StraightThrough => 1.0,
            _ => 1.0 / (101.0f64 * high).sqrt(),
        };
        assert!(
            near(found.step[0], of_step * scale),
            "{method:?}: {} {of_step}",
            found.step[0]
        );
        if offsets.is_some() {
            assert!(
                near(found.offset[0], of_offset * scale),
                "{} {of_offset}",
                found.offset[0]
            );
        }
    }
}

#[test]
fn the_soft_staircase_has_its_derivatives() {
    let alpha = 0.25f32;
    let quantizer = FakeQuantizer::new(CodeRange::signed(3).unwrap(), StepMethod::Dsq { alpha });
    let x: Vec<f32> = noise(3, 77).iter().map(|x| 2.5 * x).collect();
    let dy = noise(4, 77);
    let step = 0.33f32;
    let stair = move |v: f64, _: f64| {
        let kappa = (2.0 / f64::from(alpha) - 1.0).ln();
        let t = (kappa * (v - v.floor() - 0.5)).tanh();
        v.floor() + 0.5 * (1.0 + t / (1.0 - f64::from(alpha)))
    };
    let found = quantizer
        .backward(array(&dy).view(), array(&x).view(), &[step], None)
        .unwrap();
    let (of_x, of_step, _) = differences(&quantizer, (&x, &dy), (step, 0.0), &stair);
    for (found, expected) in found.input.iter().zip(of_x) {
        assert!(near(*found, expected), "{found} {expected}");
    }
    let scale = 1.0 / (77.0f64 * 3.0).sqrt();
    assert!(
        near(found.step[0], of_step * scale),
        "{} {of_step}",
        found.step[0]
    );
    // At both ends of a stair it meets its neighbours: the whole numbers themselves.
    for whole in [-2.0, 1.0] {
        assert!((stair(whole, 0.0) - whole).abs() < 1e-12);
    }
}

#[test]
fn the_end_of_a_range_learns_from_what_lies_above_it() {
    let quantizer = FakeQuantizer::new(CodeRange::unsigned(4).unwrap(), StepMethod::Pact);
    let (x, dy) = ([-1.0f32, 0.4, 3.1, 9.0], [5.0f32, 7.0, 2.0, 0.5]);
    // α = 15 · 0.2 = 3.
    let found = quantizer
        .backward(array(&dy).view(), array(&x).view(), &[0.2], None)
        .unwrap();
    assert_eq!(found.input, array(&[0.0, 7.0, 0.0, 0.0]));
    // dα = 2.5; a step of descent by the step's gradient moves α = 15 s as one by α's own does.
    assert!(near(found.step[0] * 15.0, 2.5), "{found:?}");
}

#[test]
fn gradients_grow_away_from_the_grid_in_the_direction_of_descent() {
    let delta = 0.3;
    let quantizer = FakeQuantizer::new(CodeRange::signed(4).unwrap(), StepMethod::Ewgs { delta });
    let (x, dy) = ([0.31f32, 0.31, 0.3, 9.0], [1.0f32, -1.0, 1.0, 1.0]);
    let found = quantizer
        .backward(array(&dy).view(), array(&x).view(), &[0.1], None)
        .unwrap();
    // v = 3.1, q = 3: the error is 0.1 of 15 steps.
    let far = 0.3 * 0.1 / 15.0;
    let expected = [1.0 + far, -(1.0 - far), 1.0, 0.0];
    for (found, expected) in found.input.iter().zip(expected) {
        assert!(
            (f64::from(*found) - expected).abs() < 1e-5,
            "{found} {expected}"
        );
    }
    let sum: f64 = x[..3]
        .iter()
        .zip(&dy)
        .zip(expected)
        .map(|((x, dy), dx)| {
            let v = f64::from(x / 0.1);
            f64::from(*dy) * v.round() - dx * v
        })
        .sum::<f64>()
        + 7.0;
    assert!(
        near(found.step[0], sum / (4.0f64 * 7.0).sqrt()),
        "{found:?} {sum}"
    );
}

#[test]
fn steps_per_channel_are_those_of_each_channel_alone() {
    let range = CodeRange::signed(4).unwrap();
    let (x, dy) = (noise(5, 24), noise(6, 24));
    let steps = [0.05f32, 0.1, 0.2];
    let shaped = |v: &[f32]| ArrayD::from_shape_vec(vec![2, 3, 4], v.to_vec()).unwrap();
    let whole = FakeQuantizer::new(range, StepMethod::Lsq).along(1);
    let y = whole.forward(shaped(&x).view(), &steps, None).unwrap();
    let found = whole
        .backward(shaped(&dy).view(), shaped(&x).view(), &steps, None)
        .unwrap();
    for (c, &step) in steps.iter().enumerate() {
        let channel = |v: &[f32]| -> Vec<f32> {
            (0..2)
                .flat_map(|n| v[(n * 3 + c) * 4..(n * 3 + c + 1) * 4].to_vec())
                .collect()
        };
        let alone = FakeQuantizer::new(range, StepMethod::Lsq);
        let (x, dy) = (channel(&x), channel(&dy));
        let expected = alone.forward(array(&x).view(), &[step], None).unwrap();
        let own = y
            .index_axis(ndarray::Axis(1), c)
            .iter()
            .copied()
            .collect::<Vec<f32>>();
        assert_eq!(array(&own), expected);
        let expected = alone
            .backward(array(&dy).view(), array(&x).view(), &[step], None)
            .unwrap();
        assert!((found.step[c] - expected.step[0]).abs() < 1e-5);
    }
    // A view in another order of memory is the same array.
    let turned = shaped(&x).permuted_axes(vec![2, 1, 0]);
    let turned = whole.forward(turned.view(), &steps, None).unwrap();
    assert_eq!(turned.permuted_axes(vec![2, 1, 0]), y);
}

#[test]
fn descent_by_lsq_finds_the_step_of_least_error() {
    // The loss is the squared error of the quantized numbers: its best step is known by search.
    let x = noise(9, 4000);
    let quantizer = FakeQuantizer::new(CodeRange::signed(3).unwrap(), StepMethod::Lsq);
    let values = array(&x);
    let error = |step: f32| -> f64 {
        let y = quantizer.forward(values.view(), &[step], None).unwrap();
        let apart = y.iter().zip(&x).map(|(y, x)| f64::from(y - x).powi(2));
        apart.sum::<f64>() / 4000.0
    };
    let best = (50..500)
        .map(|i| i as f32 * 1e-3)
        .min_by(|a, b| error(*a).total_cmp(&error(*b)));
    let mut step = [0.08f32];
    for _ in 0..400 {
        let y = quantizer.forward(values.view(), &step, None).unwrap();
        let dy = (&y - &values) * (2.0 / 4000.0);
        let gradient = quantizer
            .backward(dy.view(), values.view(), &step, None)
            .unwrap();
        step[0] -= 2.0 * gradient.step[0];
    }
    let (found, least) = (error(step[0]), error(best.unwrap()));
    assert!(found < 1.05 * least, "{} {found} {best:?} {least}", step[0]);
}

#[test]
fn first_steps_leave_little_error() {
    let w = Tensor::from_vec(&[3, 50], noise(11, 150)).unwrap();
    for bits in 2..=8 {
        let range = CodeRange::signed(bits).unwrap();
        let least = least_squares_step(&w, Some(0), range).unwrap();
        let mean = mean_step(&w, Some(0), range).unwrap();
        assert_eq!((least.len(), mean.len()), (3, 3));
        let quantizer = FakeQuantizer::new(range, StepMethod::Lsq).along(0);
        let error = |steps: &[f32]| -> f32 {
            let y = quantizer
                .forward(w.view::<f32>().unwrap(), steps, None)
                .unwrap();
            let data = w.as_slice::<f32>().unwrap();
            y.iter().zip(data).map(|(y, w)| (y - w).powi(2)).sum()
        };
        let signal: f32 = w.as_slice::<f32>().unwrap().iter().map(|w| w * w).sum();
        assert!(
            error(&least) < 0.35 * signal / (1 << (2 * (bits - 2))) as f32,
            "{bits}"
        );
        assert!(error(&mean) < signal, "{bits}");
    }
}

#[test]
fn what_does_not_go_together_is_told() {
    let quantizer = FakeQuantizer::new(CodeRange::signed(4).unwrap(), StepMethod::Lsq);
    let x = array(&[1.0, 2.0]);
    let refused = |quantizer: &FakeQuantizer, step: &[f32]| {
        quantizer
            .forward(x.view(), step, None)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(&quantizer, &[0.1, 0.2]),
        "there are 2 steps instead of 1"
    );
    assert_eq!(
        refused(&quantizer, &[0.0]),
        "a step is 0, it must be a positive number"
    );
    assert_eq!(
        refused(&quantizer, &[f32::NAN]),
        "a step is NaN, it must be a positive number"
    );
    let along = quantizer.clone().along(1);
    assert_eq!(refused(&along, &[0.1]), "axis 1 is out of range for rank 1");
    let zero = quantizer.clone().with_zero_point(9);
    assert_eq!(
        refused(&zero, &[0.1]),
        "the zero point is 9, it must be one of the codes"
    );
    let dsq = FakeQuantizer::new(quantizer.range, StepMethod::Dsq { alpha: 1.0 });
    assert_eq!(refused(&dsq, &[0.1]), "alpha is 1, it must lie in (0, 1)");
    let dy = ArrayView1::from(&[1.0f32]).into_dyn();
    let error = quantizer.backward(dy, x.view(), &[0.1], None).unwrap_err();
    let expected = QuantError::Length {
        what: "gradients",
        found: 1,
        expected: 2,
    };
    assert_eq!(error, expected);
    // Nothing in, nothing out.
    let none = array(&[]);
    assert_eq!(quantizer.forward(none.view(), &[0.1], None).unwrap(), none);
}

#[test]
fn the_greatest_weight_of_an_8_bit_channel_has_a_gradient() {
    // `max / 127` rounded down gives a quotient above 127 in about a quarter of all channels.
    let w = noise(13, 256 * 9);
    let tensor = Tensor::from_vec(&[256, 9], w.clone()).unwrap();
    let range = CodeRange::symmetric(8).unwrap();
    let steps = least_squares_step(&tensor, Some(0), range).unwrap();
    let quantizer = FakeQuantizer::new(range, StepMethod::Lsq).along(0);
    let dy = ArrayD::ones(vec![256, 9]);
    let found = quantizer
        .backward(dy.view(), tensor.view::<f32>().unwrap(), &steps, None)
        .unwrap();
    assert!(found.input.iter().all(|&dx| dx == 1.0));
    for (c, step) in steps.iter().enumerate() {
        let most = w[c * 9..(c + 1) * 9]
            .iter()
            .fold(0f32, |m, w| m.max(w.abs()));
        // By no more than a rounding.
        assert!((step / (most / 127.0) - 1.0).abs() < 3e-7, "{c}");
    }
}
