//! `SoftmaxGrad`, `LogSoftmaxGrad`, `LayerNormalizationGrad` and `RMSNormalizationGrad` in f32, of rows.

use super::conv::check_adjoint;
use crate::bindings::guarded::{self, Partial, is_f32};
use crate::bindings::normalize::position;
use crate::error::{SessionError, StepError};
use crate::plan::{Bound, Selector};
use crate::step::{Inputs, StepContext};
use onnx_ir::NodeId;
use onnx_ir::operator::Attrs;
use runtime_kernels::norm::{Centre, Softmax, layer_norm_grad, softmax_grad};

/// Binds such an adjoint; `None` for other nodes.
///
/// # Errors
/// As [`guarded::bind`].
pub(super) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Result<Option<Bound>, SessionError> {
    let node = selector.graph.node(id);
    let mut attrs = Attrs::new(&node.attributes, 1, 0, 0);
    let (Ok(axis), Ok(epsilon)) = (attrs.int_or("axis", -1), attrs.f32_or("epsilon", 1e-5)) else {
        return Ok(None);
    };
    let kind = match node.op_type.as_str() {
        "SoftmaxGrad" => Softmax::Plain,
        "LogSoftmaxGrad" => Softmax::Log,
        op => {
            let centre = match op {
                "LayerNormalizationGrad" => Centre::Mean,
                "RMSNormalizationGrad" => Centre::Zero,
                _ => return Ok(None),
            };
            let norm = NormGrad {
                centre,
                axis,
                epsilon,
            };
            return guarded::bind(selector, id, norm).map(Some);
        }
    };
    guarded::bind(selector, id, SoftmaxGrad { kind, axis }).map(Some)
}

/// Inputs are the adjoint of the result, and the result; along the last axis.
struct SoftmaxGrad {
    kind: Softmax,
    axis: i64,
}

impl Partial for SoftmaxGrad {
    fn kernel(&self) -> &'static str {
        "softmax.f32"
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        let last = |rank: usize| position(self.axis, rank).is_some_and(|axis| axis + 1 == rank);
        is_f32(inputs, 0)
            && is_f32(inputs, 1)
            && inputs
                .tensor(1)
                .is_ok_and(|y| last(y.rank()) && !y.is_empty())
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let (dy, y) = (cx.inputs.tensor(0)?, cx.inputs.tensor(1)?);
        check_adjoint(dy.shape(), y.shape())?;
        let mut dx = cx.state.memory.tensor::<f32>(y.shape())?;
        softmax_grad(
            &cx.state.context,
            self.kind,
            y.shape().last().copied().unwrap_or(1),
            (&dy.data::<f32>()?, &y.data::<f32>()?),
            dx.data_mut::<f32>()?,
        )?;
        cx.outputs.set(0, dx);
        Ok(())
    }
}

/// Inputs are the adjoint of the result, the input, and its scale, of the shape of what is normalised.
struct NormGrad {
    centre: Centre,
    axis: i64,
    epsilon: f32,
}

impl Partial for NormGrad {
    fn kernel(&self) -> &'static str {
        "norm.f32"
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        let (Ok(x), Ok(scale)) = (inputs.tensor(1), inputs.tensor(2)) else {
            return false;
        };
        let normalised = position(self.axis, x.rank()).map(|axis| &x.shape()[axis..]);
        (0..3).all(|i| is_f32(inputs, i))
            && normalised == Some(scale.shape())
            && !x.is_empty()
            && !scale.is_empty()
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let [dy, x, scale] = [0, 1, 2].map(|i| cx.inputs.tensor(i));
        let (dy, x, scale) = (dy?, x?, scale?);
        check_adjoint(dy.shape(), x.shape())?;
        let mut dx = cx.state.memory.tensor::<f32>(x.shape())?;
        let mut dscale = cx.state.memory.tensor::<f32>(scale.shape())?;
        let mut dbias = cx.state.memory.tensor::<f32>(scale.shape())?;
        layer_norm_grad(
            &cx.state.context,
            &mut cx.state.scratch,
            self.centre,
            self.epsilon,
            (&dy.data::<f32>()?, &x.data::<f32>()?, &scale.data::<f32>()?),
            (dscale.data_mut::<f32>()?, dbias.data_mut::<f32>()?),
            dx.data_mut::<f32>()?,
        )?;
        for (index, value) in [dx, dscale, dbias].into_iter().enumerate() {
            cx.outputs.set(index, value);
        }
        Ok(())
    }
}
