//! Linear quantisation and elementwise operators on bytes: the same bits on every instruction set.

use runtime_kernels::quantized::{
    BinaryScales, ScaleZero, add_int8, dequantize, dequantize_wide, dynamic_scale, lookup,
    lookup_table, mul_int8, quantize, quantize_wide,
};
use runtime_kernels::{Context, Isa};

fn contexts() -> impl Iterator<Item = Context> {
    Isa::available()
        .into_iter()
        .map(|isa| Context::default().with_isa(isa))
}

#[test]
fn quantisation_rounds_halves_to_even_and_saturates() {
    let x: Vec<f32> = (-1000..1000)
        .map(|i| i as f32 * 0.25)
        .chain([1e30, -1e30, f32::INFINITY])
        .collect();
    let params = ScaleZero {
        scale: 0.5,
        zero_point: -3,
    };
    for ctx in contexts() {
        let (mut q, mut w) = (vec![0i8; x.len()], vec![0i16; x.len()]);
        quantize(&ctx, params, &x, &mut q).unwrap();
        quantize_wide(&ctx, params, (i16::MIN, i16::MAX), &x, &mut w).unwrap();
        for i in 0..x.len() {
            let exact = (f64::from(x[i]) / 0.5).round_ties_even() - 3.0;
            assert_eq!(f64::from(q[i]), exact.clamp(-128.0, 127.0), "{}", x[i]);
            assert_eq!(f64::from(w[i]), exact.clamp(-32768.0, 32767.0));
        }
        let mut back = vec![0.0; x.len()];
        dequantize(&ctx, params, &q, &mut back).unwrap();
        assert_eq!(back[1000], 0.0);
        assert_eq!(back[x.len() - 1], 65.0);
        dequantize_wide(&ctx, params, &w, &mut back).unwrap();
        assert_eq!(back[0], -250.0);
    }
}

#[test]
fn the_dynamic_range_always_holds_zero() {
    for ctx in contexts() {
        let p = dynamic_scale(&ctx, &[0.0, 2.0, -3.0, -2.5, 1.34, 0.5]);
        assert_eq!(
            p,
            ScaleZero {
                scale: 5.0 / 255.0,
                zero_point: 153
            }
        );
        let p = dynamic_scale(
            &ctx,
            &[
                1.0, 2.1, 1.3, 2.5, 3.34, 4.0, 1.5, 2.6, 3.9, 4.0, 3.0, 2.345,
            ],
        );
        assert_eq!(
            p,
            ScaleZero {
                scale: 4.0 / 255.0,
                zero_point: 0
            }
        );
        assert_eq!(
            dynamic_scale(&ctx, &[0.0; 20]),
            ScaleZero {
                scale: 0.0,
                zero_point: 0
            }
        );
    }
}

fn all_pairs() -> (Vec<u8>, Vec<u8>) {
    (0..=u16::MAX).map(|i| ((i >> 8) as u8, i as u8)).unzip()
}

#[test]
fn sums_follow_the_fused_formula_on_every_instruction_set() {
    let (a, b) = all_pairs();
    let scales = BinaryScales {
        a: ScaleZero {
            scale: 0.031,
            zero_point: 120,
        },
        b: ScaleZero {
            scale: 0.0173,
            zero_point: 4,
        },
        y: ScaleZero {
            scale: 0.05,
            zero_point: 100,
        },
    };
    let (ra, rb) = (0.031f32 / 0.05, 0.0173f32 / 0.05);
    let constant = 100.0 - (ra * 120.0 + rb * 4.0);
    for ctx in contexts() {
        let mut y = vec![0u8; a.len()];
        add_int8(&ctx, scales, &a, &b, &mut y).unwrap();
        for i in 0..a.len() {
            let sum = f32::from(a[i]).mul_add(ra, f32::from(b[i]).mul_add(rb, constant));
            assert_eq!(f32::from(y[i]), sum.round_ties_even().clamp(0.0, 255.0));
        }
    }
}

#[test]
fn products_round_after_adding_the_zero_point() {
    let (a, b) = all_pairs();
    let scales = BinaryScales {
        a: ScaleZero {
            scale: 0.031,
            zero_point: 120,
        },
        b: ScaleZero {
            scale: 0.0173,
            zero_point: 4,
        },
        y: ScaleZero {
            scale: 0.04,
            zero_point: 100,
        },
    };
    let ratio = 0.031f32 * 0.0173 / 0.04;
    for ctx in contexts() {
        let mut y = vec![0u8; a.len()];
        mul_int8(&ctx, scales, &a, &b, &mut y).unwrap();
        for i in 0..a.len() {
            let product = (i32::from(a[i]) - 120) * (i32::from(b[i]) - 4);
            let real = product as f32 * ratio + 100.0;
            assert_eq!(f32::from(y[i]), real.round_ties_even().clamp(0.0, 255.0));
        }
        let mut one = vec![0u8; a.len()];
        mul_int8(&ctx, scales, &a, &[77], &mut one).unwrap();
        assert_eq!(one[77], y[77]);
    }
}

#[test]
fn a_table_maps_each_byte_through_the_real_function() {
    let (x, y) = (
        ScaleZero {
            scale: 0.05,
            zero_point: 10,
        },
        ScaleZero {
            scale: 1.0 / 256.0,
            zero_point: -128,
        },
    );
    let table = lookup_table::<i8>(x, y, |v| 1.0 / (1.0 + (-v).exp()));
    let mut out = [0i8; 3];
    lookup(&Context::default(), &table, &[10, -128, 127], &mut out).unwrap();
    assert_eq!(out, [0, -128, 127]);
}
