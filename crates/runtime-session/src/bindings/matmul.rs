//! `MatMul` and `Gemm` in f32: `activation(alpha * A * B + bias + residual)`.

mod turned;

use super::activation::scalar;
use super::chain::{Chain, Product, residual};
use super::guarded::{self, Partial, is_f32};
use super::one_hot::{self, OneHotLinear};
use crate::error::{SessionError, StepError};
use crate::plan::{Bound, Selector, Weight};
use crate::step::{Inputs, Step, StepContext};
use crate::tune::{Way, Workshop};
use compress_tensor::{DType, Element, Shape, Tensor, TensorError};
use half::{bf16, f16};
use onnx_ir::operator::{Attrs, EvalError};
use onnx_ir::{Node, NodeId};
use runtime_kernels::elementwise::Activation;
use runtime_kernels::gemm::{
    Bias, Epilogue, FloatOperand, PackedF32, PackedHalf, Side, gemm, gemm_batched,
    gemm_packing_rows, reads_rows_in_place,
};
use runtime_kernels::{Context, KernelError, MatRef, Scratch};
use std::sync::Arc;

/// Rows of a left operand that are always read where they stand.
const FEW_ROWS: usize = 24;

/// Whether a node is a `MatMul` or `Gemm` in f32 with constant weights `[k, n]` on the right.
pub(crate) fn product(selector: &mut Selector<'_>, id: NodeId) -> Option<Product> {
    let node = selector.graph.node(id);
    let layer = Layer::of(node)?;
    let weight = selector.weight(node.input(1)?)?.tensor;
    let &[rows, cols] = weight.shape() else {
        return None;
    };
    if weight.is_empty() || layer.trans_a {
        return None;
    }
    let channels = if layer.trans_b { rows } else { cols };
    if layer.has_bias
        && layer.beta != 0.0
        && gemm_bias(selector, id, layer.beta, channels).is_none()
    {
        return None;
    }
    Some(Product {
        channels,
        axis_from_end: 0,
    })
}

/// Binds a chain whose product is a `MatMul` or `Gemm`; `id` is its last node.
///
/// # Errors
/// [`SessionError::Weights`].
pub(crate) fn bind_chain(
    selector: &mut Selector<'_>,
    id: NodeId,
    chain: &Chain,
) -> Result<Option<Bound>, SessionError> {
    let graph = selector.graph;
    let node = graph.node(chain.product);
    let (Some(layer), Some(x), Some(w)) = (Layer::of(node), node.input(0), node.input(1)) else {
        return Ok(None);
    };
    let (Some(weight), Some(start)) = (selector.weight(w), product(selector, chain.product)) else {
        return Ok(None);
    };
    let own = match layer.has_bias && layer.beta != 0.0 {
        true => gemm_bias(selector, chain.product, layer.beta, start.channels),
        false => None,
    };
    let extra = chain.bias.and_then(|v| selector.constant(v));
    let Ok(bias) = summed(own, extra) else {
        return Ok(None);
    };
    let isa = selector.isa();
    let packed = Packed::of(selector, &weight, layer.trans_b);
    let weight = packed.map_err(|error| SessionError::Weights {
        node: graph.describe(chain.product),
        error,
    })?;
    let linear = Linear {
        weight,
        alpha: layer.alpha,
        bias,
        activation: chain.activation,
        packs_rows: false,
    };
    let classes = match chain.residual {
        None => one_hot::indices(selector, x, linear.weight.rows()),
        Some(_) => None,
    };
    let (step, inputs): (Arc<dyn Step>, _) = match classes {
        Some(classes) => {
            let table = OneHotLinear::new(&linear, isa);
            let table = table.map_err(|error| SessionError::Weights {
                node: graph.describe(chain.product),
                error,
            })?;
            (Arc::new(table), vec![Some(classes)])
        }
        None => (Arc::new(linear), vec![Some(x), chain.residual]),
    };
    Ok(Some(Bound {
        step,
        inputs,
        outputs: graph.node(id).outputs().to_vec(),
    }))
}

/// The sum of a product's own bias and of a constant that is added to its result.
///
/// # Errors
/// [`TensorError::WrongDType`] where the constant is not f32.
pub(crate) fn summed(
    own: Option<Vec<f32>>,
    extra: Option<Tensor>,
) -> Result<Option<Vec<f32>>, TensorError> {
    let Some(extra) = extra else { return Ok(own) };
    let extra = extra.data::<f32>()?;
    Ok(Some(match own {
        None => extra.into_owned(),
        Some(own) => own.iter().zip(extra.iter()).map(|(a, b)| a + b).collect(),
    }))
}

