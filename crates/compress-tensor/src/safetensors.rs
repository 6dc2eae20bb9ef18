//! `.safetensors` files: named tensors and text metadata
//! (<https://huggingface.co/docs/safetensors/index>).
//!
//! Read through the `safetensors` crate, whose checks (sizes, overlaps, gaps) are those of the
//! format; the tensors are windows into the memory map. Written with sorted names and metadata, so
//! that the same contents give the same bytes.

use crate::{DType, Tensor, TensorError, map_file, write_atomically};
use ::safetensors::tensor::{Dtype, SafeTensors, TensorInfo};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// The tensors by name.
    pub tensors: BTreeMap<String, Tensor>,
    /// Text of any kind by key.
    pub metadata: BTreeMap<String, String>,
}

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SafetensorsError {
    /// The file could not be opened, mapped or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The contents are not what they should be.
    #[error("{}: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: SafetensorsFormatError,
    },
}

/// What is wrong with the bytes of a file, or with a tensor that is to be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SafetensorsFormatError {
    /// The header is damaged or does not fit the file.
    #[error("not a valid safetensors file: {0}")]
    Invalid(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An element type that tensors do not have, or the format does not have.
    #[error("tensor `{name}`: no safetensors element type matches {dtype}")]
    UnsupportedType {
        /// The tensor.
        name: String,
        /// The type, as the side that has it writes it.
        dtype: String,
    },
    /// A packed tensor whose last byte is not full, which the format does not allow.
    #[error("tensor `{name}`: {elements} elements of {dtype} do not fill whole bytes")]
    PartialByte {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: DType,
        /// Its number of elements.
        elements: usize,
    },
    /// The name that the format keeps for its metadata.
    #[error("a tensor cannot be named `{METADATA_KEY}`")]
    ReservedName,
    /// A tensor could not be made.
    #[error("tensor `{name}`: {source}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong.
        source: TensorError,
    },
}

/// Reads a file whole; the tensors are windows into its memory map.
///
/// # Errors
/// [`SafetensorsError`], which names the file and the tensor.
pub fn read(path: impl AsRef<Path>) -> Result<Contents, SafetensorsError> {
    let path = path.as_ref();
    let bytes = map_file(path).map_err(|source| SafetensorsError::Io {
        path: path.to_owned(),
        source,
    })?;
    decode(&bytes).map_err(|source| SafetensorsError::Format {
        path: path.to_owned(),
        source,
    })
}

/// Reads the bytes of a file; the tensors are windows into them.
///
/// # Errors
/// [`SafetensorsFormatError`].
pub fn decode(bytes: &Bytes) -> Result<Contents, SafetensorsFormatError> {
    let invalid = |error| SafetensorsFormatError::Invalid(Box::new(error));
    let file = SafeTensors::deserialize(bytes).map_err(invalid)?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(invalid)?;
    let mut contents = Contents::default();
    if let Some(metadata) = header.metadata() {
        contents.metadata.extend(metadata.clone());
    }
    for (name, view) in file.iter() {
        let dtype = from_file_type(view.dtype()).ok_or_else(|| {
            SafetensorsFormatError::UnsupportedType {
                name: name.to_owned(),
                dtype: view.dtype().to_string(),
            }
        })?;
        let window = bytes.slice_ref(view.data());
        let tensor = Tensor::from_bytes(dtype, view.shape(), window).map_err(|source| {
            SafetensorsFormatError::Tensor {
                name: name.to_owned(),
                source,
            }
        })?;
        contents.tensors.insert(name.to_owned(), tensor);
    }
    Ok(contents)
}

