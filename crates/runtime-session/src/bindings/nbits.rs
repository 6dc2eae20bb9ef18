//! `MatMulNBits` in f32 with constant weights: `activation(A * dequantize(B)ᵀ + bias + residual)`.

use super::chain::{Chain, Product, residual};
use super::matmul::{Rows, summed};
use crate::error::{SessionError, StepError};
use crate::plan::{Bound, Selector};
use crate::step::{Step, StepContext};
use compress_tensor::{DType, Tensor};
use onnx_ir::operator::Attrs;
use onnx_ir::ops::quantization::MatMulNBits;
use onnx_ir::{NodeId, ValueId};
use runtime_kernels::elementwise::Activation;
use runtime_kernels::gemm::{
    Bias, Epilogue, NBitsActivations, NBitsMatrix, NBitsZeroPoints, PackedNBits, gemm_nbits,
};
use runtime_kernels::{Isa, KernelError, MatRef};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Where the inputs stand.
const X: usize = 0;
const CODES: usize = 1;
const SCALES: usize = 2;
const ZERO_POINTS: usize = 3;
const GROUPS: usize = 4;
const BIAS: usize = 5;

/// The accuracy level at which activations are rounded to 8 bits.
const INT8: i64 = 4;

/// Whether a node is a `MatMulNBits` whose weights are constant and scaled in f32.
pub(crate) fn product(selector: &mut Selector<'_>, id: NodeId) -> Option<Product> {
    let weights = Weights::of(selector, id)?;
    Some(Product {
        channels: weights.operator.n,
        axis_from_end: 0,
    })
}

/// Binds a chain whose product is a `MatMulNBits`; `id` is its last node.
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
    let (Some(weights), Some(x)) = (Weights::of(selector, chain.product), node.input(X)) else {
        return Ok(None);
    };
    let own = weights.bias.as_ref().and_then(|b| b.to_f32_vec().ok());
    let extra = chain.bias.and_then(|v| selector.constant(v));
    let Ok(bias) = summed(own, extra) else {
        return Ok(None);
    };
    let attributes = &node.attributes;
    let level = Attrs::new(attributes, 1, 0, 0).int_or("accuracy_level", 0);
    let activations = match level {
        Ok(INT8) => NBitsActivations::Int8,
        _ => NBitsActivations::Float,
    };
    let (isa, (codes_id, codes)) = (selector.isa(), &weights.codes);
    let cache = selector.scope.weights;
    let packed = cache.get(graph, *codes_id, codes, &weights.form(), || {
        weights.pack(isa)
    });
    let weights = packed.map_err(|error| SessionError::Weights {
        node: graph.describe(chain.product),
        error,
    })?;
    let step = Linear {
        weights,
        activations,
        bias,
        activation: chain.activation,
    };
    Ok(Some(Bound {
        step: Arc::new(step),
        inputs: vec![Some(x), chain.residual],
        outputs: graph.node(id).outputs().to_vec(),
    }))
}

/// The weights of a node, all constant.
struct Weights {
    operator: MatMulNBits,
    codes: (ValueId, Tensor),
    scales: Tensor,
    zero_points: Option<Tensor>,
    bias: Option<Tensor>,
}

impl Weights {
    /// `None` for other nodes, and where something varies, is of another type or does not fit.
    fn of(selector: &mut Selector<'_>, id: NodeId) -> Option<Self> {
        let node = selector.graph.node(id);
        if node.op_type != "MatMulNBits" || node.input(GROUPS).is_some() {
            return None;
        }
        let scope = selector.scope;
        let parsed = scope.catalog.parse(node, scope.opsets).ok()?;
        let operator = parsed.downcast_ref::<MatMulNBits>()?.clone();
        let mut constant = |index| match node.input(index) {
            None => Some(None),
            Some(v) => Some(Some((v, selector.constant(v)?))),
        };
        let (codes, (_, scales)) = (constant(CODES)??, constant(SCALES)??);
        let [zero_points, bias] =
            [constant(ZERO_POINTS)?, constant(BIAS)?].map(|input| input.map(|(_, tensor)| tensor));
        let is_f32 = |tensor: &Tensor| tensor.dtype() == DType::F32;
        let zeros = zero_points.as_ref().map(Tensor::dtype);
        let fits = codes.1.dtype() == DType::U8
            && is_f32(&scales)
            && matches!(zeros, None | Some(DType::U8 | DType::F32))
            && bias
                .as_ref()
                .is_none_or(|b| is_f32(b) && b.len() == operator.n)
            && operator.n > 0
            && operator.k > 0;
        fits.then_some(Self {
            operator,
            codes,
            scales,
            zero_points,
            bias,
        })
    }

    /// What tells packed weights apart that stem from the same codes.
    fn form(&self) -> String {
        // By content: branches number their values by themselves, and share the packed weights.
        let mut hasher = DefaultHasher::new();
        self.scales.bytes().hash(&mut hasher);
        let zero_points = self.zero_points.as_ref();
        zero_points
            .map(|z| (z.dtype(), z.bytes()))
            .hash(&mut hasher);
        format!("{:?}.{:x}", self.operator, hasher.finish())
    }

    fn pack(&self, isa: Isa) -> Result<PackedNBits, KernelError> {
        let (codes, scales) = (self.codes.1.bytes(), self.scales.data::<f32>());
        let zero_points = self.zero_points.as_ref();
        let floats = zero_points.and_then(|z| z.data::<f32>().ok());
        let matrix = NBitsMatrix {
            rows: self.operator.n,
            depth: self.operator.k,
            bits: self.operator.bits,
            block: self.operator.block_size,
            codes,
            scales: &scales.unwrap_or_default(),
            zero_points: match (zero_points, &floats) {
                (None, _) => NBitsZeroPoints::Middle,
                (_, Some(z)) => NBitsZeroPoints::Float(z),
                (Some(z), None) => NBitsZeroPoints::Packed(z.bytes()),
            },
        };
        PackedNBits::new(isa, &matrix)
    }
}

/// `x [.., k]` times packed weights; the residual is input 1.
struct Linear {
    weights: Arc<PackedNBits>,
    activations: NBitsActivations,
    bias: Option<Vec<f32>>,
    activation: Activation,
}

impl Step for Linear {
    fn kernel(&self) -> &'static str {
        match self.activations {
            NBitsActivations::Float => "gemm.nbits",
            NBitsActivations::Int8 => "gemm.nbits.int8",
        }
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let x = cx.inputs.tensor(X)?;
        let rows = Rows::of(x, self.weights.depth(), self.weights.rows())?;
        let residual = residual(cx.inputs.optional(1)?, &rows.result)?;
        let mut out = cx.state.memory.tensor::<f32>(&rows.result)?;
        let mut epilogue = Epilogue::default();
        epilogue.bias = self.bias.as_deref().map_or(Bias::None, Bias::PerCol);
        epilogue.residual = residual.as_deref();
        epilogue.activation = self.activation;
        let data = x.data::<f32>()?;
        gemm_nbits(
            &cx.state.context,
            &mut cx.state.scratch,
            MatRef::row_major(&data, rows.count, self.weights.depth())?,
            &self.weights,
            self.activations,
            &epilogue,
            out.data_mut::<f32>()?,
        )?;
        cx.outputs.set(0, out);
        Ok(())
    }
}
