use super::*;
use ndarray::{arr1, arr2};
use proptest::prelude::*;

/// ONNX Runtime 1.32 on these inputs.
#[test]
fn quantizing_rounds_to_even_and_saturates_like_onnx_runtime() {
    let x = arr1(&[
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        1e30,
        -1e30,
        2.5,
        3.5,
        -2.5,
        0.0,
    ]);
    let quantize = |dtype| {
        QuantParams::per_tensor(1.0, 3, dtype)
            .quantize(x.view().into_dyn())
            .unwrap()
            .to_i64_vec()
            .unwrap()
    };
    assert_eq!(quantize(DType::U8), [0, 255, 0, 255, 0, 5, 7, 1, 3]);
    assert_eq!(
        quantize(DType::I8),
        [-128, 127, -128, 127, -128, 5, 7, 1, 3]
    );
    assert_eq!(quantize(DType::U16), [0, 65535, 0, 65535, 0, 5, 7, 1, 3]);
    assert_eq!(quantize(DType::I4), [-8, 7, -8, 7, -8, 5, 7, 1, 3]);
    assert_eq!(quantize(DType::U2), [0, 3, 0, 3, 0, 3, 3, 1, 3]);
}

#[test]
fn each_channel_and_each_block_has_its_scale() {
    let x = arr2(&[[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]]).into_dyn();
    let rows = QuantParams::per_channel(vec![1.0, 2.0], 0, DType::I8);
    let q = rows.quantize(x.view()).unwrap();
    assert_eq!(q.as_slice::<i8>().unwrap(), [1, 2, 3, 2, 2, 3]);

    let blocks = QuantParams {
        scale: vec![1.0, 0.5, 2.0, 0.25],
        zero_point: vec![0, 1, 0, -1],
        dtype: DType::I8,
        granularity: Granularity::PerBlock { axis: 1, block: 2 },
    };
    assert_eq!(blocks.scale_shape(&[2, 3]).unwrap(), [2, 2]);
    let q = blocks.quantize(x.view()).unwrap();
    assert_eq!(q.as_slice::<i8>().unwrap(), [1, 2, 7, 2, 2, 23]);
    let back = blocks.dequantize(&q).unwrap();
    assert_eq!(back.as_slice().unwrap(), [1.0, 2.0, 3.0, 4.0, 4.0, 6.0]);

    let columns = QuantParams {
        scale: vec![1.0, 2.0, 3.0],
        zero_point: vec![0; 3],
        dtype: DType::I8,
        granularity: Granularity::PerBlock { axis: 0, block: 8 },
    };
    let q = columns.quantize(x.view()).unwrap();
    assert_eq!(q.as_slice::<i8>().unwrap(), [1, 1, 1, 4, 2, 2]);
}

#[test]
fn float8_holds_the_quotient() {
    let p = QuantParams::per_tensor(0.5, 0, DType::F8E4M3FN);
    let x = arr1(&[1.0f32, -300.0, 0.05]).into_dyn();
    let q = p.quantize(x.view()).unwrap();
    assert_eq!(q.to_f32_vec().unwrap(), [2.0, -448.0, 0.1015625]);
    let back = p.dequantize(&q).unwrap();
    assert_eq!(back.as_slice().unwrap(), [1.0, -224.0, 0.05078125]);
}

#[test]
fn int32_is_a_bias_type_and_saturates() {
    let p = QuantParams::per_tensor(0.5, 0, DType::I32);
    let x = arr1(&[1.25f32, 1e12, -1e12]).into_dyn();
    let q = p.quantize(x.view()).unwrap();
    assert_eq!(q.as_slice::<i32>().unwrap(), [2, i32::MAX, i32::MIN]);
}

#[test]
fn wrong_parameters_are_named() {
    let good = QuantParams::per_tensor(0.5, 3, DType::U8);
    let with = |change: fn(&mut QuantParams)| {
        let mut p = good.clone();
        change(&mut p);
        p.validate(&[2, 3]).unwrap_err().to_string()
    };
    assert_eq!(good.validate(&[2, 3]), Ok(()));
    assert_eq!(
        with(|p| p.dtype = DType::F32),
        "f32 is not a quantized type"
    );
    assert_eq!(
        with(|p| p.scale[0] = 0.0),
        "scale 0 at position 0 is not a positive finite number"
    );
    assert_eq!(
        with(|p| p.scale[0] = f32::NAN),
        "scale NaN at position 0 is not a positive finite number"
    );
    assert_eq!(
        with(|p| p.zero_point[0] = 256),
        "zero point 256 at position 0 does not fit u8"
    );
    assert_eq!(
        with(|p| p.granularity = Granularity::PerChannel { axis: 1 }),
        "shape [2, 3] takes 3 scales and zero points, found 1 and 1"
    );
    assert_eq!(
        with(|p| p.granularity = Granularity::PerChannel { axis: 2 }),
        "axis 2 is out of range for rank 2"
    );
    assert_eq!(
        with(|p| p.granularity = Granularity::PerBlock { axis: 0, block: 0 }),
        "a quantization block must hold at least one element"
    );
}

