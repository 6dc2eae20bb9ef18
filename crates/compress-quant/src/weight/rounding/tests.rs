//! What rounding to inputs promises.

use super::*;
use compress_tensor::Tensor;
use proptest::prelude::*;

fn options(q_max: i8, mean: MeanError) -> RoundingOptions {
    RoundingOptions {
        q_max,
        mean,
        ..RoundingOptions::default()
    }
}

/// Inputs that hang together, as neighbouring pixels do.
fn inputs(k: usize, rows: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut all = Vec::new();
    for _ in 0..rows {
        let common = 2.0 * next() + 0.5;
        all.extend((0..k).map(|_| common + next()));
    }
    all
}

/// Mean squared error of the products over the rows, with a bias that grows by `shift`.
fn error(w: &[f32], codes: &[i8], scale: f32, shift: f32, rows: &[f32]) -> f64 {
    let n = rows.len() / w.len();
    let each = rows.chunks(w.len()).map(|x| {
        let d = w.iter().zip(codes).map(|(&w, &q)| w - scale * f32::from(q));
        let e: f64 = d.zip(x).map(|(d, &x)| f64::from(d * x)).sum();
        (e - f64::from(shift)).powi(2)
    });
    each.sum::<f64>() / n as f64
}

proptest! {
    #[test]
    fn the_outputs_change_no_more_than_with_nearest_codes(seed in 0u32..1000, k in 1usize..24) {
        let rows = inputs(k, 64, seed);
        let w: Vec<f32> = inputs(k, 3, seed ^ 77);
        let mut moments = InputMoments::new(k);
        moments.add(&rows);
        let scale = 0.3;
        for mean in [MeanError::Stays, MeanError::InBias] {
            let found = round_to_inputs(&w, &[scale; 3], &moments, options(7, mean)).unwrap();
            for c in 0..3 {
                let w = &w[c * k..][..k];
                let q = &found.codes[c * k..][..k];
                let nearest: Vec<i8> = w.iter().map(|w| (w / scale).round_ties_even().clamp(-7.0, 7.0) as i8).collect();
                let before = error(w, &nearest, scale, 0.0, &rows);
                let after = error(w, q, scale, found.bias_shift[c], &rows);
                // Damping may trade a ten-thousandth.
                prop_assert!(after <= before * 1.01 + 1e-6, "{before} {after}");
            }
        }
    }
}

#[test]
fn inputs_that_hang_together_gain_much_and_the_bias_takes_the_mean() {
    let (k, rows) = (32, inputs(32, 500, 3));
    let w = inputs(k, 1, 9);
    let scale = 0.25f32;
    let mut moments = InputMoments::new(k);
    moments.add(&rows);
    let nearest: Vec<i8> = w.iter().map(|w| (w / scale).round() as i8).collect();
    let before = error(&w, &nearest, scale, 0.0, &rows);
    let found = round_to_inputs(&w, &[scale], &moments, options(127, MeanError::InBias)).unwrap();
    let after = error(&w, &found.codes, scale, found.bias_shift[0], &rows);
    assert!(after * 3.0 < before, "{before} {after}");
    // The mean of the remaining error is zero.
    let mean: f64 = rows
        .chunks(k)
        .map(|x| {
            let d = w
                .iter()
                .zip(&found.codes)
                .map(|(&w, &q)| w - scale * f32::from(q));
            d.zip(x).map(|(d, &x)| f64::from(d * x)).sum::<f64>()
        })
        .sum::<f64>()
        / 500.0
        - f64::from(found.bias_shift[0]);
    assert!(mean.abs() < 1e-5, "{mean}");
}

