//! `MatMul` and `Gemm` in f32: `activation(alpha * A * B + bias + residual)`.

use super::activation::scalar;
use super::chain::{Chain, Product};
use super::guarded::{self, Partial, is_f32};
use crate::error::{SessionError, StepError};
use crate::plan::{Bound, Selector};
use crate::step::{Inputs, Step, StepContext};
use compress_tensor::{DType, Tensor};
use onnx_ir::operator::{Attrs, EvalError};
use onnx_ir::{Node, NodeId};
use runtime_kernels::elementwise::Activation;
use runtime_kernels::gemm::{Bias, Epilogue, FloatOperand, PackedF32, Side, gemm, gemm_batched};
use runtime_kernels::{Isa, KernelError, MatRef};
use std::sync::Arc;

/// Whether a node is a `MatMul` or `Gemm` with constant f32 weights `[k, n]` on the right.
pub(crate) fn product(selector: &mut Selector<'_>, id: NodeId) -> Option<Product> {
    let node = selector.graph.node(id);
    let layer = Layer::of(node)?;
    let weight = selector.constant_input(id, 1)?;
    let &[rows, cols] = weight.shape() else {
        return None;
    };
    if weight.dtype() != DType::F32 || weight.is_empty() || layer.trans_a {
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
    let (Some(weight), Some(start)) = (selector.constant(w), product(selector, chain.product))
    else {
        return Ok(None);
    };
    let mut bias = match layer.has_bias && layer.beta != 0.0 {
        true => gemm_bias(selector, chain.product, layer.beta, start.channels),
        false => None,
    };
    if let Some(extra) = chain.bias.and_then(|v| selector.constant(v)) {
        let Ok(extra) = extra.data::<f32>() else {
            return Ok(None);
        };
        bias = Some(match bias {
            None => extra.into_owned(),
            Some(bias) => bias.iter().zip(extra.iter()).map(|(a, b)| a + b).collect(),
        });
    }
    let form = if layer.trans_b {
        "f32.rhs.transposed"
    } else {
        "f32.rhs"
    };
    let isa = selector.isa();
    let packed = selector.scope.weights.get(graph, w, &weight, form, || {
        pack(&weight, layer.trans_b, isa)
    });
    let weight = packed.map_err(|error| SessionError::Weights {
        node: graph.describe(chain.product),
        error,
    })?;
    let step = Linear {
        weight,
        alpha: layer.alpha,
        bias,
        activation: chain.activation,
    };
    Ok(Some(Bound {
        step: Arc::new(step),
        inputs: vec![Some(x), chain.residual],
        outputs: graph.node(id).outputs().to_vec(),
    }))
}

/// Binds a `MatMul` of two values that vary.
///
/// # Errors
/// As [`guarded::bind`].
pub(crate) fn bind_dynamic(selector: &mut Selector<'_>, id: NodeId) -> Result<Bound, SessionError> {
    guarded::bind(selector, id, MatMul { alpha: 1.0 })
}

/// The attributes of `Gemm`; those of a `MatMul` are the defaults.
struct Layer {
    alpha: f32,
    beta: f32,
    trans_a: bool,
    trans_b: bool,
    has_bias: bool,
}

impl Layer {
    fn of(node: &Node) -> Option<Self> {
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

fn pack(weight: &Tensor, transposed: bool, isa: Isa) -> Result<PackedF32, KernelError> {
    let data = weight.data::<f32>().unwrap_or_default();
    let &[rows, cols] = weight.shape() else {
        return Err(KernelError::Invalid {
            what: "rank of the weight",
            value: weight.rank(),
        });
    };
    let matrix = MatRef::row_major(&data, rows, cols)?;
    PackedF32::new(
        isa,
        Side::Rhs,
        if transposed {
            matrix.transposed()
        } else {
            matrix
        },
    )
}

/// `x [.., k]` times packed weights `[k, n]`; the residual is input 1.
struct Linear {
    weight: Arc<PackedF32>,
    alpha: f32,
    bias: Option<Vec<f32>>,
    activation: Activation,
}

impl Step for Linear {
    fn kernel(&self) -> &'static str {
        "gemm.f32"
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let x = cx.inputs.tensor(0)?;
        let (k, n) = (self.weight.rows(), self.weight.cols());
        let mut shape = x.shape().to_vec();
        let inner = shape.last_mut().filter(|last| **last == k);
        *inner.ok_or_else(|| inner_sizes(x.shape(), &[k, n]))? = n;
        let rows = x.len().checked_div(k).unwrap_or(0);
        let residual = match cx.inputs.optional(1)? {
            None => None,
            Some(r) => Some(r.data::<f32>()?),
        };
        let mut out = cx.state.memory.buffer::<f32>(&shape)?;
        let mut epilogue = Epilogue::default();
        epilogue.alpha = self.alpha;
        epilogue.bias = self.bias.as_deref().map_or(Bias::None, Bias::PerCol);
        epilogue.residual = residual.as_deref();
        epilogue.activation = self.activation;
        let data = x.data::<f32>()?;
        gemm(
            &cx.state.context,
            &mut cx.state.scratch,
            FloatOperand::Matrix(MatRef::row_major(&data, rows, k)?),
            FloatOperand::Packed(&self.weight),
            &epilogue,
            &mut out,
        )?;
        cx.outputs.set(0, Tensor::from_vec(&shape, out)?);
        Ok(())
    }
}

pub(crate) fn inner_sizes(a: &[usize], b: &[usize]) -> EvalError {
    EvalError::rule(
        "the inner sizes of a product must be equal",
        format_args!("{a:?} and {b:?}"),
    )
}

/// `alpha * A * B` over batches, both of rank 2 at least.
struct MatMul {
    alpha: f32,
}

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
        let shape = [&batch[..], &[m, n]].concat();
        let mut out = cx.state.memory.buffer::<f32>(&shape)?;
        let count = out.len().checked_div(m * n).unwrap_or(0);
        let (a_data, b_data) = (a.data::<f32>()?, b.data::<f32>()?);
        let lhs = matrices(&a_data, offsets(a_batch, &batch), m, k)?;
        let rhs = matrices(&b_data, offsets(b_batch, &batch), k, n)?;
        let mut epilogue = Epilogue::default();
        epilogue.alpha = self.alpha;
        gemm_batched(
            &cx.state.context,
            &mut cx.state.scratch,
            count,
            |i| lhs[i],
            |i| rhs[i],
            &epilogue,
            &mut out,
        )?;
        cx.outputs.set(0, Tensor::from_vec(&shape, out)?);
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
pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
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

/// For each matrix of the broadcast batch: which matrix of the operand it reads.
fn offsets(own: &[usize], batch: &[usize]) -> Vec<usize> {
    let mut at = vec![0usize];
    let mut stride: usize = own.iter().product();
    for (axis, &size) in batch.iter().enumerate() {
        let own_size = (axis + own.len())
            .checked_sub(batch.len())
            .map_or(1, |i| own[i]);
        stride = stride.checked_div(own_size).unwrap_or(0);
        let step = if own_size == 1 { 0 } else { stride };
        at = at
            .iter()
            .flat_map(|&base| (0..size).map(move |i| base + i * step))
            .collect();
    }
    at
}

fn matrices(
    data: &[f32],
    at: Vec<usize>,
    rows: usize,
    cols: usize,
) -> Result<Vec<FloatOperand<'_>>, KernelError> {
    let size = rows * cols;
    let matrix = |at: usize| {
        let from = data.get(at * size..).unwrap_or_default();
        MatRef::row_major(from, rows, cols).map(FloatOperand::Matrix)
    };
    at.into_iter().map(matrix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_of_one_is_read_again_and_again() {
        assert_eq!(broadcast(&[2, 1], &[3]), Some(vec![2, 3]));
        assert_eq!(broadcast(&[2], &[3]), None);
        assert_eq!(offsets(&[2, 1], &[2, 3]), [0, 0, 0, 1, 1, 1]);
        assert_eq!(offsets(&[3], &[2, 3]), [0, 1, 2, 0, 1, 2]);
        assert_eq!(offsets(&[], &[2]), [0, 0]);
        assert_eq!(offsets(&[0], &[0]), [0usize; 0]);
    }
}
