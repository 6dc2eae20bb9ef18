//! What a machine can do, and how long a model will take on it.
//!
//! A step of `C` multiply-accumulates that moves `M` bytes takes
//!
//! ```text
//! sum         t = C / F + M / B + t₀
//! overlapped  t = max(C / F, M / B) + t₀
//! ```
//!
//! for a rate of arithmetic `F` and a bandwidth `B`; a model takes the sum over its steps. With the peaks of the machine for `F` and `B`, and
//! without `t₀`, the overlapped form is the roofline (Williams, Waterman, Patterson, "Roofline: an insightful visual performance
//! model for multicore architectures", Communications of the ACM 52(4), 2009): the least time that the step could take.
//! Kernels reach a part of the peaks, which differs by what they compute; so each *class* of steps (convolutions of one tap,
//! of many, depthwise ones, matrix products, functions of elements, …) has rates `F` and `B` of its own, and a fixed time `t₀` per call.
//! They are fitted to steps of micro-benchmarks on this machine ([`Machine::measure`]) that know no model of anyone.
//!
//! | module | holds |
//! |---|---|
//! | `machine` | [`Machine`]: peaks, bandwidths, rates by class |
//! | `work` | what a plan's steps compute and move for shapes of the inputs |
//! | `fit` | rates from measured steps |
//! | `micro` | the models of the micro-benchmarks |
//! | `measure` | peaks, bandwidths and steps, measured |
//! | `cache` | the table in the user's cache folder |
//! | `predict` | times from work and rates |

mod cache;
mod fit;
mod machine;
mod measure;
mod micro;
mod predict;
mod work;

pub use cache::CacheError;
pub(crate) use cache::{cache_file, cpu_name};
pub use machine::{Arithmetic, Bandwidth, Line, Machine, Rate, Roof};
pub use predict::{Prediction, StepPrediction};
pub(crate) use work::{StepWork, works};
