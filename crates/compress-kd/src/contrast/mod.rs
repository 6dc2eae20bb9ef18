//! Contrastive representation distillation with memory banks.

mod bank;
mod crd;
mod negatives;

pub use bank::MemoryBank;
pub use crd::{Crd, CrdConfig, CrdGradients};
pub use negatives::Negatives;
