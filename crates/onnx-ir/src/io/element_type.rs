//! ONNX's element type codes (`TensorProto.DataType`) and names, and the [`DType`] of each.

use compress_tensor::DType;

use crate::proto::tensor_proto::DataType;

/// Every element type: its code, its name within type strings such as `tensor(float)`.
const TABLE: &[(DataType, DType, &str)] = &[
    (DataType::Float, DType::F32, "float"),
    (DataType::Uint8, DType::U8, "uint8"),
    (DataType::Int8, DType::I8, "int8"),
    (DataType::Uint16, DType::U16, "uint16"),
    (DataType::Int16, DType::I16, "int16"),
    (DataType::Int32, DType::I32, "int32"),
    (DataType::Int64, DType::I64, "int64"),
    (DataType::String, DType::String, "string"),
    (DataType::Bool, DType::Bool, "bool"),
    (DataType::Float16, DType::F16, "float16"),
    (DataType::Double, DType::F64, "double"),
    (DataType::Uint32, DType::U32, "uint32"),
    (DataType::Uint64, DType::U64, "uint64"),
    (DataType::Complex64, DType::C64, "complex64"),
    (DataType::Complex128, DType::C128, "complex128"),
    (DataType::Bfloat16, DType::BF16, "bfloat16"),
    (DataType::Float8e4m3fn, DType::F8E4M3FN, "float8e4m3fn"),
    (
        DataType::Float8e4m3fnuz,
        DType::F8E4M3FNUZ,
        "float8e4m3fnuz",
    ),
    (DataType::Float8e5m2, DType::F8E5M2, "float8e5m2"),
    (
        DataType::Float8e5m2fnuz,
        DType::F8E5M2FNUZ,
        "float8e5m2fnuz",
    ),
    (DataType::Uint4, DType::U4, "uint4"),
    (DataType::Int4, DType::I4, "int4"),
    (DataType::Float4e2m1, DType::F4E2M1, "float4e2m1"),
    (DataType::Float8e8m0, DType::F8E8M0, "float8e8m0"),
    (DataType::Uint2, DType::U2, "uint2"),
    (DataType::Int2, DType::I2, "int2"),
];

/// The element type of a `TensorProto.DataType` code; `None` for an undefined or unknown one.
pub fn dtype_of_code(code: i32) -> Option<DType> {
    TABLE
        .iter()
        .find(|(data_type, ..)| *data_type as i32 == code)
        .map(|&(_, dtype, _)| dtype)
}

/// The `TensorProto.DataType` code of an element type; `None` for one that ONNX does not have.
pub fn code_of_dtype(dtype: DType) -> Option<i32> {
    row(dtype).map(|&(data_type, ..)| data_type as i32)
}

/// ONNX's name of an element type, as in `tensor(float)`; `None` for one that ONNX does not have.
pub fn name_of_dtype(dtype: DType) -> Option<&'static str> {
    row(dtype).map(|&(.., name)| name)
}

fn row(dtype: DType) -> Option<&'static (DataType, DType, &'static str)> {
    TABLE.iter().find(|(_, known, _)| *known == dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_types_are_one_to_one() {
        for code in 0..64 {
            if let Some(dtype) = dtype_of_code(code) {
                assert_eq!(code_of_dtype(dtype), Some(code));
            }
        }
        assert_eq!(dtype_of_code(1), Some(DType::F32));
        assert_eq!(dtype_of_code(26), Some(DType::I2));
        assert_eq!(dtype_of_code(0), None);
        assert_eq!(dtype_of_code(99), None);
        assert_eq!(name_of_dtype(DType::F64), Some("double"));
    }
}
