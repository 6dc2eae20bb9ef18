//! Samples in arrays: in memory, or in `.npy` files that are mapped.

use super::{Column, DataError, Dataset, Field, Kind, Values, check_columns, check_indices};
use compress_tensor::npy::NpyFile;
use compress_tensor::{DType, Element, Tensor};
use std::path::Path;

/// Arrays whose first axes are that of the samples.
///
/// Floating-point arrays become columns of `f32`, `u8` stays, other whole numbers and booleans become `i64`. Only the samples that are
/// read are converted.
///
/// # Examples
/// ```
/// use compress_tensor::Tensor;
/// use compress_train::data::{ArrayDataset, Dataset};
/// let images = Tensor::full(&[100, 3, 8, 8], 0u8)?;
/// let labels = Tensor::vector(vec![1i32; 100]);
/// let data = ArrayDataset::new([("x", images), ("y", labels)])?;
/// assert_eq!((data.len(), data.fields()[0].shape.as_slice()), (100, &[3, 8, 8][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ArrayDataset {
    fields: Vec<Field>,
    sources: Vec<Source>,
    samples: usize,
}

#[derive(Clone, Debug)]
enum Source {
    Memory(Tensor),
    File(NpyFile),
}

impl ArrayDataset {
    /// Samples of arrays in memory, or of tensors that are windows into a file.
    ///
    /// # Errors
    /// [`DataError::NoSamples`], [`DataError::SampleCount`], [`DataError::ElementType`], [`DataError::NamedTwice`].
    pub fn new<N: Into<String>>(
        arrays: impl IntoIterator<Item = (N, Tensor)>,
    ) -> Result<Self, DataError> {
        let mut dataset = Self::default();
        for (name, tensor) in arrays {
            dataset.add(name.into(), tensor)?;
        }
        Ok(dataset)
    }

    /// Adds an array.
    ///
    /// # Errors
    /// Those of [`Self::new`].
    pub fn add(&mut self, name: String, tensor: Tensor) -> Result<(), DataError> {
        let (dtype, shape) = (tensor.dtype(), tensor.shape().to_vec());
        self.push(name, dtype, &shape, Source::Memory(tensor))
    }

    /// Adds a `.npy` file, of which the rows that are read come from a memory map.
    ///
    /// # Errors
    /// Those of [`Self::new`], [`DataError::Npy`].
    pub fn add_file(&mut self, name: String, path: impl AsRef<Path>) -> Result<(), DataError> {
        let file = NpyFile::open(path)?;
        let (dtype, shape) = (file.dtype(), file.shape().to_vec());
        self.push(name, dtype, &shape, Source::File(file))
    }

    fn push(
        &mut self,
        name: String,
        dtype: DType,
        shape: &[usize],
        source: Source,
    ) -> Result<(), DataError> {
        let Some((&samples, shape)) = shape.split_first() else {
            return Err(DataError::NoSamples { field: name });
        };
        if self.fields.iter().any(|f| f.name == name) {
            return Err(DataError::NamedTwice { name });
        }
        match self.fields.first() {
            Some(first) if samples != self.samples => {
                return Err(DataError::SampleCount {
                    field: name,
                    found: samples,
                    first: first.name.clone(),
                    expected: self.samples,
                });
            }
            _ => self.samples = samples,
        }
        let Some(kind) = kind_of(dtype) else {
            return Err(DataError::ElementType {
                field: name,
                found: dtype,
            });
        };
        self.fields.push(Field::new(name, kind, shape));
        self.sources.push(source);
        Ok(())
    }
}

fn kind_of(dtype: DType) -> Option<Kind> {
    match dtype {
        DType::U8 => Some(Kind::U8),
        DType::Bool => Some(Kind::I64),
        DType::F32 | DType::F64 | DType::F16 | DType::BF16 => Some(Kind::F32),
        dtype if dtype.is_integer() && !dtype.is_packed() => Some(Kind::I64),
        _ => None,
    }
}

impl Dataset for ArrayDataset {
    fn len(&self) -> usize {
        self.samples
    }

    fn fields(&self) -> &[Field] {
        &self.fields
    }

    fn read(&self, indices: &[usize], columns: &mut [Column]) -> Result<(), DataError> {
        check_indices(indices, self.samples)?;
        check_columns(&self.fields, indices.len(), columns)?;
        for (source, column) in self.sources.iter().zip(columns) {
            match source {
                Source::Memory(tensor) => from_memory(tensor, indices, column)?,
                Source::File(file) => from_file(file, indices, column)?,
            }
        }
        Ok(())
    }
}

fn from_memory(tensor: &Tensor, indices: &[usize], column: &mut Column) -> Result<(), DataError> {
    let count = column.field.count();
    match &mut column.values {
        Values::F32(to) if tensor.dtype() == DType::F32 => gather(tensor, indices, count, to),
        Values::U8(to) => gather(tensor, indices, count, to),
        Values::I64(to) if tensor.dtype() == DType::I64 => gather(tensor, indices, count, to),
        values => {
            for (at, &index) in indices.iter().enumerate() {
                let row = row_of(tensor, index, count)?;
                convert(&row, values, at * count)?;
            }
            Ok(())
        }
    }
}

/// Copies samples of the column's own type.
fn gather<T: Element>(
    tensor: &Tensor,
    indices: &[usize],
    count: usize,
    to: &mut [T],
) -> Result<(), DataError> {
    let size = size_of::<T>();
    let bytes = tensor.bytes();
    for (at, &index) in indices.iter().enumerate() {
        // A window into a file may lie at any address.
        let row = T::read(&bytes[index * count * size..(index + 1) * count * size]);
        to[at * count..(at + 1) * count].copy_from_slice(&row);
    }
    Ok(())
}

/// One sample as a tensor of its own, which shares the bytes.
fn row_of(tensor: &Tensor, index: usize, count: usize) -> Result<Tensor, DataError> {
    // Packed types and strings have no column, so that each element is of whole bytes.
    let size = tensor.dtype().bits().unwrap_or(0) / 8;
    let bytes = tensor
        .to_bytes()
        .slice(index * count * size..(index + 1) * count * size);
    Ok(Tensor::from_bytes(tensor.dtype(), &[count], bytes)?)
}

fn from_file(file: &NpyFile, indices: &[usize], column: &mut Column) -> Result<(), DataError> {
    let count = column.field.count();
    for (at, &index) in indices.iter().enumerate() {
        let row = file.rows(index..index + 1)?;
        convert(&row, &mut column.values, at * count)?;
    }
    Ok(())
}

/// Writes one sample of any type at an element of a column.
fn convert(row: &Tensor, values: &mut Values, start: usize) -> Result<(), DataError> {
    let end = start + row.len();
    match values {
        Values::F32(to) if row.dtype() == DType::F32 => {
            to[start..end].copy_from_slice(&row.data::<f32>()?)
        }
        Values::F32(to) => {
            for (to, from) in to[start..end].iter_mut().zip(row.to_f64_vec()?) {
                *to = from as f32;
            }
        }
        Values::U8(to) => to[start..end].copy_from_slice(&row.data::<u8>()?),
        Values::I64(to) => to[start..end].copy_from_slice(&row.to_i64_vec()?),
    }
    Ok(())
}
