//! Losses on features between the input and the logits.

mod attention;
mod cosine;
mod hint;
mod projection;

pub use attention::{AttentionDistance, AttentionTransfer};
pub use cosine::{CosineEmbedding, cosine_embedding};
pub use hint::hint;
pub use projection::{Projected, Projection, ProjectionGradient};

pub(crate) use projection::Residual;

/// The features of the student, as errors name them.
pub(crate) const STUDENT: &str = "the student's features";
/// The features of the teacher, as errors name them.
pub(crate) const TEACHER: &str = "the teacher's features";
