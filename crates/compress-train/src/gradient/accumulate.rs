//! Accumulation: one step of a large batch out of several small ones.

/// Sums of gradients, weighted by the samples that each is the mean of.
///
/// With mean losses the gradient of a batch is `Σ nᵢ gᵢ / Σ nᵢ` over its parts of `nᵢ` samples, so that a smaller last part counts for
/// less. A parameter that has no gradient in a part has `gᵢ = 0` there: `Σ nᵢ` is the same for all.
#[derive(Clone, Debug)]
pub struct Accumulator {
    sums: Vec<Vec<f32>>,
    /// By parameter: the samples of the parts in which it had a gradient.
    weights: Vec<f64>,
}

/// A gradient that does not fit the accumulator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccumulatorError {
    /// An index behind the last parameter.
    #[error("there is no parameter {index}, gradients of {count} are accumulated")]
    NoSuchParameter {
        /// The index.
        index: usize,
        /// The number of parameters.
        count: usize,
    },
    /// A gradient of another length.
    #[error("parameter {index} has {expected} elements, its gradient {found}")]
    Length {
        /// The index.
        index: usize,
        /// The parameter's length.
        expected: usize,
        /// The gradient's length.
        found: usize,
    },
}

impl Accumulator {
    /// Sums of zero for parameters of these lengths.
    pub fn new(lengths: impl IntoIterator<Item = usize>) -> Self {
        let sums: Vec<Vec<f32>> = lengths.into_iter().map(|n| vec![0.0; n]).collect();
        Self {
            weights: vec![0.0; sums.len()],
            sums,
        }
    }

    /// Adds the gradient of a parameter over `samples` samples.
    ///
    /// # Errors
    /// [`AccumulatorError`].
    pub fn add(
        &mut self,
        index: usize,
        gradient: &[f32],
        samples: usize,
    ) -> Result<(), AccumulatorError> {
        let count = self.sums.len();
        let Some(sum) = self.sums.get_mut(index) else {
            return Err(AccumulatorError::NoSuchParameter { index, count });
        };
        if sum.len() != gradient.len() {
            return Err(AccumulatorError::Length {
                index,
                expected: sum.len(),
                found: gradient.len(),
            });
        }
        let weight = samples as f32;
        for (s, &g) in sum.iter_mut().zip(gradient) {
            *s += weight * g;
        }
        self.weights[index] += samples as f64;
        Ok(())
    }

    /// Turns the sums into means over the samples of the parameter that had gradients of most, which [`Self::gradient`] then gives.
    ///
    /// These are all samples where any parameter has a gradient in every part; where none has, [`Self::finish_over`] takes their number.
    pub fn finish(&mut self) {
        let total = self.weights.iter().copied().fold(0.0, f64::max);
        self.divide(total);
    }

    /// As [`Self::finish`], over `samples` samples.
    pub fn finish_over(&mut self, samples: usize) {
        self.divide(samples as f64);
    }

    fn divide(&mut self, total: f64) {
        let factor = total as f32;
        for (sum, weight) in self.sums.iter_mut().zip(&mut self.weights) {
            if *weight > 0.0 {
                sum.iter_mut().for_each(|s| *s /= factor);
                *weight = 1.0;
            }
        }
    }

    /// The sum or, after [`Self::finish`], the mean for a parameter; `None` where nothing was added.
    pub fn gradient(&mut self, index: usize) -> Option<&mut [f32]> {
        let is_there = self.weights.get(index).is_some_and(|&w| w > 0.0);
        self.sums
            .get_mut(index)
            .filter(|_| is_there)
            .map(|s| &mut s[..])
    }

    /// All of them as [`super::clip_by_norm`] takes them.
    pub fn gradients(&mut self) -> Vec<&mut [f32]> {
        self.sums.iter_mut().map(|s| &mut s[..]).collect()
    }

    /// Begins again from zero.
    pub fn clear(&mut self) {
        self.sums.iter_mut().for_each(|sum| sum.fill(0.0));
        self.weights.fill(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_weigh_by_their_samples() {
        let mut sums = Accumulator::new([2, 1]);
        sums.add(0, &[1.0, 2.0], 3).unwrap();
        sums.add(0, &[5.0, -2.0], 1).unwrap();
        sums.finish();
        assert_eq!(sums.gradient(0).unwrap(), [2.0, 1.0]);
        // Nothing was said of the second parameter.
        assert!(sums.gradient(1).is_none() && sums.gradient(2).is_none());
        sums.clear();
        assert!(sums.gradient(0).is_none());
        sums.add(0, &[0.0, 4.0], 2).unwrap();
        sums.finish();
        assert_eq!(sums.gradient(0).unwrap(), [0.0, 4.0]);
    }

    #[test]
    fn a_part_without_a_gradient_counts_as_one_of_zero() {
        // Two parts of four samples, the second parameter has a gradient in one: the mean over eight.
        let mut sums = Accumulator::new([1, 1]);
        sums.add(0, &[1.0], 4).unwrap();
        sums.add(1, &[3.0], 4).unwrap();
        sums.add(0, &[2.0], 4).unwrap();
        sums.finish();
        assert_eq!(sums.gradient(0).unwrap(), [1.5]);
        assert_eq!(sums.gradient(1).unwrap(), [1.5]);
        // No parameter has a gradient in both.
        sums.clear();
        sums.add(0, &[1.0], 4).unwrap();
        sums.add(1, &[3.0], 2).unwrap();
        sums.finish_over(6);
        assert!((sums.gradient(0).unwrap()[0] - 4.0 / 6.0).abs() < 1e-7);
        assert_eq!(sums.gradient(1).unwrap(), [1.0]);
    }

    #[test]
    fn gradients_that_do_not_fit_are_told() {
        let mut sums = Accumulator::new([2]);
        let error = sums.add(0, &[1.0], 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "parameter 0 has 2 elements, its gradient 1"
        );
        assert_eq!(
            sums.add(1, &[1.0], 1),
            Err(AccumulatorError::NoSuchParameter { index: 1, count: 1 })
        );
    }
}
