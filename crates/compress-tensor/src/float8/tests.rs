use super::*;

const INPUTS: [f64; 20] = [
    0.0,
    -0.0,
    f64::INFINITY,
    f64::NEG_INFINITY,
    1e9,
    -1e9,
    448.0,
    464.0,
    464.1,
    240.0,
    248.0,
    57344.0,
    61439.0,
    61440.0,
    1e-9,
    -1e-9,
    0.26,
    0.0009765625,
    -0.0009765625,
    2.9,
];

/// `INPUTS` cast by the ONNX reference (ml_dtypes), saturating.
#[test]
fn saturating_codes_are_those_of_the_onnx_reference() {
    let e4m3fn: [u8; 20] = [
        0x00, 0x80, 0x7E, 0xFE, 0x7E, 0xFE, 0x7E, 0x7E, 0x7E, 0x77, 0x78, 0x7E, 0x7E, 0x7E, 0x00,
        0x80, 0x28, 0x00, 0x80, 0x44,
    ];
    let e4m3fnuz: [u8; 20] = [
        0x00, 0x00, 0x7F, 0xFF, 0x7F, 0xFF, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x00,
        0x00, 0x30, 0x01, 0x81, 0x4C,
    ];
    let e5m2: [u8; 20] = [
        0x00, 0x80, 0x7B, 0xFB, 0x7B, 0xFB, 0x5F, 0x5F, 0x5F, 0x5C, 0x5C, 0x7B, 0x7B, 0x7B, 0x00,
        0x80, 0x34, 0x14, 0x94, 0x42,
    ];
    let e5m2fnuz: [u8; 20] = [
        0x00, 0x00, 0x7F, 0xFF, 0x7F, 0xFF, 0x63, 0x63, 0x63, 0x60, 0x60, 0x7F, 0x7F, 0x7F, 0x00,
        0x00, 0x38, 0x18, 0x98, 0x46,
    ];
    let s = Overflow::Saturate;
    assert_eq!(INPUTS.map(|x| F8E4M3FN::from_f64(x, s).0), e4m3fn);
    assert_eq!(INPUTS.map(|x| F8E4M3FNUZ::from_f64(x, s).0), e4m3fnuz);
    assert_eq!(INPUTS.map(|x| F8E5M2::from_f64(x, s).0), e5m2);
    assert_eq!(INPUTS.map(|x| F8E5M2FNUZ::from_f64(x, s).0), e5m2fnuz);
}

#[test]
fn without_saturation_overflow_is_infinity_or_nan() {
    let o = Overflow::NonFinite;
    assert_eq!(F8E4M3FN::from_f64(464.0, o).0, 0x7E);
    assert_eq!(F8E4M3FN::from_f64(464.1, o).0, 0x7F);
    assert_eq!(F8E4M3FN::from_f64(f64::NEG_INFINITY, o).0, 0xFF);
    assert_eq!(F8E4M3FNUZ::from_f64(247.0, o).0, 0x7F);
    assert_eq!(F8E4M3FNUZ::from_f64(248.0, o).0, 0x80);
    assert_eq!(F8E5M2::from_f64(61439.0, o).0, 0x7B);
    assert_eq!(F8E5M2::from_f64(-61440.0, o).0, 0xFC);
    assert_eq!(F8E5M2FNUZ::from_f64(61440.0, o).0, 0x80);
}

#[test]
fn nan_stays_nan_whatever_the_overflow_rule() {
    for o in [Overflow::Saturate, Overflow::NonFinite] {
        assert_eq!(F8E4M3FN::from_f64(f64::NAN, o).0, 0x7F);
        assert_eq!(F8E4M3FN::from_f64(-f64::NAN, o).0, 0xFF);
        assert_eq!(F8E4M3FNUZ::from_f64(f64::NAN, o).0, 0x80);
        assert_eq!(F8E5M2::from_f64(f64::NAN, o).0, 0x7F);
        assert_eq!(F8E5M2FNUZ::from_f64(-f64::NAN, o).0, 0x80);
    }
}

