//! Cross-entropy with hard or soft targets.

use super::{STUDENT, sum_of_rows};
use crate::KdError;
use crate::check;
use crate::element::wide;
use crate::softmax::Distribution;
use ndarray::{Array2, ArrayRef1, ArrayRef2};
use num_traits::Float;

/// Cross-entropy of `σ(z)` with labels or with probabilities: `-Σ_k a_k log σ(z)_k` with target weights `a`.
///
/// With a label `y`: `a_k = w_y (1-ε) [k = y] + w_k ε/c`, divided by the sum of `w_y` over the labels that count (their mean, if
/// all classes weigh the same). With probabilities `p`: `a_k = w_k ((1-ε) p_k + ε/c)`, mean over the batch. This is how
/// PyTorch's `CrossEntropyLoss` defines smoothing (Szegedy et al. 2016, arXiv:1512.00567, sec. 7) and weights. The
/// gradient by `z` is `σ(z) Σ_k a_k - a`.
///
/// # Examples
/// ```
/// use compress_kd::logits::CrossEntropy;
/// use ndarray::{arr1, arr2};
/// let logits = arr2(&[[0f64, 0.0], [3f64.ln(), 0.0]]);
/// let (value, _) = CrossEntropy::default().loss(&logits, &arr1(&[0, 0]))?;
/// assert!((value - (2f64.ln() + (4f64 / 3.0).ln()) / 2.0).abs() < 1e-15);
/// # Ok::<(), compress_kd::KdError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CrossEntropy {
    /// `ε`: the share of the target that is spread over all classes; 0 to 1.
    pub label_smoothing: f64,
    /// `w`: one weight per class, none negative; all 1 if there are none.
    pub class_weights: Option<Vec<f64>>,
    /// Samples with this label count for nothing (-100 in PyTorch); soft targets know no such thing.
    pub ignore_index: Option<i64>,
}

impl Default for CrossEntropy {
    /// Without smoothing and weights; every sample counts.
    fn default() -> Self {
        Self {
            label_smoothing: 0.0,
            class_weights: None,
            ignore_index: None,
        }
    }
}

impl CrossEntropy {
    /// With label smoothing `ε`.
    #[must_use]
    pub fn with_label_smoothing(mut self, epsilon: f64) -> Self {
        self.label_smoothing = epsilon;
        self
    }

    /// With one weight per class.
    #[must_use]
    pub fn with_class_weights(mut self, weights: Vec<f64>) -> Self {
        self.class_weights = Some(weights);
        self
    }

    /// Without the samples of this label.
    #[must_use]
    pub fn with_ignore_index(mut self, label: i64) -> Self {
        self.ignore_index = Some(label);
        self
    }

    /// Checks the settings for `classes` classes.
    ///
    /// # Errors
    /// [`KdError::Setting`], [`KdError::Length`] for another number of class weights.
    pub fn validate(&self, classes: usize) -> Result<(), KdError> {
        check::share("label smoothing", self.label_smoothing)?;
        let weights = self.class_weights.as_deref();
        if let Some(weights) = weights {
            check::length("class weights", weights.len(), classes)?;
        }
        let mut weights = weights.into_iter().flatten();
        weights.try_for_each(|&w| check::weight("a class weight", w))
    }

    /// Value and gradient with labels. A batch in which no label counts has value 0 and gradient 0.
    ///
    /// # Shapes
    /// `logits` `[n, c]`, finite; `labels` `[n]`, each below `c` or the ignored one.
    ///
    /// # Errors
    /// [`KdError::Shape`], [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::NoSuchClass`], those of
    /// [`CrossEntropy::validate`], [`KdError::Overflow`].
    pub fn loss<F: Float>(
        &self,
        logits: &ArrayRef2<F>,
        labels: &ArrayRef1<i64>,
    ) -> Result<(f64, Array2<F>), KdError> {
        check::readable(STUDENT, logits)?;
        self.of_rows(logits, &Targets::labels(self, labels, logits.dim())?)
    }

