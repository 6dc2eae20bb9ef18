//! What training needs beside the graph, and the trainer.
//!
//! Plain Rust on slices and `ndarray` views, of use with any framework: [`optimizer`]s and [`schedule`]s with PyTorch's numbers,
//! [`gradient`] accumulation and clipping, moving averages of weights ([`ema`]), [`loss`]es with their gradients, [`data`] sources,
//! samplers and prefetching, [`augment`]ation, [`metrics`] with confidence intervals, early [`stopping`], a [`log`] with curves
//! ([`picture`]) and [`checkpoint`]s that resume to the same bits. With the feature `graph` there is a trainer of whole ONNX models,
//! `trainer::Trainer`, which joins them.
//!
//! Everything random comes from one generator ([`random`]), named by seed, purpose, epoch and index: the same seed gives the same bytes at
//! any number of threads, and a run that was stopped goes on to the bytes that an unbroken one ends with.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

pub mod augment;
pub mod checkpoint;
pub mod data;
pub mod digest;
pub mod ema;
pub mod gradient;
pub mod log;
pub mod loss;
pub mod metrics;
pub mod optimizer;
pub mod picture;
pub mod progress;
pub mod random;
pub mod schedule;
pub mod stopping;
pub mod tagged;
#[cfg(feature = "graph")]
pub mod trainer;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use compress_tensor::Tensor;
