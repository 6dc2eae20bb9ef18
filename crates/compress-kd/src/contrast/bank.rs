//! The memory of one network: an embedding of each sample.

use crate::KdError;
use crate::check;
use crate::element::{narrow, wide};
use crate::random::Random;
use crate::rows;
use ndarray::{Array2, ArrayRef1, ArrayRef2, Axis};
use num_traits::Float;

/// One embedding of length 1 for each sample of the data set, followed slowly.
///
/// Wu et al. 2018, "Unsupervised feature learning via non-parametric instance discrimination" (arXiv:1805.01978), as used by
/// CRD: `v ← normalize(m · v + (1-m) · f)` after each batch.
#[derive(Clone, Debug, PartialEq)]
pub struct MemoryBank<F> {
    rows: Array2<F>,
}

impl<F: Float> MemoryBank<F> {
    /// Random directions, the same for the same seed.
    ///
    /// # Errors
    /// [`KdError::Empty`] if there is no sample or no dimension.
    pub fn random(samples: usize, dimensions: usize, seed: u64) -> Result<Self, KdError> {
        let mut random = Random::new(seed, 0);
        let draw = || random.signed();
        let rows = Array2::<f64>::from_shape_simple_fn((samples, dimensions), draw);
        check::filled("the memory bank", &rows)?;
        Ok(Self {
            rows: rows::unit(rows).0.mapv(narrow),
        })
    }

    /// From embeddings `[samples, dimensions]`, which are normalized: of a checkpoint, or of the networks as they are.
    ///
    /// # Errors
    /// [`KdError::Empty`], [`KdError::NotFinite`].
    pub fn from_embeddings(embeddings: &ArrayRef2<F>) -> Result<Self, KdError> {
        let rows = rows::samples("the memory bank", embeddings)?;
        Ok(Self {
            rows: rows::unit(rows).0.mapv(narrow),
        })
    }

    /// Of rows that another memory had, to the bit.
    #[cfg(feature = "graph")]
    pub(crate) fn of_unit(rows: Array2<F>) -> Self {
        Self { rows }
    }

    /// The embeddings `[samples, dimensions]`.
    pub fn embeddings(&self) -> &Array2<F> {
        &self.rows
    }

    /// The embedding of a sample; rows stand in C order.
    pub(super) fn row(&self, sample: usize) -> &[F] {
        self.rows.row(sample).to_slice().unwrap_or_default()
    }

    /// Moves the rows of `samples` towards directions `[n, dimensions]` of length 1.
    pub(super) fn follow(&mut self, samples: &ArrayRef1<usize>, unit: &Array2<f64>, momentum: f64) {
        for (&sample, direction) in samples.iter().zip(unit.rows()) {
            let mut row = self.rows.row_mut(sample);
            let mixed = row.mapv(wide) * momentum + &direction * (1.0 - momentum);
            let (mixed, lengths) = rows::unit(mixed.insert_axis(Axis(0)));
            // Opposite directions may cancel; then the old one stays.
            if lengths[0] > 0.0 {
                row.assign(&mixed.row(0).mapv(narrow));
            }
        }
    }
}
