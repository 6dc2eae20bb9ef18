//! The mixed loss of labels and a teacher, as a loss to train with.

use super::term::told;
use crate::KdError;
use crate::logits::{KdLoss, kl_divergence, logit_regression};
use compress_train::loss::{Loss, LossError, LossValue, Outputs, Scores, Target, Targets};
use compress_train::trainer::{Predict, TrainError};
use ndarray::{Array1, Array2, ArrayView2, ArrayViewD, Ix1, Ix2};
use onnx_ir::Model;
use runtime_session::SessionOptions;

/// The name of the column that holds the teacher's logits.
pub const TEACHER: &str = "teacher";

/// Adds the logits of a teacher to each batch, as column [`TEACHER`]: what stands before its last `Softmax`. `output` is the
/// teacher's; it reads the same columns as the student.
///
/// # Errors
/// Those of [`Predict::new`].
pub fn teacher(
    model: &Model,
    output: &str,
    options: &SessionOptions,
) -> Result<Predict, TrainError> {
    Predict::new(model, &[(output, TEACHER)], Scores::BeforeSoftmax, options)
}

/// [`KdLoss`] as a loss to train with: of the first output, logits `[samples, classes]`, of the first target that is not the teacher's,
/// classes `[samples]` or their probabilities, and of the target [`TEACHER`], the teacher's logits.
///
/// A last `Softmax` of the model is looked through. Without labels it is the divergence from the teacher alone, whatever `α`; of one output half the
/// squared difference.
#[derive(Clone, Debug, Default)]
pub struct MixedLoss {
    /// The settings.
    pub loss: KdLoss,
}

impl MixedLoss {
    /// With these settings.
    pub fn new(loss: KdLoss) -> Self {
        Self { loss }
    }
}

impl Loss for MixedLoss {
    fn loss(&self, outputs: &Outputs<'_>, targets: &Targets<'_>) -> Result<LossValue, LossError> {
        let (name, logits) = outputs.get(0)?;
        let student = matrix("output", name, logits)?;
        let at = targets.position(TEACHER)?;
        let (_, teacher) = targets.values(at)?;
        let teacher = matrix("target", TEACHER, teacher)?;
        // The labels stand beside the teacher.
        let labels = usize::from(at == 0);
        let labels = (labels < targets.len())
            .then(|| targets.get(labels))
            .transpose()?;
        let labels = match labels {
            Some((name, Target::Classes(labels))) => {
                let labels_shape = labels.shape().to_vec();
                let labels = labels.view().into_dimensionality::<Ix1>();
                let labels = labels.map_err(|_| LossError::Shape {
                    what: "target",
                    name: name.to_owned(),
                    found: labels_shape,
                    expected: format!("[{}]", student.nrows()),
                })?;
                Some(Labels::Classes(labels.to_owned()))
            }
            Some((name, Target::Values(shares))) => {
                Some(Labels::Shares(matrix("target", name, shares)?))
            }
            None => None,
        };
        let found = mixed(&self.loss, &student, &teacher, labels);
        let (value, gradient) = found.map_err(told)?;
        Ok(LossValue::of_first(outputs, value, gradient.into_dyn()))
    }

    fn scores(&self) -> Scores {
        Scores::BeforeSoftmax
    }
}

/// What the samples are.
pub(super) enum Labels<'t> {
    Classes(Array1<i64>),
    Shares(ArrayView2<'t, f32>),
}

/// The mixed loss; without labels the divergence from the teacher alone.
pub(super) fn mixed(
    loss: &KdLoss,
    student: &ArrayView2<'_, f32>,
    teacher: &ArrayView2<'_, f32>,
    labels: Option<Labels<'_>>,
) -> Result<(f64, Array2<f32>), KdError> {
    match labels {
        Some(Labels::Classes(labels)) => loss.loss(student, teacher, &labels),
        Some(Labels::Shares(shares)) => loss.loss_soft(student, teacher, &shares),
        // A softmax of one number is 1, whatever the number.
        None if student.ncols() == 1 => logit_regression(student, teacher),
        None => kl_divergence(student, teacher, loss.temperature),
    }
}

fn matrix<'a>(
    what: &'static str,
    name: &str,
    array: &'a ArrayViewD<'_, f32>,
) -> Result<ArrayView2<'a, f32>, LossError> {
    let view = array.view().into_dimensionality::<Ix2>();
    view.map_err(|_| LossError::Shape {
        what,
        name: name.to_owned(),
        found: array.shape().to_vec(),
        expected: "[samples, classes]".into(),
    })
}
