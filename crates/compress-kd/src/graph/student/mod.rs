//! Students made of their teachers' graphs: fewer blocks, narrower layers.
//!
//! What comes out is a model like any other, valid and with known shapes, whose weights are a slice of the teacher's or new.

mod axes;
mod error;
mod follow;
mod layers;
mod shapes;
mod slice;
mod stream;
mod width;

pub use error::StudentError;
pub use layers::{Block, BlockRow, KeepBlocks, drop_layers, find_blocks};
pub use width::{WidthChange, WidthConfig, WidthReport, halve_width, scale_width};

use compress_train::loss::Mse;
use compress_train::trainer::{Initialization, Trainer, TrainerConfig};
use onnx_ir::check::check;
use onnx_ir::infer::infer_shapes;
use onnx_ir::{Catalog, Fact, Model, ValueId};
use serde::{Deserialize, Serialize};

/// How a student is made of a model; the parts that are not given stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct StudentRecipe {
    /// Which blocks of the row with most weights stay.
    pub blocks: Option<KeepBlocks>,
    /// The hidden widths.
    pub width: Option<WidthConfig>,
    /// New weights in place of the teacher's.
    pub initialize: Initialization,
    /// The seed of new weights.
    pub seed: u64,
}

/// The student that a recipe makes of a model: blocks first, then widths, then weights.
///
/// # Errors
/// [`StudentError`].
pub fn clone_smaller(model: &Model, recipe: &StudentRecipe) -> Result<Model, StudentError> {
    let mut student = match &recipe.blocks {
        Some(keep) => drop_layers(model, 0, keep)?,
        None => model.clone(),
    };
    if let Some(width) = &recipe.width {
        student = scale_width(&student, width)?.0;
    }
    with_new_weights(&student, recipe.initialize, recipe.seed)
}

/// The model with weights that are drawn anew, as the trainer draws them; those of which it does not know what they are for stay.
///
/// # Errors
/// [`StudentError::Train`] for a model that cannot be trained.
pub fn with_new_weights(
    model: &Model,
    how: Initialization,
    seed: u64,
) -> Result<Model, StudentError> {
    if how == Initialization::Keep {
        return Ok(model.clone());
    }
    let mut config = TrainerConfig::default();
    (config.initialize, config.seed) = (how, seed);
    // The loss is never asked: weights are drawn when a run is set up.
    let trainer = Trainer::new(model, Mse::default(), config).map_err(Box::new)?;
    Ok(trainer.model().map_err(Box::new)?)
}

/// The model with the facts of its values.
fn inferred(model: &Model) -> Result<Model, StudentError> {
    let mut model = model.clone();
    infer_shapes(&mut model, Catalog::standard())?;
    Ok(model)
}

/// A student whose facts are inferred and that the checker takes.
fn validate(mut student: Model) -> Result<Model, StudentError> {
    let report = infer_shapes(&mut student, Catalog::standard())?;
    if let Some(issue) = report.first_error() {
        return Err(StudentError::Invalid {
            finding: issue.to_string(),
        });
    }
    if let Some(finding) = check(&student).into_iter().find(|f| f.is_error()) {
        return Err(StudentError::Invalid {
            finding: finding.to_string(),
        });
    }
    // As a file has them: types and shapes, no values.
    let values: Vec<ValueId> = student.graph.values().map(|(id, _)| id).collect();
    for id in values {
        if let Fact::Tensor(fact) = &mut student.graph.value_mut(id).fact {
            fact.value = None;
        }
    }
    Ok(student)
}
