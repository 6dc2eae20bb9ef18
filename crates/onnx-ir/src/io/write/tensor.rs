//! [`Tensor`] → `TensorProto`: strings as a list, everything else as raw data.

use bytes::Bytes;
use compress_tensor::{DType, Tensor};

use super::text;
use crate::graph::SparseTensor;
use crate::io::element_type::code_of_dtype;
use crate::io::error::SaveError;
use crate::proto::{SparseTensorProto, TensorProto};

/// The message with the data in it; a memory-mapped tensor's data is shared.
pub(in crate::io) fn tensor(
    name: &str,
    tensor: &Tensor,
    kept: TensorProto,
) -> Result<TensorProto, SaveError> {
    let mut proto = header(name, tensor, kept)?;
    if tensor.dtype() != DType::String {
        proto.raw_data = Some(tensor.to_bytes());
    }
    Ok(proto)
}

/// The message without its data, strings excepted; `kept` is what a tensor does not model.
pub(super) fn header(
    name: &str,
    tensor: &Tensor,
    kept: TensorProto,
) -> Result<TensorProto, SaveError> {
    let dtype = tensor.dtype();
    let code = code_of_dtype(dtype);
    let code = code.ok_or_else(|| SaveError::ElementType {
        tensor: name.to_owned(),
        dtype,
    })?;
    // A dimension is at most isize::MAX: a tensor's bytes fit in memory, or it has none.
    let dims = tensor
        .shape()
        .iter()
        .map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX));
    let strings = tensor.strings().unwrap_or_default();
    Ok(TensorProto {
        name: text(name).or(kept.name),
        dims: dims.collect(),
        data_type: Some(code),
        string_data: strings
            .iter()
            .map(|s| Bytes::copy_from_slice(s.as_bytes()))
            .collect(),
        ..kept
    })
}

/// The message of a sparse tensor; `kept` is what it does not model.
pub(super) fn sparse_tensor(
    sparse: &SparseTensor,
    kept: Option<SparseTensorProto>,
) -> Result<SparseTensorProto, SaveError> {
    let kept = kept.unwrap_or_default();
    let dims = sparse
        .dims
        .iter()
        .map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX));
    Ok(SparseTensorProto {
        values: Some(tensor(
            &sparse.name,
            &sparse.values,
            kept.values.unwrap_or_default(),
        )?),
        indices: Some(tensor(
            "",
            &sparse.indices,
            kept.indices.unwrap_or_default(),
        )?),
        dims: dims.collect(),
        unknown: kept.unknown,
    })
}
