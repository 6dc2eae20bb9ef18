//! `fuse-activation`: the activation behind a convolution becomes part of it: `com.microsoft.FusedConv`.
//!
//! For `Relu`, `Sigmoid`, `Tanh`, `LeakyRelu` and `Clip` with constant bounds. Only with
//! [`Dialect::Microsoft`]: the standard has no such operator. Changes: nothing numerically.

use super::Dialect;
use crate::graph::{Attribute, Node, NodeId};
use crate::rewrite::{NewNode, Patch, PatchValue, Rewrite, RewriteContext, Skip};

/// Puts a convolution and its activation together.
#[derive(Clone, Copy, Debug, Default)]
pub struct FuseActivation {
    /// Which operators may be written.
    pub dialect: Dialect,
}

impl Rewrite for FuseActivation {
    fn name(&self) -> &'static str {
        "fuse-activation"
    }
    fn roots(&self) -> &'static [&'static str] {
        &["Relu", "Sigmoid", "Tanh", "LeakyRelu", "Clip"]
    }
    fn rewrite(&self, cx: &RewriteContext<'_>, id: NodeId) -> Result<Patch, Skip> {
        let activation = cx.graph.node(id);
        let (Some(x), Some(y)) = (activation.input(0), activation.output(0)) else {
            return Err(Skip::NotThisPattern);
        };
        let (_, conv) = cx.sole_producer(x, "Conv").ok_or(Skip::NotThisPattern)?;
        if self.dialect == Dialect::Standard {
            return Err(Skip::Because(
                "the standard has no convolution with an activation",
            ));
        }
        let parameters =
            parameters(cx, activation).ok_or(Skip::Because("its bounds are not constant"))?;
        let mut new = NewNode::like(conv)
            .of("FusedConv")
            .in_domain("com.microsoft");
        new = new.with("activation", activation.op_type.as_str());
        if !parameters.is_empty() {
            new = new.with("activation_params", parameters);
        }
        let inputs: Vec<Option<PatchValue>> =
            conv.inputs().iter().map(|v| v.map(Into::into)).collect();
        let mut patch = Patch::new();
        let fused = patch.node_with(new, inputs, 1)[0];
        patch.replace(y, fused);
        Ok(patch)
    }
}

/// What the activation needs besides its input.
fn parameters(cx: &RewriteContext<'_>, activation: &Node) -> Option<Vec<f32>> {
    match activation.op_type.as_str() {
        "LeakyRelu" => Some(vec![match activation.attributes.get("alpha") {
            Some(Attribute::Float(alpha)) => *alpha,
            _ => 0.01,
        }]),
        "Clip" => {
            let bound = |index: usize, name: &str, open: f32| match (
                activation.input(index),
                activation.attributes.get(name),
            ) {
                (Some(v), _) => cx.scalar(v).map(|b| b as f32),
                (None, Some(Attribute::Float(b))) => Some(*b),
                (None, _) => Some(open),
            };
            Some(vec![bound(1, "min", f32::MIN)?, bound(2, "max", f32::MAX)?])
        }
        _ => Some(Vec::new()),
    }
}