#[test]
fn no_single_move_that_lowers_the_error_is_left() {
    // All 2^8 choices of codes about the weights.
    let (k, rows) = (8, inputs(8, 200, 21));
    let w = inputs(k, 1, 4);
    let scale = 0.3f32;
    let mut moments = InputMoments::new(k);
    moments.add(&rows);
    let found = round_to_inputs(&w, &[scale], &moments, options(127, MeanError::Stays)).unwrap();
    let floor: Vec<i8> = w.iter().map(|w| (w / scale).floor() as i8).collect();
    let errors = (0..1u32 << k).map(|choice| {
        let codes: Vec<i8> = floor
            .iter()
            .enumerate()
            .map(|(i, &q)| q + (choice >> i & 1) as i8)
            .collect();
        (error(&w, &codes, scale, 0.0, &rows), codes)
    });
    let errors: Vec<(f64, Vec<i8>)> = errors.collect();
    let of = |codes: &[i8]| errors.iter().find(|(_, c)| c == codes).unwrap().0;
    let own = of(&found.codes);
    for i in 0..k {
        let mut other = found.codes.clone();
        other[i] = 2 * floor[i] + 1 - other[i];
        assert!(of(&other) >= own * 0.999, "{i}");
    }
    let nearest: Vec<i8> = w
        .iter()
        .map(|w| (w / scale).round_ties_even() as i8)
        .collect();
    assert!(own < 0.8 * of(&nearest), "{own} {}", of(&nearest));
}

#[test]
fn without_enough_rows_codes_are_the_nearest() {
    let w = [1.4, -2.6, 300.0];
    let mut moments = InputMoments::new(3);
    for _ in 0..3 {
        let found = round_to_inputs(&w, &[1.0], &moments, options(127, MeanError::InBias)).unwrap();
        assert_eq!(found.codes, [1, -3, 127]);
        assert_eq!(found.bias_shift, [0.0]);
        assert_eq!(found.product_sqnr_db, None);
        moments.add(&[1.0, 1.0, 1.0]);
    }
    let found = round_to_inputs(&w, &[1.0], &moments, options(127, MeanError::Stays)).unwrap();
    assert!(found.product_sqnr_db.is_some());
}

#[test]
fn a_weight_moves_to_the_code_on_its_other_side_at_most() {
    // The second input is a hundredth of the first: 26 steps of it would make up for an error of 0.26 there.
    let mut moments = InputMoments::new(2);
    moments.add(&[1.0, 0.01, 1.0, 0.01]);
    let found = round_to_inputs(
        &[2.4, 2.4],
        &[1.0],
        &moments,
        options(127, MeanError::Stays),
    )
    .unwrap();
    assert_eq!(found.codes, [2, 3]);
    // Nor beyond the range, nor off a weight that is a code.
    let found =
        round_to_inputs(&[6.4, 3.0], &[1.0], &moments, options(6, MeanError::Stays)).unwrap();
    assert_eq!(found.codes, [6, 3]);
}

#[test]
fn inputs_that_never_vary_leave_the_nearest_codes_and_go_into_the_bias() {
    let mut moments = InputMoments::new(3);
    moments.add(&[1000.1, -3.7, 0.0].repeat(500));
    let w = [2.4, -1.3, 0.6];
    let found = round_to_inputs(&w, &[1.0], &moments, options(127, MeanError::InBias)).unwrap();
    assert_eq!(found.codes, [2, -1, 1]);
    let expected = 0.4 * 1000.1 + 0.3 * 3.7;
    assert!((found.bias_shift[0] - expected).abs() < 1e-2, "{found:?}");
}

#[test]
fn a_large_mean_hides_nothing() {
    // The same variation about 0 and about 64 gives the same codes, as the bias takes the mean.
    let (k, rows) = (12, inputs(12, 400, 5));
    let w = inputs(k, 4, 8);
    let of = |mean: f32| {
        let mut moments = InputMoments::new(k);
        // Deviations that are multiples of 2^-10 survive the sum.
        let shifted = rows.iter().map(|x| (x * 1024.0).round() / 1024.0 + mean);
        moments.add(&shifted.collect::<Vec<f32>>());
        round_to_inputs(&w, &[0.25; 4], &moments, options(127, MeanError::InBias)).unwrap()
    };
    let nearest: Vec<i8> = w
        .iter()
        .map(|w| (w / 0.25).round_ties_even() as i8)
        .collect();
    assert_ne!(of(0.0).codes, nearest);
    assert_eq!(of(64.0).codes, of(0.0).codes);
}

