//! `ReluGrad` and `GeluGrad` in f32: `dx = dy * f'(x)`.

use super::conv::check_adjoint;
use crate::bindings::guarded::{self, Partial, is_f32};
use crate::error::{SessionError, StepError};
use crate::plan::{Bound, Selector};
use crate::step::{ImageOrder, Inputs, StepContext};
use onnx_ir::{Attribute, NodeId};
use runtime_kernels::elementwise::{Slope, multiply_slope};

/// Binds an activation's adjoint.
///
/// # Errors
/// As [`guarded::bind`].
pub(super) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Result<Option<Bound>, SessionError> {
    let node = selector.graph.node(id);
    let slope = match (node.op_type.as_str(), node.attributes.get("approximate")) {
        ("ReluGrad", _) => Slope::Relu,
        ("GeluGrad", None) => Slope::Gelu,
        ("GeluGrad", Some(Attribute::String(form))) => match form.as_slice() {
            b"none" => Slope::Gelu,
            b"tanh" => Slope::GeluTanh,
            _ => return Ok(None),
        },
        _ => return Ok(None),
    };
    guarded::bind(selector, id, ActivationGrad { slope }).map(Some)
}

/// Inputs are the adjoint of the result and what the activation was of; the result of `Relu` does too.
struct ActivationGrad {
    slope: Slope,
}

impl Partial for ActivationGrad {
    fn kernel(&self) -> &'static str {
        "elementwise.f32"
    }
    fn image_order(&self) -> ImageOrder {
        ImageOrder::Either
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        is_f32(inputs, 0) && is_f32(inputs, 1)
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let (dy, x) = (cx.inputs.tensor(0)?, cx.inputs.tensor(1)?);
        check_adjoint(dy.shape(), x.shape())?;
        let mut dx = cx.state.memory.tensor::<f32>(x.shape())?;
        let (dy, x) = (dy.data::<f32>()?, x.data::<f32>()?);
        multiply_slope(
            &cx.state.context,
            self.slope,
            &dy,
            &x,
            dx.data_mut::<f32>()?,
        )?;
        cx.outputs.set(0, dx);
        Ok(())
    }
}
