//! Files that hold one value: `TensorProto`, `SequenceProto`, `OptionalProto`, as ONNX's test
//! data has them.

use bytes::Bytes;
use compress_tensor::Tensor;

use super::error::{LoadError, SaveError, TensorDataError, TensorOwner};
use super::external::ExternalFiles;
use super::{read, write};
use crate::fact::Fact;
use crate::proto::{
    Message, OptionalProto, SequenceProto, TensorProto, optional_proto, sequence_proto,
};
use crate::value::Value;

/// Reads a `TensorProto`: the tensor and its name.
///
/// # Errors
/// [`LoadError::Decode`], [`LoadError::Tensor`].
pub fn read_tensor(bytes: Bytes) -> Result<(String, Tensor), LoadError> {
    let proto = TensorProto::decode(bytes)?;
    Ok((proto.name().to_owned(), tensor(proto)?))
}

/// Writes a tensor as a `TensorProto`.
///
/// # Errors
/// [`SaveError::ElementType`] for an element type that ONNX does not have.
pub fn write_tensor(name: &str, tensor: &Tensor) -> Result<Vec<u8>, SaveError> {
    Ok(write::tensor(name, tensor, TensorProto::default())?.encode_to_vec())
}

/// Reads a value of the kind that `declared` says: the bytes themselves do not say it.
///
/// # Errors
/// [`LoadError::Decode`], [`LoadError::Tensor`]; [`LoadError::ValueKind`] for maps and sparse
/// tensors.
pub fn read_value(bytes: Bytes, declared: &Fact) -> Result<Value, LoadError> {
    match declared {
        Fact::Tensor(_) | Fact::Unknown => Ok(tensor(TensorProto::decode(bytes)?)?.into()),
        Fact::Sequence(_) => sequence(SequenceProto::decode(bytes)?),
        Fact::Optional(_) => optional(OptionalProto::decode(bytes)?),
        Fact::Map(..) | Fact::SparseTensor(_) => Err(LoadError::ValueKind),
    }
}

fn tensor(mut proto: TensorProto) -> Result<Tensor, LoadError> {
    let name = proto.name.take().unwrap_or_default();
    let in_data = |source: TensorDataError| LoadError::Tensor {
        owner: TensorOwner::Data(name),
        source,
    };
    read::take_tensor(&mut proto, &mut ExternalFiles::default()).map_err(in_data)
}

fn sequence(proto: SequenceProto) -> Result<Value, LoadError> {
    use sequence_proto::DataType;
    let values: Result<Vec<Value>, LoadError> = match DataType::try_from(proto.elem_type()) {
        Ok(DataType::Tensor | DataType::Undefined) => proto
            .tensor_values
            .into_iter()
            .map(|proto| Ok(tensor(proto)?.into()))
            .collect(),
        Ok(DataType::Sequence) => proto.sequence_values.into_iter().map(sequence).collect(),
        Ok(DataType::Optional) => proto.optional_values.into_iter().map(optional).collect(),
        Ok(DataType::SparseTensor | DataType::Map) | Err(_) => Err(LoadError::ValueKind),
    };
    values.map(Value::Sequence)
}

fn optional(proto: OptionalProto) -> Result<Value, LoadError> {
    use optional_proto::DataType;
    let value = match DataType::try_from(proto.elem_type()) {
        Ok(DataType::Undefined) => None,
        Ok(DataType::Tensor) => proto
            .tensor_value
            .map(|proto| tensor(proto).map(Value::from))
            .transpose()?,
        Ok(DataType::Sequence) => proto.sequence_value.map(sequence).transpose()?,
        Ok(DataType::Optional) => proto
            .optional_value
            .map(|proto| optional(*proto))
            .transpose()?,
        Ok(DataType::SparseTensor | DataType::Map) | Err(_) => return Err(LoadError::ValueKind),
    };
    Ok(Value::Optional(value.map(Box::new)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_comes_back_as_it_was_written() {
        let tensor = Tensor::from_vec(&[2, 2], vec![1.5f32, -2.0, 0.0, 4.0]).expect("2 x 2");
        let bytes = write_tensor("x", &tensor).expect("f32 is an ONNX type");
        let (name, read) = read_tensor(bytes.into()).expect("just written");
        assert_eq!(
            (name.as_str(), read.shape(), read.bytes()),
            ("x", tensor.shape(), tensor.bytes())
        );
    }

    #[test]
    fn sequences_and_absent_optionals_are_read() {
        let element = |n: i64| TensorProto {
            data_type: Some(7),
            int64_data: vec![n],
            ..Default::default()
        };
        let proto = SequenceProto {
            elem_type: Some(sequence_proto::DataType::Tensor as i32),
            tensor_values: vec![element(3), element(4)],
            ..Default::default()
        };
        let declared = Fact::Sequence(Box::new(Fact::Unknown));
        let value = read_value(proto.encode_to_vec().into(), &declared).expect("a sequence");
        let Value::Sequence(values) = value else {
            panic!("{value:?} is no sequence")
        };
        let numbers: Vec<i64> = values
            .iter()
            .filter_map(|value| value.as_tensor()?.data::<i64>().ok().map(|data| data[0]))
            .collect();
        assert_eq!(numbers, [3, 4]);

        let absent = read_value(Bytes::new(), &Fact::Optional(Box::new(Fact::Unknown)));
        assert!(matches!(absent, Ok(Value::Optional(None))));
    }
}
