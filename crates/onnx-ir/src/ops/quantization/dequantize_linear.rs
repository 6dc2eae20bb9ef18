//! `DequantizeLinear`: `y = (x - zero_point) * scale`, per tensor, per axis or per block; the difference is an
//! exact integer, the product is binary32, rounded once to the output type.
//! <https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html>
//!
//! 10: per tensor; 13: per axis; 19: float8; 21: 4 and 16 bits, blocks; 23: float4 and `output_dtype`;
//! 25: 2 bits.

use super::quantize_linear::{NO_MINIFLOATS, dtype_attribute};
use super::rounding::integers;
use super::spread::Spread;
use crate::graph::{Attribute, Node};
use crate::io::code_of_dtype;
use crate::operator::prelude::*;
use crate::rewrite::NewNode;

/// The attributes of `DequantizeLinear`.
#[derive(Clone, Debug, PartialEq)]
pub struct DequantizeLinear {
    /// The quantization axis of vectors and blocks.
    pub axis: i64,
    /// Elements along the axis that share a scale; 0 without blocks.
    pub block_size: usize,
    /// The element type of the output; that of the scale where it is not given.
    pub output_dtype: Option<DType>,
}

impl Operator for DequantizeLinear {
    const SIGNATURE: Signature =
        Signature::onnx("DequantizeLinear", &[10, 13, 19, 21, 23, 24, 25, 28]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(Self::backward);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            axis: attrs.int_or("axis", 1)?,
            block_size: attrs.size_or("block_size", 0)?,
            output_dtype: dtype_attribute(attrs, "output_dtype")?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let dtype = self.output_dtype.or(cx.tensor(1)?.dtype);
        Ok(vec![
            TensorFact::with_shape(dtype, cx.tensor(0)?.shape).into(),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, scale, zero_point) = (cx.tensor(0)?, cx.tensor(1)?, cx.optional_tensor(2)?);
        let dtype = self.output_dtype.unwrap_or(scale.dtype());
        cx.check_size(x.shape(), DType::F32)?;
        let spread = Spread::of_linear(x.shape(), scale.shape(), self.axis, self.block_size)?;
        let scale = scale.to_f32_vec()?;
        if zero_point.is_some_and(|z| z.len() != scale.len()) {
            return Err(EvalError::rule(
                "scale and zero point must have the same shape",
                format_args!("{} scales, zero point {zero_point:?}", scale.len()),
            ));
        }
        let y: Vec<f32> = if x.dtype().is_integer() {
            let zero_points = match zero_point {
                Some(z) => integers(z)?,
                None => vec![0; scale.len()],
            };
            let x = integers(x)?.into_iter().enumerate();
            x.map(|(i, q)| {
                let p = spread.index(i);
                q.wrapping_sub(zero_points[p]) as f32 * scale[p]
            })
            .collect()
        } else {
            let zero_points = match zero_point {
                Some(z) => z.to_f32_vec()?,
                None => vec![0.0; scale.len()],
            };
            let x = x.to_f32_vec()?.into_iter().enumerate();
            x.map(|(i, q)| {
                let p = spread.index(i);
                (q - zero_points[p]) * scale[p]
            })
            .collect()
        };
        Ok(vec![Tensor::from_f32(dtype, x.shape(), y)?.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::AlreadyQuantized
    }
}

impl DequantizeLinear {
    /// The adjoints of the quantized values and the scale; of a pair both operators' at once, so that the adjoint of the
    /// integers between is not needed.
    ///
    /// # Errors
    /// [`Unsupported`] where the quantized values are no integers.
    pub(super) fn backward(&self, cx: &GradientContext<'_>) -> Result<(), Unsupported> {
        let (q, scale, zero_point) = (cx.input(0), cx.input(1), cx.optional_input(2));
        if q.fact().dtype.is_some_and(|d| !d.is_integer()) {
            return Err(NO_MINIFLOATS);
        }
        let attributes = |op_type: &str| {
            NewNode::private(op_type)
                .with("axis", self.axis)
                .with("block_size", self.block_size as i64)
        };
        let quantizer = cx.producer(q).filter(|node| self.undoes(node, cx));
        let Some(x) = quantizer.and_then(|node| node.input(0)) else {
            let inputs = [Some(cx.dy()), Some(q), Some(scale), zero_point];
            cx.give_outputs(attributes("DequantizeLinearGrad"), &inputs, &[0, 1]);
            return Ok(());
        };
        let mut node = attributes("FakeQuantizeGrad");
        if let (None, Some(dtype)) = (zero_point, q.fact().dtype) {
            node = node.with("output_dtype", i64::from(code_of_dtype(dtype).unwrap_or(0)));
        }
        let x = cx.var(x);
        let inputs = [Some(cx.dy()), Some(x), Some(scale), zero_point];
        let wanted = [cx.wants(0), cx.wants(1), cx.wants(2)];
        let outputs = cx.nodes(node, &inputs, &wanted);
        let targets = [Some(x), Some(scale), zero_point];
        for (target, adjoint) in targets.into_iter().zip(outputs) {
            if let (Some(target), Some(adjoint)) = (target, adjoint) {
                cx.give_value(target, adjoint);
            }
        }
        Ok(())
    }

    /// Whether `node` quantizes by the parameters that this operator dequantizes by, along the same axis.
    fn undoes(&self, node: &Node, cx: &GradientContext<'_>) -> bool {
        let (q, scale) = (cx.input(0), cx.input(1));
        let quantizes = node.op_type == "QuantizeLinear"
            && (node.is("QuantizeLinear") || node.domain == "com.microsoft");
        let same_parameters =
            node.input(1) == Some(scale.id()) && node.input(2) == cx.node().input(2);
        let attribute = |name: &str, default: i64| match node.attributes.get(name) {
            Some(Attribute::Int(value)) => *value,
            _ => default,
        };
        let single = |dims: Vec<Dim>| dims.iter().all(|d| d.as_known() == Some(1));
        let axis = attribute("axis", 1);
        let same_axis = axis == self.axis
            || scale.dims().is_some_and(single)
            || (q.axis(axis).is_some() && q.axis(axis) == q.axis(self.axis));
        let same_block = attribute("block_size", 0) == self.block_size as i64;
        quantizes && same_parameters && same_axis && same_block
    }
}
