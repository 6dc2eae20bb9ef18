//! Why a model cannot be trained by a recipe.

use crate::data::DataError;
use crate::quant::graph::{CalibrationError, QuantizeError};
use crate::tensor::npz::NpzError;
use crate::train::trainer::TrainError;

/// Why a recipe cannot be read or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainRecipeError {
    /// The text is no recipe.
    #[error("recipe: {0}")]
    Read(#[from] toml::de::Error),
    /// The recipe cannot be written.
    #[error("recipe: {0}")]
    Write(#[from] toml::ser::Error),
    /// No samples to train on.
    #[error("there are no samples to train on: give `inputs` under [samples] (--train)")]
    NoSamples,
    /// Samples without labels.
    #[error("the samples have no labels: give `labels` under [{table}] ({flag})")]
    NoLabels {
        /// The table of the recipe.
        table: &'static str,
        /// The argument of the program.
        flag: &'static str,
    },
    /// Held-out samples that lack labels that the others have.
    #[error(
        "the held-out samples have no labels `{name}`: give them under [validation] (--val-labels)"
    )]
    NoHeldOutLabels {
        /// Their name.
        name: String,
    },
    /// Samples to evaluate on are told in two ways.
    #[error("validation and hold-out exclude one another: leave one out")]
    HeldOutTwice,
    /// The share to hold out is less than a sample.
    #[error("hold-out = {share} holds out no sample")]
    NothingHeldOut {
        /// The share.
        share: f64,
    },
    /// Augmentation without images.
    #[error("augmentation needs an input whose samples have two axes or more")]
    NoImages,
    /// A crop of which nothing but border may be left.
    #[error(
        "crop: padding = {padding} of images {shape:?}: it must be less than their sides, or some would be border alone"
    )]
    Padding {
        /// The padding.
        padding: usize,
        /// The shape of an image.
        shape: Vec<usize>,
    },
    /// An input that no array can feed sample by sample.
    #[error("`zeros` feeds no input while a model trains: give input `{name}` an array")]
    Zeros {
        /// The input.
        name: String,
    },
    /// An input of the model that no array feeds.
    #[error("input `{name}` was not given")]
    MissingInput {
        /// The input.
        name: String,
    },
    /// A recipe with a table `[qat]` is run without it.
    #[error(
        "the recipe quantizes ([qat]), which training alone does not do: use `begin_qat`, or `modelpress qat`"
    )]
    Quantizes,
    /// Weights would be drawn anew behind the ranges that were chosen for them.
    #[error(
        "initialize draws weights anew, which needs epochs as floats before there are codes: give `warm-up` under [qat] (--float-epochs)"
    )]
    InitializesCodes,
    /// A float model would learn from itself.
    #[error("a warm-up without labels needs a teacher that is another model")]
    WarmUpOfNothing,
    /// A teacher beside a loss that it has none for.
    #[error(
        "a teacher goes with loss cross-entropy without smoothing, weights and ignored classes only"
    )]
    TeacherOfNoClasses,
    /// The crate was built without distillation.
    #[error("learning from a teacher needs feature `kd`")]
    NoTeachers,
    /// A setting breaks its rule.
    #[error("{setting} is {found}, {rule}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: f64,
        /// The rule.
        rule: &'static str,
    },
    /// The model cannot be quantized.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// Statistics cannot be gathered.
    #[error(transparent)]
    Calibrate(#[from] CalibrationError),
    /// Arrays that do not feed the model.
    #[error(transparent)]
    Input(#[from] DataError),
    /// Arrays that are no samples.
    #[error(transparent)]
    Samples(#[from] crate::train::data::DataError),
    /// An archive cannot be read.
    #[error(transparent)]
    Archive(#[from] NpzError),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A loss of training in a recipe of distillation.
    #[error("a recipe of distillation has its losses in [[distill.losses]], not in [loss]")]
    LossOfTraining,
    /// A key that has no effect on distillation.
    #[error("`{key}` has no effect on distillation: {instead}")]
    IdleKey {
        /// The key.
        key: &'static str,
        /// What to do.
        instead: &'static str,
    },
    /// Distillation failed.
    #[cfg(feature = "kd")]
    #[error(transparent)]
    Distill(#[from] crate::kd::graph::DistillError),
}
