//! `eliminate-identity`: operators that give their input back.
//!
//! `Identity`; `Dropout` outside of training whose mask nobody reads; `Cast` to the type that is there;
//! `Reshape`, `Squeeze`, `Unsqueeze`, `Flatten`, `Expand`, `Tile`, `Slice`, `Pad` that keep the (known)
//! shape; `Transpose` by the identity; `Concat` of one. Two `Transpose` in a row become one, two `Reshape`
//! in a row the second. Changes: nothing numerically.

use crate::graph::{Attribute, Node, NodeId, ValueId};
use crate::ops::random::{Dropout, DropoutMode};
use crate::rewrite::{NewNode, Patch, Rewrite, RewriteContext, Skip};

/// Removes operators that give their input back.
pub struct EliminateIdentity;

impl Rewrite for EliminateIdentity {
    fn name(&self) -> &'static str {
        "eliminate-identity"
    }
    fn roots(&self) -> &'static [&'static str] {
        &[
            "Identity",
            "Dropout",
            "Cast",
            "Reshape",
            "Squeeze",
            "Unsqueeze",
            "Flatten",
            "Expand",
            "Tile",
            "Slice",
            "Pad",
            "Transpose",
            "Concat",
        ]
    }
    fn rewrite(&self, cx: &RewriteContext<'_>, id: NodeId) -> Result<Patch, Skip> {
        let node = cx.graph.node(id);
        let (Some(x), Some(y)) = (node.input(0), node.output(0)) else {
            return Err(Skip::NotThisPattern);
        };
        if node.is("Transpose")
            && let Some(patch) = merge_transposes(cx, node, x, y)
        {
            return Ok(patch);
        }
        if node.is("Reshape")
            && let Some((_, inner)) = cx.sole_producer(x, "Reshape")
        {
            return merge_reshapes(cx, node, inner, y).ok_or(Skip::NotThisPattern);
        }
        if !gives_input_back(cx, id, x, y) {
            return Err(Skip::NotThisPattern);
        }
        let x_is_free = cx.graph.producer(x).is_some() && !cx.graph.is_output(x);
        if cx.graph.is_output(y) && !x_is_free {
            return Err(Skip::NotThisPattern); // The output needs a node that writes it: this one.
        }
        let mut patch = Patch::new();
        patch.replace(y, x.into());
        Ok(patch)
    }
}

fn gives_input_back(cx: &RewriteContext<'_>, id: NodeId, x: ValueId, y: ValueId) -> bool {
    let node = cx.graph.node(id);
    let fact = |v: ValueId| cx.graph.value(v).fact.as_tensor();
    match node.op_type.as_str() {
        "Identity" => true,
        "Dropout" => {
            let training = match cx.operator::<Dropout>(id).map(|dropout| dropout.mode) {
                Some(DropoutMode::Inference) => false,
                Some(DropoutMode::FromInput) => {
                    let mode = node.input(2);
                    mode.is_some_and(|t| cx.scalar_bool(t) != Some(false))
                }
                Some(DropoutMode::Training) | None => true,
            };
            let mask_read = node
                .output(1)
                .is_some_and(|m| !cx.graph.uses(m).is_empty() || cx.graph.is_output(m));
            !training && !mask_read
        }
        "Cast" => fact(x)
            .and_then(|f| f.dtype)
            .is_some_and(|d| fact(y).and_then(|f| f.dtype) == Some(d)),
        "Concat" => node.inputs().iter().flatten().count() == 1,
        "Transpose" => match node.attributes.get("perm") {
            Some(Attribute::Ints(perm)) => perm.iter().enumerate().all(|(i, &p)| p == i as i64),
            _ => cx.rank(x).is_some_and(|r| r <= 1),
        },
        // These only move or repeat elements in order: the same shape means the same elements.
        "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" | "Expand" | "Tile" => same_shape(cx, x, y),
        // These could still shift, reverse or pad and crop, where an axis is not cut and padded at once.
        "Slice" => same_shape(cx, x, y) && forward_slice(cx, node),
        "Pad" => {
            let pads = match node.attributes.get("pads") {
                Some(Attribute::Ints(pads)) => Some(pads.clone()),
                _ => node.input(1).and_then(|p| {
                    cx.graph
                        .constant(p)?
                        .data::<i64>()
                        .ok()
                        .map(|d| d.into_owned())
                }),
            };
            pads.is_some_and(|p| p.iter().all(|&p| p == 0))
        }
        _ => false,
    }
}

fn same_shape(cx: &RewriteContext<'_>, x: ValueId, y: ValueId) -> bool {
    let shape = |v: ValueId| cx.graph.value(v).fact.as_tensor()?.shape.clone();
    match (shape(x), shape(y)) {
        (Some(a), Some(b)) => a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.is_same(b)),
        _ => false,
    }
}

fn forward_slice(cx: &RewriteContext<'_>, node: &Node) -> bool {
    match node.input(4) {
        None => true,
        Some(steps) => {
            let steps = cx.graph.constant(steps);
            steps
                .and_then(|s| s.data::<i64>().ok().map(|d| d.iter().all(|&s| s > 0)))
                .unwrap_or(false)
        }
    }
}

fn merge_transposes(cx: &RewriteContext<'_>, node: &Node, x: ValueId, y: ValueId) -> Option<Patch> {
    let (_, inner) = cx.sole_producer(x, "Transpose")?;
    let rank = cx.rank(x)?;
    let perm = |n: &Node| -> Option<Vec<i64>> {
        match n.attributes.get("perm") {
            Some(Attribute::Ints(perm)) => (perm.len() == rank).then(|| perm.clone()),
            Some(_) => None,
            None => Some((0..rank as i64).rev().collect()),
        }
    };
    let (first, second) = (perm(inner)?, perm(node)?);
    let merged: Option<Vec<i64>> = second
        .iter()
        .map(|&p| first.get(usize::try_from(p).ok()?).copied())
        .collect();
    let mut patch = Patch::new();
    let new = patch.node(
        NewNode::new("Transpose").with("perm", merged?),
        &[inner.input(0)?.into()],
    );
    patch.replace(y, new);
    Some(patch)
}

/// Only where the second reshape takes no dimension from its input (no zero in its target).
fn merge_reshapes(cx: &RewriteContext<'_>, node: &Node, inner: &Node, y: ValueId) -> Option<Patch> {
    let target = cx.constant_input(node, 1)?;
    if target.data::<i64>().ok()?.contains(&0) {
        return None;
    }
    let mut patch = Patch::new();
    let new = patch.node(
        NewNode::like(node),
        &[inner.input(0)?.into(), node.input(1)?.into()],
    );
    patch.replace(y, new);
    Some(patch)
}
