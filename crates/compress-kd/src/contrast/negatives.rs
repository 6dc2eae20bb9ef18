//! Which samples a sample is told apart from.

use crate::KdError;
use crate::random::Random;
use ndarray::{Array2, ArrayRef1};

/// Draws negatives from the samples of a data set, the same for the same seed and step.
#[derive(Clone, Debug)]
pub struct Negatives {
    /// The samples in the order of their classes.
    order: Vec<usize>,
    /// For each sample, where those that it is not told apart from begin and end in `order`.
    own: Vec<(usize, usize)>,
    seed: u64,
}

impl Negatives {
    /// From all other samples.
    ///
    /// # Errors
    /// [`KdError::NoNegatives`] if there are fewer than two.
    pub fn among(samples: usize, seed: u64) -> Result<Self, KdError> {
        if samples < 2 {
            return Err(KdError::NoNegatives { sample: 0 });
        }
        Ok(Self {
            order: (0..samples).collect(),
            own: (0..samples).map(|i| (i, i + 1)).collect(),
            seed,
        })
    }

    /// From the samples of other classes, given the class of every sample `[samples]`.
    ///
    /// # Errors
    /// [`KdError::NoNegatives`] if there are fewer than two classes.
    pub fn of_other_classes(classes: &ArrayRef1<i64>, seed: u64) -> Result<Self, KdError> {
        let mut order: Vec<usize> = (0..classes.len()).collect();
        order.sort_by_key(|&sample| classes[sample]);
        let mut own = vec![(0, 0); order.len()];
        let mut start = 0;
        for class in order.chunk_by(|&a, &b| classes[a] == classes[b]) {
            let range = (start, start + class.len());
            if class.len() == order.len() {
                return Err(KdError::NoNegatives { sample: class[0] });
            }
            for &sample in class {
                own[sample] = range;
            }
            start = range.1;
        }
        if order.is_empty() {
            return Err(KdError::NoNegatives { sample: 0 });
        }
        Ok(Self { order, own, seed })
    }

    /// The number of samples.
    pub fn samples(&self) -> usize {
        self.order.len()
    }

    /// For each of these samples itself and `count` negatives, drawn with replacement: `[n, 1 + count]`.
    ///
    /// # Errors
    /// [`KdError::NoSuchSample`].
    pub fn draw(
        &self,
        samples: &ArrayRef1<usize>,
        count: usize,
        step: u64,
    ) -> Result<Array2<usize>, KdError> {
        let mut random = Random::new(self.seed, step);
        let mut drawn = Array2::zeros((samples.len(), 1 + count));
        for (index, (&sample, mut row)) in samples.iter().zip(drawn.rows_mut()).enumerate() {
            let Some(&(start, end)) = self.own.get(sample) else {
                return Err(KdError::NoSuchSample {
                    what: "index",
                    index,
                    found: sample,
                    samples: self.samples(),
                });
            };
            let others = self.samples() - (end - start);
            for (place, out) in row.iter_mut().enumerate() {
                *out = if place == 0 {
                    sample
                } else {
                    let at = random.below(others);
                    self.order[if at < start { at } else { at + end - start }]
                };
            }
        }
        Ok(drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array1, arr1};

    #[test]
    fn negatives_are_of_other_classes_and_all_of_them_come() {
        let classes = arr1(&[0i64, 1, 0, 2, 1, 0]);
        let negatives = Negatives::of_other_classes(&classes, 1).unwrap();
        let drawn = negatives.draw(&Array1::from_iter(0..6), 200, 0).unwrap();
        for (sample, row) in drawn.rows().into_iter().enumerate() {
            assert_eq!(row[0], sample);
            let mut found: Vec<usize> = row.iter().skip(1).copied().collect();
            found.sort();
            found.dedup();
            let expected: Vec<usize> = (0..6).filter(|&s| classes[s] != classes[sample]).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn draws_are_of_the_seed_and_the_step() {
        let samples = arr1(&[3usize, 5]);
        let draw = |seed, step| {
            let negatives = Negatives::among(100, seed).unwrap();
            negatives.draw(&samples, 8, step).unwrap()
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_ne!(draw(1, 2), draw(2, 2));
    }

    #[test]
    fn a_single_class_has_no_negatives() {
        let found = Negatives::of_other_classes(&arr1(&[4, 4, 4]), 0);
        assert_eq!(found.unwrap_err(), KdError::NoNegatives { sample: 0 });
        assert!(Negatives::among(1, 0).is_err());
        assert!(Negatives::of_other_classes(&arr1(&[]), 0).is_err());
    }

    #[test]
    fn a_sample_beyond_the_data_is_named() {
        let negatives = Negatives::among(4, 0).unwrap();
        let found = negatives.draw(&arr1(&[1, 4]), 1, 0).unwrap_err();
        assert_eq!(
            found.to_string(),
            "index 1 names sample 4, the memory holds 4"
        );
    }
}
