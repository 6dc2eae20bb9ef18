//! Why a model cannot be trained by a recipe.

use crate::data::DataError;
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
    #[error("the recipe names no samples to train on: give inputs and labels")]
    NoSamples,
    /// Samples to evaluate on are told in two ways.
    #[error("validation and hold_out exclude one another: leave one out")]
    HeldOutTwice,
    /// The share to hold out is less than a sample.
    #[error("hold_out = {share} holds out no sample")]
    NothingHeldOut {
        /// The share.
        share: f64,
    },
    /// Augmentation without images.
    #[error("augmentation needs an input whose samples have two axes or more")]
    NoImages,
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
}
