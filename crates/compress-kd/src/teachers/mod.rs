//! Several teachers, and a network that teaches itself.

mod ensemble;
mod exits;

pub use ensemble::{TeacherMean, ensemble};
pub use exits::SelfDistillation;
