//! Cross-entropy over logits.

use super::elementwise::check;
use super::{Loss, LossError, LossValue, Outputs, Reduction, Scores, Target, Targets, are_alike};
use ndarray::{ArrayD, ArrayView1, ArrayViewMut1, Axis};
use serde::{Deserialize, Serialize};

/// `−Σ_c a_c log softmax(y)_c` of the first output, logits `[N, C, …]`, and the first target.
///
/// Targets are numbers of classes `[N, …]`, also with axes of length 1 between, as `[N, 1]`, or probabilities of the output's shape. With classes
/// `a = (1−ε) w_t onehot(t) + ε/C · w`, and the mean is over the sum of the weights `w_t` of all samples whose class is not
/// ignored; with probabilities `a = w ((1−ε) t + ε/C)`, and the mean is over the samples. As `torch.nn.CrossEntropyLoss`. Where every
/// sample is ignored the loss is 0.
///
/// # Examples
/// ```
/// use compress_train::loss::{CrossEntropy, Loss, Outputs, Target, Targets};
/// use ndarray::{arr1, arr2};
/// let (logits, labels) = (arr2(&[[0.0f32, 0.0]]).into_dyn(), arr1(&[1i64]).into_dyn());
/// let outputs = Outputs::new([("logits", logits.view())]);
/// let targets = Targets::new([("labels", Target::Classes(labels.view()))]);
/// let found = CrossEntropy::default().loss(&outputs, &targets)?;
/// assert!((found.value - 2f64.ln()).abs() < 1e-12);
/// assert_eq!(found.gradients[0].as_ref().unwrap().as_slice().unwrap(), [0.5, -0.5]);
/// # Ok::<(), compress_train::loss::LossError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CrossEntropy {
    /// The axis of the classes; axis 0 for an output of one axis.
    pub axis: usize,
    /// `ε`, of `[0, 1]` (Szegedy et al. 2016, arXiv:1512.00567, sec. 7).
    pub label_smoothing: f64,
    /// `w`: a weight for each class.
    pub class_weights: Option<Vec<f64>>,
    /// Samples of this class are left out.
    pub ignored_class: Option<i64>,
    /// Mean or sum over the samples.
    pub reduction: Reduction,
}

impl Default for CrossEntropy {
    fn default() -> Self {
        Self {
            axis: 1,
            label_smoothing: 0.0,
            class_weights: None,
            ignored_class: None,
            reduction: Reduction::Mean,
        }
    }
}

impl CrossEntropy {
    fn weight(&self, class: usize) -> f64 {
        self.class_weights
            .as_ref()
            .map_or(1.0, |w| w.get(class).copied().unwrap_or(1.0))
    }

    fn validate(&self, classes: usize) -> Result<(), LossError> {
        let smoothing = self.label_smoothing;
        let is_share = (0.0..=1.0).contains(&smoothing);
        check(
            "the label smoothing",
            smoothing,
            is_share,
            "it must lie in [0, 1]",
        )?;
        let Some(weights) = &self.class_weights else {
            return Ok(());
        };
        let count = weights.len() as f64;
        let rule = "there must be one for each class";
        check(
            "the number of class weights",
            count,
            weights.len() == classes,
            rule,
        )?;
        for &weight in weights {
            check(
                "a class weight",
                weight,
                weight >= 0.0,
                "it must be 0 or more",
            )?;
        }
        Ok(())
    }

    /// The classes of all samples in C order, `None` for the ignored.
    fn classes(
        &self,
        name: &str,
        target: &ndarray::ArrayViewD<'_, i64>,
        classes: usize,
    ) -> Result<Vec<Option<usize>>, LossError> {
        let mut found = Vec::with_capacity(target.len());
        for (position, &class) in target.iter().enumerate() {
            if self.ignored_class == Some(class) {
                found.push(None);
                continue;
            }
            let known = usize::try_from(class).ok().filter(|&c| c < classes);
            found.push(Some(known.ok_or_else(|| LossError::NoSuchClass {
                target: name.to_owned(),
                class,
                position,
                classes,
            })?));
        }
        Ok(found)
    }
}

impl Loss for CrossEntropy {
    fn scores(&self) -> Scores {
        Scores::BeforeSoftmax
    }

