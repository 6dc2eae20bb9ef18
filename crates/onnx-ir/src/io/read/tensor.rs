//! `TensorProto` → [`Tensor`].
//!
//! Data comes in one of three forms: raw little-endian bytes, which are shared without a copy;
//! a typed list of numbers, in which narrow types take one 32-bit integer each (packed types:
//! one per byte); or external data.

use bytes::Bytes;
use compress_tensor::{DType, Tensor, TensorError, element_count};

use super::is_something;
use crate::io::element_type::dtype_of_code;
use crate::io::error::TensorDataError;
use crate::io::external::ExternalFiles;
use crate::proto::TensorProto;
use crate::proto::tensor_proto::DataLocation;

/// Takes the tensor out of `proto`; name, documentation and metadata stay in it.
pub(in crate::io) fn take_tensor(
    proto: &mut TensorProto,
    files: &mut ExternalFiles,
) -> Result<Tensor, TensorDataError> {
    let code = proto.data_type.take().unwrap_or_default();
    let dtype = dtype_of_code(code).ok_or(TensorDataError::ElementType { code })?;
    let shape = sizes(&std::mem::take(&mut proto.dims))?;
    if proto.segment.is_some() {
        return Err(TensorDataError::Segmented);
    }
    let location = proto.data_location.take();
    if location == Some(DataLocation::External as i32) {
        let entries = std::mem::take(&mut proto.external_data);
        let bytes = files.read(&entries, byte_len(dtype, &shape)?)?;
        return Ok(Tensor::from_bytes(dtype, &shape, bytes)?);
    }
    if let [first, second, ..] = data_fields(proto)[..] {
        return Err(TensorDataError::TwoDataFields { first, second });
    }
    let has_typed_data = data_fields(proto).iter().any(|&name| name != RAW_DATA);
    match proto.raw_data.take() {
        Some(_) if dtype == DType::String => Err(TensorDataError::StringsAsBytes),
        Some(_) if has_typed_data => typed(dtype, &shape, proto),
        Some(raw) => Ok(Tensor::from_bytes(dtype, &shape, raw)?),
        None => typed(dtype, &shape, proto),
    }
}

/// What a tensor does not model of the message out of which it was taken, where there is anything.
pub(super) fn rest_of_tensor(proto: TensorProto) -> Option<TensorProto> {
    is_something(TensorProto {
        name: proto.name,
        doc_string: proto.doc_string,
        metadata_props: proto.metadata_props,
        unknown: proto.unknown,
        ..Default::default()
    })
}

/// Dimensions as sizes.
pub(super) fn sizes(dims: &[i64]) -> Result<Vec<usize>, TensorDataError> {
    let sizes: Result<_, _> = dims.iter().map(|&dim| usize::try_from(dim)).collect();
    sizes.map_err(|_| TensorDataError::NegativeDimension {
        dims: dims.to_vec(),
    })
}

fn byte_len(dtype: DType, shape: &[usize]) -> Result<usize, TensorDataError> {
    if dtype == DType::String {
        return Err(TensorDataError::StringsAsBytes);
    }
    let len = element_count(shape).and_then(|count| dtype.byte_len(count));
    let too_large = TensorError::TooLarge {
        shape: shape.to_vec(),
        dtype,
    };
    len.ok_or(TensorDataError::Shape(too_large))
}

const RAW_DATA: &str = "raw_data";

/// The fields that hold data, by name.
fn data_fields(proto: &TensorProto) -> Vec<&'static str> {
    let raw = proto.raw_data.as_ref().is_some_and(|raw| !raw.is_empty());
    let fields = [
        (RAW_DATA, raw),
        ("float_data", !proto.float_data.is_empty()),
        ("int32_data", !proto.int32_data.is_empty()),
        ("int64_data", !proto.int64_data.is_empty()),
        ("double_data", !proto.double_data.is_empty()),
        ("uint64_data", !proto.uint64_data.is_empty()),
        ("string_data", !proto.string_data.is_empty()),
    ];
    let filled = fields.into_iter().filter(|(_, is_filled)| *is_filled);
    filled.map(|(name, _)| name).collect()
}

