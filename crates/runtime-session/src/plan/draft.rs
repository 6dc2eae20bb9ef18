//! The steps of a graph, over the graph's values.

use super::Fused;
use crate::step::Step;
use compress_tensor::Tensor;
use onnx_ir::ValueId;
use std::collections::HashMap;
use std::sync::Arc;

/// The steps of a graph in an order in which they can run.
pub(crate) struct Draft {
    pub(crate) steps: Vec<DraftStep>,
    /// The graph's inputs, then what a subgraph captures.
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
    /// Values that must exist while the graph runs, beside the outputs.
    pub(crate) tapped: Vec<Tapped>,
    /// Constants that steps or outputs read.
    pub(crate) constants: HashMap<ValueId, Tensor>,
    /// Names of all values, by value index.
    pub(crate) names: Arc<Vec<String>>,
    /// The graph's value that each value holds, by value index: itself, or the one that it holds in another order.
    pub(crate) origins: Arc<Vec<ValueId>>,
}

/// A value that is shown as soon as it is there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tapped {
    /// The value whose name it is shown under.
    pub(crate) named: ValueId,
    /// Where it lies: the value itself, or the same image in another order.
    pub(crate) shown: ValueId,
}

/// One step over graph values.
#[derive(Clone)]
pub(crate) struct DraftStep {
    pub(crate) step: Arc<dyn Step>,
    pub(crate) inputs: Vec<Option<ValueId>>,
    pub(crate) outputs: Vec<Option<ValueId>>,
    /// The node (the last one of those that are fused), for messages.
    pub(crate) node: Arc<str>,
    /// The row of the profile.
    pub(crate) row: usize,
    /// What the step computes.
    pub(crate) fused: Arc<Fused>,
}
