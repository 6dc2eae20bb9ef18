use super::*;
use half::f16;
use ndarray::arr2;
use proptest::prelude::*;

/// Bytes whose first byte is at an odd address plus `offset`.
fn misaligned(content: &[u8]) -> Bytes {
    let mut padded = vec![0u8; content.len() + 8];
    let start = if (padded.as_ptr() as usize).is_multiple_of(2) {
        1
    } else {
        0
    };
    padded[start..start + content.len()].copy_from_slice(content);
    Bytes::from(padded).slice(start..start + content.len())
}

#[test]
fn a_view_borrows_the_data_of_the_tensor() {
    let x = Tensor::from_vec(&[2, 2], vec![1.0f32, 2.0, 3.0, 4.0]).unwrap();
    let view = x.view::<f32>().unwrap();
    assert_eq!(view, arr2(&[[1.0, 2.0], [3.0, 4.0]]).into_dyn());
    assert_eq!(view.as_ptr().cast::<u8>(), x.bytes().as_ptr());
}

#[test]
fn an_array_goes_in_and_out_without_a_copy() {
    let array = arr2(&[[1i32, 2], [3, 4]]);
    let data = array.as_ptr();
    let x = Tensor::from_array(array);
    assert_eq!(x.bytes().as_ptr(), data.cast::<u8>());
    let back = x.into_array::<i32>().unwrap();
    assert_eq!(back.as_ptr(), data);
}

#[test]
fn an_array_that_is_not_in_c_order_is_put_into_it() {
    let x = Tensor::from_array(arr2(&[[1u8, 2], [3, 4]]).reversed_axes());
    assert_eq!(x.as_slice::<u8>().unwrap(), [1, 3, 2, 4]);
    let tail = arr2(&[[1u8, 2], [3, 4]]).slice_move(ndarray::s![1.., ..]);
    let x = Tensor::from_array(tail);
    assert_eq!(
        (x.shape(), x.as_slice::<u8>().unwrap()),
        (&[1, 2][..], &[3, 4][..])
    );
}

#[test]
fn writing_to_a_clone_leaves_the_original_alone() {
    let x = Tensor::vector(vec![1i64, 2]);
    let mut y = x.clone();
    assert_eq!(x.bytes().as_ptr(), y.bytes().as_ptr());
    y.data_mut::<i64>().unwrap()[0] = 9;
    assert_eq!(x.as_slice::<i64>().unwrap(), [1, 2]);
    assert_eq!(y.as_slice::<i64>().unwrap(), [9, 2]);
}

#[test]
fn writing_to_an_unshared_tensor_copies_nothing() {
    let mut x = Tensor::vector(vec![1i64, 2]);
    let before = x.bytes().as_ptr();
    x.data_mut::<i64>().unwrap()[0] = 9;
    assert_eq!(x.bytes().as_ptr(), before);
}

#[test]
fn bytes_share_the_vector_and_keep_it_from_being_written() {
    let mut x = Tensor::vector(vec![1u16, 2]);
    let bytes = x.to_bytes();
    assert_eq!(bytes.as_ptr(), x.bytes().as_ptr());
    x.data_mut::<u16>().unwrap()[0] = 9;
    assert_eq!(bytes.as_ref(), [1, 0, 2, 0]);
    assert_eq!(x.as_slice::<u16>().unwrap(), [9, 2]);
}

#[test]
fn misaligned_data_is_read_by_copy_but_never_borrowed_as_a_slice() {
    let bytes = misaligned(&[0, 0, 128, 63, 0, 0, 0, 64]);
    let x = Tensor::from_bytes(DType::F32, &[2], bytes).unwrap();
    assert_eq!(x.data::<f32>().unwrap()[..], [1.0, 2.0]);
    assert_eq!(
        x.as_slice::<f32>(),
        Err(TensorError::Misaligned { dtype: DType::F32 })
    );
    assert_eq!(x.to_aligned().as_slice::<f32>().unwrap(), [1.0, 2.0]);
    let mut written = x.clone();
    written.data_mut::<f32>().unwrap()[1] = 5.0;
    assert_eq!(written.into_vec::<f32>().unwrap(), [1.0, 5.0]);
    assert_eq!(x.into_vec::<f32>().unwrap(), [1.0, 2.0]);
}

#[test]
fn aligning_aligned_data_shares_it() {
    let x = Tensor::vector(vec![f16::ONE]);
    assert_eq!(x.to_aligned().bytes().as_ptr(), x.bytes().as_ptr());
}

#[test]
fn a_byte_other_than_0_and_1_is_true() {
    let x = Tensor::from_bytes(DType::Bool, &[3], Bytes::from_static(&[0, 1, 7])).unwrap();
    assert_eq!(x.data::<bool>().unwrap()[..], [false, true, true]);
    assert_eq!(
        x.to_aligned().as_slice::<bool>().unwrap(),
        [false, true, true]
    );
}

