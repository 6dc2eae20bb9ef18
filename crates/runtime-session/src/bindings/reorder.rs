//! Images between the model's order of axes and channels last; see [`crate::plan`].

use super::layout::for_element;
use crate::error::StepError;
use crate::memory::Pooled;
use crate::step::{Step, StepContext};
use compress_tensor::{DType, Tensor};
use onnx_ir::operator::EvalError;
use runtime_kernels::Context;
use runtime_kernels::layout::permute;
use std::sync::Arc;

/// A step that gives its image another order of axes.
pub(crate) fn reorder(perm: &[usize; 4]) -> Arc<dyn Step> {
    Arc::new(Reorder { perm: *perm })
}

/// A constant in another order of axes; `None` for one that is no image, or of an element type that no kernel on
/// images reads.
pub(crate) fn reordered(x: &Tensor, perm: &[usize; 4]) -> Option<Tensor> {
    fn of<T: Pooled>(x: &Tensor, perm: &[usize; 4], shape: &[usize]) -> Option<Tensor> {
        let mut out = vec![T::default(); x.len()];
        let data = x.data::<T>().ok()?;
        permute(&Context::default(), x.shape(), perm, &data, &mut out).ok()?;
        Tensor::from_vec(shape, out).ok()
    }
    let shape = permuted(x.shape(), perm)?;
    match x.dtype() {
        _ if x.is_empty() => x.reshape(&shape).ok(),
        DType::F32 => of::<f32>(x, perm, &shape),
        DType::U8 => of::<u8>(x, perm, &shape),
        DType::I8 => of::<i8>(x, perm, &shape),
        _ => None,
    }
}

fn permuted(shape: &[usize], perm: &[usize; 4]) -> Option<[usize; 4]> {
    let shape: &[usize; 4] = shape.try_into().ok()?;
    Some(perm.map(|axis| shape[axis]))
}

struct Reorder {
    perm: [usize; 4],
}

impl Reorder {
    fn run_as<T: Pooled>(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let x = cx.inputs.tensor(0)?;
        let shape = permuted(x.shape(), &self.perm).ok_or_else(|| {
            EvalError::rule("an image has four axes", format_args!("{:?}", x.shape()))
        })?;
        // Axes of size 1 may stand anywhere: an image of one channel or one pixel is the same in both orders.
        let order = || self.perm.iter().filter(|&&a| x.shape()[a] != 1);
        if x.is_empty() || order().is_sorted() {
            cx.outputs.set(0, x.reshape(&shape)?);
            return Ok(());
        }
        let mut out = cx.state.memory.buffer::<T>(&shape)?;
        permute(
            &cx.state.context,
            x.shape(),
            &self.perm,
            &x.data::<T>()?,
            &mut out,
        )?;
        cx.outputs.set(0, Tensor::from_vec(&shape, out)?);
        Ok(())
    }
}

impl Step for Reorder {
    fn kernel(&self) -> &'static str {
        "permute"
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        for_element!(cx.inputs.tensor(0)?.dtype(), run_as(self, cx))
    }
}
