//! NumPy's `.npz` archives: ZIP files of named [`npy`] arrays.
//!
//! A member that is stored is a window into the memory map like a `.npy` file (its checksum is not
//! computed, for that would read all of it); a deflated one is unpacked, no further than its own
//! header says, and its checksum verified.

use crate::npy::{self, NpyFormatError};
use crate::{Tensor, map_file, write_atomically};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Why an archive could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NpzError {
    /// The file could not be opened, mapped or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is no ZIP archive, or is damaged or encrypted.
    #[error("{}: not a readable .npz archive: {source}", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// A member of the archive is no array.
    #[error("{}: array `{name}`: {source}", path.display())]
    Array {
        /// The file.
        path: PathBuf,
        /// The array's name.
        name: String,
        /// What is wrong.
        source: NpyFormatError,
    },
    /// The archive has no array of that name.
    #[error("{}: no array `{name}`", path.display())]
    NoSuchArray {
        /// The file.
        path: PathBuf,
        /// The name asked for.
        name: String,
    },
    /// Two arrays to be written have the same name.
    #[error("{}: two arrays are named `{name}`", path.display())]
    RepeatedName {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
}

/// How the members of an archive are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Packing {
    /// As they are, so that they can be read without copying (`numpy.savez`).
    #[default]
    Stored,
    /// Compressed (`numpy.savez_compressed`).
    Deflated,
}

/// Writes named tensors to an archive, atomically.
///
/// The same tensors give the same bytes: no time is recorded.
///
/// # Errors
/// [`NpzError::RepeatedName`]; [`NpzError::Array`] for the types that NumPy does not have; those
/// of writing.
///
/// # Examples
/// ```
/// use compress_tensor::{Tensor, npz};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("xy.npz");
/// let (x, y) = (Tensor::vector(vec![1.0f32, 2.0]), Tensor::scalar(3i64));
/// npz::write(&path, [("x", &x), ("y", &y)], npz::Packing::Stored)?;
/// let file = npz::NpzFile::open(&path)?;
/// assert_eq!(file.names(), ["x", "y"]);
/// assert_eq!(file.read("x")?.into_vec::<f32>()?, [1.0, 2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write<'a>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>,
    packing: Packing,
) -> Result<(), NpzError> {
    let path = path.as_ref();
    let tensors: Vec<_> = tensors.into_iter().collect();
    let mut names = BTreeSet::new();
    for (name, tensor) in &tensors {
        if !names.insert(*name) {
            return Err(NpzError::RepeatedName {
                path: path.to_owned(),
                name: (*name).to_owned(),
            });
        }
        npy::check_type(tensor).map_err(|source| NpzError::Array {
            path: path.to_owned(),
            name: (*name).to_owned(),
            source,
        })?;
    }
    let method = match packing {
        Packing::Stored => CompressionMethod::Stored,
        Packing::Deflated => CompressionMethod::Deflated,
    };
    write_atomically(path, |file| {
        let mut archive = ZipWriter::new(file);
        // With room for 64-bit lengths, as NumPy does: a member's is not known beforehand.
        let options = SimpleFileOptions::default()
            .compression_method(method)
            .large_file(true);
        for (name, tensor) in tensors {
            archive.start_file(format!("{name}.npy"), options)?;
            npy::write_to(&mut archive, tensor)?;
        }
        archive.finish()?.flush()
    })
    .map_err(|source| NpzError::Io {
        path: path.to_owned(),
        source,
    })
}

/// An open archive whose arrays are read on demand.
#[derive(Clone)]
pub struct NpzFile {
    path: PathBuf,
    bytes: Bytes,
    archive: ZipArchive<Cursor<Bytes>>,
}

impl NpzFile {
    /// Maps the file and reads its directory.
    ///
    /// # Errors
    /// [`NpzError::Io`], [`NpzError::Archive`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, NpzError> {
        let path = path.as_ref().to_owned();
        let bytes = match map_file(&path) {
            Ok(bytes) => bytes,
            Err(source) => return Err(NpzError::Io { path, source }),
        };
        match ZipArchive::new(Cursor::new(bytes.clone())) {
            Ok(archive) => Ok(Self {
                path,
                bytes,
                archive,
            }),
            Err(error) => Err(NpzError::Archive {
                path,
                source: error.into(),
            }),
        }
    }

    /// The names of the arrays, in the order of the archive; members that are not called `.npy`
    /// are left out.
    pub fn names(&self) -> Vec<String> {
        let names = self.archive.file_names().filter_map(Result::ok);
        names
            .filter_map(|name| Some(name.strip_suffix(".npy")?.to_owned()))
            .collect()
    }

    /// Reads the array called `name`.
    ///
    /// # Errors
    /// [`NpzError::NoSuchArray`], [`NpzError::Archive`], [`NpzError::Array`].
    pub fn read(&self, name: &str) -> Result<Tensor, NpzError> {
        let path = || self.path.clone();
        let damaged = |source| NpzError::Archive {
            path: path(),
            source,
        };
        let wrong = |source| NpzError::Array {
            path: path(),
            name: name.to_owned(),
            source,
        };
        // Reading needs a position of its own; the directory is shared.
        let mut archive = self.archive.clone();
        let mut member = match archive.by_name(&format!("{name}.npy")) {
            Ok(member) => member,
            Err(zip::result::ZipError::FileNotFound) => {
                return Err(NpzError::NoSuchArray {
                    path: path(),
                    name: name.to_owned(),
                });
            }
            Err(error) => return Err(damaged(error.into())),
        };
        if member.compression() == CompressionMethod::Stored && !member.encrypted() {
            let start = member.data_start().and_then(|s| usize::try_from(s).ok());
            let length = usize::try_from(member.compressed_size()).ok();
            let window = start
                .zip(length)
                .and_then(|(start, length)| Some(start..start.checked_add(length)?))
                .filter(|window| window.end <= self.bytes.len())
                .ok_or_else(|| damaged(io::ErrorKind::UnexpectedEof.into()))?;
            return npy::decode(&self.bytes.slice(window)).map_err(wrong);
        }
        let mut unpacked = Vec::new();
        let mut prefix = member.by_ref().take(npy::MAX_PREFIX as u64);
        prefix.read_to_end(&mut unpacked).map_err(damaged)?;
        let length = npy::file_length(&unpacked).map_err(wrong)?;
        let rest = length.saturating_sub(unpacked.len());
        let mut rest = member.by_ref().take(rest as u64);
        rest.read_to_end(&mut unpacked).map_err(damaged)?;
        // The checksum is compared when the end is met.
        member.read(&mut [0]).map_err(damaged)?;
        npy::decode(&Bytes::from(unpacked)).map_err(wrong)
    }
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests;
