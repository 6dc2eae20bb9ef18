//! `Gemm` in f32 of two matrices that vary: `alpha * A * B + C`, either one read transposed where it stands.

use super::guarded::{self, Partial, is_f32};
use super::matmul::{Layer, inner_sizes};
use crate::error::{SessionError, StepError};
use crate::plan::{Bound, Selector};
use crate::step::{Inputs, StepContext};
use compress_tensor::Tensor;
use onnx_ir::NodeId;
use runtime_kernels::gemm::{Bias, Epilogue, FloatOperand, gemm};
use runtime_kernels::{KernelError, MatRef};

/// Binds a `Gemm`; `None` where its attributes have no meaning.
///
/// # Errors
/// As [`guarded::bind`].
pub(crate) fn bind(selector: &mut Selector<'_>, id: NodeId) -> Result<Option<Bound>, SessionError> {
    match Layer::of(selector.graph.node(id)) {
        Some(layer) => guarded::bind(selector, id, Gemm(layer)).map(Some),
        None => Ok(None),
    }
}

struct Gemm(Layer);

/// How the summand is spread over the result.
#[derive(Clone, Copy)]
enum Summand {
    None,
    PerRow,
    PerCol,
    Whole,
}

impl Gemm {
    /// Rows, depth and columns; `None` where the two matrices do not fit.
    fn extents(&self, inputs: Inputs<'_>) -> Option<[usize; 3]> {
        let matrix = |i: usize, transposed: bool| match *inputs.tensor(i).ok()?.shape() {
            [rows, cols] if transposed => Some([cols, rows]),
            [rows, cols] => Some([rows, cols]),
            _ => None,
        };
        let ([m, k], [depth, n]) = (matrix(0, self.0.trans_a)?, matrix(1, self.0.trans_b)?);
        (k == depth).then_some([m, k, n])
    }

    fn summand(&self, inputs: Inputs<'_>, [m, _, n]: [usize; 3]) -> Option<Summand> {
        let Some(c) = inputs.optional(2).ok()?.filter(|_| self.0.beta != 0.0) else {
            return Some(Summand::None);
        };
        if !is_f32(inputs, 2) || self.0.beta != 1.0 {
            return None;
        }
        match *c.shape() {
            [rows, cols] if [rows, cols] == [m, n] => Some(Summand::Whole),
            [cols] | [1, cols] if cols == n => Some(Summand::PerCol),
            [rows, 1] if rows == m => Some(Summand::PerRow),
            _ => None,
        }
    }
}

impl Partial for Gemm {
    fn kernel(&self) -> &'static str {
        "gemm.f32"
    }

    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        let fits = |e: &[usize; 3]| !e.contains(&0) && self.summand(inputs, *e).is_some();
        is_f32(inputs, 0) && is_f32(inputs, 1) && self.extents(inputs).is_some_and(|e| fits(&e))
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let (a, b) = (cx.inputs.tensor(0)?, cx.inputs.tensor(1)?);
        let extents = self.extents(cx.inputs);
        let extents = extents.ok_or_else(|| inner_sizes(a.shape(), b.shape()))?;
        let [m, _, n] = extents;
        let summand = self.summand(cx.inputs, extents).unwrap_or(Summand::None);
        let c = cx
            .inputs
            .optional(2)?
            .map(Tensor::data::<f32>)
            .transpose()?;
        let c = c.as_deref().unwrap_or_default();
        let mut epilogue = Epilogue::default();
        epilogue.alpha = self.0.alpha;
        match summand {
            Summand::None => {}
            Summand::PerRow => epilogue.bias = Bias::PerRow(c),
            Summand::PerCol => epilogue.bias = Bias::PerCol(c),
            Summand::Whole => epilogue.residual = Some(c),
        }
        let mut out = cx.state.memory.tensor::<f32>(&[m, n])?;
        let (a_data, b_data) = (a.data::<f32>()?, b.data::<f32>()?);
        gemm(
            &cx.state.context,
            &mut cx.state.scratch,
            FloatOperand::Matrix(matrix(&a_data, a.shape(), self.0.trans_a)?),
            FloatOperand::Matrix(matrix(&b_data, b.shape(), self.0.trans_b)?),
            &epilogue,
            out.data_mut::<f32>()?,
        )?;
        cx.outputs.set(0, out);
        Ok(())
    }
}

fn matrix<'a>(
    data: &'a [f32],
    shape: &[usize],
    transposed: bool,
) -> Result<MatRef<'a, f32>, KernelError> {
    let [rows, cols] = [0, 1].map(|axis| shape.get(axis).copied().unwrap_or(1));
    let matrix = MatRef::row_major(data, rows, cols)?;
    Ok(match transposed {
        true => matrix.transposed(),
        false => matrix,
    })
}
