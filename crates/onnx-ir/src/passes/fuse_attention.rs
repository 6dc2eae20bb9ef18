//! `fuse-attention`: `softmax(Q·Kᵀ · s + mask) · V` becomes one `Attention` (Vaswani et al. 2017,
//! arXiv:1706.03762), part of the standard from opset 23 on.
//!
//! `Q`, `K`, `V` of shape `[batch, heads, sequence, size]`; `Kᵀ` comes from a `Transpose`, which is changed so that it
//! leaves the last two axes as they are. Needs: inferred shapes. Changes: float rounding only.

use crate::graph::{Attribute, Node, NodeId, ValueId};
use crate::rewrite::{NewNode, Patch, PatchValue, Rewrite, RewriteContext, Skip};
use crate::symbolic::Dim;

/// Recognises scaled dot-product attention.
#[derive(Clone, Copy, Debug, Default)]
pub struct FuseAttention;

impl Rewrite for FuseAttention {
    fn name(&self) -> &'static str {
        "fuse-attention"
    }
    fn roots(&self) -> &'static [&'static str] {
        &["Softmax"]
    }
    fn rewrite(&self, cx: &RewriteContext<'_>, id: NodeId) -> Result<Patch, Skip> {
        let found = find(cx, cx.graph.node(id)).ok_or(Skip::NotThisPattern)?;
        if cx.opsets.get("").unwrap_or(1) < 23 {
            return Err(Skip::Because(
                "Attention is part of the standard from opset 23 on",
            ));
        }
        if found.mask.is_some_and(|m| !covers(cx, m, found.scores)) {
            return Err(Skip::Because(
                "the mask is not known to have a column for each key, and no more than the scores have",
            ));
        }
        if !same_heads(cx, &found) {
            return Err(Skip::Because(
                "queries, keys and values are not known to have the same batch and heads",
            ));
        }
        let mut patch = Patch::new();
        let keys = patch.node(
            NewNode::new("Transpose").with("perm", found.key_perm),
            &[found.key_source.into()],
        );
        let mut inputs: Vec<Option<PatchValue>> = vec![
            Some(found.query.into()),
            Some(keys),
            Some(found.value.into()),
        ];
        inputs.extend(found.mask.map(|m| Some(m.into())));
        let new = NewNode::new("Attention").with("scale", found.scale);
        let attention = patch.node_with(new, inputs, 1)[0];
        patch.replace(found.result, attention);
        Ok(patch)
    }
}

struct Found {
    query: ValueId,
    key_source: ValueId,
    key_perm: Vec<i64>,
    value: ValueId,
    mask: Option<ValueId>,
    /// What the mask is added to.
    scores: ValueId,
    scale: f32,
    result: ValueId,
}

fn find(cx: &RewriteContext<'_>, softmax: &Node) -> Option<Found> {
    over_last_axis(cx, softmax)?;
    let (_, weighted) = cx.sole_consumer(softmax.output(0)?, "MatMul")?;
    (weighted.input(0)? == softmax.output(0)?).then_some(())?;
    let value = weighted.input(1)?;
    let mut scores = softmax.input(0)?;
    let mut mask = None;
    if let Some((_, add)) = cx.sole_producer(scores, "Add") {
        let (a, b) = (add.input(0)?, add.input(1)?);
        (scores, mask) = if is_scores(cx, a) {
            (a, Some(b))
        } else {
            (b, Some(a))
        };
    }
    let mut scale = 1.0;
    if let Some((_, mul)) = cx.sole_producer(scores, "Mul") {
        let (a, b) = (mul.input(0)?, mul.input(1)?);
        (scores, scale) = match (cx.scalar(a), cx.scalar(b)) {
            (_, Some(s)) => (a, s),
            (Some(s), _) => (b, s),
            _ => return None,
        };
    } else if let Some((_, div)) = cx.sole_producer(scores, "Div") {
        scale = 1.0 / cx.scalar(div.input(1)?)?;
        scores = div.input(0)?;
    }
    let (_, product) = cx.sole_producer(scores, "MatMul")?;
    let query = product.input(0)?;
    let all_rank_4 = [query, product.input(1)?, value]
        .iter()
        .all(|&v| cx.rank(v) == Some(4));
    all_rank_4.then_some(())?;
    let (key_source, key_perm) = keys(cx, product.input(1)?)?;
    Some(Found {
        query,
        key_source,
        key_perm,
        value,
        mask,
        scores: product.output(0)?,
        scale: scale as f32,
        result: weighted.output(0)?,
    })
}

fn dims(cx: &RewriteContext<'_>, v: ValueId) -> Option<Vec<Dim>> {
    cx.graph.value(v).fact.as_tensor()?.shape.clone()
}

/// Whether a mask is a matrix at least, has a column for each key, and gives the scores no other shape when it is added:
/// `Attention` takes keys behind a mask's last column as left out.
fn covers(cx: &RewriteContext<'_>, mask: ValueId, scores: ValueId) -> bool {
    let (Some(mask), Some(scores)) = (dims(cx, mask), dims(cx, scores)) else {
        return false;
    };
    let mut pairs = mask.iter().rev().zip(scores.iter().rev());
    (2..=scores.len()).contains(&mask.len())
        && pairs.next().is_some_and(|(m, s)| m.is_same(s))
        && pairs.all(|(m, s)| m.as_known() == Some(1) || m.is_same(s))
}

/// Whether queries, keys and values have the same batch and heads: a product would broadcast them.
fn same_heads(cx: &RewriteContext<'_>, found: &Found) -> bool {
    let (Some(q), Some(k), Some(v)) = (
        dims(cx, found.query),
        dims(cx, found.key_source),
        dims(cx, found.value),
    ) else {
        return false;
    };
    (0..2).all(|axis| {
        let key = usize::try_from(found.key_perm[axis])
            .ok()
            .and_then(|a| k.get(a));
        key.is_some_and(|key| key.is_same(&q[axis])) && v[axis].is_same(&q[axis])
    })
}

fn is_scores(cx: &RewriteContext<'_>, value: ValueId) -> bool {
    ["MatMul", "Mul", "Div"]
        .iter()
        .any(|op| cx.sole_producer(value, op).is_some())
}

fn over_last_axis(cx: &RewriteContext<'_>, softmax: &Node) -> Option<()> {
    let rank = cx.rank(softmax.input(0)?)? as i64;
    let last = match softmax.attributes.get("axis") {
        Some(Attribute::Int(axis)) => *axis == -1 || *axis == rank - 1,
        _ => cx.opsets.get("").unwrap_or(1) >= 13,
    };
    last.then_some(())
}

/// What `Kᵀ` is transposed from, and the permutation that gives `K` instead.
fn keys(cx: &RewriteContext<'_>, transposed: ValueId) -> Option<(ValueId, Vec<i64>)> {
    let (_, node) = cx.sole_producer(transposed, "Transpose")?;
    let Some(Attribute::Ints(perm)) = node.attributes.get("perm") else {
        return None;
    };
    let mut perm = perm.clone();
    (perm.len() == 4).then(|| perm.swap(2, 3))?;
    Some((node.input(0)?, perm))
}