/// A tensor from the typed list that its element type uses.
fn typed(
    dtype: DType,
    shape: &[usize],
    proto: &mut TensorProto,
) -> Result<Tensor, TensorDataError> {
    use std::mem::take;
    Ok(match dtype {
        DType::F32 => Tensor::from_vec(shape, take(&mut proto.float_data))?,
        DType::F64 => Tensor::from_vec(shape, take(&mut proto.double_data))?,
        DType::I32 => Tensor::from_vec(shape, take(&mut proto.int32_data))?,
        DType::I64 => Tensor::from_vec(shape, take(&mut proto.int64_data))?,
        DType::U64 => Tensor::from_vec(shape, take(&mut proto.uint64_data))?,
        DType::U32 => {
            let wide = take(&mut proto.uint64_data);
            Tensor::from_vec(shape, narrow::<u64, u32>(dtype, &wide)?)?
        }
        DType::C64 => {
            let parts = take(&mut proto.float_data);
            Tensor::from_bytes(
                dtype,
                shape,
                parts.iter().flat_map(|x| x.to_le_bytes()).collect(),
            )?
        }
        DType::C128 => {
            let parts = take(&mut proto.double_data);
            Tensor::from_bytes(
                dtype,
                shape,
                parts.iter().flat_map(|x| x.to_le_bytes()).collect(),
            )?
        }
        DType::String => Tensor::from_strings(shape, strings(&take(&mut proto.string_data))?)?,
        _ => from_int32(dtype, shape, &take(&mut proto.int32_data))?,
    })
}

/// The types that are narrower than 32 bits: their bits stand in `int32_data`.
fn from_int32(dtype: DType, shape: &[usize], data: &[i32]) -> Result<Tensor, TensorDataError> {
    Ok(match dtype {
        DType::I8 => Tensor::from_vec(shape, narrow::<i32, i8>(dtype, data)?)?,
        DType::I16 => Tensor::from_vec(shape, narrow::<i32, i16>(dtype, data)?)?,
        DType::U8 => Tensor::from_vec(shape, narrow::<i32, u8>(dtype, data)?)?,
        DType::U16 => Tensor::from_vec(shape, narrow::<i32, u16>(dtype, data)?)?,
        DType::F16 | DType::BF16 => {
            let bits = narrow::<i32, u16>(dtype, data)?;
            Tensor::from_bytes(
                dtype,
                shape,
                bits.iter().flat_map(|b| b.to_le_bytes()).collect(),
            )?
        }
        DType::Bool => {
            let bytes: Vec<u8> = data.iter().map(|&value| u8::from(value != 0)).collect();
            Tensor::from_bytes(dtype, shape, Bytes::from(bytes))?
        }
        DType::I4 | DType::I2 => {
            // A packed byte may have been widened with its sign.
            let bytes: Vec<u8> = data.iter().map(|&value| value.to_le_bytes()[0]).collect();
            Tensor::from_bytes(dtype, shape, Bytes::from(bytes))?
        }
        _ => Tensor::from_bytes(dtype, shape, Bytes::from(narrow::<i32, u8>(dtype, data)?))?,
    })
}

fn narrow<W, N>(dtype: DType, wide: &[W]) -> Result<Vec<N>, TensorDataError>
where
    W: Copy,
    N: TryFrom<W>,
    i128: From<W>,
{
    let element = |(index, &value): (usize, &W)| {
        N::try_from(value).map_err(|_| {
            let value = i128::from(value).clamp(i64::MIN.into(), i64::MAX.into());
            TensorDataError::OutOfRange {
                index,
                value: value as i64,
                dtype,
            }
        })
    };
    wide.iter().enumerate().map(element).collect()
}

