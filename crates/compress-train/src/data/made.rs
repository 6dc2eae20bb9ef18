//! Samples that a closure makes.

use super::{Column, DataError, Dataset, Field, Values, check_columns};

/// Room for one field of one sample.
#[derive(Debug)]
pub enum SampleMut<'a> {
    /// Numbers.
    F32(&'a mut [f32]),
    /// Bytes.
    U8(&'a mut [u8]),
    /// Whole numbers.
    I64(&'a mut [i64]),
}

type SampleError = Box<dyn std::error::Error + Send + Sync>;

/// Samples that `make` writes one by one.
///
/// # Examples
/// ```
/// use compress_train::data::{BatchPlan, Batch, DataError, Field, Kind, MadeDataset, SampleMut, read_batch};
/// let squares = MadeDataset::new(vec![Field::new("x", Kind::F32, &[])], 100, |index, sample| {
///     if let SampleMut::F32(x) = &mut sample[0] {
///         x[0] = (index * index) as f32;
///     }
///     Ok(())
/// });
/// let mut batch = Batch::default();
/// read_batch(&squares, &BatchPlan::of(&[2, 3]), &mut batch)?;
/// assert_eq!(batch.columns[0].f32()?, [4.0, 9.0]);
/// # Ok::<(), DataError>(())
/// ```
pub struct MadeDataset<F> {
    fields: Vec<Field>,
    samples: usize,
    make: F,
}

impl<F> MadeDataset<F>
where
    F: Fn(usize, &mut [SampleMut<'_>]) -> Result<(), SampleError> + Send + Sync,
{
    /// `samples` samples of some fields; `make` is given an index and room for each field, and may be called from several threads.
    pub fn new(fields: Vec<Field>, samples: usize, make: F) -> Self {
        Self {
            fields,
            samples,
            make,
        }
    }
}

impl<F> Dataset for MadeDataset<F>
where
    F: Fn(usize, &mut [SampleMut<'_>]) -> Result<(), SampleError> + Send + Sync,
{
    fn len(&self) -> usize {
        self.samples
    }

    fn fields(&self) -> &[Field] {
        &self.fields
    }

    fn read(&self, indices: &[usize], columns: &mut [Column]) -> Result<(), DataError> {
        super::check_indices(indices, self.samples)?;
        check_columns(&self.fields, indices.len(), columns)?;
        for (at, &index) in indices.iter().enumerate() {
            let mut sample: Vec<SampleMut<'_>> = columns.iter_mut().map(|c| room(c, at)).collect();
            (self.make)(index, &mut sample)
                .map_err(|source| DataError::Sample { index, source })?;
        }
        Ok(())
    }
}

fn room(column: &mut Column, at: usize) -> SampleMut<'_> {
    let count = column.field.count();
    let range = at * count..(at + 1) * count;
    match &mut column.values {
        Values::F32(v) => SampleMut::F32(&mut v[range]),
        Values::U8(v) => SampleMut::U8(&mut v[range]),
        Values::I64(v) => SampleMut::I64(&mut v[range]),
    }
}
