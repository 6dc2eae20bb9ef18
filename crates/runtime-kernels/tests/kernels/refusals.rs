//! What kernels refuse, and what they take although it looks odd.

use runtime_kernels::conv::{
    ConvEpilogue, ConvParams, ConvShape, Int8Input, Layout, PackedConvF32, PackedConvInt8, conv,
    conv_int8,
};
use runtime_kernels::gemm::{
    Epilogue, FloatOperand, Int8Gemm, Int8Matrix, Int8Operand, PackedF32, PackedInt8, Side, gemm,
    gemm_int8,
};
use runtime_kernels::pool::PoolShape;
use runtime_kernels::quantized::RawOutput;
use runtime_kernels::{Context, Isa, KernelError, MatRef, Scratch};

const DEPTH: usize = 37;

fn is_refused_packing(result: &Result<(), KernelError>) -> bool {
    matches!(
        result,
        Err(KernelError::PackedFor { .. } | KernelError::PackedWords { .. })
    )
}

/// Sums of 2 rows of ones with `b`, packed for one instruction set and run on another.
fn integer_sums(packed_for: Isa, isa: Isa, side: Side) -> Result<Vec<i32>, KernelError> {
    let ctx = Context::default().with_isa(isa);
    let bytes: Vec<i8> = (0..DEPTH as i8).collect();
    let ones = [1u8; 2 * DEPTH];
    let mut out = vec![0; 2];
    let (weights, lhs, rhs);
    match side {
        Side::Rhs => {
            let b = Int8Matrix::I8(MatRef::row_major(&bytes, DEPTH, 1)?);
            weights = PackedInt8::new(packed_for, side, b, &[0])?;
            let ones = Int8Matrix::U8(MatRef::row_major(&ones, 2, DEPTH)?);
            (lhs, rhs) = (
                Int8Operand::Matrix(ones, &[0]),
                Int8Operand::Packed(&weights),
            );
        }
        Side::Lhs => {
            let a = Int8Matrix::I8(MatRef::row_major(&bytes, 1, DEPTH)?);
            weights = PackedInt8::new(packed_for, side, a, &[0])?;
            let ones = Int8Matrix::U8(MatRef::row_major(&ones, DEPTH, 2)?);
            (lhs, rhs) = (
                Int8Operand::Packed(&weights),
                Int8Operand::Matrix(ones, &[0]),
            );
        }
    }
    let product = Int8Gemm {
        lhs,
        rhs,
        bias: &[],
    };
    gemm_int8(&ctx, &mut Scratch::new(), &product, &RawOutput, &mut out)?;
    Ok(out)
}

#[test]
fn integers_packed_for_other_words_are_refused_and_never_summed_wrong() {
    let sum = (DEPTH * (DEPTH - 1) / 2) as i32;
    let mut refused = 0;
    for packed_for in Isa::available() {
        for isa in Isa::available() {
            for side in [Side::Lhs, Side::Rhs] {
                match integer_sums(packed_for, isa, side) {
                    Ok(sums) => assert_eq!(sums, [sum; 2], "{packed_for} on {isa}"),
                    Err(error) => {
                        assert_ne!(packed_for.name(), isa.name());
                        assert!(is_refused_packing(&Err(error.clone())), "{error}");
                        refused += 1;
                    }
                }
            }
        }
    }
    // The scalar path and those with vectors differ in one or the other.
    assert!(refused > 0 || Isa::available().len() == 1);
}

