//! NumPy's `.npy` files: one array each
//! (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).
//!
//! Versions 1, 2 and 3 are read. Arrays in C order and little endian are not copied but become
//! windows into the memory map; Fortran order and big endian are converted. Strings (`U`, `S`) are
//! read and written. Python objects and structured types are refused: reading never runs code.

mod decode;
mod encode;
mod header;
mod rows;

use crate::{Tensor, map_file, write_atomically};
use bytes::Bytes;
use header::Header;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use encode::write_to;
pub use header::NpyFormatError;
#[cfg(feature = "npz")]
pub(crate) use header::{MAX_PREFIX, file_length};
pub use rows::RowWriter;

/// Why a file could not be read or written as `.npy`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NpyError {
    /// The file could not be opened, mapped or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The content is no array of a type that tensors have, or the tensor's type is none of NumPy's.
    #[error("{}: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: NpyFormatError,
    },
}

/// Reads a `.npy` file whole.
///
/// # Errors
/// [`NpyError`], which names the file and the part of its header.
pub fn read(path: impl AsRef<Path>) -> Result<Tensor, NpyError> {
    let path = path.as_ref();
    let file = NpyFile::open(path)?;
    decode::all(&file.header, &file.data).map_err(|source| file.error(source))
}

/// Reads an array from the bytes of a `.npy` file.
///
/// # Errors
/// [`NpyFormatError`].
pub fn decode(bytes: &Bytes) -> Result<Tensor, NpyFormatError> {
    let (header, data) = header::split(bytes)?;
    decode::all(&header, &data)
}

/// Writes a tensor to a `.npy` file, atomically.
///
/// # Errors
/// [`NpyFormatError::NoNumpyType`] for the types that NumPy does not have (`bf16`, float8, packed
/// types); those of writing.
///
/// # Examples
/// ```
/// use compress_tensor::{Tensor, npy};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("x.npy");
/// npy::write(&path, &Tensor::vector(vec![1.0f32, 2.0]))?;
/// assert_eq!(npy::read(&path)?.as_slice::<f32>()?, [1.0, 2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write(path: impl AsRef<Path>, tensor: &Tensor) -> Result<(), NpyError> {
    let path = path.as_ref();
    let descr = encode::descr(tensor).map_err(|source| NpyError::Format {
        path: path.to_owned(),
        source,
    })?;
    write_atomically(path, |file| {
        encode::write_with(file, &descr, tensor)?;
        file.flush()
    })
    .map_err(|source| NpyError::Io {
        path: path.to_owned(),
        source,
    })
}

/// Whether [`write()`] can write the tensor.
///
/// # Errors
/// [`NpyFormatError::NoNumpyType`] where NumPy does not have the tensor's element type.
pub fn check_type(tensor: &Tensor) -> Result<(), NpyFormatError> {
    encode::descr(tensor).map(|_| ())
}

/// An open `.npy` file whose rows are read on demand.
#[derive(Clone, Debug)]
pub struct NpyFile {
    path: PathBuf,
    header: Header,
    data: Bytes,
}

impl NpyFile {
    /// Maps the file and reads its header.
    ///
    /// # Errors
    /// [`NpyError`], also if the file is shorter than its header says.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, NpyError> {
        let path = path.as_ref().to_owned();
        let bytes = match map_file(&path) {
            Ok(bytes) => bytes,
            Err(source) => return Err(NpyError::Io { path, source }),
        };
        match header::split(&bytes) {
            Ok((header, data)) => Ok(Self { path, header, data }),
            Err(source) => Err(NpyError::Format { path, source }),
        }
    }

    /// The element type.
    pub fn dtype(&self) -> crate::DType {
        self.header.dtype()
    }

    /// The shape; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.header.shape
    }

    /// The number of rows, i.e. the length of axis 0; `None` for a scalar.
    pub fn row_count(&self) -> Option<usize> {
        self.header.shape.first().copied()
    }

    /// The rows in `range` of axis 0: a window into the memory map, or, where the file is in
    /// Fortran order, big endian or of strings, a copy of these rows alone.
    ///
    /// # Errors
    /// [`NpyFormatError::NoSuchRows`] for rows beyond the end and for a scalar;
    /// [`NpyFormatError::BadString`].
    pub fn rows(&self, range: Range<usize>) -> Result<Tensor, NpyError> {
        decode::rows(&self.header, &self.data, range).map_err(|source| self.error(source))
    }

    fn error(&self, source: NpyFormatError) -> NpyError {
        NpyError::Format {
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests;
