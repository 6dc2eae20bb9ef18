use super::*;
use proptest::prelude::*;

fn cast(x: &Tensor, to: DType) -> Tensor {
    x.cast(to, CastOptions::default()).unwrap()
}

/// NumPy 2.4 and ONNX Runtime 1.32 on x86-64 agree on all of these.
#[test]
fn float_to_integer_out_of_range_is_as_on_x86_64() {
    let x = Tensor::vector(vec![
        300.7f32,
        -300.7,
        -1.5,
        128.0,
        255.9,
        70000.0,
        -70000.0,
        3e9,
        -3e9,
        5e9,
        1e19,
        1.5e19,
        -1e19,
        1e20,
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        -0.9,
    ]);
    let (min32, min64) = (i32::MIN, i64::MIN);
    assert_eq!(
        cast(&x, DType::I8).as_slice::<i8>().unwrap(),
        [
            44, -44, -1, -128, -1, 112, -112, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
        ]
    );
    assert_eq!(
        cast(&x, DType::U8).as_slice::<u8>().unwrap(),
        [
            44, 212, 255, 128, 255, 112, 144, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
        ]
    );
    assert_eq!(
        cast(&x, DType::I16).as_slice::<i16>().unwrap(),
        [
            300, -300, -1, 128, 255, 4464, -4464, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
        ]
    );
    assert_eq!(
        cast(&x, DType::U16).as_slice::<u16>().unwrap(),
        [
            300, 65236, 65535, 128, 255, 4464, 61072, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
        ]
    );
    assert_eq!(
        cast(&x, DType::I32).as_slice::<i32>().unwrap(),
        [
            300, -300, -1, 128, 255, 70000, -70000, min32, min32, min32, min32, min32, min32,
            min32, min32, min32, min32, 0
        ]
    );
    assert_eq!(
        cast(&x, DType::U32).as_slice::<u32>().unwrap(),
        [
            300,
            4294966996,
            4294967295,
            128,
            255,
            70000,
            4294897296,
            3000000000,
            1 << 31,
            0,
            0,
            0,
            1 << 31,
            0,
            1 << 31,
            0,
            1 << 31,
            0
        ]
    );
    assert_eq!(
        cast(&x, DType::I64).as_slice::<i64>().unwrap(),
        [
            300,
            -300,
            -1,
            128,
            255,
            70000,
            -70000,
            3000000000,
            -3000000000,
            5000000000,
            min64,
            min64,
            min64,
            min64,
            min64,
            min64,
            min64,
            0
        ]
    );
    assert_eq!(
        cast(&x, DType::U64).as_slice::<u64>().unwrap(),
        [
            300,
            18446744073709551316,
            18446744073709551615,
            128,
            255,
            70000,
            18446744073709481616,
            3000000000,
            18446744070709551616,
            5000000000,
            9999999980506447872,
            15000000520515485696,
            1 << 63,
            0,
            1 << 63,
            0,
            1 << 63,
            0
        ]
    );
}

#[test]
fn everything_but_zero_is_true() {
    let x = Tensor::vector(vec![0.0f32, -0.0, f32::NAN, 0.1]);
    let y = cast(&x, DType::Bool);
    assert_eq!(y.as_slice::<bool>().unwrap(), [false, false, true, true]);
    let back = cast(&y, DType::I4);
    assert_eq!(back.unpack_ints().unwrap(), [0, 0, 1, 1]);
}

#[test]
fn integers_keep_their_low_bits() {
    let x = Tensor::vector(vec![200i16, -129, 255]);
    assert_eq!(
        cast(&x, DType::I8).as_slice::<i8>().unwrap(),
        [-56, 127, -1]
    );
    assert_eq!(cast(&x, DType::U4).unpack_ints().unwrap(), [8, 15, 15]);
    assert_eq!(cast(&x, DType::I2).unpack_ints().unwrap(), [0, -1, -1]);
}

/// The node test `cast_FLOAT_to_INT4` of ONNX, and fractions.
#[test]
fn floats_reach_int4_by_truncation_and_wrapping() {
    let x = Tensor::vector(vec![-9.0f32, -8.0, 7.0, 8.0, 15.0, 2.7, -2.7]);
    let y = cast(&x, DType::I4);
    assert_eq!(y.unpack_ints().unwrap(), [7, -8, 7, -8, -1, 2, -2]);
}

#[test]
fn f64_reaches_f16_rounded_once() {
    // Above the tie by less than f32 can tell, and the largest number that is not infinite.
    let x = Tensor::vector(vec![
        1.0 + 2f64.powi(-11) + 2f64.powi(-30),
        1.0 + 2f64.powi(-11),
        65519.999999,
        65520.0,
        -1e300,
        1e-300,
    ]);
    let y = cast(&x, DType::F16).to_f32_vec().unwrap();
    assert_eq!(
        y,
        [
            1.0009766,
            1.0,
            65504.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            0.0
        ]
    );
}

#[test]
fn float8_is_reached_by_the_overflow_rule_and_left_exactly() {
    let x = Tensor::vector(vec![1e6f32, -1e6, 0.1]);
    let saturated = cast(&x, DType::F8E4M3FN);
    assert_eq!(saturated.to_f32_vec().unwrap(), [448.0, -448.0, 0.1015625]);
    let options = CastOptions {
        overflow: Overflow::NonFinite,
        ..CastOptions::default()
    };
    let infinite = x.cast(DType::F8E5M2, options).unwrap();
    assert_eq!(
        infinite.to_f32_vec().unwrap(),
        [f32::INFINITY, f32::NEG_INFINITY, 0.09375]
    );
    let power = Tensor::vector(vec![5i32, 4])
        .cast(DType::F8E8M0, options)
        .unwrap();
    assert_eq!(power.to_f32_vec().unwrap(), [8.0, 4.0]);
}

