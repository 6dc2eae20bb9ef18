//! Integer convolution: `DQ -> Conv -> (Relu, Clip) -> Q`, `QLinearConv`, `ConvInteger`.

use super::output::{IntegerProduct, Output};
use super::params::{self, Byte, Quantized, QuantizedWeight};
use super::stages::Stage;
use crate::bindings::conv::Filter;
use crate::error::{SessionError, StepError};
use crate::execute::RunState;
use crate::plan::Selector;
use crate::step::{ImageOrder, Step, StepContext};
use compress_tensor::{DType, Tensor};
use onnx_ir::operator::EvalError;
use onnx_ir::{NodeId, ValueId};
use runtime_kernels::conv::{ConvShape, Int8ConvStage, Int8Input, PackedConvInt8, conv_int8};
use runtime_kernels::quantized::IntegerEpilogue;
use runtime_kernels::{Isa, KernelError};
use std::sync::Arc;

/// The `Conv` node `conv` between `DequantizeLinear` inputs and the quantizer `y`, whose node is `root`.
///
/// # Errors
/// [`SessionError::Weights`].
pub(crate) fn region(
    selector: &mut Selector<'_>,
    conv: NodeId,
    y: &Quantized,
    bounds: (i32, i32),
) -> Result<Option<Stage>, SessionError> {
    let node = selector.graph.node(conv);
    let (Some(real), Some(w)) = (node.input(0), node.input(1)) else {
        return Ok(None);
    };
    let Some(x) = params::dequantized(selector, real) else {
        return Ok(None);
    };
    let Some(weight) = params::weight(selector, w) else {
        return Ok(None);
    };
    let bias = match node.input(2) {
        None => Vec::new(),
        Some(b) => match params::integer_bias(selector, b, x.params.scale, &weight.scales) {
            Some(bias) => bias,
            None => return Ok(None),
        },
    };
    let alone = selector.interior(real).is_some();
    let stage = stage(selector, conv, &x, &weight, bias, y, bounds)?;
    Ok(stage.map(|stage| Stage {
        reads_alone: alone,
        ..stage
    }))
}

/// A `QLinearConv` node with constant parameters.
///
/// # Errors
/// [`SessionError::Weights`].
pub(crate) fn qlinear(
    selector: &mut Selector<'_>,
    id: NodeId,
) -> Result<Option<Stage>, SessionError> {
    let node = selector.graph.node(id);
    let input = |i: usize| node.input(i);
    let (Some(x), Some(xs), Some(ys), Some(y)) = (input(0), input(1), input(6), node.output(0))
    else {
        return Ok(None);
    };
    let Some((x_params, Some(x_byte))) = params::scale_zero_of(selector, xs, input(2)) else {
        return Ok(None);
    };
    let Some((y_params, Some(y_byte))) = params::scale_zero_of(selector, ys, input(7)) else {
        return Ok(None);
    };
    let Some(weight) = params::weight_of(selector, [input(3), input(4), input(5)], Some(0)) else {
        return Ok(None);
    };
    let bias = match input(8) {
        None => Vec::new(),
        Some(b) => match selector.constant(b).and_then(|b| params::integers(&b)) {
            Some(bias) => bias,
            None => return Ok(None),
        },
    };
    let quantized = |value: ValueId, byte, params| Quantized {
        value,
        byte,
        params,
    };
    let (x, y) = (
        quantized(x, x_byte, x_params),
        quantized(y, y_byte, y_params),
    );
    stage(selector, id, &x, &weight, bias, &y, y_byte.range())
}

