//! A kernel for the common case, reference evaluation for the rest.

use super::reference::Reference;
use crate::error::{SessionError, StepError};
use crate::execute::with_inputs;
use crate::plan::{Bound, Selector};
use crate::step::{Body, ImageOrder, Inputs, Outputs, Step, StepContext};
use compress_tensor::DType;
use onnx_ir::NodeId;
use std::sync::Arc;

/// A step that takes some forms of its inputs only: types and ranks are known when it runs.
pub(crate) trait Partial: Send + Sync {
    /// What does the work, for the profile.
    fn kernel(&self) -> &'static str;

    /// See [`Step::in_place`].
    fn in_place(&self) -> Option<usize> {
        None
    }

    /// See [`Step::reads_misaligned`].
    fn reads_misaligned(&self, index: usize) -> bool {
        let _ = index;
        false
    }

    /// See [`Step::picks_from`].
    fn picks_from(&self, index: usize) -> bool {
        let _ = index;
        false
    }

    /// See [`Step::is_view`].
    fn is_view(&self) -> bool {
        false
    }

    /// See [`Step::image_order`]. Of a step that takes images in either order, reference evaluation must too.
    fn image_order(&self) -> ImageOrder {
        ImageOrder::Model
    }

    /// See [`Step::reads_image`].
    fn reads_image(&self, index: usize) -> bool {
        let _ = index;
        true
    }

    /// See [`Step::writes_image`].
    fn writes_image(&self) -> bool {
        true
    }

    /// Whether the step takes these inputs.
    fn accepts(&self, inputs: Inputs<'_>) -> bool;

    /// Computes the outputs.
    ///
    /// # Errors
    /// As [`Step::run`].
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError>;
}

/// Binds a whole node, inputs and outputs as they are, to a kernel where it takes the inputs.
///
/// # Errors
/// [`SessionError::Operator`] where the catalog does not hold the operator.
pub(crate) fn bind(
    selector: &mut Selector<'_>,
    id: NodeId,
    kernel: impl Partial + 'static,
) -> Result<Bound, SessionError> {
    let node = selector.graph.node(id);
    let (reference, captured) = Reference::new(selector, id)?;
    let mut inputs = node.inputs().to_vec();
    inputs.extend(captured.into_iter().map(Some));
    Ok(Bound {
        step: Arc::new(Guarded { kernel, reference }),
        inputs,
        outputs: node.outputs().to_vec(),
    })
}

struct Guarded<K> {
    kernel: K,
    reference: Reference,
}

impl<K: Partial> Step for Guarded<K> {
    fn kernel(&self) -> &'static str {
        self.kernel.kernel()
    }

    fn is_view(&self) -> bool {
        self.kernel.is_view()
    }

    fn picks_from(&self, index: usize) -> bool {
        self.kernel.picks_from(index)
    }

    fn bodies(&self) -> &[Body] {
        self.reference.bodies()
    }

    fn in_place(&self) -> Option<usize> {
        self.kernel.in_place()
    }

    fn reads_misaligned(&self, index: usize) -> bool {
        self.kernel.reads_misaligned(index)
    }

    fn image_order(&self) -> ImageOrder {
        self.kernel.image_order()
    }

    fn reads_image(&self, index: usize) -> bool {
        self.kernel.reads_image(index)
    }

    fn writes_image(&self) -> bool {
        self.kernel.writes_image()
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let Some(index) = self.kernel.in_place().filter(|_| cx.reuse.is_some()) else {
            if self.kernel.accepts(cx.inputs) {
                return self.kernel.run(cx);
            }
            self.reference.run(cx)?;
            // Behind the run, in which steps of subgraphs say so of themselves.
            cx.state.by_reference = true;
            return Ok(());
        };
        // The input that was handed over is put back for the question, and for reference evaluation.
        let reuse = cx.reuse.take();
        let accepts = with_inputs(cx.inputs.values.len(), |values| {
            values.copy_from_slice(cx.inputs.values);
            if let Some(slot) = values.get_mut(index) {
                *slot = reuse.as_ref();
            }
            let inputs = Inputs { values };
            if self.kernel.accepts(inputs) {
                return Ok(true);
            }
            self.reference.run(&mut StepContext {
                inputs,
                outputs: Outputs {
                    values: cx.outputs.values,
                },
                state: cx.state,
                reuse: None,
            })?;
            Ok::<_, StepError>(false)
        })?;
        if !accepts {
            cx.state.by_reference = true;
            return Ok(());
        }
        cx.reuse = reuse;
        self.kernel.run(cx)
    }
}

/// Whether input `index` is an f32 tensor.
pub(crate) fn is_f32(inputs: Inputs<'_>, index: usize) -> bool {
    matches!(inputs.optional(index), Ok(Some(tensor)) if tensor.dtype() == DType::F32)
}
