//! The adjoints of quantizing and dequantizing, by the straight-through estimator: rounding counts as the identity, and
//! what lies outside of the range as cut off.
//!
//! With `v = x / scale`, `q = saturate(round(v) + zero_point)` and `y = (q - zero_point) * scale`, for an element within the
//! range (`q_min <= round(v) + zero_point <= q_max`) or outside of it:
//! * `FakeQuantizeGrad` of both: `dx = dy` or 0; `dscale = sum(dy * (q - zero_point - v))` or `sum(dy * (q - zero_point))`, as in LSQ;
//!   `dzero_point = 0` or `sum(-dy * scale)`; inputs `dy`, `x`, `scale`, `zero_point` (may be left out);
//! * `QuantizeLinearGrad`, of `dq`, the adjoint of `q` as a real number: `dx = dq / scale` or 0, `dscale = sum(-dq * v / scale)` or 0;
//!   inputs `dq`, `x`, `scale`, `zero_point`;
//! * `DequantizeLinearGrad`: `dq = dy * scale`, `dscale = sum(dy * (q - zero_point))`; inputs `dy`, `q`, `scale`, `zero_point`.
//!
//! The sums are over the elements that share the scale. Any output may be left out. Attributes: `axis`, `block_size` as of the forward
//! operators, `output_dtype` (the type of `q`, where there is no zero point; default u8).
//! Bengio et al., arXiv:1308.3432; Esser et al., LSQ, arXiv:1902.08153; Bhalgat et al., LSQ+, arXiv:2004.09576.

use super::scatter_add::SECOND_ORDER;
use super::shaped;
use crate::operator::prelude::*;
use crate::ops::lanes::{floats, rounded};
use crate::ops::quantization::rounding::{integers, small_range};
use crate::ops::quantization::spread::Spread;

/// What the three have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedAxis {
    /// The quantization axis of vectors and blocks.
    pub axis: i64,
    /// Elements along the axis that share a scale; 0 without blocks.
    pub block_size: usize,
    /// The type of the integers, where there is no zero point.
    pub output_dtype: Option<DType>,
}

/// The attributes of `FakeQuantizeGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct FakeQuantizeGrad(pub QuantizedAxis);

/// The attributes of `QuantizeLinearGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizeLinearGrad(pub QuantizedAxis);

/// The attributes of `DequantizeLinearGrad`.
#[derive(Clone, Debug, PartialEq)]
pub struct DequantizeLinearGrad(pub QuantizedAxis);

impl QuantizedAxis {
    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        for ignored in ["precision", "saturate"] {
            attrs.ignore(ignored);
        }
        let code = attrs.int_or("output_dtype", 0)?;
        let code = i32::try_from(code).unwrap_or(0);
        Ok(Self {
            axis: attrs.int_or("axis", 1)?,
            block_size: attrs.size_or("block_size", 0)?,
            output_dtype: crate::io::dtype_of_code(code),
        })
    }

    /// What every element needs: the tensors, which scale is whose, and the zero points.
    fn operands<'a>(&self, cx: &EvalContext<'a>) -> Result<Operands<'a>, EvalError> {
        let (adjoint, x, scale) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        shaped::same(adjoint, x)?;
        let zero_point = cx.optional_tensor(3)?;
        let spread = Spread::of_linear(x.shape(), scale.shape(), self.axis, self.block_size)?;
        let zero_points: Vec<f64> = match zero_point {
            Some(zero_point) if zero_point.len() == scale.len() => {
                integers(zero_point)?.into_iter().map(f64::from).collect()
            }
            Some(zero_point) => {
                return Err(EvalError::rule(
                    "scale and zero point must have the same shape",
                    format_args!("{scale:?} and {zero_point:?}"),
                ));
            }
            None => vec![0.0; scale.len()],
        };
        let dtype = zero_point.map(Tensor::dtype).or(self.output_dtype);
        Ok(Operands {
            adjoints: floats(adjoint)?,
            scales: floats(scale)?,
            zero_points,
            dtype: dtype.unwrap_or(DType::U8),
            x,
            scale,
            spread,
        })
    }
}

struct Operands<'a> {
    adjoints: Vec<f64>,
    scales: Vec<f64>,
    zero_points: Vec<f64>,
    dtype: DType,
    x: &'a Tensor,
    scale: &'a Tensor,
    spread: Spread,
}