fn strings(data: &[Bytes]) -> Result<Vec<String>, TensorDataError> {
    let string = |(index, bytes): (usize, &Bytes)| {
        let text = std::str::from_utf8(bytes).map_err(|_| TensorDataError::NotUtf8 { index })?;
        Ok(text.to_owned())
    };
    data.iter().enumerate().map(string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tensor_proto::DataType;

    fn proto(data_type: DataType, dims: &[i64]) -> TensorProto {
        TensorProto {
            data_type: Some(data_type as i32),
            dims: dims.to_vec(),
            ..Default::default()
        }
    }

    fn read(mut proto: TensorProto) -> Result<Tensor, TensorDataError> {
        take_tensor(&mut proto, &mut ExternalFiles::default())
    }

    #[test]
    fn typed_lists_give_the_same_tensor_as_raw_bytes() {
        let cases = [
            (
                proto(DataType::Int8, &[3]),
                vec![-1, 2, -128],
                vec![0xff, 2, 0x80],
            ),
            (
                proto(DataType::Uint16, &[2]),
                vec![1, 65535],
                vec![1, 0, 0xff, 0xff],
            ),
            (proto(DataType::Float16, &[1]), vec![0x3c00], vec![0, 0x3c]),
            (proto(DataType::Bool, &[2]), vec![0, 1], vec![0, 1]),
            (
                proto(DataType::Uint4, &[3]),
                vec![0x21, 0x03],
                vec![0x21, 0x03],
            ),
            (proto(DataType::Int4, &[2]), vec![-17], vec![0xef]),
            (proto(DataType::Float8e4m3fn, &[1]), vec![0x7e], vec![0x7e]),
        ];
        for (proto, ints, bytes) in cases {
            let typed = read(TensorProto {
                int32_data: ints,
                ..proto.clone()
            })
            .expect("typed");
            let raw = read(TensorProto {
                raw_data: Some(bytes.into()),
                ..proto
            })
            .expect("raw");
            assert_eq!((typed.dtype(), typed.shape()), (raw.dtype(), raw.shape()));
            assert_eq!(typed.bytes(), raw.bytes(), "{:?}", typed.dtype());
        }
        let complex = TensorProto {
            float_data: vec![1.0, -2.0],
            ..proto(DataType::Complex64, &[1])
        };
        assert_eq!(
            read(complex).expect("one complex number").bytes(),
            [0, 0, 128, 63, 0, 0, 0, 192]
        );
    }

    #[test]
    fn a_length_that_does_not_fit_the_shape_is_an_error_with_both_numbers() {
        let short = TensorProto {
            raw_data: Some(vec![0; 60].into()),
            ..proto(DataType::Float, &[4, 4])
        };
        let error = read(short).expect_err("60 of 64 bytes");
        assert_eq!(
            error.to_string(),
            "shape [4, 4] of f32 takes 64 bytes, found 60"
        );
        let none = proto(DataType::Float, &[4, 4]);
        let error = read(none).expect_err("no data at all");
        assert_eq!(
            error.to_string(),
            "shape [4, 4] of f32 takes 16 elements, found 0"
        );
        assert_eq!(
            read(proto(DataType::Float, &[0, 4]))
                .expect("an empty tensor")
                .len(),
            0
        );
    }

    #[test]
    fn hostile_shapes_are_errors() {
        let error = read(proto(DataType::Float, &[-4, -4])).expect_err("negative");
        assert!(matches!(error, TensorDataError::NegativeDimension { .. }));
        for dims in [[1 << 33, 1 << 33], [(1 << 62) + 4, 4], [4, 1 << 60]] {
            let raw = TensorProto {
                raw_data: Some(vec![0; 64].into()),
                ..proto(DataType::Float, &dims)
            };
            let error = read(raw).expect_err("too large");
            assert!(matches!(error, TensorDataError::Shape(_)), "{error}");
        }
    }

    #[test]
    fn unknown_types_and_values_out_of_range_are_errors() {
        let unknown = TensorProto {
            data_type: Some(99),
            ..Default::default()
        };
        assert!(matches!(
            read(unknown),
            Err(TensorDataError::ElementType { code: 99 })
        ));
        let wide = TensorProto {
            int32_data: vec![1, 300],
            ..proto(DataType::Uint8, &[2])
        };
        let error = read(wide).expect_err("300 is no u8");
        assert_eq!(error.to_string(), "element 1 is 300, which is no u8");
        let bytes = TensorProto {
            string_data: vec![Bytes::from_static(&[0xff])],
            ..proto(DataType::String, &[1])
        };
        assert!(matches!(
            read(bytes),
            Err(TensorDataError::NotUtf8 { index: 0 })
        ));
    }
}
