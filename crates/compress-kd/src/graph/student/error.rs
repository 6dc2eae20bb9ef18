//! Why a student cannot be made of a model.

use compress_train::trainer::TrainError;
use onnx_ir::graph::GraphError;

/// Why a student cannot be made of a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StudentError {
    /// No two blocks of the same operators and weight shapes follow one another.
    #[error(
        "the model has no repeated blocks to leave out: no two parts of the same operators and weight shapes follow one another"
    )]
    NoBlocks,
    /// A row of blocks that the model does not have.
    #[error(
        "the model has no row of blocks {row}: it has {rows}, the first one of {blocks} blocks"
    )]
    NoSuchRow {
        /// The row, from 0.
        row: usize,
        /// How many rows there are.
        rows: usize,
        /// The blocks of the first one.
        blocks: usize,
    },
    /// More blocks than there are.
    #[error("{count} blocks cannot be kept: the model has {blocks} repeated blocks")]
    TooMany {
        /// How many were asked for.
        count: usize,
        /// How many there are.
        blocks: usize,
    },
    /// Blocks to keep that are not there, or not in order.
    #[error("blocks {kept:?} cannot be kept: {rule}; the row has {blocks}, from 0")]
    Keep {
        /// What was asked for.
        kept: Vec<usize>,
        /// How many blocks there are.
        blocks: usize,
        /// What does not hold.
        rule: &'static str,
    },
    /// A setting breaks its rule.
    #[error("{setting} is {found}, {rule}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: f64,
        /// The rule, as in `it must lie in (0, 1)`.
        rule: &'static str,
    },
    /// A width that depends on a node through which it cannot be followed.
    #[error("the width of `{tensor}` cannot change: node {node}: {reason}")]
    Width {
        /// A weight of that width.
        tensor: String,
        /// The node, with its operator.
        node: String,
        /// Why not.
        reason: String,
    },
    /// No hidden width changes at this factor.
    #[error("no width changes: the model has no hidden width, or none that this factor changes")]
    NothingToChange,
    /// What was made is not valid: a rule of some operator was not followed.
    #[error("the student is not valid: {finding}")]
    Invalid {
        /// What the checker or inference says.
        finding: String,
    },
    /// The graph refuses a change.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// New weights cannot be drawn.
    #[error(transparent)]
    Train(#[from] Box<TrainError>),
}

/// Checks that a setting keeps its rule; NaN keeps none.
pub(super) fn setting(
    setting: &'static str,
    found: f64,
    holds: bool,
    rule: &'static str,
) -> Result<(), StudentError> {
    if holds {
        Ok(())
    } else {
        Err(StudentError::Setting {
            setting,
            found,
            rule,
        })
    }
}
