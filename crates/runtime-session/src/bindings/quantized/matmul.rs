//! Integer matrix products: `DQ -> MatMul | Gemm -> (Q)`, `QLinearMatMul`, `MatMulInteger` and its dynamic chain
//! `Mul(Cast(MatMulInteger(x, w)), s_x s_w) + bias`.

use super::output::{IntegerProduct, Output, store_floats};
use super::params::{self, Byte, Quantized, QuantizedWeight};
use crate::bindings::matmul::Rows;
use crate::error::{SessionError, StepError};
use crate::execute::RunState;
use crate::plan::{Bound, Selector};
use crate::step::{Step, StepContext};
use compress_tensor::{DType, Tensor};
use onnx_ir::operator::{Attrs, EvalError};
use onnx_ir::{Node, NodeId, ValueId};
use runtime_kernels::elementwise::Activation;
use runtime_kernels::gemm::{Int8Gemm, Int8Matrix, Int8Operand, PackedInt8, Side, gemm_int8};
use runtime_kernels::quantized::{Dequantize, IntegerEpilogue};
use runtime_kernels::{Isa, KernelError, MatRef};
use std::sync::Arc;

/// A `MatMul` or `Gemm` of an 8-bit activation and constant 8-bit weights.
pub(crate) struct IntegerLayer {
    x: Quantized,
    weight: QuantizedWeight,
    transposed: bool,
    bias: Vec<i32>,
}

impl IntegerLayer {
    /// The output channels.
    pub(crate) fn channels(&self) -> usize {
        let shape = self.weight.tensor.shape();
        shape
            .get(usize::from(!self.transposed))
            .copied()
            .unwrap_or(0)
    }

    /// The layer that a node between `DequantizeLinear` inputs computes.
    pub(crate) fn of(selector: &mut Selector<'_>, id: NodeId) -> Option<Self> {
        let node = selector.graph.node(id);
        let transposed = match node.op_type.as_str() {
            "MatMul" if node.is("MatMul") => false,
            "Gemm" if node.is("Gemm") => gemm_transposes_weight(node)?,
            _ => return None,
        };
        let x = params::dequantized(selector, node.input(0)?)?;
        let weight = params::weight(selector, node.input(1)?)?;
        let bias = match node.input(2) {
            None => Vec::new(),
            Some(b) => params::integer_bias(selector, b, x.params.scale, &weight.scales)?,
        };
        Self {
            x,
            weight,
            transposed,
            bias,
        }
        .checked()
    }

    /// The layer of a `QLinearMatMul` with constant parameters, and its quantizer.
    pub(crate) fn of_qlinear(selector: &mut Selector<'_>, id: NodeId) -> Option<(Self, Quantized)> {
        let node = selector.graph.node(id);
        let input = |i: usize| node.input(i);
        let (x_params, x_byte) = params::scale_zero_of(selector, input(1)?, input(2))?;
        let (y_params, y_byte) = params::scale_zero_of(selector, input(6)?, input(7))?;
        let weight = params::weight_of(selector, [input(3), input(4), input(5)], Some(1))?;
        let quantized = |value, byte: Option<Byte>, params| {
            Some(Quantized {
                value,
                byte: byte?,
                params,
            })
        };
        let layer = Self {
            x: quantized(input(0)?, x_byte, x_params)?,
            weight,
            transposed: false,
            bias: Vec::new(),
        };
        Some((
            layer.checked()?,
            quantized(node.output(0)?, y_byte, y_params)?,
        ))
    }

    /// Refuses weights that are no matrix and scales along another axis than the channels.
    fn checked(self) -> Option<Self> {
        let matrix = self.weight.tensor.rank() == 2 && !self.weight.tensor.is_empty();
        let axis = usize::from(!self.transposed);
        let scales = self.weight.axis.is_none_or(|found| found == axis);
        let bias = self.bias.is_empty() || self.bias.len() == self.channels();
        (matrix && scales && bias).then_some(self)
    }

    /// Binds the layer to a step whose result is the first output of `root`, requantized for `y`.
    ///
    /// # Errors
    /// [`SessionError::Weights`].
    pub(crate) fn bind_bytes(
        self,
        selector: &mut Selector<'_>,
        root: NodeId,
        y: &Quantized,
        bounds: (i32, i32),
    ) -> Result<Bound, SessionError> {
        let output = Output::bytes(self.x.params.scale, &self.weight.scales, y, bounds);
        let output = output.map_err(|error| SessionError::Weights {
            node: selector.graph.describe(root),
            error,
        })?;
        self.bind(selector, root, output)
    }

