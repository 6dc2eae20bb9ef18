//! Distillation as data: a [`TrainRecipe`] with a table `[distill]`.

use super::{TrainRecipe, TrainRecipeError, is_input};
use crate::ir::Model;
use crate::kd::graph::student::{StudentRecipe, clone_smaller};
use crate::kd::graph::{
    Distiller, Ensemble, KdConfig, KdData, KdReport, KdTerm, LossTerm, TeacherRuns,
};
use crate::session::SessionOptions;
use crate::train::augment::Augmentation;
use crate::train::data::Kind;
use crate::train::trainer::{Callback, TopK, Trainer};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What a student learns from, and how: the samples, augmentation and trainer of a [`TrainRecipe`], and the losses of a teacher.
///
/// # Examples
/// ```
/// use modelpress::training::DistillRecipe;
/// let recipe = DistillRecipe::from_toml(r#"
///     [samples]
///     inputs = ["image=train_x.npy"]
///     labels = ["train_y.npy"]
///
///     [distill]
///     student = { width = { factor = 0.5 } }
///
///     [[distill.losses]]
///     loss = { kind = "kd", alpha = 0.9, temperature = 4.0 }
///
///     [[distill.losses]]
///     loss = { kind = "hint" }
///     weight = 0.1
///     taps = ["relu3=relu7"]
///
///     [trainer]
///     epochs = 30
/// "#)?;
/// assert_eq!(recipe.distill.losses.len(), 2);
/// # Ok::<(), modelpress::training::TrainRecipeError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct DistillRecipe {
    /// Samples, augmentation and settings of the run; its loss is not looked at.
    pub train: TrainRecipe,
    /// The table `[distill]`.
    pub distill: DistillSpec,
}

/// The table `[distill]`; see [`KdConfig`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct DistillSpec {
    /// How the student is made of the first teacher, where none is given.
    pub student: StudentRecipe,
    /// The terms of the loss.
    pub losses: Vec<LossTerm>,
    /// When the teachers run.
    pub teacher_runs: TeacherRuns,
    /// How the logits of several teachers become one's.
    pub ensemble: Ensemble,
    /// The field that says which tokens count.
    pub mask: Option<String>,
    /// What errors call the teachers; see [`KdConfig::teacher_names`].
    #[serde(skip)]
    pub teacher_names: Vec<String>,
}

impl Default for DistillSpec {
    fn default() -> Self {
        let KdConfig {
            losses,
            teacher_runs,
            ensemble,
            ..
        } = KdConfig::default();
        Self {
            student: StudentRecipe::default(),
            losses,
            teacher_runs,
            ensemble,
            mask: None,
            teacher_names: Vec::new(),
        }
    }
}

/// The name of the table.
const TABLE: &str = "distill";

impl DistillRecipe {
    /// Reads a recipe; an unknown setting is an error.
    ///
    /// # Errors
    /// [`TrainRecipeError::Read`], [`TrainRecipeError::LossOfTraining`], [`TrainRecipeError::IdleKey`].
    pub fn from_toml(text: &str) -> Result<Self, TrainRecipeError> {
        let mut table: toml::Table = toml::from_str(text)?;
        if table.contains_key("loss") {
            return Err(TrainRecipeError::LossOfTraining);
        }
        let idle = |key, instead| Err(TrainRecipeError::IdleKey { key, instead });
        if table.contains_key("qat") {
            return idle(
                "qat",
                "quantize the student afterwards, with `modelpress qat`",
            );
        }
        let trainer = table.get("trainer").and_then(toml::Value::as_table);
        if trainer.is_some_and(|trainer| trainer.contains_key("outputs")) {
            return idle(
                "trainer.outputs",
                "the `taps` of the losses say what is looked at",
            );
        }
        let distill = match table.remove(TABLE) {
            Some(value) => value.try_into()?,
            None => DistillSpec::default(),
        };
        Ok(Self {
            train: toml::Value::Table(table).try_into()?,
            distill,
        })
    }

    /// The recipe as TOML.
    ///
    /// # Errors
    /// [`TrainRecipeError::Write`].
    pub fn to_toml(&self) -> Result<String, TrainRecipeError> {
        let mut table = toml::Table::try_from(&self.train)?;
        table.remove("loss");
        table.insert(TABLE.into(), toml::Value::try_from(&self.distill)?);
        Ok(toml::to_string(&table)?)
    }

    /// The same with relative files taken from `folder`.
    #[must_use]
    pub fn within(mut self, folder: &Path) -> Self {
        self.train = self.train.within(folder);
        if let TeacherRuns::Folder { path } = &mut self.distill.teacher_runs {
            *path = folder.join(&path);
        }
        self
    }

