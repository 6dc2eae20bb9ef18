//! What an operator sees while it is evaluated.

use super::EvalError;
use crate::graph::Graph;
use crate::value::Value;
use compress_tensor::{DType, Element, Tensor, element_count};
use std::borrow::Cow;

/// Bounds on the work of the reference evaluator, so that no file can make it run or grow without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Node evaluations, those in loop bodies counted each time.
    pub max_steps: u64,
    /// Iterations of any one `Loop` without a trip count (none, or one beyond `max_steps`). A loop without end and
    /// with little in it is found out by this, long before its steps add up to their limit.
    pub max_iterations: u64,
    /// Bytes of any one result.
    pub max_tensor_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_steps: 10_000_000,
            max_iterations: 500_000,
            max_tensor_bytes: 16 << 30,
        }
    }
}

impl Limits {
    /// Limits for evaluating constants while a model is loaded or optimized.
    pub fn folding() -> Self {
        Self {
            max_steps: 1_000_000,
            max_iterations: 100_000,
            max_tensor_bytes: 256 << 20,
        }
    }

    /// The same limits with another bound on node evaluations.
    #[must_use]
    pub fn with_max_steps(mut self, max_steps: u64) -> Self {
        self.max_steps = max_steps;
        self
    }

    /// The same limits with another bound on the iterations of one loop without a trip count.
    #[must_use]
    pub fn with_max_iterations(mut self, max_iterations: u64) -> Self {
        self.max_iterations = max_iterations;
        self
    }

    /// The same limits with another bound on the bytes of one result.
    #[must_use]
    pub fn with_max_tensor_bytes(mut self, bytes: usize) -> Self {
        self.max_tensor_bytes = bytes;
        self
    }
}

/// Runs a subgraph on behalf of an operator such as `If`.
pub trait SubgraphRunner {
    /// The subgraph's outputs; what it captures is taken from the graphs around it.
    ///
    /// # Errors
    /// The inner error's message, which names the inner node.
    fn run_subgraph(&mut self, graph: &Graph, inputs: Vec<Value>) -> Result<Vec<Value>, String>;
}

/// The values of a node's inputs, and a way into its subgraphs.
pub struct EvalContext<'a> {
    inputs: &'a [Option<&'a Value>],
    outputs: usize,
    wanted: u64,
    version: u32,
    limits: Limits,
    seed: u64,
    subgraphs: &'a mut dyn SubgraphRunner,
}

impl<'a> EvalContext<'a> {
    /// A context over input values (`None`: input left out). Bit `i` of `wanted` says whether output
    /// `i` is named by the node.
    pub fn new(
        inputs: &'a [Option<&'a Value>],
        outputs: usize,
        wanted: u64,
        version: u32,
        limits: Limits,
        subgraphs: &'a mut dyn SubgraphRunner,
    ) -> Self {
        Self {
            inputs,
            outputs,
            wanted,
            version,
            limits,
            seed: 0,
            subgraphs,
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

    /// Whether the node names output `index`.
    pub fn wants(&self, index: usize) -> bool {
        index < self.outputs && (index >= 64 || self.wanted >> index & 1 == 1)
    }

    /// The version of the operator: the opset in which it last changed.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The limits to keep to.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Seed for random operators without a seed attribute.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The same context with a seed for random operators.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Input `index`; `None` where it is left out.
    pub fn value(&self, index: usize) -> Option<&'a Value> {
        self.inputs.get(index).copied().flatten()
    }

    /// A required input.
    ///
    /// # Errors
    /// [`EvalError::MissingInput`].
    pub fn required(&self, index: usize) -> Result<&'a Value, EvalError> {
        self.value(index).ok_or(EvalError::MissingInput { index })
    }

    /// A required tensor input.
    ///
    /// # Errors
    /// [`EvalError::MissingInput`], [`EvalError::WrongInput`].
    pub fn tensor(&self, index: usize) -> Result<&'a Tensor, EvalError> {
        self.optional_tensor(index)?
            .ok_or(EvalError::MissingInput { index })
    }

    /// An optional tensor input. An optional value that holds a tensor counts as that tensor.
    ///
    /// # Errors
    /// [`EvalError::WrongInput`].
    pub fn optional_tensor(&self, index: usize) -> Result<Option<&'a Tensor>, EvalError> {
        match self.value(index) {
            None => Ok(None),
            Some(Value::Tensor(tensor)) => Ok(Some(tensor)),
            Some(Value::Optional(Some(inner))) if inner.as_tensor().is_some() => {
                Ok(inner.as_tensor())
            }
            Some(other) => Err(EvalError::WrongInput {
                index,
                expected: "a tensor",
                found: other.kind().to_owned(),
            }),
        }
    }

    /// The elements of a required tensor input of a known type.
    ///
    /// # Errors
    /// Those of [`EvalContext::tensor`]; [`EvalError::Tensor`] where it holds another type.
    pub fn data<T: Element>(&self, index: usize) -> Result<Cow<'a, [T]>, EvalError> {
        Ok(self.tensor(index)?.data::<T>()?)
    }

    /// The elements of an optional i64 (or i32) input, such as axes.
    ///
    /// # Errors
    /// [`EvalError::WrongInput`], [`EvalError::DType`].
    pub fn ints(&self, index: usize) -> Result<Option<Vec<i64>>, EvalError> {
        let Some(tensor) = self.optional_tensor(index)? else {
            return Ok(None);
        };
        match tensor.dtype() {
            DType::I64 => Ok(Some(tensor.data::<i64>()?.into_owned())),
            DType::I32 => Ok(Some(
                tensor.data::<i32>()?.iter().map(|&n| n.into()).collect(),
            )),
            dtype => Err(EvalError::DType { dtype }),
        }
    }

    /// The element count of a result of this shape, where it keeps to the limits. Call it before
    /// allocating what a file's numbers decide. Sizes beside one of 0 are not bounded: what is kept along an axis
    /// must not be made for a result without elements.
    ///
    /// # Errors
    /// [`EvalError::TooLarge`].
    pub fn check_size(&self, shape: &[usize], dtype: DType) -> Result<usize, EvalError> {
        let limit = self.limits.max_tensor_bytes;
        let count = element_count(shape);
        let bytes = count.and_then(|n| {
            if dtype == DType::String {
                n.checked_mul(24)
            } else {
                dtype.byte_len(n)
            }
        });
        match (count, bytes) {
            (Some(count), Some(bytes)) if bytes <= limit => Ok(count),
            _ => Err(EvalError::TooLarge {
                shape: shape.to_vec(),
                limit,
            }),
        }
    }

    /// The outputs of a subgraph.
    ///
    /// # Errors
    /// [`EvalError::Subgraph`].
    pub fn subgraph(
        &mut self,
        attribute: &'static str,
        graph: &Graph,
        inputs: Vec<Value>,
    ) -> Result<Vec<Value>, EvalError> {
        self.subgraphs
            .run_subgraph(graph, inputs)
            .map_err(|message| EvalError::Subgraph { attribute, message })
    }
}
