//! Training as data: a [`TrainRecipe`] is read from TOML and run on a model.
//!
//! ```
//! use modelpress::training::TrainRecipe;
//!
//! let recipe = TrainRecipe::from_toml(r#"
//!     [samples]
//!     inputs = ["image=train_x.npy"]
//!     labels = ["train_y.npy"]
//!
//!     [validation]
//!     inputs = ["image=test_x.npy"]
//!     labels = ["test_y.npy"]
//!
//!     [preprocess]
//!     layout = "nhwc"
//!
//!     [loss]
//!     kind = "cross-entropy"
//!     label-smoothing = 0.1
//!
//!     [[augment]]
//!     kind = "crop"
//!     padding = 4
//!
//!     [[augment]]
//!     kind = "flip"
//!
//!     [trainer]
//!     epochs = 30
//!     batch = 128
//!     optimizer = { kind = "sgd", momentum = 0.9, nesterov = true, weight-decay = 5e-4 }
//!     schedule = "cosine"
//! "#)?;
//! assert_eq!((recipe.trainer.epochs, recipe.augment.len()), (30, 2));
//! # Ok::<(), modelpress::training::TrainRecipeError>(())
//! ```

mod augment;
mod convert;
#[cfg(feature = "kd")]
mod distill_recipe;
mod error;
mod loss;
mod objective;
mod qat;
mod samples;

#[cfg(feature = "kd")]
pub use crate::kd::graph::{MixedLoss, TEACHER, teacher};
pub use augment::AugmentSpec;
#[cfg(feature = "kd")]
pub use distill_recipe::{DistillRecipe, DistillRun, DistillSpec};
pub use error::TrainRecipeError;
pub use loss::LossSpec;
pub use qat::{LayerSpec, QatMethod, QatOutcome, QatRun, QatSpec};
pub use samples::SampleSpec;

use crate::data::{Layout, Preprocess};
use crate::ir::{Fact, Model};
use crate::session::SessionOptions;
use crate::train::augment::{Augmentation, ChannelOrder, Images};
use crate::train::data::{Dataset, Subset, split};
use crate::train::digest;
use crate::train::tagged;
use crate::train::trainer::{Callback, TopK, TrainReport, Trainer, TrainerConfig};
use convert::Convert;
use objective::with;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

/// What a model is trained on, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(
    default,
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table of settings"
)]
#[non_exhaustive]
pub struct TrainRecipe {
    /// What it is trained on.
    pub samples: SampleSpec,
    /// Only the first so many of `samples` are taken, before some are held out.
    pub limit: Option<usize>,
    /// What it is evaluated on after epochs.
    pub validation: Option<SampleSpec>,
    /// The share of `samples` that is held out to be evaluated on, where there is no `validation`.
    #[serde(alias = "hold_out")]
    pub hold_out: Option<f64>,
    /// How the numbers of float inputs are converted, after augmentation.
    pub preprocess: Preprocess,
    /// What becomes small.
    #[serde(deserialize_with = "tagged::one")]
    pub loss: LossSpec,
    /// Changes of the samples that are trained on, in their order; of the first image input, and of the first labels where they are
    /// mixed.
    #[serde(deserialize_with = "tagged::all")]
    pub augment: Vec<AugmentSpec>,
    /// Settings of the run.
    pub trainer: TrainerConfig,
    /// What becomes integer, for [`TrainRecipe::begin_qat`]; training alone refuses it.
    pub qat: Option<QatSpec>,
    /// The seed by which `hold_out` draws; that of the trainer unless given. Generations of students draw otherwise, and hold out the same
    /// samples.
    #[serde(skip)]
    pub split_seed: Option<u64>,
}

impl TrainRecipe {
    /// Reads a recipe; an unknown setting is an error.
    ///
    /// # Errors
    /// [`TrainRecipeError::Read`] with line and column.
    pub fn from_toml(text: &str) -> Result<Self, TrainRecipeError> {
        Ok(toml::from_str(text)?)
    }

    /// The recipe as TOML.
    ///
    /// # Errors
    /// [`TrainRecipeError::Write`].
    pub fn to_toml(&self) -> Result<String, TrainRecipeError> {
        Ok(toml::to_string(self)?)
    }

    /// The same with relative files taken from `folder`.
    #[must_use]
    pub fn within(mut self, folder: &Path) -> Self {
        self.samples = self.samples.within(folder);
        self.validation = self.validation.map(|samples| samples.within(folder));
        self.qat = self.qat.map(|qat| qat.within(folder));
        let trainer = &mut self.trainer;
        let checkpoint = trainer.checkpoint.as_mut().map(|c| &mut c.path);
        let log = trainer.log.as_mut().map(|log| &mut log.path);
        for path in checkpoint
            .into_iter()
            .chain(log)
            .chain(trainer.curves.as_mut())
        {
            *path = folder.join(&path);
        }
        self
    }

