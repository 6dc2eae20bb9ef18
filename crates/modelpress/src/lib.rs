//! Model compression and deployment: a trained ONNX file in, a small and fast one out.
//!
//! This crate re-exports the modelpress crates under one roof and adds what joins them: sample arrays
//! ([`data`]), scores ([`evaluate`]) and the standard order of passes
//! ([`optimize()`]) and steps as data ([`Recipe`], [`training::TrainRecipe`]).
//!
//! | module | crate | holds |
//! |---|---|---|
//! | [`tensor`] | `compress-tensor` | element types, tensors, quantization parameters, metrics, `.npy` |
//! | [`ir`] | `onnx-ir` | models, operators, checker, shape inference, passes |
//! | [`session`] | `runtime-session` | running and measuring models on the CPU |
//! | [`train`] | `compress-train` | the trainer; optimizers, schedules, losses, data sources, metrics, checkpoints |
//! | [`quant`] | `compress-quant` | calibration, static, dynamic and weight-only quantization |
//! | `kd` | `compress-kd` | distillation losses and their gradients (feature `kd`, on by default) |
#![deny(missing_docs)]
#![forbid(unsafe_code)]

#[cfg(feature = "kd")]
pub use compress_kd as kd;
pub use compress_quant as quant;
pub use compress_tensor as tensor;
pub use compress_train as train;
pub use onnx_ir as ir;
pub use runtime_session as session;

pub mod data;
pub mod evaluate;
mod optimize;
pub mod recipe;
pub mod training;

pub use optimize::{Defaults, OptimizeError, OptimizeOptions, optimize};
pub use recipe::{Recipe, RecipeError, RecipeReport};

/// The examples of the README, compiled as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// The examples of the page on quantization-aware training.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/qat.md")]
struct QatPage;

/// The examples of the page on training.
#[cfg(all(doctest, feature = "kd"))]
#[doc = include_str!("../../../docs/training.md")]
struct TrainingPage;
