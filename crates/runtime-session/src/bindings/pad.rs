//! `Pad` of f32 tensors that adds elements: constant, edge and reflect.

use super::guarded::{self, Partial, is_f32};
use super::normalize::position;
use crate::error::{SessionError, StepError};
use crate::plan::{Bound, Selector};
use crate::step::{Inputs, StepContext};
use compress_tensor::Shape;
use onnx_ir::NodeId;
use onnx_ir::operator::EvalError;
use onnx_ir::ops::layout::{Pad, PadMode};
use runtime_kernels::layout::{Padding, pad};

/// Binds a `Pad`; `None` for other modes and for opsets in which the pads are attributes.
///
/// # Errors
/// As [`guarded::bind`].
pub(crate) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Result<Option<Bound>, SessionError> {
    let scope = selector.scope;
    let parsed = scope
        .catalog
        .parse(selector.graph.node(id), scope.opsets)
        .ok();
    let operator = parsed.as_ref().and_then(|o| o.downcast_ref::<Pad>());
    match operator {
        Some(&Pad {
            mode: mode @ (PadMode::Constant | PadMode::Edge | PadMode::Reflect),
            fixed: None,
        }) => guarded::bind(selector, id, Padded { mode }).map(Some),
        _ => Ok(None),
    }
}

struct Padded {
    mode: PadMode,
}

impl Padded {
    /// The elements to add to each axis; `None` where some are taken away, or cannot be mirrored once.
    fn pads(&self, inputs: Inputs<'_>) -> Option<[Shape; 2]> {
        let x = inputs.tensor(0).ok()?.shape();
        let pads = inputs.tensor(1).ok()?.data::<i64>().ok()?;
        let axes: Shape = match inputs.optional(3).ok()? {
            None => (0..x.len()).collect(),
            Some(axes) => {
                let axes = axes.to_i64_vec().ok()?;
                let axis = |a: i64| position(a, x.len());
                axes.into_iter().map(axis).collect::<Option<_>>()?
            }
        };
        if axes.len().checked_mul(2) != Some(pads.len()) {
            return None;
        }
        let mut sides = [(); 2].map(|()| Shape::filled(x.len(), 0));
        for (side, pads) in sides.iter_mut().zip(pads.chunks(axes.len().max(1))) {
            for (&axis, &n) in axes.iter().zip(pads) {
                side[axis] = usize::try_from(n).ok()?;
            }
        }
        let fits = |(&size, (&before, &after)): (&usize, (&usize, &usize))| {
            let most = before.max(after);
            match self.mode {
                PadMode::Reflect => most < size,
                _ => size > 0 && most <= isize::MAX as usize,
            }
        };
        let [before, after] = &sides;
        let pads = before.iter().zip(after.iter());
        x.iter().zip(pads).all(fits).then_some(sides)
    }

    /// The value of constant padding; `None` where it is no f32 scalar.
    fn value(&self, inputs: Inputs<'_>) -> Option<f32> {
        match inputs.optional(2).ok()? {
            None => Some(0.0),
            Some(value) => value.data::<f32>().ok()?.first().copied(),
        }
    }
}

impl Partial for Padded {
    fn kernel(&self) -> &'static str {
        "pad.f32"
    }

    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        is_f32(inputs, 0) && self.value(inputs).is_some() && self.pads(inputs).is_some()
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let x = cx.inputs.tensor(0)?;
        let (Some(pads), Some(value)) = (self.pads(cx.inputs), self.value(cx.inputs)) else {
            return Err(EvalError::rule("pads must be two per axis", x.rank()).into());
        };
        let [before, after] = &pads;
        let sizes = x.shape().iter().zip(before.iter().zip(after.iter()));
        let shape: Shape = sizes
            .map(|(size, (&before, &after))| size.saturating_add(before).saturating_add(after))
            .collect();
        let mut out = cx.state.memory.tensor::<f32>(&shape)?;
        let padding = match self.mode {
            PadMode::Edge => Padding::Edge,
            PadMode::Reflect => Padding::Reflect,
            _ => Padding::Constant(value),
        };
        let (from, to) = (x.data::<f32>()?, out.data_mut::<f32>()?);
        pad(x.shape(), [before, after], padding, &from, to)?;
        cx.outputs.set(0, out);
        Ok(())
    }
}