    /// Binds the layer to a step whose result is float: `activation(sum * s_x s_w + bias)`.
    ///
    /// # Errors
    /// [`SessionError::Weights`].
    pub(crate) fn bind_floats(
        self,
        selector: &mut Selector<'_>,
        root: NodeId,
        bias: Vec<f32>,
        activation: Activation,
    ) -> Result<Bound, SessionError> {
        let scales: Vec<f32> = self
            .weight
            .scales
            .iter()
            .map(|s| self.x.params.scale * s)
            .collect();
        let output = Output::Floats {
            scales,
            bias,
            activation,
        };
        self.bind(selector, root, output)
    }

    fn bind(
        self,
        selector: &mut Selector<'_>,
        root: NodeId,
        output: Output,
    ) -> Result<Bound, SessionError> {
        let graph = selector.graph;
        let weight = packed(selector, root, &self.weight, self.transposed)?;
        let step = IntegerLinear {
            weight,
            zero_point: ZeroPoint::Constant(self.x.params.zero_point),
            bias: self.bias,
            output,
        };
        Ok(Bound {
            step: Arc::new(step),
            inputs: vec![Some(self.x.value)],
            outputs: graph.node(root).outputs().to_vec(),
        })
    }
}

/// Binds `MatMulInteger` with constant weights: the exact sums.
///
/// # Errors
/// [`SessionError::Weights`].
pub(crate) fn bind_sums(
    selector: &mut Selector<'_>,
    id: NodeId,
) -> Result<Option<Bound>, SessionError> {
    let node = selector.graph.node(id);
    let Some((x, weight)) = integer_operands(selector, node) else {
        return Ok(None);
    };
    let step = IntegerLinear {
        weight: packed(selector, id, &weight, false)?,
        zero_point: ZeroPoint::Input,
        bias: Vec::new(),
        output: Output::Sums,
    };
    Ok(Some(Bound {
        step: Arc::new(step),
        inputs: vec![Some(x), node.input(2)],
        outputs: node.outputs().to_vec(),
    }))
}

/// Binds `Mul(Cast(MatMulInteger(x, w, z_x, z_w)), Mul(s_x, s_w))` that ends in node `id`: what dynamic quantization
/// writes for a `MatMul`.
///
/// # Errors
/// [`SessionError::Weights`].
pub(crate) fn bind_dynamic(
    selector: &mut Selector<'_>,
    root: NodeId,
    scaled: NodeId,
    bias: Vec<f32>,
    activation: Activation,
) -> Result<Option<Bound>, SessionError> {
    let Some(chain) = DynamicChain::of(selector, scaled) else {
        return Ok(None);
    };
    let node = selector.graph.node(chain.product);
    let Some((x, weight)) = integer_operands(selector, node) else {
        return Ok(None);
    };
    let channels = weight.tensor.shape().get(1).copied().unwrap_or(0);
    if !(chain.scales.len() == 1 || chain.scales.len() == channels)
        || !(bias.is_empty() || bias.len() == channels)
    {
        return Ok(None);
    }
    let step = DynamicLinear {
        weight: packed(selector, chain.product, &weight, false)?,
        scales: chain.scales,
        bias,
        activation,
    };
    Ok(Some(Bound {
        step: Arc::new(step),
        inputs: vec![Some(x), node.input(2), Some(chain.x_scale)],
        outputs: selector.graph.node(root).outputs().to_vec(),
    }))
}

/// The output channels of the dynamic chain that ends in node `id`.
pub(crate) fn dynamic_channels(selector: &mut Selector<'_>, id: NodeId) -> Option<usize> {
    let chain = DynamicChain::of(selector, id)?;
    let (_, weight) = integer_operands(selector, selector.graph.node(chain.product))?;
    weight.tensor.shape().get(1).copied()
}

struct DynamicChain {
    product: NodeId,
    /// The value that holds `s_x`.
    x_scale: ValueId,
    /// `s_w`: one, or one per channel.
    scales: Vec<f32>,
}

