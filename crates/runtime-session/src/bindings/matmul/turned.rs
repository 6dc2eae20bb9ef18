//! `MatMul` in f32 of values that vary, of which some are read transposed where they stand: the `Transpose` of the last two axes
//! before it is taken along, as gradients of products have it.

use super::{Batch, broadcast, inner_sizes, split};
use crate::error::StepError;
use crate::plan::{Bound, Selector};
use crate::step::{Step, StepContext};
use compress_tensor::{DType, Tensor};
use onnx_ir::operator::{Attrs, EvalError};
use onnx_ir::{NodeId, ValueId};
use runtime_kernels::gemm::{Epilogue, FloatOperand, gemm_batched};
use runtime_kernels::{KernelError, MatRef};
use std::sync::Arc;

/// Binds a `MatMul` with a `Transpose` of its last two axes before it; `None` where there is none.
pub(crate) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Option<Bound> {
    let node = selector.graph.node(id);
    let operands = [node.input(0)?, node.input(1)?];
    let known = |v| selector.dtype(v) == Some(DType::F32) && selector.rank(v) >= Some(2);
    if !selector.fuses() || !operands.into_iter().all(known) {
        return None;
    }
    let before = operands.map(|v| before_swap(selector, v));
    if before == [None; 2] {
        return None;
    }
    let inputs = [0, 1].map(|i| Some(before[i].unwrap_or(operands[i])));
    Some(Bound {
        step: Arc::new(Turned(before.map(|v| v.is_some()))),
        inputs: inputs.to_vec(),
        outputs: node.outputs().to_vec(),
    })
}

/// What a `Transpose` that gives a value, and nobody else reads, swaps the last two axes of.
fn before_swap(selector: &Selector<'_>, v: ValueId) -> Option<ValueId> {
    let (_, node) = selector.interior(v)?;
    let x = node.input(0).filter(|_| node.is("Transpose"))?;
    let rank = selector.rank(x)?;
    let mut attrs = Attrs::new(&node.attributes, 1, 0, 0);
    let perm = attrs.ints_opt("perm").ok()?;
    let axes: Vec<i64> = (0..i64::try_from(rank).ok()?).collect();
    let mut swapped = axes.clone();
    swapped.swap(rank.checked_sub(2)?, rank - 1);
    // Without a permutation all axes are reversed.
    let perm = perm.unwrap_or_else(|| axes.into_iter().rev().collect());
    (perm == swapped).then_some(x)
}

/// Which operands are read transposed.
struct Turned([bool; 2]);

impl Turned {
    /// Batch sizes, and rows and columns as they are multiplied.
    fn sizes<'t>(
        &self,
        x: &'t Tensor,
        index: usize,
    ) -> Result<(&'t [usize], [usize; 2]), EvalError> {
        let (batch, [rows, cols]) = split(x.shape())?;
        Ok((
            batch,
            match self.0[index] {
                true => [cols, rows],
                false => [rows, cols],
            },
        ))
    }
}

impl Step for Turned {
    fn kernel(&self) -> &'static str {
        "gemm.f32"
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let (a, b) = (cx.inputs.tensor(0)?, cx.inputs.tensor(1)?);
        let ((a_batch, [m, k]), (b_batch, [depth, n])) = (self.sizes(a, 0)?, self.sizes(b, 1)?);
        if k != depth {
            return Err(inner_sizes(a.shape(), b.shape()).into());
        }
        let batch = broadcast(a_batch, b_batch).ok_or_else(|| {
            let found = format_args!("{:?} and {:?}", a.shape(), b.shape());
            EvalError::rule("batch sizes must broadcast", found)
        })?;
        let mut shape = batch.clone();
        shape.extend([m, n]);
        let mut out = cx.state.memory.tensor::<f32>(&shape)?;
        if out.is_empty() || k == 0 {
            out.data_mut::<f32>()?.fill(0.0);
            cx.outputs.set(0, out);
            return Ok(());
        }
        let count = out.len() / (m * n);
        let (a_data, b_data) = (a.data::<f32>()?, b.data::<f32>()?);
        let (lhs, rhs) = (Batch::of(a_batch, &batch), Batch::of(b_batch, &batch));
        let lhs_rows = self.rows(&a_data, 0, [m, k])?;
        let rhs_rows = self.rows(&b_data, 1, [k, n])?;
        gemm_batched(
            &cx.state.context,
            &mut cx.state.scratch,
            count,
            |i| self.matrix(lhs_rows, 0, lhs.at(i)),
            |i| self.matrix(rhs_rows, 1, rhs.at(i)),
            &Epilogue::default(),
            out.data_mut::<f32>()?,
        )?;
        cx.outputs.set(0, out);
        Ok(())
    }
}

/// The rows of all matrices of an operand as it is stored, and how many those of one matrix are.
#[derive(Clone, Copy)]
struct Stored<'a> {
    rows: MatRef<'a, f32>,
    each: usize,
}

impl Turned {
    fn rows<'a>(
        &self,
        data: &'a [f32],
        index: usize,
        [rows, cols]: [usize; 2],
    ) -> Result<Stored<'a>, KernelError> {
        let (each, width) = match self.0[index] {
            true => (cols, rows),
            false => (rows, cols),
        };
        let rows = MatRef::row_major(data, data.len() / width.max(1), width)?;
        Ok(Stored { rows, each })
    }

    fn matrix<'a>(&self, stored: Stored<'a>, index: usize, at: usize) -> FloatOperand<'a> {
        let matrix = stored.rows.row_range(at * stored.each, stored.each);
        FloatOperand::Matrix(match self.0[index] {
            true => matrix.transposed(),
            false => matrix,
        })
    }
}