    /// A run of this recipe on a model, at its beginning.
    ///
    /// # Errors
    /// [`TrainRecipeError`].
    pub fn begin(
        &self,
        model: &Model,
        options: &SessionOptions,
    ) -> Result<TrainingRun, TrainRecipeError> {
        if self.qat.is_some() {
            return Err(TrainRecipeError::Quantizes);
        }
        self.begin_with(model, None, options)
    }

    /// A run that may learn from a teacher beside the labels, or alone where there are none.
    fn begin_with(
        &self,
        model: &Model,
        teacher: Option<&Model>,
        options: &SessionOptions,
    ) -> Result<TrainingRun, TrainRecipeError> {
        self.preprocess.validate()?;
        if teacher.is_none() || !self.samples.labels.is_empty() {
            self.check_labels()?;
        }
        let (data, held_out) = self.sides(model)?;
        let objective = self.objective(teacher, options)?;
        let mut trainer =
            Trainer::with_session(model, objective.loss, self.trainer.clone(), options)?
                .with_augmentation(with(self.augmentation(model, &*data)?, objective.samples))
                .with_preparation(with(
                    self.preparation(Augmentation::new(0), model, &*data),
                    objective.held_out,
                ));
        trainer = trainer.with_condition("loss", objective.text);
        for (name, text) in self.conditions(&*data, held_out.as_deref(), options)? {
            trainer = trainer.with_condition(name, text);
        }
        // Of one class for each place of an image there is no accuracy of samples.
        let inputs = model.graph.inputs();
        let is_input = |name: &str| inputs.iter().any(|&v| model.graph.name_of(v) == name);
        let fields = data.fields();
        let labels = fields.iter().find(|field| !is_input(&field.name));
        let one_each = labels.is_some_and(|field| field.count() == 1);
        if self.loss.is_classification() && one_each {
            trainer = trainer.with_metric(TopK::default());
        }
        Ok(TrainingRun {
            trainer,
            data,
            held_out,
        })
    }

    /// What results depend on beside the settings of the trainer and the loss: a checkpoint of others is refused.
    fn conditions(
        &self,
        data: &dyn Dataset,
        held_out: Option<&dyn Dataset>,
        options: &SessionOptions,
    ) -> Result<Vec<(&'static str, String)>, TrainRecipeError> {
        let mut conditions = vec![
            ("augment", format!("{:?}", self.augment)),
            ("preprocess", format!("{:?}", self.preprocess)),
            ("hold_out", format!("{:?}", self.hold_out)),
            ("limit", format!("{:?}", self.limit)),
            ("samples", told(data)?),
            ("winograd", options.winograd.to_string()),
            ("fft", options.fft.to_string()),
        ];
        if let Some(held_out) = held_out {
            conditions.push(("held-out samples", told(held_out)?));
        }
        Ok(conditions)
    }

