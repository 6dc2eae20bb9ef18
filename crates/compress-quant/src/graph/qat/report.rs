//! What was made ready.

use crate::graph::report::{Note, SkippedNode};
use serde::Serialize;

/// A layer that is trained with codes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct QatLayer {
    /// The node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// Bits of its weight.
    pub weight_bits: Option<u32>,
    /// Bits of what it reads.
    pub activation_bits: Option<u32>,
    /// The initializer that holds the steps of its weight.
    pub weight_step: Option<String>,
    /// The initializer that holds the step of what it reads.
    pub activation_step: Option<String>,
    /// Signal to quantization noise of the weight before training, in dB.
    pub weight_sqnr_db: Option<f64>,
}

/// What was made ready.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct QatReport {
    /// The layers, in their order.
    pub layers: Vec<QatLayer>,
    /// Initializers that hold steps which are learned.
    pub steps: Vec<String>,
    /// Initializers that hold offsets which are learned.
    pub offsets: Vec<String>,
    /// Nodes that could hold quantized values and stay as they are.
    pub skipped: Vec<SkippedNode>,
    /// What was changed so that the target takes the file.
    pub repairs: Vec<Note>,
    /// Where something other was done than was asked for, and why.
    pub notes: Vec<Note>,
}
