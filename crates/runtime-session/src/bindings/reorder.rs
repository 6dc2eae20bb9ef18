//! Images between the model's order of axes and channels last; see [`crate::plan`].

use crate::error::StepError;
use crate::memory::Pooled;
use crate::step::{Step, StepContext};
use compress_tensor::{DType, Tensor};
use onnx_ir::eval::{NoSubgraphs, eval_operator};
use onnx_ir::operator::EvalError;
use onnx_ir::ops::layout::Transpose;
use onnx_ir::{Node, Value, ValueId};
use runtime_kernels::Context;
use runtime_kernels::layout::permute;
use std::sync::Arc;

/// A step that gives its image another order of axes.
pub(crate) fn reorder(perm: &[usize; 4]) -> Arc<dyn Step> {
    Arc::new(Reorder { perm: *perm })
}

/// Whether kernels on images read elements of this type.
pub(crate) fn is_read_in_images(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::U8 | DType::I8)
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
        let mut out = cx.state.memory.tensor::<T>(&shape)?;
        permute(
            &cx.state.context,
            x.shape(),
            &self.perm,
            &x.data::<T>()?,
            out.data_mut::<T>()?,
        )?;
        cx.outputs.set(0, out);
        Ok(())
    }
}

impl Reorder {
    /// The reference evaluation of the same `Transpose`, for types that the kernel does not move.
    fn run_reference(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let perm = self.perm.iter().filter_map(|&a| i64::try_from(a).ok());
        let operator = Transpose {
            perm: Some(perm.collect()),
        };
        let value = Value::Tensor(cx.inputs.tensor(0)?.clone());
        let [x, y] = [0, 1].map(ValueId::from_index);
        let outputs = eval_operator(
            &operator,
            &Node::new("Transpose", [x], [y]),
            13,
            &[Some(&value)],
            cx.state.memory.limits(),
            &mut NoSubgraphs,
        )?;
        for (index, value) in outputs.into_iter().enumerate() {
            cx.outputs.set(index, value);
        }
        Ok(())
    }
}

impl Step for Reorder {
    fn kernel(&self) -> &'static str {
        "permute"
    }
    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        match cx.inputs.tensor(0)?.dtype() {
            DType::F32 => self.run_as::<f32>(cx),
            DType::U8 => self.run_as::<u8>(cx),
            DType::I8 => self.run_as::<i8>(cx),
            DType::I32 => self.run_as::<i32>(cx),
            DType::I64 => self.run_as::<i64>(cx),
            _ => self.run_reference(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execute::RunState;
    use crate::step::{Inputs, Outputs};

    fn reordered_at_run(x: Tensor, perm: &[usize; 4]) -> Tensor {
        let x = Value::Tensor(x);
        let (mut values, mut state) = (Vec::new(), RunState::default());
        let mut cx = StepContext {
            inputs: Inputs {
                values: &[Some(&x)],
            },
            outputs: Outputs {
                values: &mut values,
            },
            state: &mut state,
            reuse: None,
        };
        reorder(perm).run(&mut cx).unwrap();
        values.remove(0).unwrap().into_tensor().unwrap()
    }

    #[test]
    fn types_without_a_kernel_are_moved_too() {
        let shape = [1, 2, 3, 2];
        let numbers: Vec<f64> = (0..12).map(f64::from).collect();
        let narrow: Vec<i32> = (0..12).collect();
        let y = reordered_at_run(
            Tensor::from_vec(&shape, numbers).unwrap(),
            &crate::plan::TO_LAST,
        );
        let z = reordered_at_run(
            Tensor::from_vec(&shape, narrow).unwrap(),
            &crate::plan::TO_LAST,
        );
        assert_eq!(
            (y.shape(), z.shape()),
            (&[1, 3, 2, 2][..], &[1, 3, 2, 2][..])
        );
        let order = [0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11];
        assert_eq!(z.as_slice::<i32>().unwrap(), order);
        assert_eq!(y.as_slice::<f64>().unwrap(), order.map(f64::from));
        let back = reordered_at_run(y, &crate::plan::FROM_LAST);
        assert!(back.as_slice::<f64>().unwrap().iter().is_sorted());
    }
}
