//! Samples: where they come from, in which order, and how they are made ready beside the computation.

mod arrays;
mod concat;
mod made;
mod prefetch;
mod sampler;
mod split;

pub use arrays::ArrayDataset;
pub use concat::{Concat, Subset};
pub use made::{MadeDataset, SampleMut};
pub use prefetch::{Loader, LoaderConfig};
pub use sampler::{BatchPlan, Order, Position, Sampler, SamplerConfig, Share};
pub use split::{Fold, k_folds, split, stratified_k_folds, stratified_split};

use compress_tensor::npy::NpyError;
use compress_tensor::{DType, TensorError};
use serde::{Deserialize, Serialize};

/// The element type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Numbers.
    F32,
    /// Pixels as they come.
    U8,
    /// Classes, tokens and other whole numbers.
    I64,
}

/// One thing that every sample has: its name, type and shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// The name, as of a model's input or of the labels.
    pub name: String,
    /// The element type.
    pub kind: Kind,
    /// The shape of one sample, without the sample axis.
    pub shape: Vec<usize>,
}

impl Field {
    /// A field.
    pub fn new(name: impl Into<String>, kind: Kind, shape: &[usize]) -> Self {
        Self {
            name: name.into(),
            kind,
            shape: shape.to_vec(),
        }
    }

    /// The number of elements of one sample.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The elements of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Numbers.
    F32(Vec<f32>),
    /// Bytes.
    U8(Vec<u8>),
    /// Whole numbers.
    I64(Vec<i64>),
}

impl Values {
    fn empty(kind: Kind) -> Self {
        match kind {
            Kind::F32 => Self::F32(Vec::new()),
            Kind::U8 => Self::U8(Vec::new()),
            Kind::I64 => Self::I64(Vec::new()),
        }
    }

    /// The element type.
    pub fn kind(&self) -> Kind {
        match self {
            Self::F32(_) => Kind::F32,
            Self::U8(_) => Kind::U8,
            Self::I64(_) => Kind::I64,
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::U8(v) => v.len(),
            Self::I64(v) => v.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn resize(&mut self, len: usize) {
        match self {
            Self::F32(v) => v.resize(len, 0.0),
            Self::U8(v) => v.resize(len, 0),
            Self::I64(v) => v.resize(len, 0),
        }
    }
}

/// One field of all samples of a batch, in C order with the samples first.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The field.
    pub field: Field,
    /// The elements: samples times [`Field::count`].
    pub values: Values,
}

impl Column {
    /// The elements as numbers.
    ///
    /// # Errors
    /// [`DataError::WrongKind`].
    pub fn f32(&self) -> Result<&[f32], DataError> {
        match &self.values {
            Values::F32(v) => Ok(v),
            _ => Err(self.is_not(Kind::F32)),
        }
    }

    /// The elements as whole numbers.
    ///
    /// # Errors
    /// [`DataError::WrongKind`].
    pub fn i64(&self) -> Result<&[i64], DataError> {
        match &self.values {
            Values::I64(v) => Ok(v),
            _ => Err(self.is_not(Kind::I64)),
        }
    }

    /// The elements as bytes.
    ///
    /// # Errors
    /// [`DataError::WrongKind`].
    pub fn u8(&self) -> Result<&[u8], DataError> {
        match &self.values {
            Values::U8(v) => Ok(v),
            _ => Err(self.is_not(Kind::U8)),
        }
    }

    fn is_not(&self, expected: Kind) -> DataError {
        DataError::WrongKind {
            field: self.field.name.clone(),
            expected,
            found: self.values.kind(),
        }
    }
}

/// Some samples, in buffers that the next batch may use again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The epoch, from 0.
    pub epoch: u64,
    /// The number of samples of the epoch that came before this batch.
    pub start: usize,
    /// Whether the epoch ends with this batch.
    pub is_last: bool,
    /// The samples, by their index in the data set.
    pub indices: Vec<usize>,
    /// How often each of them came before in the epoch; empty where none did.
    pub repetitions: Vec<u32>,
    /// The fields of all samples.
    pub columns: Vec<Column>,
    pub(crate) spare: Spare,
}

/// Buffers of the types that columns have at other times: an augmentation that makes numbers of bytes leaves the bytes' one here, and the
/// next batch the numbers' one. They are no part of what a batch holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spare(Vec<Values>);

impl PartialEq for Spare {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Spare {
    /// An empty buffer of a type, with memory from before where there is some.
    pub(crate) fn take(&mut self, kind: Kind) -> Values {
        let found = self.0.iter().position(|values| values.kind() == kind);
        let Some(at) = found else {
            return Values::empty(kind);
        };
        let mut values = self.0.swap_remove(at);
        values.resize(0);
        values
    }