#[test]
fn every_finite_code_decodes_to_a_number_that_encodes_to_it() {
    for code in 0..=255u8 {
        for o in [Overflow::Saturate, Overflow::NonFinite] {
            let round_trips = [
                (
                    F8E4M3FN(code).to_f32(),
                    F8E4M3FN::from_f64(F8E4M3FN(code).to_f32().into(), o).0,
                ),
                (
                    F8E4M3FNUZ(code).to_f32(),
                    F8E4M3FNUZ::from_f64(F8E4M3FNUZ(code).to_f32().into(), o).0,
                ),
                (
                    F8E5M2(code).to_f32(),
                    F8E5M2::from_f64(F8E5M2(code).to_f32().into(), o).0,
                ),
                (
                    F8E5M2FNUZ(code).to_f32(),
                    F8E5M2FNUZ::from_f64(F8E5M2FNUZ(code).to_f32().into(), o).0,
                ),
                (
                    F8E8M0(code).to_f32(),
                    F8E8M0::from_f64(F8E8M0(code).to_f32().into(), E8M0Rounding::Nearest, o).0,
                ),
            ];
            for (value, back) in round_trips.into_iter().filter(|(v, _)| v.is_finite()) {
                assert_eq!(back, code, "{value}");
            }
        }
    }
}

#[test]
fn decoding_gives_the_landmarks_of_each_format() {
    assert_eq!(F8E4M3FN(0x7E).to_f32(), 448.0);
    assert_eq!(F8E4M3FN(0x01).to_f32(), 2f32.powi(-9));
    assert!(F8E4M3FN(0x7F).to_f32().is_nan());
    assert_eq!(F8E4M3FNUZ(0x7F).to_f32(), 240.0);
    assert_eq!(F8E4M3FNUZ(0x01).to_f32(), 2f32.powi(-10));
    assert!(F8E4M3FNUZ(0x80).to_f32().is_nan());
    assert_eq!(F8E5M2(0x7B).to_f32(), 57344.0);
    assert_eq!(F8E5M2(0xFC).to_f32(), f32::NEG_INFINITY);
    assert!(F8E5M2(0x7D).to_f32().is_nan());
    assert_eq!(F8E5M2FNUZ(0xFF).to_f32(), -57344.0);
    assert_eq!(F8E8M0(0).to_f32(), 2f32.powi(-127));
    assert_eq!(F8E8M0(254).to_f32(), 2f32.powi(127));
    assert!(F8E8M0(255).to_f32().is_nan());
}

#[test]
fn e8m0_rounds_by_its_mode() {
    let code = |x, rounding| i32::from(F8E8M0::from_f64(x, rounding, Overflow::Saturate).0) - 127;
    assert_eq!(code(5.0, E8M0Rounding::Up), 3);
    assert_eq!(code(5.0, E8M0Rounding::Down), 2);
    assert_eq!(code(5.0, E8M0Rounding::Nearest), 2);
    assert_eq!(code(6.0, E8M0Rounding::Nearest), 3);
    assert_eq!(code(4.0, E8M0Rounding::Up), 2);
}

#[test]
fn e8m0_maps_what_it_cannot_hold_by_the_overflow_rule() {
    let up = |x, o| F8E8M0::from_f64(x, E8M0Rounding::Up, o).0;
    let inputs = [0.0, -1.0, f64::INFINITY, 3e38, 1e-40, f64::NAN];
    assert_eq!(
        inputs.map(|x| up(x, Overflow::Saturate)),
        [0, 0, 254, 254, 0, 255]
    );
    assert_eq!(inputs.map(|x| up(x, Overflow::NonFinite)), [255; 6]);
}

/// The node test `cast_FLOAT_to_FLOAT4E2M1` of ONNX.
#[test]
fn e2m1_codes_are_those_of_the_onnx_node_test() {
    let inputs = [
        0.48,
        0.25,
        1.05,
        -3.5,
        -8.0,
        9.0,
        1e6,
        1e-7,
        f64::INFINITY,
        -4.0,
        0.01,
        -0.0,
    ];
    let expected = [
        0.5f32, 0.0, 1.0, -4.0, -6.0, 6.0, 6.0, 0.0, 6.0, -4.0, 0.0, -0.0,
    ];
    let found = inputs.map(|x| f4e2m1_to_f32(f4e2m1_from_f64(x)));
    assert_eq!(found.map(f32::to_bits), expected.map(f32::to_bits));
    assert_eq!(f4e2m1_from_f64(f64::NAN), 0x8);
}

#[test]
fn a_value_next_to_a_tie_is_rounded_once() {
    // 1 + 2^-4 is the tie between 1 and 1.125 of E4M3; binary32 could not tell it from the sum.
    let above_tie = 1.0 + 2f64.powi(-4) + 2f64.powi(-40);
    assert_eq!(
        F8E4M3FN::from_f64(above_tie, Overflow::Saturate).to_f32(),
        1.125
    );
}
