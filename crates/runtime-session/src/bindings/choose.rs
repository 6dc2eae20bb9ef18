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
use runtime_kernels::elementwise::zip_spread;

/// Binds `Where`.
///
/// # Errors
/// As [`guarded::bind`].
pub(crate) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Result<Bound, SessionError> {
    guarded::bind(selector, id, Where)
}

/// Takes numbers of which one stands alone, with a condition and others that are spread (a mask, and the number that it stands
/// for), and else operands of the shape of the result.
struct Where;

/// The shape of the result, where the operands are taken.
fn result(inputs: Inputs<'_>) -> Option<Shape> {
    let [Ok(condition), Ok(x), Ok(y)] = [0, 1, 2].map(|i| inputs.tensor(i)) else {
        return None;
    };
    let shape = broadcast(&broadcast(condition.shape(), x.shape())?, y.shape())?;
    let len: usize = shape.iter().product();
    let taken = x.len() == 1 || y.len() == 1 || [condition, x, y].iter().all(|t| t.len() == len);
    taken.then_some(shape)
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
    let to = out.data_mut::<T>()?;
    let shapes = [0, 1, 2].map(|i| cx.inputs.tensor(i).map(Tensor::shape));
    let [c_shape, x_shape, y_shape] = shapes;
    let (context, c) = (&cx.state.context, (&condition[..], c_shape?));
    match (&*x, &*y) {
        (&[x], y) => zip_spread(
            context,
            &shape,
            c,
            (y, y_shape?),
            to,
            move |c, y| {
                if c { x } else { y }
            },
        )?,
        (x, &[y]) => zip_spread(
            context,
            &shape,
            c,
            (x, x_shape?),
            to,
            move |c, x| {
                if c { x } else { y }
            },
        )?,
        (x, y) => {
            let numbers = x.iter().zip(y);
            let each = to.iter_mut().zip(&*condition).zip(numbers);
            each.for_each(|((out, &c), (&x, &y))| *out = if c { x } else { y });
        }
    }
    cx.outputs.set(0, out);
    Ok(())
}