#[test]
fn convolutions_packed_for_other_tiles_are_refused_and_never_summed_wrong() {
    let mut params = ConvParams::default();
    params.layout = Layout::ChannelsLast;
    let shape = ConvShape::new(&params, 1, 3, &[2, 3], 4, &[2, 2]).unwrap();
    let (floats, bytes) = ([1f32; 48], [1i8; 48]);
    for packed_for in Isa::available() {
        let new = (4, 3, [2, 2]);
        let f32_weights = PackedConvF32::new(packed_for, &params, &floats, new.0, new.1, &new.2);
        let int8_weights = Int8Input::I8(&bytes);
        let int8_weights = PackedConvInt8::new(
            packed_for,
            &params,
            int8_weights,
            &[0],
            new.0,
            new.1,
            &new.2,
        );
        let (f32_weights, int8_weights) = (f32_weights.unwrap(), int8_weights.unwrap());
        for isa in Isa::available() {
            let ctx = Context::default().with_isa(isa);
            let (mut out, mut sums) = ([0f32; 8], [0i32; 8]);
            let scratch = &mut Scratch::new();
            let epilogue = ConvEpilogue::default();
            let done = conv(
                &ctx,
                scratch,
                &shape,
                &[1.0; 18],
                &f32_weights,
                &epilogue,
                &mut out,
            );
            assert!(done.is_ok() && out == [12.0; 8] || is_refused_packing(&done));
            let image = Int8Input::U8(&[1; 18]);
            let done = conv_int8(
                &ctx,
                scratch,
                &shape,
                image,
                0,
                &int8_weights,
                &[],
                &RawOutput,
                &mut sums,
            );
            assert!(done.is_ok() && sums == [12; 8] || is_refused_packing(&done));
            if packed_for.name() == isa.name() {
                assert!(done.is_ok());
            }
        }
    }
}

#[test]
fn filters_of_another_form_are_refused_though_they_have_as_many_weights() {
    let ctx = Context::default();
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let mut params = ConvParams::default();
        params.layout = layout;
        let packed = PackedConvF32::new(ctx.isa, &params, &[1.0; 6], 1, 2, &[1, 3]).unwrap();
        let bytes = Int8Input::I8(&[1; 6]);
        let bytes = PackedConvInt8::new(ctx.isa, &params, bytes, &[0], 1, 2, &[1, 3]).unwrap();
        for (channels, kernel) in [(2, [3, 1]), (6, [1, 1]), (1, [2, 3])] {
            let shape = ConvShape::new(&params, 1, channels, &[3, 3], 1, &kernel).unwrap();
            let (image, outputs) = (vec![1.0; 9 * channels], shape.output_len().unwrap());
            let (scratch, epilogue) = (&mut Scratch::new(), ConvEpilogue::default());
            let mut out = vec![0.0; outputs];
            let done = conv(&ctx, scratch, &shape, &image, &packed, &epilogue, &mut out);
            assert!(matches!(done, Err(KernelError::Extent { .. })), "{done:?}");
            let (image, mut out) = (vec![1u8; 9 * channels], vec![0i32; outputs]);
            let image = Int8Input::U8(&image);
            let done = conv_int8(
                &ctx,
                scratch,
                &shape,
                image,
                0,
                &bytes,
                &[],
                &RawOutput,
                &mut out,
            );
            assert!(matches!(done, Err(KernelError::Extent { .. })), "{done:?}");
        }
    }
}

#[test]
fn strides_of_zero_repeat_a_line() {
    for isa in Isa::available() {
        let ctx = Context::default().with_isa(isa);
        let data = [1f32, 0.0, 2.0, 0.0, 3.0];
        let ones = [1f32; 3];
        // Two times the row 1, 2, 3, and the column 1, 2, 3 twice.
        let rows = MatRef::strided(&data, 2, 3, 0, 2).unwrap();
        let cols = MatRef::strided(&data, 3, 2, 2, 0).unwrap();
        let column = MatRef::row_major(&ones, 3, 1).unwrap();
        let row = MatRef::row_major(&ones, 1, 3).unwrap();
        for (lhs, rhs) in [(rows, column), (row, cols)] {
            let mut out = [0.0; 2];
            let packed = PackedF32::new(isa, Side::Rhs, rhs).unwrap();
            for rhs in [FloatOperand::Matrix(rhs), FloatOperand::Packed(&packed)] {
                let (scratch, epilogue) = (&mut Scratch::new(), Epilogue::default());
                let lhs = FloatOperand::Matrix(lhs);
                gemm(&ctx, scratch, lhs, rhs, &epilogue, &mut out).unwrap();
                assert_eq!(out, [6.0; 2], "{isa}");
            }
        }
    }
}