#[test]
fn what_cannot_be_rounded_is_an_error() {
    let moments = InputMoments::new(2);
    let of = |w: &[f32], s: &[f32], q_max| {
        round_to_inputs(w, s, &moments, options(q_max, MeanError::Stays)).unwrap_err()
    };
    let (found, expected) = (3, 4);
    let what = "weights";
    let short = QuantError::Length {
        what,
        found,
        expected,
    };
    assert_eq!(of(&[0.0; 3], &[1.0; 2], 127), short);
    let infinity = of(&[0.0, f32::INFINITY], &[1.0], 127);
    assert!(matches!(infinity, QuantError::NotFinite { index: 1, .. }));
    for scale in [0.0, -1.0, f32::NAN] {
        let error = of(&[0.0; 2], &[scale], 127);
        assert!(matches!(
            error,
            QuantError::Setting {
                setting: "scale",
                ..
            }
        ));
    }
    let error = of(&[0.0; 2], &[1.0], -1);
    assert!(matches!(
        error,
        QuantError::Setting {
            setting: "q_max",
            ..
        }
    ));
}

#[test]
fn channels_do_not_depend_on_how_they_are_shared_out() {
    let (k, channels) = (300, 400);
    let mut moments = InputMoments::new(k);
    moments.add(&inputs(k, 320, 1));
    let w = inputs(k, channels, 2);
    let scales = vec![0.05; channels];
    let on = |threads| {
        let options = RoundingOptions {
            threads,
            ..options(127, MeanError::InBias)
        };
        round_to_inputs(&w, &scales, &moments, options).unwrap()
    };
    let one = on(1);
    assert_eq!(on(3), one);
    assert_eq!(on(0), one);
    let options = options(127, MeanError::InBias);
    let alone = round_to_inputs(&w[7 * k..8 * k], &scales[..1], &moments, options).unwrap();
    assert_eq!(one.codes[7 * k..8 * k], alone.codes);
    assert_eq!(one.bias_shift[7], alone.bias_shift[0]);
}

/// `λ·Σ d²` of the nearest codes: what the error may be more than theirs, as damping counts it.
fn allowance(errors: &[f32], moments: &InputMoments, damping: f64) -> f64 {
    let squares = moments.squares();
    let mean = squares.iter().sum::<f64>() / squares.len() as f64;
    let errors: f64 = errors.iter().map(|&d| f64::from(d).powi(2)).sum();
    (damping * mean + 1e-8) * errors * 1.01 + 1e-6
}

proptest! {
    #[test]
    fn blocks_are_no_worse_than_the_nearest_codes_but_for_damping(seed in 0u32..1000, k in 1usize..70) {
        let rows = inputs(k, 96, seed);
        let weight = Tensor::from_vec(&[k, 2], inputs(2, k, seed ^ 5)).unwrap();
        let mut moments = InputMoments::new(k);
        moments.add(&rows);
        let options = RoundingOptions { damping: 1e-2, ..RoundingOptions::default() };
        let found = round_blocks_to_inputs(&weight, 4, 16, &moments, options).unwrap();
        let nearest = crate::quantize_blocks(&weight, 4, 16).unwrap();
        let of = |q: &crate::BlockQuantized, column: usize| -> Vec<f32> {
            let (back, w) = (q.dequantize().unwrap(), weight.as_slice::<f32>().unwrap());
            (0..k).map(|i| w[i * 2 + column] - back[i * 2 + column]).collect()
        };
        for column in 0..2 {
            let (before, after) = (of(&nearest, column), of(&found.blocks, column));
            let none = vec![0i8; k];
            let bound = error(&before, &none, 1.0, 0.0, &rows) + allowance(&before, &moments, 1e-2);
            let after = error(&after, &none, 1.0, 0.0, &rows);
            prop_assert!(after <= bound, "{bound} {after}");
        }
    }
}

