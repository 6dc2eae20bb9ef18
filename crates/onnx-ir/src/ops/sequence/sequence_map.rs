//! `SequenceMap`: applies a subgraph to each element of one or several sequences.
//! <https://onnx.ai/onnx/operators/onnx__SequenceMap.html>

use super::access::{element, sequence};
use crate::graph::Graph;
use crate::operator::prelude::*;
use std::sync::Arc;

/// The attributes of `SequenceMap`.
#[derive(Clone, Debug)]
pub struct SequenceMap {
    /// The subgraph: one input for each input, one output for each output.
    pub body: Arc<Graph>,
}

const BODY: &str = "body";

impl Operator for SequenceMap {
    const SIGNATURE: Signature = Signature::onnx("SequenceMap", &[17]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        Ok(Self {
            body: attrs.graph(BODY)?,
        })
    }

    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        element(cx, 0)?;
        let inputs = cx.facts().iter().map(|fact| match fact {
            Some(Fact::Sequence(element)) => element.as_ref().clone(),
            Some(fact) => fact.clone(),
            None => Fact::Unknown,
        });
        let inputs: Vec<Fact> = inputs.collect();
        let outputs = cx.subgraph(BODY, &self.body, &inputs)?;
        Ok(outputs
            .into_iter()
            .map(|fact| Fact::Sequence(Box::new(fact)))
            .collect())
    }

    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let count = sequence(cx, 0)?.len();
        let mut outputs = vec![Vec::with_capacity(count); cx.output_count()];
        for i in 0..count {
            let inputs = (0..cx.input_count()).map(|index| match cx.required(index)? {
                Value::Sequence(values) => values.get(i).cloned().ok_or_else(|| {
                    let rule = "all sequences must be as long as the first";
                    EvalError::rule(rule, format_args!("{} and {count}", values.len()))
                }),
                other => Ok(other.clone()),
            });
            let inputs = inputs.collect::<Result<Vec<Value>, EvalError>>()?;
            let results = cx.subgraph(BODY, &self.body, inputs)?;
            for (values, value) in outputs.iter_mut().zip(results) {
                values.push(value);
            }
        }
        Ok(outputs.into_iter().map(Value::Sequence).collect())
    }
}
