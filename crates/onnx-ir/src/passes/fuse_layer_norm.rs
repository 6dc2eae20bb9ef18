//! `fuse-layer-norm`: `(x - mean(x)) / √(mean((x - mean(x))²) + ε) · γ + β` over the last axis becomes one
//! `LayerNormalization` (Ba et al. 2016, arXiv:1607.06450), part of the standard from opset 17 on.
//!
//! Needs: inferred shapes. Changes: float rounding only.

use crate::graph::{Attribute, Node, NodeId, ValueId};
use crate::rewrite::{NewNode, Patch, Rewrite, RewriteContext, Skip};

/// Recognises layer normalization over the last axis.
#[derive(Clone, Copy, Debug, Default)]
pub struct FuseLayerNorm;

impl Rewrite for FuseLayerNorm {
    fn name(&self) -> &'static str {
        "fuse-layer-norm"
    }
    fn roots(&self) -> &'static [&'static str] {
        &["Div"]
    }
    fn rewrite(&self, cx: &RewriteContext<'_>, id: NodeId) -> Result<Patch, Skip> {
        let found = find(cx, cx.graph.node(id)).ok_or(Skip::NotThisPattern)?;
        if cx.opsets.get("").unwrap_or(1) < 17 {
            return Err(Skip::Because(
                "LayerNormalization is part of the standard from opset 17 on",
            ));
        }
        let new = NewNode::new("LayerNormalization")
            .with("axis", -1i64)
            .with("epsilon", found.epsilon);
        let mut patch = Patch::new();
        let inputs = [found.x.into(), found.gamma.into(), found.beta.into()];
        let normalized = patch.node(new, &inputs);
        patch.replace(found.result, normalized);
        Ok(patch)
    }
}

struct Found {
    x: ValueId,
    gamma: ValueId,
    beta: ValueId,
    epsilon: f32,
    result: ValueId,
}

fn find(cx: &RewriteContext<'_>, div: &Node) -> Option<Found> {
    let centered = div.input(0)?;
    let (_, sub) = cx.producer(centered, "Sub")?;
    let x = sub.input(0)?;
    mean_of(cx, sub.input(1)?, x)?;
    let (_, sqrt) = cx.sole_producer(div.input(1)?, "Sqrt")?;
    let (_, add) = cx.sole_producer(sqrt.input(0)?, "Add")?;
    let (variance, epsilon) = match (cx.scalar(add.input(0)?), cx.scalar(add.input(1)?)) {
        (None, Some(e)) => (add.input(0)?, e),
        (Some(e), None) => (add.input(1)?, e),
        _ => return None,
    };
    let (_, mean) = cx.sole_producer(variance, "ReduceMean")?;
    let square = mean.input(0)?;
    over_last_axis(cx, mean)?;
    is_square_of(cx, square, centered)?;
    let (_, scale) = cx.sole_consumer(div.output(0)?, "Mul")?;
    let gamma = vector_beside(cx, scale, div.output(0)?)?;
    let (_, shift) = cx.sole_consumer(scale.output(0)?, "Add")?;
    let beta = vector_beside(cx, shift, scale.output(0)?)?;
    Some(Found {
        x,
        gamma,
        beta,
        epsilon: epsilon as f32,
        result: shift.output(0)?,
    })
}

fn mean_of(cx: &RewriteContext<'_>, value: ValueId, x: ValueId) -> Option<()> {
    let (_, mean) = cx.sole_producer(value, "ReduceMean")?;
    over_last_axis(cx, mean)?;
    (mean.input(0)? == x).then_some(())
}

fn over_last_axis(cx: &RewriteContext<'_>, mean: &Node) -> Option<()> {
    let axes = match (mean.attributes.get("axes"), mean.input(1)) {
        (Some(Attribute::Ints(axes)), _) => axes.clone(),
        (None, Some(axes)) => cx.graph.constant(axes)?.to_i64_vec().ok()?,
        _ => return None,
    };
    let keeps = !matches!(mean.attributes.get("keepdims"), Some(Attribute::Int(0)));
    let rank = cx.rank(mean.input(0)?);
    let last = |axis: i64| axis == -1 || rank.is_some_and(|r| axis == r as i64 - 1);
    (keeps && axes.len() == 1 && last(axes[0])).then_some(())
}

fn is_square_of(cx: &RewriteContext<'_>, square: ValueId, x: ValueId) -> Option<()> {
    cx.graph.sole_use(square)?;
    let node = cx.graph.node(cx.graph.producer(square)?);
    let squared =
        node.is("Pow") && node.input(0) == Some(x) && cx.scalar(node.input(1)?) == Some(2.0);
    let product = node.is("Mul") && node.input(0) == Some(x) && node.input(1) == Some(x);
    (squared || product).then_some(())
}

/// The constant vector of the size of the last axis that stands beside `one`.
fn vector_beside(cx: &RewriteContext<'_>, node: &Node, one: ValueId) -> Option<ValueId> {
    let other = if node.input(0) == Some(one) {
        node.input(1)?
    } else {
        node.input(0)?
    };
    let tensor = cx.graph.constant(other)?;
    let last = cx
        .graph
        .value(one)
        .fact
        .as_tensor()?
        .shape
        .as_ref()?
        .last()?
        .as_size()?;
    (tensor.rank() == 1 && tensor.len() == last).then_some(other)
}
