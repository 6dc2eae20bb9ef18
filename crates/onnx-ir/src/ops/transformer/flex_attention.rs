//! `FlexAttention`: scaled dot-product attention with subgraphs that modify the scores and the shares.
//! <https://onnx.ai/onnx/operators/onnx_aionnxpreview_FlexAttention.html>
//!
//! `Y = prob_mod(softmax(score_mod(scale * Q · Kᵀ))) · V`; the subgraphs see the precision of the softmax.

use super::heads::Heads;
use super::scaled_dot_product::{Scores, scores, weigh};
use crate::graph::Graph;
use crate::io::dtype_of_code;
use crate::operator::prelude::*;
use std::sync::Arc;

/// The attributes of `FlexAttention`.
#[derive(Clone, Debug)]
pub struct FlexAttention {
    /// Factor of the products; `1 / sqrt(head size)` where it is not given.
    pub scale: Option<f32>,
    /// Modifies the scores before the softmax.
    pub score_mod: Option<Arc<Graph>>,
    /// Modifies the shares after the softmax.
    pub prob_mod: Option<Arc<Graph>>,
    /// The type that the subgraphs see; f32, or f64 for f64 inputs, where it is not given.
    pub softmax_precision: Option<DType>,
}

impl Operator for FlexAttention {
    const SIGNATURE: Signature = Signature {
        domain: "ai.onnx.preview",
        name: "FlexAttention",
        versions: &[1],
    };

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let softmax_precision = match attrs.int_opt("softmax_precision")? {
            None => None,
            Some(code) => match i32::try_from(code).ok().and_then(dtype_of_code) {
                Some(dtype @ (DType::F32 | DType::F64 | DType::F16 | DType::BF16)) => Some(dtype),
                _ => {
                    return Err(AttrError::Invalid {
                        name: "softmax_precision",
                        found: code.to_string(),
                        rule: "it must be a float type of at least 16 bits",
                    });
                }
            },
        };
        Ok(Self {
            scale: attrs.f32_opt("scale")?,
            score_mod: attrs.graph_opt("score_mod")?,
            prob_mod: attrs.graph_opt("prob_mod")?,
            softmax_precision,
        })
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let (q, k, v) = (cx.tensor(0)?, cx.tensor(1)?, cx.tensor(2)?);
        if let (Some([.., keys, _]), Some([.., values, _])) =
            (k.shape.as_deref(), v.shape.as_deref())
            && keys.contradicts(values)
        {
            return Err(InferError::rule(
                "there must be a value for each key",
                format_args!("{k}, {v}"),
            ));
        }
        let shape = match (q.shape.as_deref(), v.shape.as_deref()) {
            (Some([b, h, s, _]), Some([.., size])) => {
                Some([b, h, s, size].map(Dim::clone).to_vec())
            }
            _ => None,
        };
        Ok(vec![TensorFact::with_shape(q.dtype, shape).into()])
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let dtype = cx.tensor(0)?.dtype();
        let [q, k, v] = [0, 1, 2].map(|i| cx.tensor(i).and_then(Heads::from_4d));
        let (q, k, v) = (q?, k?, v?);
        let scale = match self.scale {
            Some(scale) => scale.into(),
            None => 1.0 / (q.size.max(1) as f64).sqrt(),
        };
        let precision = self.softmax_precision.unwrap_or(match dtype {
            DType::F64 => DType::F64,
            _ => DType::F32,
        });
        let mut scores = scores(cx, &q, &k, scale)?;
        if let Some(graph) = &self.score_mod {
            scores = modified(cx, "score_mod", graph, &scores, precision)?;
        }
        scores.softmax();
        if let Some(graph) = &self.prob_mod {
            scores = modified(cx, "prob_mod", graph, &scores, precision)?;
        }
        Ok(vec![weigh(cx, &scores, &v)?.to_4d(dtype)?.into()])
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("attention runs in float; the products around it are quantized")
    }
}

fn modified(
    cx: &mut EvalContext<'_>,
    attribute: &'static str,
    graph: &Graph,
    scores: &Scores,
    precision: DType,
) -> Result<Scores, EvalError> {
    let input = scores.to_tensor(precision)?.into();
    let outputs = cx.subgraph(attribute, graph, vec![input])?;
    match outputs.as_slice() {
        [Value::Tensor(y)] if y.shape() == scores.shape => Ok(Scores {
            shape: scores.shape,
            data: y.to_f64_vec()?,
        }),
        other => Err(EvalError::rule(
            "a modifier must give one tensor of the shape of its input",
            format_args!("{other:?}"),
        )),
    }
}