    /// Value and gradient with probabilities as targets.
    ///
    /// # Shapes
    /// `logits` `[n, c]`, finite; `targets` `[n, c]`, each in [0, 1], rows that sum to 1 as a rule (any sum is computed with).
    ///
    /// # Errors
    /// [`KdError::Shape`], [`KdError::Empty`], [`KdError::NotFinite`], [`KdError::NotAProbability`], those of
    /// [`CrossEntropy::validate`], [`KdError::Overflow`].
    pub fn loss_soft<F: Float>(
        &self,
        logits: &ArrayRef2<F>,
        targets: &ArrayRef2<F>,
    ) -> Result<(f64, Array2<F>), KdError> {
        check::readable(STUDENT, logits)?;
        self.of_rows(
            logits,
            &Targets::probabilities(self, targets, logits.dim())?,
        )
    }

    fn of_rows<F: Float>(
        &self,
        logits: &ArrayRef2<F>,
        targets: &Targets<'_, F>,
    ) -> Result<(f64, Array2<F>), KdError> {
        let (mut q, mut weights) = (Distribution::default(), vec![0.0; logits.ncols()]);
        sum_of_rows(logits, |index, row, gradient| {
            q.fill(row, 1.0);
            targets.weights_of(index, &mut weights);
            weighted(&q, &weights, gradient)
        })
    }
}

/// `-Σ a log q`, and `q Σ a - a` added to the gradient.
pub(super) fn weighted(q: &Distribution, weights: &[f64], gradient: &mut [f64]) -> f64 {
    let total: f64 = weights.iter().sum();
    let mut value = 0.0;
    for (((&lq, &q), &a), g) in q.log.iter().zip(&q.p).zip(weights).zip(gradient) {
        value -= a * lq;
        *g += total * q - a;
    }
    value
}

/// Targets that were checked, with what the sum over the batch is divided by.
pub(super) struct Targets<'a, F> {
    settings: &'a CrossEntropy,
    kind: Kind<'a, F>,
    divisor: f64,
}

enum Kind<'a, F> {
    Labels(&'a ArrayRef1<i64>),
    Probabilities(&'a ArrayRef2<F>),
}

impl<'a, F: Float> Targets<'a, F> {
    pub(super) fn labels(
        settings: &'a CrossEntropy,
        labels: &'a ArrayRef1<i64>,
        (n, c): (usize, usize),
    ) -> Result<Self, KdError> {
        settings.validate(c)?;
        check::shape("the labels", labels.shape(), STUDENT, &[n])?;
        let mut divisor = 0.0;
        for (index, &label) in labels.iter().enumerate() {
            if settings.ignore_index == Some(label) {
                continue;
            }
            let class = usize::try_from(label).ok().filter(|&class| class < c);
            let class = class.ok_or(KdError::NoSuchClass {
                index,
                found: label,
                classes: c,
            })?;
            divisor += settings.weight(class);
        }
        Ok(Self {
            settings,
            kind: Kind::Labels(labels),
            divisor,
        })
    }

    pub(super) fn probabilities(
        settings: &'a CrossEntropy,
        targets: &'a ArrayRef2<F>,
        (n, c): (usize, usize),
    ) -> Result<Self, KdError> {
        settings.validate(c)?;
        check::shape("the targets", targets.shape(), STUDENT, &[n, c])?;
        check::probabilities("the targets", targets)?;
        Ok(Self {
            settings,
            kind: Kind::Probabilities(targets),
            divisor: n as f64,
        })
    }

    /// The target weights `a` of a sample.
    pub(super) fn weights_of(&self, index: usize, out: &mut [f64]) {
        let epsilon = self.settings.label_smoothing;
        let spread = epsilon / out.len() as f64;
        match self.kind {
            Kind::Labels(labels) => {
                let label = labels[index];
                if self.settings.ignore_index == Some(label) || self.divisor == 0.0 {
                    return out.fill(0.0);
                }
                for (class, a) in out.iter_mut().enumerate() {
                    let hit = if class as i64 == label {
                        1.0 - epsilon
                    } else {
                        0.0
                    };
                    *a = self.settings.weight(class) * (hit + spread) / self.divisor;
                }
            }
            Kind::Probabilities(targets) => {
                for (class, (a, &p)) in out.iter_mut().zip(targets.row(index)).enumerate() {
                    let target = (1.0 - epsilon) * wide(p) + spread;
                    *a = self.settings.weight(class) * target / self.divisor;
                }
            }
        }
    }
}

impl CrossEntropy {
    fn weight(&self, class: usize) -> f64 {
        self.class_weights.as_ref().map_or(1.0, |w| w[class])
    }
}