#[test]
fn an_empty_tensor_quantizes_to_an_empty_one() {
    let x = ndarray::Array2::<f32>::zeros((0, 3)).into_dyn();
    let p = QuantParams::per_channel(vec![1.0; 3], 1, DType::I8);
    let q = p.quantize(x.view()).unwrap();
    assert_eq!((q.shape(), q.len()), (&[0, 3][..], 0));
    assert_eq!(p.dequantize(&q).unwrap().shape(), [0, 3]);
}

#[test]
fn ranges_give_the_textbook_parameters() {
    let parameters = |min, max, dtype, rule| {
        let p = QuantParams::from_min_max(min, max, dtype, rule).unwrap();
        (p.scale[0], p.zero_point[0])
    };
    use RangeRule::{Asymmetric, Symmetric};
    assert_eq!(parameters(0.0, 255.0, DType::U8, Asymmetric), (1.0, 0));
    assert_eq!(parameters(-1.0, 1.55, DType::I8, Asymmetric), (0.01, -28));
    assert_eq!(parameters(2.0, 5.1, DType::U8, Asymmetric), (0.02, 0));
    assert_eq!(parameters(-5.1, -2.0, DType::U8, Asymmetric), (0.02, 255));
    assert_eq!(parameters(-0.5, 1.27, DType::I8, Symmetric), (0.01, 0));
    assert_eq!(parameters(-1.27, 0.5, DType::U8, Symmetric), (0.01, 128));
    assert_eq!(parameters(-0.7, 0.1, DType::I4, Symmetric), (0.1, 0));
    assert_eq!(
        parameters(-896.0, 1.0, DType::F8E4M3FN, Symmetric),
        (2.0, 0)
    );
    assert_eq!(parameters(0.0, 0.0, DType::U8, Asymmetric), (1.0, 0));
    assert_eq!(parameters(0.0, 0.0, DType::I8, Asymmetric), (1.0, -128));
    assert_eq!(parameters(0.0, 0.0, DType::U8, Symmetric), (1.0, 128));
}

#[test]
fn the_widest_range_does_not_overflow() {
    let p = QuantParams::from_min_max(f32::MIN, f32::MAX, DType::U8, RangeRule::Asymmetric);
    let p = p.unwrap();
    assert_eq!(p.zero_point[0], 128);
    assert_eq!(p.validate(&[1]), Ok(()));
}

#[test]
fn a_range_that_is_none_is_refused() {
    for (min, max) in [(1.0, 0.0), (f32::NAN, 1.0), (0.0, f32::INFINITY)] {
        let p = QuantParams::from_min_max(min, max, DType::I8, RangeRule::Symmetric);
        assert!(matches!(p, Err(QuantParamsError::BadRange { .. })));
    }
}

proptest! {
    #[test]
    fn inside_the_range_the_error_is_half_a_step_and_zero_is_exact(
        a in -1e3f32..1e3,
        b in -1e3f32..1e3,
        t in 0f32..=1.0,
        dtype in prop::sample::select(vec![DType::I8, DType::U8, DType::I16, DType::I4]),
        rule in prop::sample::select(vec![RangeRule::Asymmetric, RangeRule::Symmetric]),
    ) {
        let (min, max) = (a.min(b), a.max(b));
        let p = QuantParams::from_min_max(min, max, dtype, rule).unwrap();
        let x = min + t * (max - min);
        let values = arr1(&[x, 0.0]).into_dyn();
        let back = p.dequantize(&p.quantize(values.view()).unwrap()).unwrap();
        // The zero point is rounded too, which moves the ends by up to another half step.
        prop_assert!((back[[0]] - x).abs() <= p.scale[0] * 1.01 + x.abs() * 1e-6);
        prop_assert_eq!(back[[1]], 0.0);
    }
}