#[test]
fn inputs_that_hang_together_gain_much_in_blocks() {
    let (k, n) = (64, 16);
    let rows = inputs(k, 800, 3);
    let held_out = inputs(k, 400, 31);
    let weight = Tensor::from_vec(&[k, n], inputs(n, k, 9)).unwrap();
    let mut moments = InputMoments::new(k);
    moments.add(&rows);
    let of = |q: &crate::BlockQuantized, shifts: &[f32]| -> f64 {
        let (back, w) = (q.dequantize().unwrap(), weight.as_slice::<f32>().unwrap());
        let column = |c: usize| -> f64 {
            let d: Vec<f32> = (0..k).map(|i| w[i * n + c] - back[i * n + c]).collect();
            error(&d, &vec![0; k], 1.0, shifts[c], &held_out)
        };
        (0..n).map(column).sum()
    };
    let nearest = of(&crate::quantize_blocks(&weight, 4, 32).unwrap(), &[0.0; 16]);
    let found = |mean| {
        let options = RoundingOptions {
            mean,
            damping: 1e-2,
            ..RoundingOptions::default()
        };
        let found = round_blocks_to_inputs(&weight, 4, 32, &moments, options).unwrap();
        of(&found.blocks, &found.bias_shift)
    };
    let (stays, in_bias) = (found(MeanError::Stays), found(MeanError::InBias));
    assert!(stays * 4.0 < nearest, "{stays} {nearest}");
    assert!(in_bias <= stays * 1.05, "{in_bias} {stays}");
}

#[test]
fn blocks_without_enough_rows_are_the_nearest_and_wrong_widths_are_refused() {
    let weight = Tensor::from_vec(&[20, 3], inputs(3, 20, 1)).unwrap();
    let mut moments = InputMoments::new(20);
    moments.add(&inputs(20, 19, 2));
    let of =
        |moments: &InputMoments, options| round_blocks_to_inputs(&weight, 4, 16, moments, options);
    let found = of(&moments, RoundingOptions::default()).unwrap();
    let nearest = crate::quantize_blocks(&weight, 4, 16).unwrap();
    assert_eq!(found.blocks.codes.bytes(), nearest.codes.bytes());
    assert_eq!(
        (found.bias_shift, found.product_sqnr_db),
        (vec![0.0; 3], None)
    );
    let error = of(&InputMoments::new(19), RoundingOptions::default()).unwrap_err();
    assert!(
        matches!(
            error,
            QuantError::Length {
                found: 20,
                expected: 19,
                ..
            }
        ),
        "{error}"
    );
    let options = RoundingOptions {
        damping: -1.0,
        ..RoundingOptions::default()
    };
    let error = of(&moments, options).unwrap_err();
    assert!(
        matches!(
            error,
            QuantError::Setting {
                setting: "damping",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn blocks_do_not_depend_on_threads() {
    let (k, n) = (300, 400);
    let weight = Tensor::from_vec(&[k, n], inputs(n, k, 2)).unwrap();
    let mut moments = InputMoments::new(k);
    moments.add(&inputs(k, 320, 1));
    let on = |threads| {
        let options = RoundingOptions {
            threads,
            mean: MeanError::InBias,
            ..RoundingOptions::default()
        };
        let found = round_blocks_to_inputs(&weight, 4, 32, &moments, options).unwrap();
        let bytes = [
            found.blocks.codes.bytes().to_vec(),
            found.blocks.scales.bytes().to_vec(),
        ];
        (bytes, found.bias_shift, found.product_sqnr_db)
    };
    assert!(on(1) == on(3));
}

/// Inputs that have nearly everything in common: damping would be most of what is counted.
#[test]
fn the_signal_to_noise_is_that_of_the_products() {
    let (k, n) = (16, 256);
    let own = inputs(k, n, 5);
    let rows: Vec<f32> = own
        .iter()
        .enumerate()
        .map(|(i, x)| own[i / k * k] + 0.05 * x)
        .collect();
    let w = inputs(k, 1, 9);
    let mut moments = InputMoments::new(k);
    moments.add(&rows);
    let scale = 0.2;
    let found = round_to_inputs(&w, &[scale], &moments, options(7, MeanError::Stays)).unwrap();
    let noise = error(&w, &found.codes, scale, 0.0, &rows);
    let signal = error(&w, &vec![0; k], scale, 0.0, &rows);
    let expected = 10.0 * (signal / noise).log10();
    let stated = found.product_sqnr_db.unwrap();
    assert!(
        (stated - expected).abs() < 0.05,
        "{stated} dB for {expected}"
    );
}