fn stage(
    selector: &mut Selector<'_>,
    conv: NodeId,
    x: &Quantized,
    weight: &QuantizedWeight,
    bias: Vec<i32>,
    y: &Quantized,
    bounds: (i32, i32),
) -> Result<Option<Stage>, SessionError> {
    let graph = selector.graph;
    let Some(filter) = Filter::of(graph.node(conv), weight.tensor.shape()) else {
        return Ok(None);
    };
    let fits = weight.axis.is_none_or(|axis| axis == 0)
        && (bias.is_empty() || bias.len() == filter.channels);
    if !fits || weight.tensor.is_empty() {
        return Ok(None);
    }
    let failed = |error| SessionError::Weights {
        node: graph.describe(conv),
        error,
    };
    let output = Output::bytes(x.params.scale, &weight.scales, y, bounds).map_err(failed)?;
    let bytes = (x.byte, y.byte);
    let filter = filter.in_best_layout(selector, conv);
    let isa = selector.isa();
    let form = filter.form(&format!("conv.int8.{:?}", weight.zero_points));
    let packed = selector
        .scope
        .weights
        .get(graph, weight.id, &weight.tensor, &form, || {
            pack(isa, &filter, weight)
        });
    let conv = IntegerConv {
        filter,
        weight: packed.map_err(failed)?,
        zero_point: x.params.zero_point,
        bias,
        output,
    };
    Ok(Some(Stage {
        conv,
        x: x.value,
        reads_alone: true,
        bytes,
    }))
}

fn pack(
    isa: Isa,
    filter: &Filter,
    weight: &QuantizedWeight,
) -> Result<PackedConvInt8, KernelError> {
    let (params, zero_points) = (filter.params(), &weight.zero_points);
    let (channels, in_per_group, kernel) = (filter.channels, filter.in_per_group, &filter.kernel);
    let pack = |data: Int8Input<'_>| {
        PackedConvInt8::new(
            isa,
            params,
            data,
            zero_points,
            channels,
            in_per_group,
            kernel,
        )
    };
    match Byte::of(weight.tensor.dtype()) {
        Some(Byte::U8) => pack(Int8Input::U8(
            &weight.tensor.data::<u8>().unwrap_or_default(),
        )),
        _ => pack(Int8Input::I8(
            &weight.tensor.data::<i8>().unwrap_or_default(),
        )),
    }
}

pub(crate) struct IntegerConv {
    pub(crate) filter: Filter,
    weight: Arc<PackedConvInt8>,
    zero_point: i32,
    bias: Vec<i32>,
    output: Output,
}

impl IntegerConv {
    /// The convolution as one of several; `None` where it gives no bytes.
    pub(crate) fn stage<'s>(&'s self, shape: &'s ConvShape) -> Option<Int8ConvStage<'s>> {
        let Output::Bytes(epilogue, _) = &self.output else {
            return None;
        };
        let stage = Int8ConvStage::new(shape, &self.weight, self.zero_point, epilogue);
        Some(stage.with_bias(&self.bias))
    }
}

impl Step for IntegerConv {
    fn kernel(&self) -> &'static str {
        "conv.int8"
    }

    fn image_order(&self) -> ImageOrder {
        self.filter.image_order()
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let x = cx.inputs.tensor(0)?;
        let (shape, result) = self.filter.shape(x.shape())?;
        let (unsigned, signed);
        let image = match x.dtype() {
            DType::U8 => {
                unsigned = x.data::<u8>()?;
                Int8Input::U8(&unsigned)
            }
            DType::I8 => {
                signed = x.data::<i8>()?;
                Int8Input::I8(&signed)
            }
            dtype => return Err(EvalError::DType { dtype }.into()),
        };
        let call = Call {
            step: self,
            shape: &shape,
            image,
        };
        let out: Tensor = self.output.store(&call, &result, cx.state)?;
        cx.outputs.set(0, out);
        Ok(())
    }
}

struct Call<'a> {
    step: &'a IntegerConv,
    shape: &'a ConvShape,
    image: Int8Input<'a>,
}

impl IntegerProduct for Call<'_> {
    fn compute<T: Send, E: IntegerEpilogue<T>>(
        &self,
        state: &mut RunState,
        epilogue: &E,
        out: &mut [T],
    ) -> Result<(), KernelError> {
        let IntegerConv {
            weight,
            zero_point,
            bias,
            ..
        } = self.step;
        let (context, scratch) = (&state.context, &mut state.scratch);
        conv_int8(
            context,
            scratch,
            self.shape,
            self.image,
            *zero_point,
            weight,
            bias,
            epilogue,
            out,
        )
    }
}
