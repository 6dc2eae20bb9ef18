//! What a plan is made of: steps, each bound to one kernel.

use crate::error::{SessionError, StepError};
use crate::execute::RunState;
use crate::plan::Plan;
use crate::tune::{Way, Workshop};
use compress_tensor::Tensor;
use onnx_ir::operator::EvalError;
use onnx_ir::{Graph, Value};
use runtime_kernels::Isa;
use std::sync::Arc;

/// One unit of work: one node, or several that one kernel does together.
pub(crate) trait Step: Send + Sync {
    /// What does the work, as in `conv.f32`; for the profile.
    fn kernel(&self) -> &'static str;

    /// The input whose buffer the step can write its result into, where that input is dead afterwards.
    fn in_place(&self) -> Option<usize> {
        None
    }

    /// Whether input `index`, where it is constant, may be misaligned for its type: a window into a file that is
    /// read a few elements at a time and not worth a copy.
    fn reads_misaligned(&self, index: usize) -> bool {
        let _ = index;
        false
    }

    /// How the step computes its product, where its kernel has several ways that differ in speed.
    fn algorithm(&self) -> Option<&'static str> {
        None
    }

    /// Of a convolution that multiplies transformed images: the multiply-accumulates of the direct sum that take as long, for an image
    /// of these sizes in the model's order.
    fn transformed_macs(&self, image: &[u64], isa: Isa) -> Option<f64> {
        let _ = (image, isa);
        None
    }

    /// The way in which the step computes, of those that there are.
    fn way(&self) -> Way {
        Way::Plain
    }

    /// The way by name, where there are several, as the profile shows it.
    fn variant(&self) -> Option<String> {
        self.way().name()
    }

    /// Other ways to compute the same from these inputs, which may be faster.
    fn other_ways(&self, inputs: Inputs<'_>, shop: &Workshop<'_>) -> Vec<Way> {
        let _ = (inputs, shop);
        Vec::new()
    }

    /// The same step by one of [`Step::other_ways`]; `None` for a way that it does not know.
    ///
    /// # Errors
    /// [`SessionError::Weights`] where weights cannot be packed.
    fn by_way(&self, way: Way, shop: &Workshop<'_>) -> Result<Option<Arc<dyn Step>>, SessionError> {
        let _ = (way, shop);
        Ok(None)
    }

    /// Whether the result is the first input under another shape, without a copy.
    fn is_view(&self) -> bool {
        false
    }

    /// Whether the step reads only as much of input `index` as it writes: a table to pick rows from.
    fn picks_from(&self, index: usize) -> bool {
        let _ = index;
        false
    }

    /// Whether the step looks up what the nodes that it takes along compute.
    fn looks_up(&self) -> bool {
        false
    }

    /// The subgraphs that the step runs, in the order of the node's attributes.
    fn bodies(&self) -> &[Body] {
        &[]
    }

    /// In which order of axes the step reads and writes images.
    fn image_order(&self) -> ImageOrder {
        ImageOrder::Model
    }

    /// Whether input `index` of a step on images is one, or is spread over images; else it is read as the model has it,
    /// whatever the order of images.
    fn reads_image(&self, index: usize) -> bool {
        let _ = index;
        true
    }

    /// Whether the first output of a step on images is one.
    fn writes_image(&self) -> bool {
        true
    }

    /// Computes the outputs.
    ///
    /// # Errors
    /// [`StepError`].
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError>;
}

/// A subgraph and its plan.
pub(crate) struct Body {
    pub(crate) graph: Arc<Graph>,
    pub(crate) plan: Plan,
    /// For each value that the subgraph captures: the input of the step.
    pub(crate) captured: Vec<usize>,
}

/// In which order of axes a step reads and writes images; see [`crate::plan`]. All inputs that are
/// [read as images](Step::reads_image) are images, constants of three or four axes that are broadcast over images, or constants of
/// one element (the scale and the zero point of a quantizer, the bounds of `Clip`); the first output is an image, if
/// [it is one](Step::writes_image).
pub(crate) enum ImageOrder {
    /// Only in the model's order: `[batch, channels, height, width]`.
    Model,
    /// Only with channels last: `[batch, height, width, channels]`.
    Last,
    /// In either order, the same for all.
    Either,
    /// In the model's order; this other step does the same with channels last.
    LastBy(Arc<dyn Step>),
    /// Gives an image its channels last: of one that has them there already, the step is a view.
    FromLast,
    /// Takes an image with its channels last: as an image with channels last, the result is a view.
    ToLast,
}

/// What a step sees while it runs. The fields are apart so that inputs can be borrowed while buffers are taken.
pub(crate) struct StepContext<'a> {
    pub(crate) inputs: Inputs<'a>,
    pub(crate) outputs: Outputs<'a>,
    pub(crate) state: &'a mut RunState,
    /// The input that [`Step::in_place`] names, where nobody reads it any more; it is then not among the inputs.
    pub(crate) reuse: Option<Value>,
}

/// The inputs of a step.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) values: &'a [Option<&'a Value>],
}

impl<'a> Inputs<'a> {
    /// Input `index`; `None` where it is left out.
    pub(crate) fn value(&self, index: usize) -> Option<&'a Value> {
        self.values.get(index).copied().flatten()
    }

    /// An optional tensor input.
    ///
    /// # Errors
    /// [`EvalError::WrongInput`] where it is no tensor.
    pub(crate) fn optional(&self, index: usize) -> Result<Option<&'a Tensor>, StepError> {
        match self.value(index) {
            None => Ok(None),
            Some(Value::Tensor(tensor)) => Ok(Some(tensor)),
            Some(other) => Err(EvalError::WrongInput {
                index,
                expected: "a tensor",
                found: other.kind().to_owned(),
            }
            .into()),
        }
    }

    /// A required tensor input.
    ///
    /// # Errors
    /// [`EvalError::MissingInput`], [`EvalError::WrongInput`].
    pub(crate) fn tensor(&self, index: usize) -> Result<&'a Tensor, StepError> {
        self.optional(index)?
            .ok_or_else(|| EvalError::MissingInput { index }.into())
    }
}

/// The outputs of a step, to be set.
pub(crate) struct Outputs<'a> {
    pub(crate) values: &'a mut Vec<Option<Value>>,
}

impl Outputs<'_> {
    /// Sets output `index`.
    pub(crate) fn set(&mut self, index: usize, value: impl Into<Value>) {
        if self.values.len() <= index {
            self.values.resize(index + 1, None);
        }
        self.values[index] = Some(value.into());
    }
}
