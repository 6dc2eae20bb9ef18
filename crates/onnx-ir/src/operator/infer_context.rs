//! What an operator sees while it infers facts.

use super::InferError;
use crate::fact::{Fact, TensorFact};
use crate::graph::Graph;
use crate::symbolic::Dim;
use compress_tensor::{DType, Tensor};

/// Infers the outputs of a subgraph from the facts of its inputs.
pub trait SubgraphInferrer {
    /// The facts of the subgraph's outputs.
    ///
    /// # Errors
    /// The inner error's message, which names the inner node.
    fn infer_subgraph(&mut self, graph: &Graph, inputs: &[Fact]) -> Result<Vec<Fact>, String>;

    /// Infers a subgraph without inputs that never runs: facts that break a rule in it are no issue.
    fn infer_unreached(&mut self, graph: &Graph);
}

/// The facts of a node's inputs, and a way into its subgraphs.
pub struct InferContext<'a> {
    inputs: &'a [Option<Fact>],
    outputs: usize,
    version: u32,
    subgraphs: &'a mut dyn SubgraphInferrer,
    fresh: &'a mut dyn FnMut() -> Dim,
}

impl<'a> InferContext<'a> {
    /// A context over the inputs' facts (`None`: input left out).
    pub fn new(
        inputs: &'a [Option<Fact>],
        outputs: usize,
        version: u32,
        subgraphs: &'a mut dyn SubgraphInferrer,
        fresh: &'a mut dyn FnMut() -> Dim,
    ) -> Self {
        Self {
            inputs,
            outputs,
            version,
            subgraphs,
            fresh,
        }
    }

    /// The number of input positions, left-out ones included.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }

    /// The number of outputs that the node names.
    pub fn output_count(&self) -> usize {
        self.outputs
    }

    /// The version of the operator: the opset in which it last changed.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The fact of input `index`; `None` where it is left out.
    pub fn fact(&self, index: usize) -> Option<&'a Fact> {
        self.inputs.get(index).and_then(Option::as_ref)
    }

    /// All inputs as they are.
    pub fn facts(&self) -> &'a [Option<Fact>] {
        self.inputs
    }

    /// The fact of a required tensor input. Where nothing is known of the input, neither is of the tensor.
    ///
    /// # Errors
    /// [`InferError::MissingInput`], [`InferError::WrongInput`] where it is known to be no tensor.
    pub fn tensor(&self, index: usize) -> Result<TensorFact, InferError> {
        self.optional_tensor(index)?
            .ok_or(InferError::MissingInput { index })
    }

    /// The fact of an optional tensor input.
    ///
    /// # Errors
    /// [`InferError::WrongInput`] where it is known to be no tensor.
    pub fn optional_tensor(&self, index: usize) -> Result<Option<TensorFact>, InferError> {
        match self.fact(index) {
            None => Ok(None),
            Some(Fact::Unknown) => Ok(Some(TensorFact::default())),
            Some(Fact::Tensor(fact)) => Ok(Some(fact.clone())),
            Some(other) => Err(InferError::WrongInput {
                index,
                expected: "a tensor",
                found: other.to_string(),
            }),
        }
    }

    /// The element type of a tensor input, where it is known.
    pub fn dtype(&self, index: usize) -> Option<DType> {
        self.fact(index)?.as_tensor()?.dtype
    }

    /// The shape of a tensor input, where it is known.
    pub fn shape(&self, index: usize) -> Option<&'a [Dim]> {
        self.fact(index)?.as_tensor()?.shape.as_deref()
    }

    /// The constant value of a tensor input, where it is known.
    pub fn constant(&self, index: usize) -> Option<&'a Tensor> {
        self.fact(index)?.as_tensor()?.as_const()
    }

    /// The elements of a small integer input, where the length at least is known.
    pub fn elements(&self, index: usize) -> Option<Vec<Dim>> {
        self.fact(index)?.as_tensor()?.elements()
    }

    /// The elements of a small integer input, where all are known.
    pub fn const_ints(&self, index: usize) -> Option<Vec<i64>> {
        self.fact(index)?.as_tensor()?.const_ints()
    }

    /// A symbol that stands for a size that depends on data, such as the count of `NonZero`.
    pub fn fresh_symbol(&mut self) -> Dim {
        (self.fresh)()
    }

    /// The facts of a subgraph's outputs.
    ///
    /// # Errors
    /// [`InferError::Subgraph`].
    pub fn subgraph(
        &mut self,
        attribute: &'static str,
        graph: &Graph,
        inputs: &[Fact],
    ) -> Result<Vec<Fact>, InferError> {
        self.subgraphs
            .infer_subgraph(graph, inputs)
            .map_err(|message| InferError::Subgraph { attribute, message })
    }

    /// Infers a subgraph without inputs that never runs, for those who ask what is in it.
    pub fn unreached_subgraph(&mut self, graph: &Graph) {
        self.subgraphs.infer_unreached(graph);
    }
}
