//! `Where`: each element from one of two tensors.

use super::guarded::{self, Partial};
use super::matmul::broadcast;
use crate::error::{SessionError, StepError};
use crate::memory::Pooled;
use crate::plan::{Bound, Selector};
use crate::step::{Inputs, StepContext};
use compress_tensor::{DType, Shape, Tensor};
use onnx_ir::NodeId;
use onnx_ir::operator::EvalError;

/// Binds `Where`.
///
/// # Errors
/// As [`guarded::bind`].
pub(crate) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Result<Bound, SessionError> {
    guarded::bind(selector, id, Where)
}

/// Takes operands of the shape of the result and of one element: a mask, and the numbers that it stands for.
struct Where;

/// The shape of the result, where each operand has it or one element.
fn result(inputs: Inputs<'_>) -> Option<Shape> {
    let [Ok(condition), Ok(x), Ok(y)] = [0, 1, 2].map(|i| inputs.tensor(i)) else {
        return None;
    };
    let shape = broadcast(&broadcast(condition.shape(), x.shape())?, y.shape())?;
    let len: usize = shape.iter().product();
    let whole = |t: &Tensor| t.len() == len || t.len() == 1;
    (whole(condition) && whole(x) && whole(y)).then_some(shape)
}

impl Partial for Where {
    fn kernel(&self) -> &'static str {
        "where"
    }

    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        let dtypes = [0, 1, 2].map(|i| inputs.tensor(i).map(|t| t.dtype()).ok());
        let [Some(DType::Bool), Some(x), Some(y)] = dtypes else {
            return false;
        };
        let moved = matches!(x, DType::F32 | DType::I32 | DType::I64);
        moved && x == y && result(inputs).is_some()
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        match cx.inputs.tensor(1)?.dtype() {
            DType::F32 => choose::<f32>(cx),
            DType::I32 => choose::<i32>(cx),
            DType::I64 => choose::<i64>(cx),
            dtype => Err(EvalError::DType { dtype }.into()),
        }
    }
}

fn choose<T: Pooled>(cx: &mut StepContext<'_>) -> Result<(), StepError> {
    let shape = result(cx.inputs).ok_or_else(|| {
        let shapes = [0, 1, 2].map(|i| cx.inputs.tensor(i).map(|t| t.shape().to_vec()).ok());
        EvalError::rule("shapes must broadcast", format_args!("{shapes:?}"))
    })?;
    let [condition, x, y] = [0, 1, 2].map(|i| cx.inputs.tensor(i));
    let (condition, x, y) = (condition?.data::<bool>()?, x?.data::<T>()?, y?.data::<T>()?);
    let mut out = cx.state.memory.tensor::<T>(&shape)?;
    let each = out.data_mut::<T>()?.iter_mut().zip(cycled(&condition));
    match (&*x, &*y) {
        (&[x], &[y]) => each.for_each(|(out, &c)| *out = if c { x } else { y }),
        (&[x], y) => each
            .zip(y)
            .for_each(|((out, &c), &y)| *out = if c { x } else { y }),
        (x, &[y]) => each
            .zip(x)
            .for_each(|((out, &c), &x)| *out = if c { x } else { y }),
        (x, y) => each
            .zip(x.iter().zip(y))
            .for_each(|((out, &c), (&x, &y))| *out = if c { x } else { y }),
    }
    cx.outputs.set(0, out);
    Ok(())
}

/// The elements; a single one again and again.
fn cycled(condition: &[bool]) -> impl Iterator<Item = &bool> {
    let again = if condition.len() == 1 { usize::MAX } else { 1 };
    std::iter::repeat_n(condition, again).flatten()
}