#[test]
fn strings_read_as_numbers() {
    let texts = ["1.5", "+INF", "-inf", "NaN", " 7 ", "1e2"];
    let x = Tensor::from_strings(&[6], texts.map(str::to_owned).to_vec()).unwrap();
    let y = cast(&x, DType::F32).into_vec::<f32>().unwrap();
    assert_eq!(y[..3], [1.5, f32::INFINITY, f32::NEG_INFINITY]);
    assert!(y[3].is_nan());
    assert_eq!(y[4..], [7.0, 100.0]);

    let big = vec!["9007199254740993".to_owned(), "100.5".to_owned()];
    let big = Tensor::from_strings(&[2], big).unwrap();
    assert_eq!(
        cast(&big, DType::I64).as_slice::<i64>().unwrap(),
        [9007199254740993, 100]
    );
}

#[test]
fn a_string_that_is_no_number_is_named() {
    let x = Tensor::from_strings(&[2], vec!["1".into(), "Hello".into()]).unwrap();
    let error = x.cast(DType::F32, CastOptions::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "string \"Hello\" at position 1 is not a number of type f32"
    );
}

/// As NumPy writes them, except for infinities and NaN.
#[test]
fn numbers_write_as_their_shortest_decimals() {
    let x = vec![
        0.9767611f32,
        1.0,
        1e16,
        1e-7,
        0.0001,
        f32::NAN,
        f32::NEG_INFINITY,
        -0.0,
        1.5e-10,
    ];
    let y = cast(&Tensor::vector(x), DType::String);
    assert_eq!(
        y.strings().unwrap(),
        [
            "0.9767611",
            "1.0",
            "1e+16",
            "1e-07",
            "1e-04",
            "NaN",
            "-INF",
            "-0.0",
            "1.5e-10"
        ]
    );
    let y = cast(&Tensor::vector(vec![u64::MAX]), DType::String);
    assert_eq!(y.strings().unwrap(), ["18446744073709551615"]);
    let y = cast(&Tensor::vector(vec![0.1f64, 1e-300]), DType::String);
    assert_eq!(y.strings().unwrap(), ["0.1", "1e-300"]);
}

#[test]
fn complex_numbers_have_no_cast() {
    let x = Tensor::from_bytes(DType::C64, &[1], bytes::Bytes::from(vec![0; 8])).unwrap();
    let error = x.cast(DType::F32, CastOptions::default()).unwrap_err();
    let expected = TensorError::NoCast {
        from: DType::C64,
        to: DType::F32,
    };
    assert_eq!(error, expected);
    assert!(x.to_f64_vec().is_err());
}

#[test]
fn the_same_type_is_shared_not_copied() {
    let x = Tensor::vector(vec![1.0f32, 2.0]);
    let y = cast(&x, DType::F32);
    assert_eq!(x.bytes().as_ptr(), y.bytes().as_ptr());
}

#[test]
fn a_u64_beyond_i64_is_refused_as_i64() {
    let error = Tensor::vector(vec![1u64, u64::MAX])
        .to_i64_vec()
        .unwrap_err();
    let expected = TensorError::OutOfRange {
        value: i128::from(u64::MAX),
        index: 1,
        dtype: DType::I64,
    };
    assert_eq!(error, expected);
}

#[test]
fn chunks_meet_without_a_gap_for_packed_types() {
    let values: Vec<i8> = (0..3001).map(|i| (i % 16 - 8) as i8).collect();
    let packed = Tensor::pack_ints(DType::I4, &[3001], &values).unwrap();
    let wide = cast(&packed, DType::I32);
    let expected: Vec<i32> = values.iter().map(|&v| v.into()).collect();
    assert_eq!(wide.into_vec::<i32>().unwrap(), expected);
}

#[test]
fn from_f32_makes_every_float_type_and_nothing_else() {
    for dtype in [
        DType::F32,
        DType::F64,
        DType::BF16,
        DType::F8E5M2FNUZ,
        DType::F4E2M1,
    ] {
        let x = Tensor::from_f32(dtype, &[2], vec![0.5, -6.0]).unwrap();
        assert_eq!(
            (x.dtype(), x.to_f32_vec().unwrap()),
            (dtype, vec![0.5, -6.0])
        );
    }
    assert!(Tensor::from_f32(DType::I8, &[1], vec![0.5]).is_err());
}

proptest! {
    #[test]
    fn every_f16_survives_the_way_through_f64(bits in any::<u16>()) {
        let x = f16::from_bits(bits);
        prop_assume!(!x.is_nan());
        let wide = cast(&Tensor::scalar(x), DType::F64);
        let back = cast(&wide, DType::F16).into_vec::<f16>().unwrap();
        prop_assert_eq!(back[0].to_bits(), bits);
    }

    #[test]
    fn f64_to_f16_picks_the_nearest(x in -70000f64..70000.0) {
        let y = cast(&Tensor::scalar(x), DType::F16).to_f64_vec().unwrap()[0];
        let bits = f16::from_f64(y).to_bits();
        for neighbour in [bits.wrapping_sub(1), bits.wrapping_add(1)] {
            let other = f16::from_bits(neighbour).to_f64();
            if other.is_finite() && y.is_finite() {
                prop_assert!((x - y).abs() <= (x - other).abs());
            }
        }
    }

    #[test]
    fn a_float_written_as_text_reads_back_the_same(bits in any::<u32>()) {
        let x = f32::from_bits(bits);
        let text = cast(&Tensor::scalar(x), DType::String);
        let back = cast(&text, DType::F32).into_vec::<f32>().unwrap()[0];
        prop_assert!(back.to_bits() == bits || (x.is_nan() && back.is_nan()));
    }
}
