//! Data sets made of data sets: several as one, and a part of one.

use super::{Column, DataError, Dataset, Field, Values, check_columns, check_indices};
use std::sync::Arc;

/// Several sources of the same fields, one behind the other; mixed by [`super::Order::Mixture`].
#[derive(Clone)]
pub struct Concat {
    sources: Vec<Arc<dyn Dataset>>,
    /// Where each source begins, and the end.
    starts: Vec<usize>,
}

impl Concat {
    /// One or more sources.
    ///
    /// # Errors
    /// [`DataError::OtherFields`]; [`DataError::Setting`] for no source.
    pub fn new(sources: Vec<Arc<dyn Dataset>>) -> Result<Self, DataError> {
        let count = sources.len() as f64;
        super::check_setting(
            "the number of sources",
            count,
            !sources.is_empty(),
            "it must be 1 or more",
        )?;
        let mut starts = vec![0];
        for (source_index, source) in sources.iter().enumerate() {
            if source.fields() != sources[0].fields() {
                return Err(DataError::OtherFields {
                    source_index,
                    found: source.fields().to_vec(),
                    expected: sources[0].fields().to_vec(),
                });
            }
            starts.push(starts[source_index] + source.len());
        }
        Ok(Self { sources, starts })
    }

    /// The number of samples of each source.
    pub fn lengths(&self) -> Vec<usize> {
        self.sources.iter().map(|s| s.len()).collect()
    }

    /// The source of a sample.
    pub fn source_of(&self, index: usize) -> usize {
        self.starts
            .partition_point(|&start| start <= index)
            .saturating_sub(1)
    }
}

impl Dataset for Concat {
    fn len(&self) -> usize {
        self.starts.last().copied().unwrap_or(0)
    }

    fn fields(&self) -> &[Field] {
        self.sources.first().map_or(&[], |s| s.fields())
    }

    fn read(&self, indices: &[usize], columns: &mut [Column]) -> Result<(), DataError> {
        check_indices(indices, self.len())?;
        check_columns(self.fields(), indices.len(), columns)?;
        for (number, source) in self.sources.iter().enumerate() {
            let here = |&(_, &index): &(usize, &usize)| self.source_of(index) == number;
            let found: Vec<(usize, &usize)> = indices.iter().enumerate().filter(here).collect();
            if found.is_empty() {
                continue;
            }
            let own: Vec<usize> = found
                .iter()
                .map(|&(_, index)| index - self.starts[number])
                .collect();
            let mut part = super::Batch::default();
            part.prepare(source.fields(), own.len());
            source.read(&own, &mut part.columns)?;
            for (from, to) in part.columns.iter().zip(&mut *columns) {
                for (row, &(at, _)) in found.iter().enumerate() {
                    copy_sample(from, row, to, at);
                }
            }
        }
        Ok(())
    }
}

fn copy_sample(from: &Column, row: usize, to: &mut Column, at: usize) {
    let count = to.field.count();
    let (source, target) = (row * count..(row + 1) * count, at * count..(at + 1) * count);
    match (&from.values, &mut to.values) {
        (Values::F32(from), Values::F32(to)) => to[target].copy_from_slice(&from[source]),
        (Values::U8(from), Values::U8(to)) => to[target].copy_from_slice(&from[source]),
        (Values::I64(from), Values::I64(to)) => to[target].copy_from_slice(&from[source]),
        // The fields of all sources are the same.
        _ => {}
    }
}

/// Some samples of a data set, as of one side of a split.
#[derive(Clone)]
pub struct Subset<D> {
    dataset: D,
    indices: Vec<usize>,
}

impl<D: Dataset> Subset<D> {
    /// The samples of these indices, in their order.
    ///
    /// # Errors
    /// [`DataError::NoSuchSample`].
    pub fn new(dataset: D, indices: Vec<usize>) -> Result<Self, DataError> {
        check_indices(&indices, dataset.len())?;
        Ok(Self { dataset, indices })
    }
}

impl<D: Dataset> Dataset for Subset<D> {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn fields(&self) -> &[Field] {
        self.dataset.fields()
    }

    fn row(&self, index: usize) -> usize {
        let inner = self.indices.get(index);
        inner.map_or(index, |&inner| self.dataset.row(inner))
    }

    fn read(&self, indices: &[usize], columns: &mut [Column]) -> Result<(), DataError> {
        check_indices(indices, self.indices.len())?;
        let inner: Vec<usize> = indices.iter().map(|&i| self.indices[i]).collect();
        self.dataset.read(&inner, columns)
    }
}
