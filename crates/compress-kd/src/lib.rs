//! Knowledge distillation: the losses that hold a student to its teacher, and their gradients.
//!
//! Array level, of use with any framework: every loss takes `ndarray` arrays or views and gives back its value and its
//! gradient by the student. There is no graph and no runtime in it. With the feature `graph` there is distillation of whole ONNX models,
//! `graph::distill`, by the same losses.
//!
//! | module | holds |
//! |---|---|
//! | [`logits`] | cross-entropy, the mixed loss of Hinton et al., both directions of KL, logit regression, multi-label, DKD |
//! | [`features`] | hints (FitNets) with a learned [`Projection`](features::Projection), attention transfer, cosine |
//! | [`relations`] | what holds between the samples of a batch: RKD, similarity-preserving, correlation congruence, PKT |
//! | [`transformer`] | MiniLM and MiniLMv2 relations, TinyBERT hidden states, embeddings and attention |
//! | [`contrast`] | CRD with its memory banks and seeded negatives |
//! | [`teachers`] | several teachers as one; exits of one network as teacher and students |
//! | `graph` | distillation of models, and students made of their teachers (feature `graph`) |
//!
//! # Conventions
//! * The first axis is the sample axis. A loss says how it is reduced, and over what.
//! * `F` is any [`num_traits::Float`]: `f32`, `f64`, and the half types of the `half` crate. Sums and everything between
//!   are `f64`; a value is `f64`, a gradient has the element type and the shape of what it belongs to.
//! * Functions take `&ArrayRef`, to which references to arrays and to views of any strides coerce.
//! * The teacher is a constant: no gradient is given for it, but where a loss trains a head on it (CRD).
//! * A loss that is zero at its least is zero where student and teacher agree, and so is its gradient. Where a norm or a
//!   distance has no derivative (at zero), the gradient is zero.
//! * Values that are not finite are errors ([`KdError::NotFinite`]), in the inputs and in the result ([`KdError::Overflow`]).
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod check;
pub mod contrast;
mod element;
mod error;
pub mod features;
#[cfg(feature = "graph")]
pub mod graph;
pub mod logits;
mod random;
pub mod relations;
mod rows;
mod softmax;
pub mod teachers;
pub mod transformer;

pub use error::KdError;

/// The examples of the guide, compiled as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/distillation.md")]
struct Guide;