    /// As [`Self::take`], of numbers.
    pub(crate) fn take_f32(&mut self) -> Vec<f32> {
        match self.take(Kind::F32) {
            Values::F32(numbers) => numbers,
            _ => Vec::new(),
        }
    }

    pub(crate) fn keep(&mut self, values: Values) {
        self.0.push(values);
    }
}

impl Batch {
    /// The number of samples.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// The column of a name.
    ///
    /// # Errors
    /// [`DataError::NoSuchField`].
    pub fn column(&self, name: &str) -> Result<&Column, DataError> {
        Ok(&self.columns[self.position(name)?])
    }

    /// The column of a name, to be changed.
    ///
    /// # Errors
    /// [`DataError::NoSuchField`].
    pub fn column_mut(&mut self, name: &str) -> Result<&mut Column, DataError> {
        let position = self.position(name)?;
        Ok(&mut self.columns[position])
    }

    fn position(&self, name: &str) -> Result<usize, DataError> {
        let found = self.columns.iter().position(|c| c.field.name == name);
        found.ok_or_else(|| DataError::NoSuchField {
            name: name.to_owned(),
            names: self.columns.iter().map(|c| c.field.name.clone()).collect(),
        })
    }

    /// Makes room for samples of these fields; buffers are kept.
    fn prepare(&mut self, fields: &[Field], samples: usize) {
        self.columns.truncate(fields.len());
        for (at, field) in fields.iter().enumerate() {
            if self.columns.len() == at {
                self.columns.push(Column {
                    field: field.clone(),
                    values: Values::empty(field.kind),
                });
            }
            let column = &mut self.columns[at];
            if column.field != *field {
                column.field = field.clone();
            }
            if column.values.kind() != field.kind {
                let fresh = self.spare.take(field.kind);
                self.spare
                    .keep(std::mem::replace(&mut column.values, fresh));
            }
            column.values.resize(samples * field.count());
        }
        // No column needs more than one.
        self.spare.0.truncate(fields.len());
    }
}

/// A source of samples that can be read in any order, from several threads.
pub trait Dataset: Send + Sync {
    /// The number of samples.
    fn len(&self) -> usize;

    /// Whether there is no sample.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What each sample has.
    fn fields(&self) -> &[Field];

    /// What errors call a sample: the row, from 0, of the arrays that it is read from. A part of a data set knows that of the whole; the
    /// index unless said otherwise.
    fn row(&self, index: usize) -> usize {
        index
    }

    /// Reads samples into columns that have room for them: one column for each field, in their order.
    ///
    /// # Errors
    /// [`DataError`], [`DataError::NoSuchSample`] for an index behind the last sample.
    fn read(&self, indices: &[usize], columns: &mut [Column]) -> Result<(), DataError>;
}

impl<D: Dataset + ?Sized> Dataset for std::sync::Arc<D> {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn fields(&self) -> &[Field] {
        (**self).fields()
    }

    fn row(&self, index: usize) -> usize {
        (**self).row(index)
    }

