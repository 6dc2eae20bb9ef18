//! From the bytes of the data to a tensor.

use super::header::{Header, Item, NpyFormatError};
use crate::{DType, Tensor, element_count};
use bytes::Bytes;
use std::ops::Range;

/// The whole array.
pub(super) fn all(header: &Header, data: &Bytes) -> Result<Tensor, NpyFormatError> {
    let shape = &header.shape;
    if header.fortran_order && shape.len() > 1 {
        return finish(header, shape, gather(header, data, 0..shape[0]));
    }
    finish(header, shape, data.clone())
}

/// The rows in `range` of axis 0.
pub(super) fn rows(
    header: &Header,
    data: &Bytes,
    range: Range<usize>,
) -> Result<Tensor, NpyFormatError> {
    let no_such_rows = || NpyFormatError::NoSuchRows {
        start: range.start,
        end: range.end,
        shape: header.shape.clone(),
    };
    let row_count = header.shape.first().copied().ok_or_else(no_such_rows)?;
    if range.start > range.end || range.end > row_count {
        return Err(no_such_rows());
    }
    let mut shape = header.shape.clone();
    shape[0] = range.len();
    let bytes = if header.fortran_order && shape.len() > 1 {
        gather(header, data, range)
    } else {
        let row_bytes = data.len().checked_div(row_count).unwrap_or(0);
        data.slice(range.start * row_bytes..range.end * row_bytes)
    };
    finish(header, &shape, bytes)
}

/// The rows of a Fortran-order array, put into C order.
fn gather(header: &Header, data: &Bytes, rows: Range<usize>) -> Bytes {
    let item = header.item_bytes();
    let shape = &header.shape;
    // In bytes: the first axis is the densest.
    let mut strides = vec![item; shape.len()];
    for axis in 1..shape.len() {
        strides[axis] = strides[axis - 1].saturating_mul(shape[axis - 1]);
    }
    let mut gathered = shape.clone();
    gathered[0] = rows.len();
    let count = element_count(&gathered).unwrap_or(0);
    let mut out = Vec::with_capacity(count * item);
    let mut index = vec![0usize; shape.len()];
    let mut offset = rows.start * item;
    for _ in 0..count {
        out.extend_from_slice(&data[offset..offset + item]);
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            offset += strides[axis];
            if index[axis] < gathered[axis] {
                break;
            }
            offset -= strides[axis] * gathered[axis];
            index[axis] = 0;
        }
    }
    Bytes::from(out)
}

/// A tensor from bytes in C order.
fn finish(header: &Header, shape: &[usize], bytes: Bytes) -> Result<Tensor, NpyFormatError> {
    let strings = |read: fn(&[u8], bool) -> Option<String>| {
        let item = header.item_bytes().max(1);
        let strings = bytes.chunks_exact(item).enumerate();
        strings
            .map(|(index, chunk)| {
                read(chunk, header.big_endian).ok_or(NpyFormatError::BadString { index })
            })
            .collect::<Result<Vec<_>, _>>()
    };
    match header.item {
        Item::Number(dtype) => {
            let bytes = if header.big_endian {
                swap_bytes(dtype, &bytes)
            } else {
                bytes
            };
            Ok(Tensor::from_bytes(dtype, shape, bytes)?)
        }
        Item::ByteString(_) => Ok(Tensor::from_strings(shape, strings(read_bytes)?)?),
        Item::UnicodeString(_) => Ok(Tensor::from_strings(shape, strings(read_unicode)?)?),
    }
}

fn swap_bytes(dtype: DType, bytes: &[u8]) -> Bytes {
    let item = dtype.byte_len(1).unwrap_or(1);
    // A complex number is two real ones, each swapped in itself.
    let real = match dtype {
        DType::C64 | DType::C128 => item / 2,
        _ => item,
    };
    let mut swapped = bytes.to_vec();
    swapped.chunks_exact_mut(real).for_each(<[u8]>::reverse);
    Bytes::from(swapped)
}

fn read_bytes(chunk: &[u8], _big_endian: bool) -> Option<String> {
    let length = chunk
        .iter()
        .rposition(|&b| b != 0)
        .map_or(0, |last| last + 1);
    String::from_utf8(chunk[..length].to_vec()).ok()
}

fn read_unicode(chunk: &[u8], big_endian: bool) -> Option<String> {
    let points = chunk.as_chunks::<4>().0.iter().map(|&bytes| {
        if big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    });
    let mut text = points.map(char::from_u32).collect::<Option<String>>()?;
    text.truncate(text.trim_end_matches('\0').len());
    Some(text)
}
