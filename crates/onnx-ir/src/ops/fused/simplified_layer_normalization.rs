//! `SimplifiedLayerNormalization`: root-mean-square normalisation over the axes from `axis` on. ONNX Runtime puts it
//! into ONNX's own domain; ONNX has it as `RMSNormalization` since opset 23.
//! <https://github.com/microsoft/onnxruntime/blob/main/onnxruntime/core/graph/contrib_ops/contrib_defs.cc>

use super::residual_norm::{Moments, normalise};
use crate::operator::prelude::*;
use crate::ops::axis;
use crate::ops::transformer::heads::real_tensor;
use crate::rewrite::NewNode;

/// The attributes of `SimplifiedLayerNormalization`.
#[derive(Clone, Debug, PartialEq)]
pub struct SimplifiedLayerNormalization {
    /// The first of the normalised axes.
    pub axis: i64,
    /// Added to the mean square.
    pub epsilon: f32,
}

impl Operator for SimplifiedLayerNormalization {
    const SIGNATURE: Signature = Signature::onnx("SimplifiedLayerNormalization", &[1]);
    const GRADIENT: Gradient<Self> = Gradient::Graph(|op, cx| {
        if cx.adjoint(1).is_some() {
            return Err(Unsupported("a loss depends on its statistics"));
        }
        let node = NewNode::private("RMSNormalizationGrad")
            .with("axis", op.axis)
            .with("epsilon", op.epsilon);
        let inputs = [cx.dy(), cx.input(0), cx.input(1)].map(Some);
        cx.give_outputs(node, &inputs, &[0, 1]);
        Ok(())
    });

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        // The precision of the moments: f64 covers all.
        attrs.ignore("stash_type");
        Ok(Self {
            axis: attrs.int_or("axis", -1)?,
            epsilon: attrs.f32_or("epsilon", 1e-5)?,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (x, scale) = (cx.tensor(0)?, cx.tensor(1)?);
        let mut rows = x.shape.clone();
        if let Some(rows) = &mut rows {
            let from = axis::infer(self.axis, rows.len())?;
            rows[from..].fill(Dim::Known(1));
        }
        Ok(vec![
            TensorFact::with_shape(scale.dtype, x.shape).into(),
            TensorFact::with_shape(Some(DType::F32), rows).into(),
        ])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, scale) = (cx.tensor(0)?, cx.tensor(1)?);
        let from = axis::eval(self.axis, x.rank())?;
        let size = element_count(&x.shape()[from..]).unwrap_or(0);
        let rows = x.to_f64_vec()?;
        let y = normalise(rows, size, scale, None, self.epsilon, Moments::MeanSquare)?;
        let mut row_shape = x.shape().to_vec();
        row_shape[from..].fill(1);
        let mut inverse = y.inverse_deviations;
        // A row of no elements has no moments either.
        inverse.resize(cx.check_size(&row_shape, DType::F64)?, f64::NAN);
        Ok(vec![
            real_tensor(scale.dtype(), x.shape(), y.data)?.into(),
            real_tensor(DType::F32, &row_shape, inverse)?.into(),
        ])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("the moments of a row need more than 8 bits")
    }
}