/// Binds a `MatMul` of two values that vary.
///
/// # Errors
/// As [`guarded::bind`].
pub(crate) fn bind_dynamic(selector: &mut Selector<'_>, id: NodeId) -> Result<Bound, SessionError> {
    match turned::bind(selector, id) {
        Some(bound) => Ok(bound),
        None => guarded::bind(selector, id, MatMul),
    }
}

/// The attributes of `Gemm`; those of a `MatMul` are the defaults.
pub(crate) struct Layer {
    pub(crate) alpha: f32,
    pub(crate) beta: f32,
    pub(crate) trans_a: bool,
    pub(crate) trans_b: bool,
    has_bias: bool,
}

impl Layer {
    pub(crate) fn of(node: &Node) -> Option<Self> {
        let plain = Self {
            alpha: 1.0,
            beta: 1.0,
            trans_a: false,
            trans_b: false,
            has_bias: false,
        };
        if node.is("MatMul") {
            return Some(plain);
        }
        if !node.is("Gemm") {
            return None;
        }
        let mut attrs = Attrs::new(&node.attributes, 1, 0, 0);
        Some(Self {
            alpha: attrs.f32_or("alpha", 1.0).ok()?,
            beta: attrs.f32_or("beta", 1.0).ok()?,
            trans_a: attrs.flag_or("transA", false).ok()?,
            trans_b: attrs.flag_or("transB", false).ok()?,
            has_bias: node.input(2).is_some(),
        })
    }
}

/// `beta * C` per column, where `C` is constant and the same for all rows.
fn gemm_bias(selector: &mut Selector<'_>, id: NodeId, beta: f32, cols: usize) -> Option<Vec<f32>> {
    let c = selector.constant_input(id, 2)?;
    if let Some(c) = scalar(&c) {
        return Some(vec![beta * c; cols]);
    }
    let (last, rest) = c.shape().split_last()?;
    if *last != cols || rest.iter().any(|&n| n != 1) {
        return None;
    }
    Some(c.data::<f32>().ok()?.iter().map(|c| beta * c).collect())
}

/// Packed weights, of the type in which the model stores them.
#[derive(Clone)]
pub(super) enum Packed {
    Single(Arc<PackedF32>),
    Half(Arc<PackedHalf>),
}

impl Packed {
    /// Packs a constant.
    ///
    /// # Errors
    /// [`KernelError`].
    fn of(selector: &Selector<'_>, weight: &Weight, transposed: bool) -> Result<Self, KernelError> {
        let (isa, weights) = (selector.isa(), selector.scope.weights);
        let form = |form: &str| match transposed {
            true => format!("{form}.transposed"),
            false => form.to_owned(),
        };
        let (w, meets_halves, weight) = (weight.value, weight.meets_halves, &weight.tensor);
        match weight.dtype() {
            DType::F16 => weights.get(selector.graph, w, weight, &form("f16.rhs"), || {
                with_matrix::<f16, _>(weight, transposed, |m| PackedHalf::new(isa, m))
            }),
            DType::BF16 if meets_halves && PackedHalf::has_bf16_dot(isa) => {
                weights.get(selector.graph, w, weight, &form("bf16.dot.rhs"), || {
                    with_matrix::<bf16, _>(weight, transposed, |m| PackedHalf::bf16_dot(isa, m))
                })
            }
            DType::BF16 => weights.get(selector.graph, w, weight, &form("bf16.rhs"), || {
                with_matrix::<bf16, _>(weight, transposed, |m| PackedHalf::new(isa, m))
            }),
            _ => {
                let packed = weights.get(selector.graph, w, weight, &form("f32.rhs"), || {
                    with_matrix::<f32, _>(weight, transposed, |m| PackedF32::new(isa, Side::Rhs, m))
                });
                return packed.map(Self::Single);
            }
        }
        .map(Self::Half)
    }

    pub(super) fn rows(&self) -> usize {
        match self {
            Self::Single(p) => p.rows(),
            Self::Half(p) => p.rows(),
        }
    }

    pub(super) fn cols(&self) -> usize {
        match self {
            Self::Single(p) => p.cols(),
            Self::Half(p) => p.cols(),
        }
    }

    fn operand(&self) -> FloatOperand<'_> {
        match self {
            Self::Single(p) => FloatOperand::Packed(p),
            Self::Half(p) => FloatOperand::Half(p),
        }
    }
}

