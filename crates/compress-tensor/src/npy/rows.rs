//! A `.npy` file that is written row by row: arrays larger than memory.

use super::{NpyError, NpyFormatError, encode};
use crate::{DType, Tensor, element_count};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes an array of a known shape piece by piece, in C order. The file has its name once [`RowWriter::finish`] was called; what is dropped
/// before leaves nothing behind.
///
/// # Examples
/// ```
/// use compress_tensor::{DType, Tensor, npy};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("x.npy");
/// let mut rows = npy::RowWriter::create(&path, DType::F32, &[3, 2])?;
/// rows.append(&Tensor::vector(vec![1f32, 2.0]))?;
/// rows.append(&Tensor::from_vec(&[2, 2], vec![3f32, 4.0, 5.0, 6.0])?)?;
/// rows.finish()?;
/// assert_eq!(npy::read(&path)?.shape(), [3, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RowWriter {
    path: PathBuf,
    temporary: PathBuf,
    file: Option<BufWriter<File>>,
    dtype: DType,
    /// Elements that are missing.
    missing: usize,
}

impl RowWriter {
    /// Begins a file.
    ///
    /// # Errors
    /// [`NpyError::Format`] for a type that NumPy does not have, [`NpyError::Io`].
    pub fn create(path: impl AsRef<Path>, dtype: DType, shape: &[usize]) -> Result<Self, NpyError> {
        let path = path.as_ref().to_owned();
        let format = |source| NpyError::Format {
            path: path.clone(),
            source,
        };
        let empty = Tensor::from_bytes(dtype, &[0], bytes::Bytes::new())
            .map_err(|_| format(NpyFormatError::NoNumpyType { dtype }))?;
        let descr = encode::descr(&empty).map_err(format)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
        let begun = File::create(&temporary).and_then(|file| {
            let mut file = BufWriter::new(file);
            encode::write_header(&mut file, &descr, shape)?;
            Ok(file)
        });
        let file = begun.map_err(|source| NpyError::Io {
            path: path.clone(),
            source,
        })?;
        Ok(Self {
            path,
            temporary,
            file: Some(file),
            dtype,
            missing: element_count(shape).unwrap_or(usize::MAX),
        })
    }

    /// Adds elements.
    ///
    /// # Errors
    /// [`NpyError::Io`], also for another type and for more elements than the shape has.
    pub fn append(&mut self, rows: &Tensor) -> Result<(), NpyError> {
        let left = self.missing.checked_sub(rows.len());
        let written = match (&mut self.file, left) {
            _ if rows.dtype() != self.dtype => Err(invalid("the rows are of another type")),
            (Some(file), Some(left)) => {
                self.missing = left;
                file.write_all(rows.bytes())
            }
            _ => Err(invalid("there are more rows than the shape has")),
        };
        written.map_err(|source| self.error(source))
    }

    /// Ends the file, which takes its name.
    ///
    /// # Errors
    /// [`NpyError::Io`], also where rows are missing.
    pub fn finish(mut self) -> Result<(), NpyError> {
        let ended = match self.file.take() {
            Some(_) if self.missing > 0 => Err(invalid("rows are missing")),
            Some(mut file) => file
                .flush()
                .and_then(|()| fs::rename(&self.temporary, &self.path)),
            None => Ok(()),
        };
        if ended.is_err() {
            let _ = fs::remove_file(&self.temporary);
        }
        ended.map_err(|source| self.error(source))
    }

    fn error(&self, source: io::Error) -> NpyError {
        NpyError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

impl Drop for RowWriter {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_whole_or_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        let row = Tensor::vector(vec![1f32, 2.0]);
        let mut rows = RowWriter::create(&path, DType::F32, &[2, 2]).unwrap();
        rows.append(&row).unwrap();
        let error = rows.finish().unwrap_err().to_string();
        assert!(error.contains("rows are missing"), "{error}");
        let mut rows = RowWriter::create(&path, DType::F32, &[2, 2]).unwrap();
        rows.append(&row).unwrap();
        assert!(rows.append(&Tensor::vector(vec![1i64, 2])).is_err());
        rows.append(&row).unwrap();
        assert!(rows.append(&row).is_err());
        drop(rows);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(RowWriter::create(&path, DType::BF16, &[1]).is_err());
        let mut rows = RowWriter::create(&path, DType::F32, &[1, 2]).unwrap();
        rows.append(&row).unwrap();
        rows.finish().unwrap();
        let whole = folder.path().join("whole.npy");
        crate::npy::write(&whole, &row.reshape(&[1, 2]).unwrap()).unwrap();
        assert_eq!(fs::read(path).unwrap(), fs::read(whole).unwrap());
    }
}
