//! `GatherGrad` in f32: rows of adjoints added up by index.

use super::conv::{check_adjoint, sizes};
use crate::bindings::guarded::{self, Partial, is_f32};
use crate::bindings::normalize::position;
use crate::error::{SessionError, StepError};
use crate::plan::{Bound, Selector};
use crate::step::{Inputs, StepContext};
use compress_tensor::{DType, Shape};
use onnx_ir::NodeId;
use onnx_ir::operator::{Attrs, EvalError};
use runtime_kernels::layout::gather_rows_grad;

/// Binds the adjoint of `Gather`; `None` where its attribute has no meaning.
///
/// # Errors
/// As [`guarded::bind`].
pub(super) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Result<Option<Bound>, SessionError> {
    let node = selector.graph.node(id);
    match Attrs::new(&node.attributes, 1, 0, 0).int_or("axis", 0) {
        Ok(axis) => guarded::bind(selector, id, GatherGrad { axis }).map(Some),
        Err(_) => Ok(None),
    }
}

/// Inputs are the adjoint of the result, i64 indices, and the shape of the input; along the first axis that has more than one
/// element.
struct GatherGrad {
    axis: i64,
}

impl GatherGrad {
    /// The shape of the input, and its axis.
    fn input(&self, inputs: Inputs<'_>) -> Option<(Shape, usize)> {
        let shape = inputs.tensor(2).ok()?;
        let shape = sizes((shape.dtype() == DType::I64).then_some(shape)?).ok()?;
        let axis = position(self.axis, shape.len())?;
        shape[..axis]
            .iter()
            .all(|&n| n == 1)
            .then_some((shape, axis))
    }
}

impl Partial for GatherGrad {
    fn kernel(&self) -> &'static str {
        "gather"
    }
    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        let indices = inputs.tensor(1).is_ok_and(|t| t.dtype() == DType::I64);
        is_f32(inputs, 0) && indices && self.input(inputs).is_some()
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let (dy, indices) = (cx.inputs.tensor(0)?, cx.inputs.tensor(1)?);
        let (shape, axis) = self.input(cx.inputs).unwrap_or_default();
        let (outer, rest) = shape.split_at(axis);
        let (&[size], inner) = rest.split_at(1.min(rest.len())) else {
            return Err(EvalError::rule("an axis is gathered along", "none").into());
        };
        let mut result = Shape::from(outer);
        result.extend(indices.shape().iter().chain(inner).copied());
        check_adjoint(dy.shape(), &result)?;
        let places = indices.data::<i64>()?;
        let mut dx = cx.state.memory.tensor::<f32>(&shape)?;
        gather_rows_grad(
            &cx.state.context,
            inner.iter().product(),
            &dy.data::<f32>()?,
            |i| resolve(places[i], size),
            dx.data_mut::<f32>()?,
        )?;
        cx.outputs.set(0, dx);
        Ok(())
    }
}

/// The place of an index that may count from the end; one past it where there is none.
fn resolve(index: i64, size: usize) -> usize {
    let place = match usize::try_from(index) {
        Ok(place) => place,
        Err(_) => {
            let back = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
            size.checked_sub(back).unwrap_or(size)
        }
    };
    place.min(size)
}