/// The weight as a matrix `[k, n]`.
fn with_matrix<T: Element, R>(
    weight: &Tensor,
    transposed: bool,
    pack: impl FnOnce(MatRef<'_, T>) -> Result<R, KernelError>,
) -> Result<R, KernelError> {
    let data = weight.data::<T>().unwrap_or_default();
    let &[rows, cols] = weight.shape() else {
        return Err(KernelError::Invalid {
            what: "rank of the weight",
            value: weight.rank(),
        });
    };
    let matrix = MatRef::row_major(&data, rows, cols)?;
    pack(match transposed {
        true => matrix.transposed(),
        false => matrix,
    })
}

/// `x [.., k]` times packed weights `[k, n]`; the residual is input 1.
pub(super) struct Linear {
    pub(super) weight: Packed,
    alpha: f32,
    bias: Option<Vec<f32>>,
    activation: Activation,
    /// Whether the left operand is packed where it could be read in place.
    packs_rows: bool,
}

impl Linear {
    /// `rows` of the left operand times the weights, through the epilogue.
    ///
    /// # Errors
    /// Those of [`gemm`].
    pub(super) fn multiply(
        &self,
        context: &Context,
        scratch: &mut Scratch,
        rows: MatRef<'_, f32>,
        residual: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let mut epilogue = Epilogue::default();
        epilogue.alpha = self.alpha;
        epilogue.bias = self.bias.as_deref().map_or(Bias::None, Bias::PerCol);
        epilogue.residual = residual;
        epilogue.activation = self.activation;
        let (lhs, rhs) = (FloatOperand::Matrix(rows), self.weight.operand());
        match self.packs_rows {
            true => gemm_packing_rows(context, scratch, lhs, rhs, &epilogue, out),
            false => gemm(context, scratch, lhs, rhs, &epilogue, out),
        }
    }
}

impl Step for Linear {
    fn kernel(&self) -> &'static str {
        "gemm.f32"
    }

    fn way(&self) -> Way {
        match self.packs_rows {
            true => Way::RowsPacked,
            false => Way::RowsInPlace,
        }
    }

    fn other_ways(&self, inputs: Inputs<'_>, shop: &Workshop<'_>) -> Vec<Way> {
        let (k, n) = (self.weight.rows(), self.weight.cols());
        let Some(x) = inputs.tensor(0).ok().filter(|x| x.dtype() == DType::F32) else {
            return Vec::new();
        };
        let (Ok(Rows { count, .. }), Ok(data)) = (Rows::of(x, k, n), x.data::<f32>()) else {
            return Vec::new();
        };
        // Few rows are not worth packing.
        let Some(rows) = MatRef::row_major(&data, count, k)
            .ok()
            .filter(|_| count > FEW_ROWS)
        else {
            return Vec::new();
        };
        let (lhs, rhs) = (FloatOperand::Matrix(rows), self.weight.operand());
        match reads_rows_in_place(shop.isa, lhs, rhs) {
            true => vec![Way::RowsPacked],
            false => Vec::new(),
        }
    }

    fn by_way(&self, way: Way, _: &Workshop<'_>) -> Result<Option<Arc<dyn Step>>, SessionError> {
        let packs_rows = match way {
            Way::RowsPacked => true,
            Way::RowsInPlace => false,
            _ => return Ok(None),
        };
        Ok(Some(Arc::new(Self {
            weight: self.weight.clone(),
            alpha: self.alpha,
            bias: self.bias.clone(),
            activation: self.activation,
            packs_rows,
        })))
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let x = cx.inputs.tensor(0)?;
        let (k, n) = (self.weight.rows(), self.weight.cols());
        let Rows { count, result } = Rows::of(x, k, n)?;
        let residual = residual(cx.inputs.optional(1)?, &result)?;
        let mut out = cx.state.memory.tensor::<f32>(&result)?;
        let data = x.data::<f32>()?;
        self.multiply(
            &cx.state.context,
            &mut cx.state.scratch,
            MatRef::row_major(&data, count, k)?,
            residual.as_deref(),
            out.data_mut::<f32>()?,
        )?;
        cx.outputs.set(0, out);
        Ok(())
    }
}

/// A tensor `[.., k]` as rows, and the shape `[.., n]` of its product with a matrix `[k, n]`.
pub(crate) struct Rows {
    pub(crate) count: usize,
    pub(crate) result: Shape,
}

impl Rows {
    /// # Errors
    /// [`EvalError`] where the last axis does not have `k` elements.
    pub(crate) fn of(x: &Tensor, k: usize, n: usize) -> Result<Self, EvalError> {
        let mut result = Shape::from(x.shape());
        let inner = result.last_mut().filter(|last| **last == k);
        *inner.ok_or_else(|| inner_sizes(x.shape(), &[k, n]))? = n;
        let count = x.len().checked_div(k).unwrap_or(0);
        Ok(Self { count, result })
    }
}

pub(crate) fn inner_sizes(a: &[usize], b: &[usize]) -> EvalError {
    EvalError::rule(
        "the inner sizes of a product must be equal",
        format_args!("{a:?} and {b:?}"),
    )
}

/// `A * B` over batches, both of rank 2 at least.
struct MatMul;