/// Writes a file, atomically.
///
/// Wider types come first, so that every tensor is aligned to its type in the file.
///
/// # Errors
/// [`SafetensorsFormatError::UnsupportedType`] for strings, 128-bit complex numbers and packed
/// integers; [`SafetensorsFormatError::PartialByte`]; those of writing.
///
/// # Examples
/// ```
/// use compress_tensor::{Tensor, safetensors};
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("weights.safetensors");
/// let mut contents = safetensors::Contents::default();
/// contents.tensors.insert("w".into(), Tensor::vector(vec![1.0f32, 2.0]));
/// contents.metadata.insert("format".into(), "pt".into());
/// safetensors::write(&path, &contents)?;
/// let back = safetensors::read(&path)?;
/// assert_eq!(back.tensors["w"].as_slice::<f32>()?, [1.0, 2.0]);
/// assert_eq!(back.metadata["format"], "pt");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write(path: impl AsRef<Path>, contents: &Contents) -> Result<(), SafetensorsError> {
    let path = path.as_ref();
    let (header, tensors) = layout(contents).map_err(|source| SafetensorsError::Format {
        path: path.to_owned(),
        source,
    })?;
    write_atomically(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        for tensor in tensors {
            file.write_all(tensor.bytes())?;
        }
        file.flush()
    })
    .map_err(|source| SafetensorsError::Io {
        path: path.to_owned(),
        source,
    })
}

const METADATA_KEY: &str = "__metadata__";

/// The header's text, and the tensors in the order of the file.
fn layout(contents: &Contents) -> Result<(String, Vec<&Tensor>), SafetensorsFormatError> {
    if contents.tensors.contains_key(METADATA_KEY) {
        return Err(SafetensorsFormatError::ReservedName);
    }
    let mut named: Vec<(&String, &Tensor)> = contents.tensors.iter().collect();
    named.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype().bits()));
    let mut entries = Vec::with_capacity(named.len() + 1);
    if !contents.metadata.is_empty() {
        entries.push(format!(
            "{}:{}",
            json(METADATA_KEY)?,
            json(&contents.metadata)?
        ));
    }
    let mut start = 0;
    for (name, tensor) in &named {
        let end = start + tensor.byte_len();
        let info = TensorInfo {
            dtype: to_file_type(name, tensor)?,
            shape: tensor.shape().to_vec(),
            data_offsets: (start, end),
        };
        entries.push(format!("{}:{}", json(name)?, json(&info)?));
        start = end;
    }
    let mut header = format!("{{{}}}", entries.join(","));
    // The data is to begin at a multiple of 8 bytes.
    let length = header.len().next_multiple_of(8);
    header.extend(std::iter::repeat_n(' ', length - header.len()));
    Ok((header, named.into_iter().map(|(_, t)| t).collect()))
}

fn json(value: &(impl serde::Serialize + ?Sized)) -> Result<String, SafetensorsFormatError> {
    serde_json::to_string(value).map_err(|error| SafetensorsFormatError::Invalid(Box::new(error)))
}

/// The types that both sides have.
const TYPES: [(DType, Dtype); 20] = [
    (DType::F32, Dtype::F32),
    (DType::F64, Dtype::F64),
    (DType::F16, Dtype::F16),
    (DType::BF16, Dtype::BF16),
    (DType::F8E4M3FN, Dtype::F8_E4M3),
    (DType::F8E4M3FNUZ, Dtype::F8_E4M3FNUZ),
    (DType::F8E5M2, Dtype::F8_E5M2),
    (DType::F8E5M2FNUZ, Dtype::F8_E5M2FNUZ),
    (DType::F8E8M0, Dtype::F8_E8M0),
    (DType::F4E2M1, Dtype::F4),
    (DType::I8, Dtype::I8),
    (DType::I16, Dtype::I16),
    (DType::I32, Dtype::I32),
    (DType::I64, Dtype::I64),
    (DType::U8, Dtype::U8),
    (DType::U16, Dtype::U16),
    (DType::U32, Dtype::U32),
    (DType::U64, Dtype::U64),
    (DType::Bool, Dtype::BOOL),
    (DType::C64, Dtype::C64),
];

fn from_file_type(dtype: Dtype) -> Option<DType> {
    TYPES.iter().find(|t| t.1 == dtype).map(|t| t.0)
}

fn to_file_type(name: &str, tensor: &Tensor) -> Result<Dtype, SafetensorsFormatError> {
    let dtype = tensor.dtype();
    let Some((_, file_type)) = TYPES.iter().find(|t| t.0 == dtype) else {
        return Err(SafetensorsFormatError::UnsupportedType {
            name: name.to_owned(),
            dtype: dtype.to_string(),
        });
    };
    if dtype.is_packed() && !tensor.len().is_multiple_of(2) {
        return Err(SafetensorsFormatError::PartialByte {
            name: name.to_owned(),
            dtype,
            elements: tensor.len(),
        });
    }
    Ok(*file_type)
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests;
