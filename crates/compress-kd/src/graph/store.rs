//! Where what teachers say is kept: in memory, or in files that are mapped.

use super::error::DistillError;
use super::names::rows_column;
use compress_tensor::npy::RowWriter;
use compress_tensor::{DType, Tensor};
use compress_train::data::{ArrayDataset, Column, DataError, Dataset, Field, Kind, Values};
use std::path::PathBuf;
use std::sync::Arc;

/// Samples, and more fields of the same samples.
pub(super) struct Beside {
    data: Arc<dyn Dataset>,
    more: ArrayDataset,
    fields: Vec<Field>,
}

impl Beside {
    pub(super) fn new(data: Arc<dyn Dataset>, more: ArrayDataset) -> Self {
        let fields = [data.fields(), more.fields()].concat();
        Self { data, more, fields }
    }
}

impl Dataset for Beside {
    fn len(&self) -> usize {
        self.data.len()
    }

    fn fields(&self) -> &[Field] {
        &self.fields
    }

    fn row(&self, index: usize) -> usize {
        self.data.row(index)
    }

    fn read(&self, indices: &[usize], columns: &mut [Column]) -> Result<(), DataError> {
        let rest = read_own(&*self.data, &self.fields, indices, columns)?;
        self.more.read(indices, rest)
    }
}

/// Reads the columns that a dataset itself has, and gives back those behind them.
fn read_own<'c>(
    data: &dyn Dataset,
    all: &[Field],
    indices: &[usize],
    columns: &'c mut [Column],
) -> Result<&'c mut [Column], DataError> {
    if columns.len() != all.len() {
        return Err(DataError::Columns {
            found: columns.len(),
            expected: all.len(),
        });
    }
    let (own, rest) = columns.split_at_mut(data.fields().len());
    data.read(indices, own)?;
    Ok(rest)
}

/// Samples, and their places among them where asked for, and fields that a later step fills in.
pub(super) struct Marked {
    data: Arc<dyn Dataset>,
    has_rows: bool,
    fields: Vec<Field>,
}

impl Marked {
    pub(super) fn new(data: Arc<dyn Dataset>, later: &[String], has_rows: bool) -> Self {
        let mut fields = data.fields().to_vec();
        fields.extend(later.iter().map(|name| Field::new(name, Kind::F32, &[])));
        if has_rows {
            fields.push(Field::new(rows_column(), Kind::I64, &[]));
        }
        Self {
            data,
            has_rows,
            fields,
        }
    }
}

impl Dataset for Marked {
    fn len(&self) -> usize {
        self.data.len()
    }

    fn fields(&self) -> &[Field] {
        &self.fields
    }

    fn row(&self, index: usize) -> usize {
        self.data.row(index)
    }

    fn read(&self, indices: &[usize], columns: &mut [Column]) -> Result<(), DataError> {
        let rest = read_own(&*self.data, &self.fields, indices, columns)?;
        if let (true, Some(column)) = (self.has_rows, rest.last_mut()) {
            column.values = Values::I64(indices.iter().map(|&index| index as i64).collect());
        }
        Ok(())
    }
}

/// Where columns go.
pub(super) enum Store {
    Memory,
    Folder(PathBuf),
}

impl Store {
    /// For columns of these names; `side` tells data sets apart.
    pub(super) fn writer(
        &self,
        names: &[&str],
        samples: usize,
        side: usize,
    ) -> Result<Writer, DistillError> {
        if let Self::Folder(path) = self {
            std::fs::create_dir_all(path).map_err(|source| DistillError::File {
                path: path.clone(),
                source,
            })?;
        }
        let part = |(place, name): (usize, &&str)| Part {
            name: (*name).to_owned(),
            shape: None,
            to: match self {
                Self::Memory => To::Memory(Vec::new()),
                Self::Folder(folder) => To::Later(folder.join(format!("{side}-{place}.npy"))),
            },
        };
        Ok(Writer {
            samples,
            parts: names.iter().enumerate().map(part).collect(),
        })
    }
}

/// Takes columns batch by batch.
pub(super) struct Writer {
    samples: usize,
    parts: Vec<Part>,
}

struct Part {
    name: String,
    /// Of all samples, from the first batch on.
    shape: Option<Vec<usize>>,
    to: To,
}

enum To {
    Memory(Vec<f32>),
    /// A file that is not begun.
    Later(PathBuf),
    File(PathBuf, Box<RowWriter>),
}

impl Writer {
    /// Adds a batch of a column.
    pub(super) fn add(&mut self, place: usize, column: &Column) -> Result<(), DistillError> {
        let Some(part) = self.parts.get_mut(place) else {
            return Ok(());
        };
        let whole = [&[self.samples], column.field.shape.as_slice()].concat();
        let shape = part.shape.get_or_insert_with(|| whole.clone());
        if *shape != whole {
            return Err(DataError::Shape {
                field: part.name.clone(),
                found: column.field.shape.clone(),
                expected: format!("{:?} as in the first batch", &shape[1..]),
            }
            .into());
        }
        let values = column.f32()?;
        if let To::Later(path) = &part.to {
            let writer = RowWriter::create(path, DType::F32, &whole)?;
            part.to = To::File(path.clone(), Box::new(writer));
        }
        match &mut part.to {
            To::Memory(all) => {
                all.reserve_exact(if all.is_empty() {
                    self.samples * column.field.count()
                } else {
                    0
                });
                all.extend_from_slice(values);
            }
            To::File(_, writer) => writer.append(&Tensor::vector(values.to_vec()))?,
            To::Later(_) => {}
        }
        Ok(())
    }

    /// All columns, as samples.
    pub(super) fn finish(self) -> Result<ArrayDataset, DistillError> {
        let mut all = ArrayDataset::default();
        for part in self.parts {
            match (part.to, part.shape) {
                (To::Memory(values), Some(shape)) => {
                    all.add(part.name, Tensor::from_vec(&shape, values)?)?;
                }
                (To::File(path, writer), _) => {
                    writer.finish()?;
                    all.add_file(part.name, path)?;
                }
                _ => {}
            }
        }
        Ok(all)
    }
}