impl DynamicChain {
    fn of(selector: &mut Selector<'_>, id: NodeId) -> Option<Self> {
        let node = selector.graph.node(id);
        if !node.is("Mul") || !selector.fuses() {
            return None;
        }
        let (a, b) = (node.input(0)?, node.input(1)?);
        for (sums, scale) in [(a, b), (b, a)] {
            let Some((_, cast)) = selector.interior(sums).filter(|(_, n)| n.is("Cast")) else {
                continue;
            };
            let Some((product, _)) = cast.input(0).and_then(|v| selector.interior(v)) else {
                continue;
            };
            if !selector.graph.node(product).is("MatMulInteger") {
                continue;
            }
            let (_, scales) = selector.producer(scale).filter(|(_, n)| n.is("Mul"))?;
            let (c, d) = (scales.input(0)?, scales.input(1)?);
            for (x_scale, w_scale) in [(c, d), (d, c)] {
                let Some(w) = selector
                    .constant(w_scale)
                    .filter(|w| w.dtype() == DType::F32 && w.rank() <= 1)
                else {
                    continue;
                };
                return Some(Self {
                    product,
                    x_scale,
                    scales: w.data::<f32>().ok()?.into_owned(),
                });
            }
        }
        None
    }
}

/// The activation and the constant weights of a `MatMulInteger`.
fn integer_operands(
    selector: &mut Selector<'_>,
    node: &Node,
) -> Option<(ValueId, QuantizedWeight)> {
    if !node.is("MatMulInteger") {
        return None;
    }
    let id = node.input(1)?;
    let tensor = selector
        .constant(id)
        .filter(|t| t.rank() == 2 && !t.is_empty())?;
    Byte::of(tensor.dtype())?;
    let zero_points = match node.input(3) {
        None => vec![0],
        Some(z) => params::integers(&selector.constant(z)?)?,
    };
    if zero_points.len() != 1 && zero_points.len() != tensor.shape()[1] {
        return None;
    }
    let weight = QuantizedWeight {
        id,
        tensor,
        scales: vec![1.0],
        zero_points,
        axis: None,
    };
    Some((node.input(0)?, weight))
}

/// Whether a `Gemm` reads its weights transposed; `None` where it has other attributes than a plain layer.
fn gemm_transposes_weight(node: &Node) -> Option<bool> {
    let mut attrs = Attrs::new(&node.attributes, 1, 0, 0);
    let plain = attrs.f32_or("alpha", 1.0).ok()? == 1.0
        && attrs.f32_or("beta", 1.0).ok()? == 1.0
        && !attrs.flag_or("transA", false).ok()?;
    let transposed = attrs.flag_or("transB", false).ok()?;
    plain.then_some(transposed)
}

fn packed(
    selector: &mut Selector<'_>,
    node: NodeId,
    weight: &QuantizedWeight,
    transposed: bool,
) -> Result<Arc<PackedInt8>, SessionError> {
    let isa = selector.isa();
    let form = format!("int8.rhs.{transposed}.{:?}", weight.zero_points);
    let make = || pack(isa, weight, transposed);
    let packed = selector
        .scope
        .weights
        .get(selector.graph, weight.id, &weight.tensor, &form, make);
    packed.map_err(|error| SessionError::Weights {
        node: selector.graph.describe(node),
        error,
    })
}

fn pack(isa: Isa, weight: &QuantizedWeight, transposed: bool) -> Result<PackedInt8, KernelError> {
    let (unsigned, signed);
    let (rows, cols) = match weight.tensor.shape() {
        &[rows, cols] => (rows, cols),
        shape => {
            return Err(KernelError::Invalid {
                what: "rank of the weight",
                value: shape.len(),
            });
        }
    };
    let matrix = match Byte::of(weight.tensor.dtype()) {
        Some(Byte::U8) => {
            unsigned = weight.tensor.data::<u8>().unwrap_or_default();
            let m = MatRef::row_major(&unsigned, rows, cols)?;
            Int8Matrix::U8(if transposed { m.transposed() } else { m })
        }
        _ => {
            signed = weight.tensor.data::<i8>().unwrap_or_default();
            let m = MatRef::row_major(&signed, rows, cols)?;
            Int8Matrix::I8(if transposed { m.transposed() } else { m })
        }
    };
    PackedInt8::new(isa, Side::Rhs, matrix, &weight.zero_points)
}

