//! Top-1 accuracy: the share of samples whose largest score is at the label.

use super::{Accuracy, ScoreError};
use crate::tensor::{DType, Tensor, element_count};

/// The class of each sample: where its largest score is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    found: Vec<i64>,
    /// How many classes the scores tell apart.
    count: usize,
}

impl Classes {
    /// Adds the samples of one run: `scores` is `[samples, …, classes]`, anything between of length 1.
    ///
    /// Of several largest scores the first counts; NaN is never the largest. A sample of NaN alone has class −1.
    ///
    /// # Errors
    /// [`ScoreError::NoClasses`], [`ScoreError::Tensor`].
    pub fn add(&mut self, output: &str, scores: &Tensor) -> Result<(), ScoreError> {
        let shape = scores.shape();
        let no_classes = || ScoreError::NoClasses {
            output: output.to_owned(),
            shape: shape.to_vec(),
        };
        let (&samples, rest) = shape.split_first().ok_or_else(no_classes)?;
        let classes = element_count(rest).filter(|&n| n > 0);
        let classes = classes.ok_or_else(no_classes)?;
        if rest.iter().filter(|&&n| n != 1).count() > 1 || rest.is_empty() {
            return Err(no_classes());
        }
        let values = scores.to_f64_vec()?;
        self.count = self.count.max(classes);
        self.found.reserve(samples);
        self.found.extend(values.chunks(classes).map(argmax));
        Ok(())
    }

    /// The classes, by sample.
    pub fn as_slice(&self) -> &[i64] {
        &self.found
    }

    /// The classes as an array `[samples]`.
    pub fn to_tensor(&self) -> Tensor {
        Tensor::vector(self.found.clone())
    }

    /// How many are those of `labels`, `[samples]` or `[samples, 1]` integers; labels behind the last sample
    /// are not looked at.
    ///
    /// # Errors
    /// [`ScoreError::LabelCount`] for fewer labels than samples, [`ScoreError::LabelShape`], [`ScoreError::LabelType`],
    /// [`ScoreError::NoSuchClass`], [`ScoreError::NoSamples`].
    pub fn score(&self, labels: &Tensor) -> Result<Accuracy, ScoreError> {
        let dtype = labels.dtype();
        if !dtype.is_integer() && dtype != DType::Bool {
            return Err(ScoreError::LabelType { dtype });
        }
        let labels = label_values(labels, Tensor::to_i64_vec)?;
        if labels.len() < self.found.len() {
            return Err(ScoreError::LabelCount {
                labels: labels.len(),
                samples: self.found.len(),
            });
        }
        let is_class = |label: i64| usize::try_from(label).is_ok_and(|l| l < self.count);
        let mut read = labels.iter().take(self.found.len()).enumerate();
        if let Some((sample, &label)) = read.find(|(_, label)| !is_class(**label)) {
            return Err(ScoreError::NoSuchClass {
                sample,
                label,
                classes: self.count,
            });
        }
        self.agreement(&labels)
    }

    /// How many are those of another model.
    ///
    /// # Errors
    /// [`ScoreError::LabelCount`], [`ScoreError::NoSamples`].
    pub fn agree(&self, other: &Classes) -> Result<Accuracy, ScoreError> {
        if other.found.len() != self.found.len() {
            return Err(ScoreError::LabelCount {
                labels: other.found.len(),
                samples: self.found.len(),
            });
        }
        self.agreement(&other.found)
    }

    fn agreement(&self, expected: &[i64]) -> Result<Accuracy, ScoreError> {
        let pairs = self.found.iter().zip(expected);
        let correct = pairs.filter(|(a, b)| a == b).count();
        Accuracy::new(correct, self.found.len()).ok_or(ScoreError::NoSamples)
    }
}

/// The values of labels `[samples]` or `[samples, 1]`.
pub(super) fn label_values<T>(
    labels: &Tensor,
    read: impl Fn(&Tensor) -> Result<Vec<T>, crate::tensor::TensorError>,
) -> Result<Vec<T>, ScoreError> {
    match labels.shape() {
        [_] | [_, 1] => Ok(read(labels)?),
        shape => Err(ScoreError::LabelShape {
            shape: shape.to_vec(),
        }),
    }
}

fn argmax(scores: &[f64]) -> i64 {
    let mut best: Option<(usize, f64)> = None;
    for (class, &score) in scores.iter().enumerate() {
        if !score.is_nan() && best.is_none_or(|(_, b)| score > b) {
            best = Some((class, score));
        }
    }
    best.map_or(-1, |(class, _)| class as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_score_is_the_class() {
        let mut classes = Classes::default();
        let scores = vec![0.1f32, 0.9, 0.0, f32::NAN, 2.0, 2.0];
        let scores = Tensor::from_vec(&[2, 3], scores).unwrap();
        classes.add("probs", &scores).unwrap();
        assert_eq!(classes.as_slice(), [1, 1]);
        let accuracy = classes.score(&Tensor::vector(vec![1u8, 2])).unwrap();
        assert_eq!((accuracy.value, accuracy.n), (0.5, 2));
    }

    #[test]
    fn an_image_has_no_class() {
        let image = Tensor::full(&[1, 3, 4], 0f32).unwrap();
        let error = Classes::default().add("y", &image).unwrap_err();
        assert!(matches!(error, ScoreError::NoClasses { .. }));
    }

    #[test]
    fn labels_that_are_no_class_are_an_error() {
        let mut classes = Classes::default();
        let scores = Tensor::full(&[2, 3], 0f32).unwrap();
        classes.add("y", &scores).unwrap();
        for label in [3, -1] {
            let error = classes.score(&Tensor::vector(vec![2, label])).unwrap_err();
            let expected =
                format!("label {label} of sample 1 is none of the model's 3 classes, 0 to 2");
            assert_eq!(error.to_string(), expected);
        }
        let floats = classes.score(&Tensor::vector(vec![1.0f32, 2.0]));
        assert_eq!(floats, Err(ScoreError::LabelType { dtype: DType::F32 }));
        // Labels behind the last sample are not looked at.
        assert!(classes.score(&Tensor::vector(vec![0u8, 2, 77])).is_ok());
    }

    #[test]
    fn too_few_labels_are_an_error() {
        let mut classes = Classes::default();
        classes
            .add("y", &Tensor::full(&[3, 2], 0f32).unwrap())
            .unwrap();
        assert_eq!(
            classes.score(&Tensor::vector(vec![0i64])),
            Err(ScoreError::LabelCount {
                labels: 1,
                samples: 3
            })
        );
    }
}