#[test]
fn a_shape_whose_size_overflows_is_refused_before_anything_is_allocated() {
    let shape = [1 << 40, 1 << 40];
    let too_large = |dtype| TensorError::TooLarge {
        shape: shape.to_vec(),
        dtype,
    };
    assert_eq!(
        Tensor::full(&shape, 0.0f32).unwrap_err(),
        too_large(DType::F32)
    );
    assert_eq!(
        Tensor::from_bytes(DType::U2, &shape, Bytes::new()).unwrap_err(),
        too_large(DType::U2)
    );
    assert_eq!(
        Tensor::from_strings(&shape, Vec::new()).unwrap_err(),
        too_large(DType::String)
    );
    // The count fits, its bytes do not.
    assert!(Tensor::full(&[1 << 61], 0u64).is_err());
    assert_eq!(element_count(&[1 << 40, 1 << 40, 0]), Some(0));
}

#[test]
fn data_of_the_wrong_length_is_refused_with_both_lengths() {
    let error = Tensor::from_vec(&[2, 3], vec![1.0f32; 5]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "shape [2, 3] of f32 takes 6 elements, found 5"
    );
    let error = Tensor::from_bytes(DType::I4, &[3], Bytes::from_static(&[0])).unwrap_err();
    assert_eq!(error.to_string(), "shape [3] of i4 takes 2 bytes, found 1");
    assert!(Tensor::vector(vec![1u8; 6]).reshape(&[4]).is_err());
}

#[test]
fn data_of_another_type_is_refused() {
    let x = Tensor::vector(vec![1u8]);
    let wrong = TensorError::WrongDType {
        expected: DType::I8,
        found: DType::U8,
    };
    assert_eq!(x.as_slice::<i8>(), Err(wrong.clone()));
    assert_eq!(x.clone().into_vec::<i8>(), Err(wrong.clone()));
    assert_eq!(x.clone().data_mut::<i8>(), Err(wrong));
    assert!(x.strings().is_err());
}

#[test]
fn reshaping_shares_the_data() {
    let x = Tensor::vector(vec![1u8, 2, 3, 4]);
    let y = x.reshape(&[2, 2]).unwrap();
    assert_eq!(y.shape(), [2, 2]);
    assert_eq!(y.bytes().as_ptr(), x.bytes().as_ptr());
}

#[test]
fn a_scalar_has_rank_zero_and_one_element() {
    let x = Tensor::scalar(3.0f64);
    assert_eq!((x.rank(), x.len(), x.byte_len()), (0, 1, 8));
    assert_eq!(x.view::<f64>().unwrap().sum(), 3.0);
}

#[test]
fn an_empty_tensor_has_empty_views() {
    let x = Tensor::from_bytes(DType::F64, &[0, 4], Bytes::new()).unwrap();
    assert!(x.is_empty());
    assert_eq!(x.as_slice::<f64>().unwrap(), [0.0; 0]);
    assert_eq!(x.view::<f64>().unwrap().shape(), [0, 4]);
}

proptest! {
    #[test]
    fn bytes_and_elements_are_the_same_data(values in prop::collection::vec(any::<u32>(), 0..20)) {
        let x = Tensor::vector(values.clone());
        let y = Tensor::from_bytes(DType::U32, &[values.len()], x.to_bytes()).unwrap();
        prop_assert_eq!(y.into_vec::<u32>().unwrap(), values);
    }
}

#[test]
fn a_tensor_is_reused_for_another_shape_in_place() {
    let x = Tensor::vector(vec![1.0f32; 12]);
    let (address, capacity) = (x.bytes().as_ptr(), x.capacity());
    let y = x.reuse::<f32>(&[2, 5]).unwrap();
    assert_eq!((y.shape(), y.len()), (&[2, 5][..], 10));
    assert_eq!((y.bytes().as_ptr(), y.capacity()), (address, capacity));
    let y = y.reuse::<f32>(&[12]).unwrap();
    assert_eq!((y.bytes().as_ptr(), y.byte_len()), (address, 48));
    // Others that read the data keep it, and another type has memory of its own.
    let shared = y.clone();
    let z = y.reuse::<f32>(&[12]).unwrap();
    assert_ne!(z.bytes().as_ptr(), address);
    assert_eq!(shared.as_slice::<f32>().unwrap()[..10], [1.0; 10]);
    let bytes = z.reuse::<u8>(&[3]).unwrap();
    assert_eq!((bytes.dtype(), bytes.len()), (DType::U8, 3));
    assert!(bytes.reuse::<u8>(&[usize::MAX, 2]).is_err());
}