#[test]
fn products_without_a_depth_are_zero_whatever_the_strides() {
    let ctx = Context::default();
    let empty = MatRef::strided(&[], 2, 0, 7, 1).unwrap();
    let other = MatRef::strided(&[], 0, 3, 1, usize::MAX).unwrap();
    let packed = PackedF32::new(ctx.isa, Side::Rhs, other).unwrap();
    for rhs in [FloatOperand::Matrix(other), FloatOperand::Packed(&packed)] {
        let mut out = [1.0; 6];
        let (scratch, epilogue) = (&mut Scratch::new(), Epilogue::default());
        gemm(
            &ctx,
            scratch,
            FloatOperand::Matrix(empty),
            rhs,
            &epilogue,
            &mut out,
        )
        .unwrap();
        assert_eq!(out, [0.0; 6]);
    }
}

#[test]
fn images_without_elements_may_be_large_along_other_axes() {
    let ctx = Context::default();
    let params = ConvParams::default();
    let weights = PackedConvF32::new(ctx.isa, &params, &[1.0], 1, 1, &[1, 1]).unwrap();
    let bytes = PackedConvInt8::new(ctx.isa, &params, Int8Input::I8(&[1]), &[0], 1, 1, &[1, 1]);
    let bytes = bytes.unwrap();
    for (batch, size) in [(1 << 40, [1 << 30, 0]), (0, [1 << 40, 1 << 40])] {
        let shape = ConvShape::new(&params, batch, 1, &size, 1, &[1, 1]).unwrap();
        let (scratch, epilogue) = (&mut Scratch::new(), ConvEpilogue::default());
        conv(&ctx, scratch, &shape, &[], &weights, &epilogue, &mut []).unwrap();
        let image = Int8Input::U8(&[]);
        let out: &mut [i32] = &mut [];
        conv_int8(
            &ctx,
            scratch,
            &shape,
            image,
            0,
            &bytes,
            &[],
            &RawOutput,
            out,
        )
        .unwrap();
    }
}

#[test]
fn sums_are_exact_for_zero_points_that_no_element_can_have() {
    for isa in Isa::available() {
        let ctx = Context::default().with_isa(isa);
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            let mut params = ConvParams::default();
            (params.layout, params.groups) = (layout, 2);
            let shape = ConvShape::new(&params, 1, 2, &[3, 3], 2, &[3, 3]).unwrap();
            for zero_point in [-129, 128, 100_000, i32::MAX] {
                let weights = Int8Input::I8(&[1; 18]);
                let packed =
                    PackedConvInt8::new(isa, &params, weights, &[zero_point], 2, 1, &[3, 3]);
                let (image, mut out) = (Int8Input::U8(&[255; 18]), [0i32; 2]);
                let (scratch, packed) = (&mut Scratch::new(), packed.unwrap());
                conv_int8(
                    &ctx,
                    scratch,
                    &shape,
                    image,
                    0,
                    &packed,
                    &[],
                    &RawOutput,
                    &mut out,
                )
                .unwrap();
                let expected = 1i32.wrapping_sub(zero_point).wrapping_mul(9 * 255);
                assert_eq!(out, [expected; 2], "{isa} {layout:?} {zero_point}");
            }
        }
    }
}

#[test]
fn padding_beyond_the_address_space_is_refused() {
    let pads = (&[usize::MAX][..], &[0][..]);
    let shape = PoolShape::new(1, (&[4], &[1]), &[1], &[], &[], pads);
    assert!(matches!(shape, Err(KernelError::Invalid { .. })));
}