    fn read(&self, indices: &[usize], columns: &mut [Column]) -> Result<(), DataError> {
        (**self).read(indices, columns)
    }
}

/// Reads the samples of a plan into a batch, whose buffers are used again.
///
/// # Errors
/// Those of [`Dataset::read`].
pub fn read_batch(
    dataset: &dyn Dataset,
    plan: &BatchPlan,
    batch: &mut Batch,
) -> Result<(), DataError> {
    (batch.epoch, batch.start, batch.is_last) = (plan.epoch, plan.start, plan.is_last);
    batch.indices.clone_from(&plan.indices);
    batch.repetitions.clone_from(&plan.repetitions);
    batch.prepare(dataset.fields(), plan.indices.len());
    dataset.read(&plan.indices, &mut batch.columns)
}

/// Checks indices before they are read.
fn check_indices(indices: &[usize], samples: usize) -> Result<(), DataError> {
    match indices.iter().find(|&&i| i >= samples) {
        Some(&index) => Err(DataError::NoSuchSample { index, samples }),
        None => Ok(()),
    }
}

/// Checks that columns are those of `fields`, with room for `samples`.
fn check_columns(fields: &[Field], samples: usize, columns: &[Column]) -> Result<(), DataError> {
    if fields.len() != columns.len() {
        return Err(DataError::Columns {
            expected: fields.len(),
            found: columns.len(),
        });
    }
    for (field, column) in fields.iter().zip(columns) {
        if column.values.kind() != field.kind {
            return Err(column.is_not(field.kind));
        }
        let (expected, found) = (samples * field.count(), column.values.len());
        if expected != found {
            return Err(DataError::Length {
                field: field.name.clone(),
                expected,
                found,
            });
        }
    }
    Ok(())
}

impl DataError {
    /// The same with a sample that a step names by its index called by its row.
    #[must_use]
    pub fn in_rows_of(mut self, data: &dyn Dataset) -> Self {
        if let Self::NoSuchClass { sample: at, .. } | Self::Sample { index: at, .. } = &mut self {
            *at = data.row(*at);
        }
        self
    }
}

/// Why samples cannot be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// An array without a sample axis.
    #[error("`{field}` is a single number: its first axis should be that of the samples")]
    NoSamples {
        /// The field.
        field: String,
    },
    /// Arrays of different numbers of samples.
    #[error("`{field}` has {found} samples, `{first}` {expected}")]
    SampleCount {
        /// The field.
        field: String,
        /// Its number of samples.
        found: usize,
        /// The field that came first.
        first: String,
        /// Its number of samples.
        expected: usize,
    },
    /// An element type that no column has.
    #[error("`{field}` holds {found}, samples are numbers")]
    ElementType {
        /// The field.
        field: String,
        /// The type.
        found: DType,
    },
    /// Two fields of one name.
    #[error("field `{name}` is there twice")]
    NamedTwice {
        /// The name.
        name: String,
    },
    /// Data sets that cannot be joined.
    #[error("source {source_index} has the fields {found:?}, source 0 {expected:?}")]
    OtherFields {
        /// The source.
        source_index: usize,
        /// Its fields.
        found: Vec<Field>,
        /// Those of the first.
        expected: Vec<Field>,
    },
    /// An index behind the last sample.
    #[error("there is no sample {index}, there are {samples}")]
    NoSuchSample {
        /// The index.
        index: usize,
        /// The number of samples.
        samples: usize,
    },
    /// A name that no column has.
    #[error("there is no field `{name}`, there are {names:?}")]
    NoSuchField {
        /// The name.
        name: String,
        /// The names that there are.
        names: Vec<String>,
    },
    /// A column of another element type.
    #[error("`{field}` holds {found:?}, needed is {expected:?}")]
    WrongKind {
        /// The field.
        field: String,
        /// The type needed.
        expected: Kind,
        /// The type found.
        found: Kind,
    },
    /// Another number of columns than of fields.
    #[error("there are {found} columns for {expected} fields")]
    Columns {
        /// The number of fields.
        expected: usize,
        /// The number of columns.
        found: usize,
    },
    /// A column without room for the samples.
    #[error("`{field}` has {found} elements, the samples {expected}")]
    Length {
        /// The field.
        field: String,
        /// The number that fits.
        expected: usize,
        /// The number found.
        found: usize,
    },
    /// Samples of another shape than a step works on.
    #[error("`{field}` has samples of shape {found:?}, needed is {expected}")]
    Shape {
        /// The field.
        field: String,
        /// The shape.
        found: Vec<usize>,
        /// What fits, as in `[channels, height, width]`.
        expected: String,
    },
    /// A label that is none of the classes.
    #[error("`{field}` of sample {sample} is {label}, none of the {classes} classes")]
    NoSuchClass {
        /// The field.
        field: String,
        /// The sample: its index in the data set, or its [row](Dataset::row) where the data set is known.
        sample: usize,
        /// The label.
        label: i64,
        /// The number of classes.
        classes: usize,
    },
    /// A setting breaks its rule.
    #[error("{setting} is {found}, {rule}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: f64,
        /// The rule, as in `it must be 1 or more`.
        rule: &'static str,
    },
    /// A position that belongs to other data or to another seed.
    #[error("the position cannot be taken up: {what} is {found} instead of {expected}")]
    Position {
        /// What differs.
        what: &'static str,
        /// What the sampler has.
        expected: u64,
        /// What the position has.
        found: u64,
    },
    /// The thread that reads samples ended, as by a panic in a closure.
    #[error("the thread that reads samples has ended unexpectedly")]
    ReaderEnded,
    /// A sample that a caller's closure could not make.
    #[error("sample {index}: {source}")]
    Sample {
        /// Its index in the data set, or its [row](Dataset::row) where the data set is known.
        index: usize,
        /// The closure's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file could not be read.
    #[error(transparent)]
    Npy(#[from] NpyError),
    /// A tensor could not be read.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

/// Checks that a setting keeps its rule.
pub(crate) fn check_setting(
    setting: &'static str,
    found: f64,
    is_right: bool,
    rule: &'static str,
) -> Result<(), DataError> {
    if is_right {
        Ok(())
    } else {
        Err(DataError::Setting {
            setting,
            found,
            rule,
        })
    }
}

#[cfg(test)]
mod tests;
