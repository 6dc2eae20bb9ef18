//! `If`: the outputs of `then_branch` or of `else_branch`, as the condition says.
//! <https://onnx.ai/onnx/operators/onnx__If.html>. Opset 11 lets the shapes of the branches differ, 13
//! adds sequences, 16 optionals, 19 to 25 element types.

use super::join::join;
use crate::graph::Graph;
use crate::operator::prelude::*;
use std::sync::Arc;

/// The attributes of `If`.
#[derive(Clone, Debug)]
pub struct If {
    /// Runs where the condition is true.
    pub then_branch: Arc<Graph>,
    /// Runs where it is false.
    pub else_branch: Arc<Graph>,
}

impl If {
    fn branch(&self, condition: bool) -> (&'static str, &Arc<Graph>) {
        if condition {
            ("then_branch", &self.then_branch)
        } else {
            ("else_branch", &self.else_branch)
        }
    }
}

/// The only element of a boolean tensor.
pub(super) fn single_bool(tensor: &Tensor) -> Result<bool, EvalError> {
    match tensor.data::<bool>()?.as_ref() {
        [condition] => Ok(*condition),
        _ => Err(EvalError::rule(
            "the condition must be one element",
            format_args!("shape {:?}", tensor.shape()),
        )),
    }
}

impl Operator for If {
    const SIGNATURE: Signature = Signature::onnx("If", &[1, 11, 13, 16, 19, 21, 23, 24, 25]);

    fn parse(attrs: &mut Attrs<'_>) -> Result<Self, AttrError> {
        let branch = Self {
            then_branch: attrs.graph("then_branch")?,
            else_branch: attrs.graph("else_branch")?,
        };
        for (name, graph) in [
            ("then_branch", &branch.then_branch),
            ("else_branch", &branch.else_branch),
        ] {
            if !graph.inputs().is_empty() {
                return Err(AttrError::Invalid {
                    name,
                    found: format!("a graph of {} inputs", graph.inputs().len()),
                    rule: "it must have none",
                });
            }
            if graph.outputs().len() != attrs.output_count() {
                return Err(AttrError::Invalid {
                    name,
                    found: format!("a graph of {} outputs", graph.outputs().len()),
                    rule: "it must have as many as the node",
                });
            }
        }
        Ok(branch)
    }
    fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
        let known = cx.constant(0).and_then(|c| single_bool(c).ok());
        if let Some(condition) = known {
            let (_, dead) = self.branch(!condition);
            cx.unreached_subgraph(dead);
            let (name, graph) = self.branch(condition);
            return cx.subgraph(name, graph, &[]);
        }
        let then = cx.subgraph("then_branch", &self.then_branch, &[])?;
        let other = cx.subgraph("else_branch", &self.else_branch, &[])?;
        Ok(then.iter().zip(&other).map(|(a, b)| join(a, b)).collect())
    }
    fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (name, graph) = self.branch(single_bool(cx.tensor(0)?)?);
        cx.subgraph(name, graph, Vec::new())
    }
    fn quantization(&self) -> QuantRule {
        QuantRule::FloatOnly("the graphs it holds are not quantized")
    }
}
