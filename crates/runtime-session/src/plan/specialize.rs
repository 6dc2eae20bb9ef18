//! What becomes constant once the shapes of the inputs are known.
//!
//! Exported transformers compute their reshapes from the shapes of their inputs (`Shape`, `Gather`, `Concat`, …).
//! Shape inference with concrete input shapes resolves these; the plan then holds the results as constants.

use compress_tensor::{DType, Tensor};
use onnx_ir::fact::{KnownValue, TensorFact};
use onnx_ir::infer::infer_shapes;
use onnx_ir::operator::Catalog;
use onnx_ir::{Fact, Graph, Model, OpsetImports, ValueId};
use std::collections::HashMap;

/// Bytes beyond which an initializer is known by type and shape only.
const MAX_KEPT_BYTES: usize = 4096;

/// A graph without its weights, for shape inference.
pub(crate) struct ShapeGraph {
    model: Model,
    /// Inputs that a run feeds, in the order of the shapes in [`ShapeGraph::known_values`].
    fed: Vec<ValueId>,
}

impl ShapeGraph {
    pub(crate) fn new(graph: &Graph, opsets: &OpsetImports) -> Self {
        let mut graph = graph.clone();
        let fed = graph.inputs().to_vec();
        let large: Vec<ValueId> = graph
            .initializers()
            .filter(|(_, tensor)| tensor.byte_len() > MAX_KEPT_BYTES)
            .map(|(id, _)| id)
            .collect();
        for id in large {
            if let Some(tensor) = graph.remove_initializer(id) {
                let shape = tensor.shape().to_vec();
                graph.value_mut(id).fact = Fact::tensor(tensor.dtype(), shape);
                if !graph.is_input(id) {
                    graph.add_input(id);
                }
            }
        }
        let mut model = Model::new(graph, 1);
        model.opsets = opsets.clone();
        Self { model, fed }
    }

    /// The values that are constant for inputs of these types and shapes, in the order of the graph's inputs.
    pub(crate) fn known_values(
        &self,
        inputs: &[Option<(DType, Vec<usize>)>],
        catalog: &Catalog,
    ) -> HashMap<ValueId, Tensor> {
        let mut model = self.model.clone();
        for (&id, input) in self.fed.iter().zip(inputs) {
            if let Some((dtype, shape)) = input {
                model.graph.value_mut(id).fact = Fact::tensor(*dtype, shape.iter().copied());
            }
        }
        if infer_shapes(&mut model, catalog).is_err() {
            return HashMap::new();
        }
        let constant = |fact: &Fact| match fact {
            Fact::Tensor(TensorFact {
                value: Some(KnownValue::Const(tensor)),
                ..
            }) => Some(tensor.clone()),
            _ => None,
        };
        let graph = &model.graph;
        let computed = graph
            .values()
            .filter(|(id, _)| graph.producer(*id).is_some());
        computed
            .filter_map(|(id, info)| Some((id, constant(&info.fact)?)))
            .collect()
    }
}
