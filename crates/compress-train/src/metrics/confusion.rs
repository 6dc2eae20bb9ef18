//! Confusion matrices and what follows from them.

use super::{Accuracy, MetricError, class_of};
use ndarray::Array2;
use serde::Serialize;

/// How often each class was found where each was right: rows are right, columns found.
///
/// # Examples
/// ```
/// use compress_train::metrics::ConfusionMatrix;
/// let mut matrix = ConfusionMatrix::new(2);
/// matrix.add_all(&[1, 1, 0, 0], &[1, 0, 0, 0])?;
/// let scores = matrix.class(1).unwrap();
/// assert_eq!((scores.precision.unwrap().value, scores.recall.unwrap().value), (0.5, 1.0));
/// # Ok::<(), compress_train::metrics::MetricError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfusionMatrix {
    counts: Array2<u64>,
}

/// The scores of one class against all others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClassScores {
    /// The share of the samples found to be of the class that are; `None` where none was found.
    pub precision: Option<Accuracy>,
    /// The share of the samples of the class that were found; `None` where there is none.
    pub recall: Option<Accuracy>,
    /// `2 tp / (2 tp + fp + fn)`; `None` for a class that was neither there nor found.
    pub f1: Option<f64>,
}

impl ConfusionMatrix {
    /// No samples yet.
    pub fn new(classes: usize) -> Self {
        Self {
            counts: Array2::zeros((classes, classes)),
        }
    }

    /// Takes in samples by the class found and the right one.
    ///
    /// # Errors
    /// [`MetricError::Lengths`], [`MetricError::NoSuchClass`]; the matrix is then as it was before.
    pub fn add_all(&mut self, found: &[i64], labels: &[i64]) -> Result<(), MetricError> {
        if found.len() != labels.len() {
            return Err(MetricError::Lengths {
                labels: labels.len(),
                samples: found.len(),
            });
        }
        let classes = self.counts.nrows();
        let mut places = Vec::with_capacity(found.len());
        for (sample, (&found, &label)) in found.iter().zip(labels).enumerate() {
            places.push([
                class_of(sample, label, classes)?,
                class_of(sample, found, classes)?,
            ]);
        }
        places.into_iter().for_each(|place| self.counts[place] += 1);
        Ok(())
    }

    /// The counts, `[right, found]`.
    pub fn counts(&self) -> &Array2<u64> {
        &self.counts
    }

    /// The share of samples on the diagonal; `None` without samples.
    pub fn accuracy(&self) -> Option<Accuracy> {
        Accuracy::new(
            self.counts.diag().sum() as usize,
            self.counts.sum() as usize,
        )
    }

    /// The scores of a class; `None` for a number that is none.
    pub fn class(&self, class: usize) -> Option<ClassScores> {
        let hits = *self.counts.get([class, class])?;
        let (there, found) = (
            self.counts.row(class).sum(),
            self.counts.column(class).sum(),
        );
        let share = |of: u64| Accuracy::new(hits as usize, of as usize);
        Some(ClassScores {
            precision: share(found),
            recall: share(there),
            f1: (there + found > 0).then(|| 2.0 * hits as f64 / (there + found) as f64),
        })
    }

    /// The mean of F1 over the classes that were there or found; `None` without samples.
    pub fn macro_f1(&self) -> Option<f64> {
        mean(self.each(|scores| scores.f1))
    }

    /// The mean of the precision over the classes that were there or found, 0 for one that was not found.
    pub fn macro_precision(&self) -> Option<f64> {
        mean(self.each(|scores| scores.f1.map(|_| scores.precision.map_or(0.0, |p| p.value))))
    }

    /// The mean of the recall over the classes that were there or found, 0 for one that was not there.
    pub fn macro_recall(&self) -> Option<f64> {
        mean(self.each(|scores| scores.f1.map(|_| scores.recall.map_or(0.0, |r| r.value))))
    }

    fn each(&self, of: impl Fn(ClassScores) -> Option<f64>) -> Vec<f64> {
        (0..self.counts.nrows())
            .filter_map(|class| self.class(class).and_then(&of))
            .collect()
    }
}

fn mean(values: Vec<f64>) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_of_a_small_matrix() {
        // Right 0 0 0 1 1 2, found 0 0 1 1 2 2; class 3 does not occur.
        let mut matrix = ConfusionMatrix::new(4);
        matrix
            .add_all(&[0, 0, 1, 1, 2, 2], &[0, 0, 0, 1, 1, 2])
            .unwrap();
        assert_eq!(matrix.counts()[[0, 1]], 1);
        assert!((matrix.accuracy().unwrap().value - 4.0 / 6.0).abs() < 1e-15);
        let f1: Vec<Option<f64>> = (0..4).map(|c| matrix.class(c).unwrap().f1).collect();
        assert_eq!(f1, [Some(0.8), Some(0.5), Some(2.0 / 3.0), None]);
        assert!((matrix.macro_f1().unwrap() - (0.8 + 0.5 + 2.0 / 3.0) / 3.0).abs() < 1e-15);
        assert!((matrix.macro_precision().unwrap() - (1.0 + 0.5 + 0.5) / 3.0).abs() < 1e-15);
        assert!((matrix.macro_recall().unwrap() - (2.0 / 3.0 + 0.5 + 1.0) / 3.0).abs() < 1e-15);
        assert!(matrix.class(4).is_none());
    }

    #[test]
    fn wrong_classes_leave_the_matrix_as_it_was() {
        let mut matrix = ConfusionMatrix::new(2);
        let error = matrix.add_all(&[0, 1], &[0, 2]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "label 2 of sample 1 is none of the 2 classes"
        );
        assert!(matrix.add_all(&[0], &[]).is_err());
        assert_eq!(matrix, ConfusionMatrix::new(2));
        assert!(matrix.accuracy().is_none() && matrix.macro_f1().is_none());
    }
}