    /// Checks that all samples have what the loss holds outputs against.
    fn check_labels(&self) -> Result<(), TrainRecipeError> {
        let no_labels = |table, flag| Err(TrainRecipeError::NoLabels { table, flag });
        if self.samples.inputs.is_empty() {
            return Err(TrainRecipeError::NoSamples);
        }
        if self.samples.labels.is_empty() {
            return no_labels("samples", "--labels");
        }
        let Some(validation) = &self.validation else {
            return Ok(());
        };
        if validation.labels.is_empty() {
            return no_labels("validation", "--val-labels");
        }
        let mut names = self.samples.labels.iter().map(samples::name_of);
        let missing = names.find(|&name| {
            !validation
                .labels
                .iter()
                .any(|l| samples::name_of(l) == name)
        });
        match missing {
            Some(name) => Err(TrainRecipeError::NoHeldOutLabels {
                name: name.to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// The samples to train on, and those held out.
    fn sides(&self, model: &Model) -> Result<Sides, TrainRecipeError> {
        let mut data: Arc<dyn Dataset> = Arc::new(self.samples.open(model)?);
        if let Some(limit) = self.limit.filter(|&limit| limit < data.len()) {
            data = Arc::new(Subset::new(data, (0..limit).collect())?);
        }
        Ok(match (&self.validation, self.hold_out) {
            (Some(_), Some(_)) => return Err(TrainRecipeError::HeldOutTwice),
            (Some(validation), None) => {
                let held_out: Arc<dyn Dataset> = Arc::new(validation.open(model)?);
                (data, Some(held_out))
            }
            (None, Some(share)) => {
                let seed = self.split_seed.unwrap_or(self.trainer.seed);
                let fold = split(data.len(), share, seed)?;
                if fold.validation.is_empty() {
                    return Err(TrainRecipeError::NothingHeldOut { share });
                }
                let held_out = Subset::new(Arc::clone(&data), fold.validation)?;
                let rest = Subset::new(data, fold.train)?;
                (
                    Arc::new(rest) as Arc<dyn Dataset>,
                    Some(Arc::new(held_out) as Arc<dyn Dataset>),
                )
            }
            (None, None) => (data, None),
        })
    }

    /// Changes of the samples that are trained on, then the conversion.
    fn augmentation(
        &self,
        model: &Model,
        data: &dyn Dataset,
    ) -> Result<Augmentation, TrainRecipeError> {
        let mut all = Augmentation::new(self.trainer.seed);
        if !self.augment.is_empty() {
            let fields = data.fields();
            let inputs = model.graph.required_inputs();
            let inputs = inputs.map(|id| model.graph.name_of(id));
            let image = inputs
                .filter_map(|name| fields.iter().find(|field| field.name == name))
                .find(|field| field.shape.len() >= 2)
                .ok_or(TrainRecipeError::NoImages)?;
            let labels = data
                .fields()
                .iter()
                .find(|field| !is_input(model, &field.name));
            let images = Images {
                column: image.name.clone(),
                order: match self.preprocess.layout {
                    Layout::Nhwc => ChannelOrder::Nhwc,
                    Layout::Model => ChannelOrder::Nchw,
                },
            };
            let labels = labels.map_or("", |field| field.name.as_str());
            for step in &self.augment {
                step.check(&image.shape, images.order)?;
                all = step.add_to(all, &images, labels);
            }
        }
        Ok(self.preparation(all, model, data))
    }

    /// Other steps, then the conversion of all columns that feed inputs.
    fn preparation(
        &self,
        mut all: Augmentation,
        model: &Model,
        data: &dyn Dataset,
    ) -> Augmentation {
        for field in data
            .fields()
            .iter()
            .filter(|field| is_input(model, &field.name))
        {
            let fact = model.fact(&field.name).and_then(Fact::as_tensor);
            all = all.with(Convert {
                column: field.name.clone(),
                preprocess: self.preprocess.clone(),
                is_float: fact
                    .and_then(|f| f.dtype)
                    .is_none_or(|dtype| dtype.is_float()),
            });
        }
        all
    }
}

/// Samples to train on, and those held out.
type Sides = (Arc<dyn Dataset>, Option<Arc<dyn Dataset>>);

/// What tells samples from others, in a checkpoint.
fn told(data: &dyn Dataset) -> Result<String, TrainRecipeError> {
    Ok(format!(
        "{} (digest {})",
        data.len(),
        digest::of_samples(data)?
    ))
}

/// What tells a model from others, in a checkpoint.
fn told_of_model(model: &Model) -> String {
    let graph = &model.graph;
    let weights = graph.initializers();
    digest::of_tensors(weights.map(|(id, tensor)| (graph.name_of(id), tensor)))
}

fn is_input(model: &Model, name: &str) -> bool {
    let graph = &model.graph;
    graph
        .value_by_name(name)
        .is_some_and(|id| graph.is_input(id))
}

/// A trainer with its data.
pub struct TrainingRun {
    trainer: Trainer,
    data: Arc<dyn Dataset>,
    held_out: Option<Arc<dyn Dataset>>,
}

impl TrainingRun {
    /// The same with somebody who looks on.
    #[must_use]
    pub fn with_callback(mut self, callback: impl Callback + 'static) -> Self {
        self.trainer = self.trainer.with_callback(callback);
        self
    }

    /// Goes on from a checkpoint that a run of the same recipe wrote.
    ///
    /// # Errors
    /// [`TrainRecipeError::Train`].
    pub fn resume(&mut self, path: impl AsRef<Path>) -> Result<(), TrainRecipeError> {
        Ok(self.trainer.resume(path)?)
    }

    /// Trains to the end; gives the model and what it came to.
    ///
    /// # Errors
    /// [`TrainRecipeError::Train`].
    pub fn finish(&mut self) -> Result<(Model, TrainReport), TrainRecipeError> {
        let report = self
            .trainer
            .fit(Arc::clone(&self.data), self.held_out.as_deref())?;
        Ok((self.trainer.model()?, report))
    }

    /// The trainer.
    pub fn trainer(&self) -> &Trainer {
        &self.trainer
    }

    /// The number of samples that are trained on, and held out.
    pub fn samples(&self) -> (usize, usize) {
        (
            self.data.len(),
            self.held_out.as_ref().map_or(0, |data| data.len()),
        )
    }
}

#[cfg(test)]
mod tests;
