//! Distillation of whole ONNX models: a teacher's file and a student's in, a trained student out.
//!
//! [`distill`] trains a student with any of the losses of this crate, told by name ([`KdTerm`]), on its outputs and on tensors within both
//! networks ([`Tap`]); [`Distiller`] is the same with several teachers, metrics, callbacks and checkpoints. [`born_again`] lets a
//! network teach its next generation, [`KdTerm::Exits`] the deepest exit of one network the others. [`student`] makes students of
//! their teachers.

mod born_again;
mod checks;
mod config;
mod contrast;
mod distiller;
mod error;
mod kinds;
mod mixed;
mod names;
mod pool;
mod store;
pub mod student;
mod taps;
mod teacher;
mod term;

pub use born_again::born_again;
pub use config::{Ensemble, KdConfig, LossTerm, Pooling, Tap, TeacherRuns, Weight};
pub use distiller::{Distiller, KdData, KdReport, distill};
pub use error::DistillError;
pub use kinds::KdTerm;
pub use mixed::{MixedLoss, TEACHER, teacher};
pub use taps::ProjectionReport;
pub use teacher::TeacherReport;

#[cfg(test)]
mod term_tests;