    fn loss(&self, outputs: &Outputs<'_>, targets: &Targets<'_>) -> Result<LossValue, LossError> {
        let (name, logits) = outputs.get(0)?;
        let (target_name, target) = targets.get(0)?;
        let axis = if logits.ndim() == 1 { 0 } else { self.axis };
        if axis >= logits.ndim() {
            return Err(LossError::Shape {
                what: "output",
                name: name.to_owned(),
                found: logits.shape().to_vec(),
                expected: format!("classes at axis {axis}"),
            });
        }
        let classes = logits.len_of(Axis(axis));
        self.validate(classes)?;
        if logits.is_empty() {
            return Err(LossError::Empty {
                output: name.to_owned(),
            });
        }
        check_target(target_name, target, logits.shape(), axis)?;
        let mut gradient = ArrayD::<f32>::zeros(logits.raw_dim());
        let rows = logits
            .lanes(Axis(axis))
            .into_iter()
            .zip(gradient.lanes_mut(Axis(axis)));
        let mut work = Rows::new(classes);
        let (sum, total) = match target {
            Target::Classes(target) => {
                let labels = self.classes(target_name, target, classes)?;
                let total: f64 = labels.iter().flatten().map(|&c| self.weight(c)).sum();
                let scale = self.scale(total);
                let mut sum = 0.0;
                for ((row, gradient), label) in rows.zip(labels) {
                    if let Some(label) = label {
                        sum += work.add(row, gradient, scale, |c| self.of_class(c, label, classes));
                    }
                }
                (sum, total)
            }
            Target::Values(target) => {
                let total = (logits.len() / classes) as f64;
                let scale = self.scale(total);
                let mut sum = 0.0;
                for ((row, gradient), shares) in rows.zip(target.lanes(Axis(axis))) {
                    sum += work.add(row, gradient, scale, |c| {
                        self.of_share(c, shares[c], classes)
                    });
                }
                (sum, total)
            }
        };
        Ok(LossValue::of_first(
            outputs,
            self.scale(total) * sum,
            gradient,
        ))
    }
}

/// Checks that a target is of classes or shares of classes of all samples.
fn check_target(
    name: &str,
    target: &Target<'_>,
    shares: &[usize],
    axis: usize,
) -> Result<(), LossError> {
    let mut classes = shares.to_vec();
    classes.remove(axis);
    let found = target.shape();
    match target {
        Target::Classes(_) if found == classes || are_alike(found, &classes) => Ok(()),
        Target::Classes(_) => Err(LossError::Shape {
            what: "target",
            name: name.to_owned(),
            found: found.to_vec(),
            expected: format!(
                "classes of shape {classes:?}, or shares of classes, floating-point numbers of shape {shares:?}"
            ),
        }),
        Target::Values(_) if found == shares => Ok(()),
        Target::Values(_) => Err(LossError::NoClasses {
            target: name.to_owned(),
            found: found.to_vec(),
            classes,
            shares: shares.to_vec(),
        }),
    }
}

impl CrossEntropy {
    /// What one sample's loss is multiplied by.
    fn scale(&self, total: f64) -> f64 {
        match self.reduction {
            Reduction::Sum => 1.0,
            Reduction::Mean if total > 0.0 => 1.0 / total,
            Reduction::Mean => 0.0,
        }
    }

    /// `a_c` for a class.
    fn of_class(&self, c: usize, label: usize, classes: usize) -> f64 {
        let hit = if c == label {
            1.0 - self.label_smoothing
        } else {
            0.0
        };
        self.weight(c) * (hit + self.label_smoothing / classes as f64)
    }

    /// `a_c` for a probability.
    fn of_share(&self, c: usize, share: f32, classes: usize) -> f64 {
        let share = (1.0 - self.label_smoothing) * f64::from(share);
        self.weight(c) * (share + self.label_smoothing / classes as f64)
    }
}

/// Room for the exponentials of one row.
struct Rows(Vec<f64>);

impl Rows {
    fn new(classes: usize) -> Self {
        Self(vec![0.0; classes])
    }

    /// The loss `−Σ a_c log softmax_c` of one row; `scale` times its gradient `softmax · Σa − a` is written.
    fn add(
        &mut self,
        row: ArrayView1<'_, f32>,
        mut gradient: ArrayViewMut1<'_, f32>,
        scale: f64,
        a: impl Fn(usize) -> f64,
    ) -> f64 {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let most = f64::from(most);
        let mut total = 0.0;
        for (e, &y) in self.0.iter_mut().zip(row) {
            *e = (f64::from(y) - most).exp();
            total += *e;
        }
        let log_total = total.ln();
        let (mut loss, mut weight) = (0.0, 0.0);
        for (c, &y) in row.iter().enumerate() {
            let a = a(c);
            weight += a;
            // 0 · ∞ is none: a class that is not asked for may have the logit −∞.
            if a != 0.0 {
                loss -= a * (f64::from(y) - most - log_total);
            }
        }
        for (c, g) in gradient.iter_mut().enumerate() {
            *g = (scale * (self.0[c] / total * weight - a(c))) as f32;
        }
        loss
    }
}