impl Operands<'_> {
    /// `f` of every element: its number and that of its scale; it gives the adjoints of the element, the scale and the
    /// zero point, of which the latter two are summed.
    fn map(
        &self,
        dtype: DType,
        f: impl Fn(usize, usize) -> [f64; 3],
    ) -> Result<Vec<Value>, EvalError> {
        let mut dx = Vec::with_capacity(self.adjoints.len());
        let (mut dscale, mut dzero) = (vec![0.0; self.scales.len()], vec![0.0; self.scales.len()]);
        for i in 0..self.adjoints.len() {
            let s = self.spread.index(i);
            let [of_x, of_scale, of_zero] = f(i, s);
            dx.push(of_x);
            dscale[s] += of_scale;
            dzero[s] += of_zero;
        }
        Ok(vec![
            rounded(dtype, self.x.shape(), dx)?.into(),
            rounded(self.scale.dtype(), self.scale.shape(), dscale)?.into(),
            rounded(self.scale.dtype(), self.scale.shape(), dzero)?.into(),
        ])
    }

    /// For every element `x / scale`, the quantized value less the zero point, and whether it was within the range. Rounds as
    /// `QuantizeLinear` does for tensors of f32.
    fn quantized(&self) -> Result<Vec<(f64, f64, bool)>, EvalError> {
        let (min, max) = small_range(self.dtype)?;
        let (min, max) = (f64::from(min), f64::from(max));
        let values = floats(self.x)?;
        let quantized = values.into_iter().enumerate().map(|(i, x)| {
            let s = self.spread.index(i);
            let v = x / self.scales[s];
            let zero = self.zero_points[s];
            let whole = f64::from((x as f32 / self.scales[s] as f32).round_ties_even());
            let q = (whole + zero).clamp(min, max) - zero;
            (v, q, q == whole)
        });
        Ok(quantized.collect())
    }
}

impl Operator for FakeQuantizeGrad {
    const SIGNATURE: Signature = Signature::private("FakeQuantizeGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        QuantizedAxis::parse(attrs).map(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        shaped::like_each(cx, &[1, 2, 2])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let operands = self.0.operands(cx)?;
        let quantized = operands.quantized()?;
        operands.map(operands.x.dtype(), |i, s| {
            let (dy, (v, q, inside)) = (operands.adjoints[i], quantized[i]);
            match inside {
                true => [dy, dy * (q - v), 0.0],
                false => [0.0, dy * q, -dy * operands.scales[s]],
            }
        })
    }
}

impl Operator for QuantizeLinearGrad {
    const SIGNATURE: Signature = Signature::private("QuantizeLinearGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        QuantizedAxis::parse(attrs).map(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        shaped::like_each(cx, &[1, 2])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let operands = self.0.operands(cx)?;
        let quantized = operands.quantized()?;
        let mut outputs = operands.map(operands.x.dtype(), |i, s| {
            let (v, _, inside) = quantized[i];
            let per_scale = operands.adjoints[i] / operands.scales[s];
            match inside {
                true => [per_scale, -per_scale * v, 0.0],
                false => [0.0; 3],
            }
        })?;
        outputs.truncate(2);
        Ok(outputs)
    }
}

impl Operator for DequantizeLinearGrad {
    const SIGNATURE: Signature = Signature::private("DequantizeLinearGrad");
    const GRADIENT: Gradient<Self> = Gradient::Undefined(SECOND_ORDER);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        QuantizedAxis::parse(attrs).map(Self)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (dy, q) = (cx.tensor(0)?, cx.tensor(1)?);
        let dq = TensorFact::with_shape(dy.dtype, q.shape);
        Ok(vec![dq.into(), shaped::like(cx, 2)?])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let operands = self.0.operands(cx)?;
        let values = integers(operands.x)?;
        let mut outputs = operands.map(cx.tensor(0)?.dtype(), |i, s| {
            let dy = operands.adjoints[i];
            let q = f64::from(values[i]) - operands.zero_points[s];
            [dy * operands.scales[s], dy * q, 0.0]
        })?;
        outputs.truncate(2);
        Ok(outputs)
    }
}
