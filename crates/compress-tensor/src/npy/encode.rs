//! From a tensor to the bytes of a `.npy` file.

use super::header::NpyFormatError;
use crate::{DType, Tensor};
use std::io::{self, Write};

/// Writes a tensor in `.npy` format, version 1, in C order and little endian.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] with [`NpyFormatError::NoNumpyType`] inside for the types that
/// NumPy does not have; those of `writer`.
pub fn write_to(writer: &mut impl Write, tensor: &Tensor) -> io::Result<()> {
    let descr =
        descr(tensor).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    write_with(writer, &descr, tensor)
}

/// NumPy's name of the tensor's element type.
pub(super) fn descr(tensor: &Tensor) -> Result<String, NpyFormatError> {
    let name = match tensor.dtype() {
        DType::Bool => "|b1",
        DType::I8 => "|i1",
        DType::U8 => "|u1",
        DType::I16 => "<i2",
        DType::U16 => "<u2",
        DType::I32 => "<i4",
        DType::U32 => "<u4",
        DType::I64 => "<i8",
        DType::U64 => "<u8",
        DType::F16 => "<f2",
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::C64 => "<c8",
        DType::C128 => "<c16",
        DType::String => return Ok(format!("<U{}", longest(tensor.strings()?))),
        dtype => return Err(NpyFormatError::NoNumpyType { dtype }),
    };
    Ok(name.to_owned())
}

/// Code points of the longest string, and at least one, as NumPy does.
fn longest(strings: &[String]) -> usize {
    let lengths = strings.iter().map(|s| s.chars().count());
    lengths.max().unwrap_or(0).max(1)
}

pub(super) fn write_with(writer: &mut impl Write, descr: &str, tensor: &Tensor) -> io::Result<()> {
    write_header(writer, descr, tensor.shape())?;
    match tensor.strings() {
        Ok(strings) => write_strings(writer, strings),
        Err(_) => writer.write_all(tensor.bytes()),
    }
}

/// Everything before the elements.
pub(super) fn write_header(
    writer: &mut impl Write,
    descr: &str,
    lengths: &[usize],
) -> io::Result<()> {
    let mut shape = String::new();
    for length in lengths {
        shape.push_str(&format!("{length}, "));
    }
    // `(3, )` and `(3, 4, )` are tuples of Python as well as `(3,)` and `(3, 4)`.
    let dictionary =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    // Magic, version and length take 10 bytes; the data is to begin at a multiple of 64.
    let length = (dictionary.len() + 1 + 10).next_multiple_of(64) - 10;
    let length16 = u16::try_from(length)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the shape is too long"))?;
    writer.write_all(b"\x93NUMPY\x01\x00")?;
    writer.write_all(&length16.to_le_bytes())?;
    writeln!(writer, "{dictionary:<width$}", width = length - 1)
}

fn write_strings(writer: &mut impl Write, strings: &[String]) -> io::Result<()> {
    let width = longest(strings);
    let mut item = Vec::with_capacity(width * 4);
    for string in strings {
        item.clear();
        item.extend(string.chars().flat_map(|c| u32::from(c).to_le_bytes()));
        item.resize(width * 4, 0);
        writer.write_all(&item)?;
    }
    Ok(())
}