    /// The recipe of a generation, from 0; see [`KdConfig::generation`]. All hold out the same samples, so that none is scored on what its
    /// teacher learned from.
    #[must_use]
    pub fn generation(&self, number: usize) -> Self {
        let config = self.config().generation(number);
        let mut recipe = self.clone();
        let seed = self.train.trainer.seed;
        recipe.train.split_seed.get_or_insert(seed);
        recipe.train.trainer = config.trainer;
        recipe.distill.losses = config.losses;
        recipe.distill.ensemble = config.ensemble;
        recipe.distill.teacher_names = config.teacher_names;
        recipe
    }

    /// The student that the recipe makes of a model.
    ///
    /// # Errors
    /// [`TrainRecipeError::Distill`].
    pub fn student(&self, teacher: &Model) -> Result<Model, TrainRecipeError> {
        let student = clone_smaller(teacher, &self.distill.student);
        Ok(student.map_err(crate::kd::graph::DistillError::from)?)
    }

    /// A run of this recipe, at its beginning; teachers that run once run here.
    ///
    /// # Errors
    /// [`TrainRecipeError`].
    pub fn begin(
        &self,
        teachers: &[Model],
        student: &Model,
        options: &SessionOptions,
    ) -> Result<DistillRun, TrainRecipeError> {
        let recipe = &self.train;
        recipe.preprocess.validate()?;
        if !recipe.samples.labels.is_empty() {
            recipe.check_labels()?;
        }
        let (data, held_out) = recipe.sides(student)?;
        let preparation = recipe.preparation(Augmentation::new(0), student, &*data);
        let conditions = recipe.conditions(&*data, held_out.as_deref(), options)?;
        let mut samples = KdData::new(data.clone()).with_preparation(preparation);
        if !recipe.augment.is_empty() {
            samples = samples.with_augmentation(recipe.augmentation(student, &*data)?);
        }
        if let Some(held_out) = held_out {
            samples = samples.with_held_out(held_out);
        }
        let mut distiller = Distiller::new(teachers, student, samples, &self.config(), options)?;
        for (name, text) in conditions {
            distiller = distiller.with_condition(name, text);
        }
        let labels = data.fields().iter().find(|f| !is_input(student, &f.name));
        let are_classes = labels.is_some_and(|f| f.count() == 1 && f.kind != Kind::F32);
        if are_classes && self.distill.losses.iter().any(is_of_classes) {
            distiller = distiller.with_metric(TopK::default());
        }
        Ok(DistillRun { distiller })
    }

    fn config(&self) -> KdConfig {
        let mut config = KdConfig::new(self.distill.losses.clone());
        config.teacher_runs = self.distill.teacher_runs.clone();
        config.ensemble = self.distill.ensemble.clone();
        config.mask.clone_from(&self.distill.mask);
        config.teacher_names.clone_from(&self.distill.teacher_names);
        config.trainer = self.train.trainer.clone();
        config
    }
}

/// Whether a term reads the labels as classes, so that there is an accuracy.
fn is_of_classes(term: &LossTerm) -> bool {
    matches!(
        term.loss,
        KdTerm::CrossEntropy { .. } | KdTerm::Kd { .. } | KdTerm::Dkd { .. } | KdTerm::Exits { .. }
    )
}

/// A student with its teachers and samples.
pub struct DistillRun {
    distiller: Distiller,
}

impl DistillRun {
    /// The same with somebody who looks on.
    #[must_use]
    pub fn with_callback(mut self, callback: impl Callback + 'static) -> Self {
        self.distiller = self.distiller.with_callback(callback);
        self
    }

    /// Goes on from a checkpoint that a run of the same recipe wrote.
    ///
    /// # Errors
    /// [`TrainRecipeError::Distill`].
    pub fn resume(&mut self, path: impl AsRef<Path>) -> Result<(), TrainRecipeError> {
        Ok(self.distiller.resume(path)?)
    }

    /// Trains to the end; gives the student and what it came to.
    ///
    /// # Errors
    /// [`TrainRecipeError::Distill`].
    pub fn finish(&mut self) -> Result<(Model, KdReport), TrainRecipeError> {
        let report = self.distiller.fit()?;
        Ok((self.distiller.model()?, report))
    }

    /// The trainer of the student.
    pub fn trainer(&self) -> &Trainer {
        self.distiller.trainer()
    }

    /// Weights that no loss leads to, which stay as they are; see [`Distiller::unreached`].
    pub fn unreached(&self) -> &[String] {
        self.distiller.unreached()
    }

    /// The number of samples that are learned from, and held out.
    pub fn samples(&self) -> (usize, usize) {
        self.distiller.samples()
    }
}