/// Where the zero point of the activation stands.
enum ZeroPoint {
    Constant(i32),
    /// Input 1 of the step; 0 where it is left out.
    Input,
}

/// `x [.., k]` in 8 bits times packed weights `[k, n]`.
struct IntegerLinear {
    weight: Arc<PackedInt8>,
    zero_point: ZeroPoint,
    bias: Vec<i32>,
    output: Output,
}

impl Step for IntegerLinear {
    fn kernel(&self) -> &'static str {
        "gemm.int8"
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let zero_point = match self.zero_point {
            ZeroPoint::Constant(z) => z,
            ZeroPoint::Input => zero_point_of(cx.inputs.optional(1)?)?,
        };
        let (weight, bias) = (&self.weight, &self.bias);
        let out = multiply(cx, zero_point, weight, bias, |product, shape, state| {
            self.output.store(product, shape, state)
        })?;
        cx.outputs.set(0, out);
        Ok(())
    }
}

/// As [`IntegerLinear`], the activation's zero point in input 1 and its scale in input 2; the result is float.
struct DynamicLinear {
    weight: Arc<PackedInt8>,
    scales: Vec<f32>,
    bias: Vec<f32>,
    activation: Activation,
}

impl Step for DynamicLinear {
    fn kernel(&self) -> &'static str {
        "gemm.int8"
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let zero_point = zero_point_of(cx.inputs.optional(1)?)?;
        let scale = cx.inputs.tensor(2)?;
        let scale = crate::bindings::activation::scalar(scale).ok_or_else(|| {
            EvalError::rule("the scale must be one f32", format_args!("{scale:?}"))
        })?;
        let mut scales = cx.state.memory.tensor::<f32>(&[self.scales.len()])?;
        let products = scales.data_mut::<f32>()?.iter_mut().zip(&self.scales);
        products.for_each(|(product, s)| *product = scale * s);
        let epilogue = Dequantize::new(scales.as_slice::<f32>()?)
            .with_bias(&self.bias)
            .with_activation(self.activation);
        let out = multiply(
            cx,
            zero_point,
            &self.weight,
            &[],
            |product, shape, state| store_floats(product, &epilogue, shape, state),
        )?;
        cx.state.memory.recycle(scales.into());
        cx.outputs.set(0, out);
        Ok(())
    }
}

fn zero_point_of(tensor: Option<&Tensor>) -> Result<i32, StepError> {
    let Some(tensor) = tensor else { return Ok(0) };
    match params::integer(tensor) {
        Some(z) => Ok(z),
        None => Err(EvalError::rule(
            "the activation has one zero point",
            format_args!("{tensor:?}"),
        )
        .into()),
    }
}

/// Input 0 times `weight`; `store` is given the product and the shape of the result.
fn multiply(
    cx: &mut StepContext<'_>,
    zero_point: i32,
    weight: &PackedInt8,
    bias: &[i32],
    store: impl FnOnce(&Product<'_>, &[usize], &mut RunState) -> Result<Tensor, StepError>,
) -> Result<Tensor, StepError> {
    let x = cx.inputs.tensor(0)?;
    let (k, n) = (weight.rows(), weight.cols());
    let Rows {
        count: rows,
        result: shape,
    } = Rows::of(x, k, n)?;
    let (unsigned, signed);
    let lhs = match x.dtype() {
        DType::U8 => {
            unsigned = x.data::<u8>()?;
            Int8Matrix::U8(MatRef::row_major(&unsigned, rows, k)?)
        }
        DType::I8 => {
            signed = x.data::<i8>()?;
            Int8Matrix::I8(MatRef::row_major(&signed, rows, k)?)
        }
        dtype => return Err(EvalError::DType { dtype }.into()),
    };
    let zero_points = [zero_point];
    let product = Product(Int8Gemm {
        lhs: Int8Operand::Matrix(lhs, &zero_points),
        rhs: Int8Operand::Packed(weight),
        bias,
    });
    store(&product, &shape, cx.state)
}

struct Product<'a>(Int8Gemm<'a>);

impl IntegerProduct for Product<'_> {
    fn compute<T: Send, E: IntegerEpilogue<T>>(
        &self,
        state: &mut RunState,
        epilogue: &E,
        out: &mut [T],
    ) -> Result<(), KernelError> {
        gemm_int8(&state.context, &mut state.scratch, &self.0, epilogue, out)
    }
}