impl Partial for MatMul {
    fn kernel(&self) -> &'static str {
        "gemm.f32"
    }

    fn accepts(&self, inputs: Inputs<'_>) -> bool {
        let matrix = |i| {
            is_f32(inputs, i)
                && inputs
                    .tensor(i)
                    .is_ok_and(|t| t.rank() >= 2 && !t.is_empty())
        };
        matrix(0) && matrix(1)
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let (a, b) = (cx.inputs.tensor(0)?, cx.inputs.tensor(1)?);
        let ((a_batch, [m, k]), (b_batch, [k_b, n])) = (split(a.shape())?, split(b.shape())?);
        if k != k_b {
            return Err(inner_sizes(a.shape(), b.shape()).into());
        }
        let batch = broadcast(a_batch, b_batch).ok_or_else(|| {
            EvalError::rule(
                "batch sizes must broadcast",
                format_args!("{:?} and {:?}", a.shape(), b.shape()),
            )
        })?;
        let mut shape = batch.clone();
        shape.extend([m, n]);
        let mut out = cx.state.memory.tensor::<f32>(&shape)?;
        let count = out.len().checked_div(m * n).unwrap_or(0);
        let (a_data, b_data) = (a.data::<f32>()?, b.data::<f32>()?);
        let (lhs, rhs) = (Batch::of(a_batch, &batch), Batch::of(b_batch, &batch));
        let lhs_rows = MatRef::row_major(&a_data, a_data.len().checked_div(k).unwrap_or(0), k)?;
        let rhs_rows = MatRef::row_major(&b_data, b_data.len().checked_div(n).unwrap_or(0), n)?;
        gemm_batched(
            &cx.state.context,
            &mut cx.state.scratch,
            count,
            |i| FloatOperand::Matrix(lhs_rows.row_range(lhs.at(i) * m, m)),
            |i| FloatOperand::Matrix(rhs_rows.row_range(rhs.at(i) * k, k)),
            &Epilogue::default(),
            out.data_mut::<f32>()?,
        )?;
        cx.outputs.set(0, out);
        Ok(())
    }
}

/// The batch sizes and the matrix sizes of a shape.
fn split(shape: &[usize]) -> Result<(&[usize], [usize; 2]), EvalError> {
    match shape.split_last_chunk::<2>() {
        Some((batch, matrix)) => Ok((batch, *matrix)),
        None => Err(EvalError::rule(
            "a matrix has two axes at least",
            format_args!("{shape:?}"),
        )),
    }
}

/// The sizes that two shapes broadcast to.
pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Option<Shape> {
    let rank = a.len().max(b.len());
    let size = |s: &[usize], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |i| s[i]);
    let axis = |i| match (size(a, i), size(b, i)) {
        (x, y) if x == y => Some(x),
        (1, y) => Some(y),
        (x, 1) => Some(x),
        _ => None,
    };
    (0..rank).map(axis).collect()
}

/// Which matrix of an operand the matrices of the broadcast batch read.
struct Batch<'b> {
    sizes: &'b [usize],
    /// How far apart the operand's matrices lie along each axis; 0 where one serves all.
    steps: Shape,
}

impl<'b> Batch<'b> {
    /// Of an operand with batch sizes `own`.
    fn of(own: &[usize], sizes: &'b [usize]) -> Self {
        let mut steps = Shape::filled(sizes.len(), 0);
        let mut stride = 1usize;
        for (step, &size) in steps.iter_mut().rev().zip(own.iter().rev()) {
            *step = if size == 1 { 0 } else { stride };
            stride = stride.saturating_mul(size);
        }
        Self { sizes, steps }
    }

    /// The operand's matrix for matrix `index` of the batch.
    fn at(&self, mut index: usize) -> usize {
        let mut at = 0;
        for (&size, step) in self.sizes.iter().zip(self.steps.iter()).rev() {
            at += index % size.max(1) * step;
            index /= size.max(1);
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_of_one_is_read_again_and_again() {
        assert_eq!(broadcast(&[2, 1], &[3]), Some([2, 3].into()));
        assert_eq!(broadcast(&[2], &[3]), None);
        let read = |own: &[usize], batch: &[usize]| -> Vec<usize> {
            let count = batch.iter().product();
            (0..count).map(|i| Batch::of(own, batch).at(i)).collect()
        };
        assert_eq!(read(&[2, 1], &[2, 3]), [0, 0, 0, 1, 1, 1]);
        assert_eq!(read(&[3], &[2, 3]), [0, 1, 2, 0, 1, 2]);
        assert_eq!(read(&[], &[2]), [0, 0]);
        assert_eq!(read(&[0], &[0]), [0usize; 0]);
        assert_eq!(read(&[2, 2], &[2, 2]), [0, 1, 2, 3]);
    }
}
