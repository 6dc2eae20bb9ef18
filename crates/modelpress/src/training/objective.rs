//! What a run of a recipe makes small: the loss of the labels, that of a teacher, or both.

use super::TrainRecipe;
use super::error::TrainRecipeError;
use crate::ir::Model;
use crate::session::SessionOptions;
use crate::train::augment::Augmentation;
use crate::train::loss::Loss;
use crate::train::trainer::Predict;

/// A loss, and what adds the targets that it needs beside the labels.
pub(super) struct Objective {
    pub(super) loss: Box<dyn Loss>,
    /// What a checkpoint is held against.
    pub(super) text: String,
    /// To the samples that are trained on.
    pub(super) samples: Option<Predict>,
    /// To those held out.
    pub(super) held_out: Option<Predict>,
}

/// The steps and one more, if there is one.
pub(super) fn with(steps: Augmentation, more: Option<Predict>) -> Augmentation {
    match more {
        Some(more) => steps.with(more),
        None => steps,
    }
}

impl TrainRecipe {
    /// The objective with a teacher, whose first output is looked at, or with the labels alone.
    pub(super) fn objective(
        &self,
        teacher: Option<&Model>,
        options: &SessionOptions,
    ) -> Result<Objective, TrainRecipeError> {
        match teacher {
            Some(teacher) => self.taught(teacher, options),
            None => Ok(Objective {
                loss: self.loss.build(),
                text: format!("{:?}", self.loss),
                samples: None,
                held_out: None,
            }),
        }
    }

    #[cfg(feature = "kd")]
    fn taught(
        &self,
        teacher: &Model,
        options: &SessionOptions,
    ) -> Result<Objective, TrainRecipeError> {
        use super::LossSpec;
        use crate::kd::graph::{MixedLoss, teacher as logits_of};
        use crate::kd::logits::KdLoss;

        // The teacher's loss is one of classes; another one of the labels would be left out without a word.
        let LossSpec::CrossEntropy {
            label_smoothing,
            class_weights: None,
            ignored_class: None,
        } = self.loss
        else {
            return Err(TrainRecipeError::TeacherOfNoClasses);
        };
        if label_smoothing != 0.0 {
            return Err(TrainRecipeError::TeacherOfNoClasses);
        }
        let output = teacher.graph.outputs().first();
        let output = output.map_or("", |&id| teacher.graph.name_of(id));
        let spec = self.qat.clone().unwrap_or_default();
        let loss = MixedLoss::new(KdLoss::new(spec.alpha, spec.temperature));
        let digest = super::told_of_model(teacher);
        let text = if self.samples.labels.is_empty() {
            format!("teacher {digest} alone, T = {}", spec.temperature)
        } else {
            format!(
                "teacher {digest}, alpha = {}, T = {}",
                spec.alpha, spec.temperature
            )
        };
        Ok(Objective {
            loss: Box::new(loss),
            text,
            samples: Some(logits_of(teacher, output, options)?),
            held_out: Some(logits_of(teacher, output, options)?),
        })
    }

    #[cfg(not(feature = "kd"))]
    fn taught(&self, _: &Model, _: &SessionOptions) -> Result<Objective, TrainRecipeError> {
        Err(TrainRecipeError::NoTeachers)
    }
}
