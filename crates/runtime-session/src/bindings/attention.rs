//! Attention in f32 as one step: the operator, and `softmax(scale * Q · Kᵀ + mask) · V` node by node.
//!
//! Queries, keys and values are read where projections put them: a `Transpose` that moves their heads together is not run, nor
//! the one that moves the heads of the result apart.

mod operator;

pub(crate) use operator::bind;

use super::activation::scalar;
use super::normalize::position;
use crate::error::StepError;
use crate::plan::{Bound, Selector};
use crate::step::{Step, StepContext};
use compress_tensor::{DType, Shape};
use onnx_ir::operator::{Attrs, EvalError};
use onnx_ir::symbolic::Dim;
use onnx_ir::{Node, NodeId, ValueId};
use runtime_kernels::attention::{
    AttentionMask, AttentionScores, AttentionShape, HeadOrder, HeadRows, attention,
};
use std::sync::Arc;

/// Moves heads before rows, and back.
const SWAP: [i64; 4] = [0, 2, 1, 3];

/// Binds the attention that ends in node `id`; `None` where none does.
pub(crate) fn bind_pattern(selector: &mut Selector<'_>, id: NodeId) -> Option<Bound> {
    if !selector.fuses() {
        return None;
    }
    let node = selector.graph.node(id);
    let (weighted, order) = if node.is("MatMul") {
        (node, HeadOrder::HeadsFirst)
    } else {
        permutes(node, &SWAP)?;
        let (_, weighted) = selector.interior(node.input(0)?)?;
        (weighted, HeadOrder::RowsFirst)
    };
    let found = Found::ending_in(selector, weighted)?;
    let mut inputs: Vec<_> = found
        .heads
        .iter()
        .map(|source| Some(source.value))
        .collect();
    inputs.push(found.mask);
    Some(Bound {
        step: Arc::new(FusedAttention {
            sources: found.heads.map(|source| source.order),
            order,
            scale: found.scale,
        }),
        inputs,
        outputs: node.outputs().to_vec(),
    })
}

/// Heads in the order in which they are read.
#[derive(Clone, Copy)]
struct Source {
    value: ValueId,
    order: HeadOrder,
}

/// What attention is computed of.
struct Found {
    /// Queries, keys and values.
    heads: [Source; 3],
    mask: Option<ValueId>,
    scale: f32,
}

impl Found {
    /// The attention whose last product is `weighted`.
    fn ending_in(selector: &mut Selector<'_>, weighted: &Node) -> Option<Self> {
        weighted.is("MatMul").then_some(())?;
        let (_, softmax) = selector.interior(weighted.input(0)?)?;
        is_over_last_axis(selector, softmax)?;
        let biased = softmax.input(0)?;
        let (scaled, mask) = unmasked(selector, biased)?;
        let (product, scale) = unscaled(selector, scaled)?;
        let (_, product) = selector.interior(product).filter(|(_, n)| n.is("MatMul"))?;
        let (queries, turned) = (product.input(0)?, product.input(1)?);
        let values = weighted.input(1)?;
        if !share_heads(selector, [queries, turned, values])
            || !is_same_shape(selector, biased, product.output(0)?)
            || mask.is_some_and(|mask| selector.dtype(mask) != Some(DType::F32))
        {
            return None;
        }
        Some(Self {
            heads: [
                source(selector, queries)?,
                keys(selector, turned)?,
                source(selector, values)?,
            ],
            mask,
            scale,
        })
    }
}

fn permutes(node: &Node, expected: &[i64]) -> Option<()> {
    let perm = Attrs::new(&node.attributes, 1, 0, 0)
        .ints_opt("perm")
        .ok()??;
    (node.is("Transpose") && perm == expected).then_some(())
}

fn is_over_last_axis(selector: &Selector<'_>, node: &Node) -> Option<()> {
    let default = if selector.opset(node) < 13 { 1 } else { -1 };
    let axis = Attrs::new(&node.attributes, 1, 0, 0)
        .int_or("axis", default)
        .ok()?;
    (node.is("Softmax") && position(axis, 4) == Some(3)).then_some(())
}

/// The scores before a mask is added, and the mask.
fn unmasked(selector: &Selector<'_>, scores: ValueId) -> Option<(ValueId, Option<ValueId>)> {
    let Some((_, add)) = selector.interior(scores).filter(|(_, n)| n.is("Add")) else {
        return Some((scores, None));
    };
    let (a, b) = (add.input(0)?, add.input(1)?);
    let is_scores = |v: ValueId| {
        let node = selector.interior(v).map(|(_, node)| node);
        node.is_some_and(|n| n.is("MatMul") || n.is("Mul") || n.is("Div"))
    };
    if is_scores(a) {
        Some((a, Some(b)))
    } else {
        Some((b, Some(a)))
    }
}

/// The product before it is scaled, and its factor.
fn unscaled(selector: &mut Selector<'_>, scores: ValueId) -> Option<(ValueId, f32)> {
    let (_, node) = selector.interior(scores)?;
    let mut constant = |v: ValueId| selector.constant(v).and_then(|t| scalar(&t));
    if node.is("Mul") {
        let (a, b) = (node.input(0)?, node.input(1)?);
        return match (constant(a), constant(b)) {
            (_, Some(factor)) => Some((a, factor)),
            (Some(factor), _) => Some((b, factor)),
            _ => None,
        };
    }
    if node.is("Div") {
        return Some((node.input(0)?, 1.0 / constant(node.input(1)?)?));
    }
    Some((scores, 1.0))
}

/// Heads, before the `Transpose` that moves them together.
fn source(selector: &Selector<'_>, value: ValueId) -> Option<Source> {
    let moved = selector.producer(value).map(|(_, node)| node);
    Some(match moved.filter(|node| permutes(node, &SWAP).is_some()) {
        Some(node) => Source {
            value: node.input(0)?,
            order: HeadOrder::RowsFirst,
        },
        None => Source {
            value,
            order: HeadOrder::HeadsFirst,
        },
    })
}

/// The same of keys that are turned for a product.
fn keys(selector: &Selector<'_>, turned: ValueId) -> Option<Source> {
    let (_, node) = selector.producer(turned)?;
    let value = node.input(0)?;
    if permutes(node, &[0, 2, 3, 1]).is_some() {
        return Some(Source {
            value,
            order: HeadOrder::RowsFirst,
        });
    }
    permutes(node, &[0, 1, 3, 2])?;
    source(selector, value)
}

fn dims<'g>(selector: &Selector<'g>, value: ValueId) -> Option<&'g [Dim]> {
    let fact = selector.graph.value(value).fact.as_tensor()?;
    fact.shape
        .as_deref()
        .filter(|_| fact.dtype == Some(DType::F32))
}

/// Whether operands of products are f32, of rank 4 and of the same batch and heads: products would broadcast them.
fn share_heads(selector: &Selector<'_>, operands: [ValueId; 3]) -> bool {
    let [Some(q), Some(k), Some(v)] = operands.map(|value| dims(selector, value)) else {
        return false;
    };
    let same = |axis: usize| q[axis].is_same(&k[axis]) && q[axis].is_same(&v[axis]);
    [q, k, v].iter().all(|dims| dims.len() == 4) && same(0) && same(1)
}

fn is_same_shape(selector: &Selector<'_>, a: ValueId, b: ValueId) -> bool {
    let (Some(a), Some(b)) = (dims(selector, a), dims(selector, b)) else {
        return false;
    };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is_same(b))
}

/// Inputs are queries, keys, values, and a mask or nothing.
struct FusedAttention {
    sources: [HeadOrder; 3],
    order: HeadOrder,
    scale: f32,
}

/// Heads of a tensor: `[batch, heads, rows, size]`.
type Extents = [usize; 4];

/// Queries, keys or values.
#[derive(Clone, Copy)]
struct Heads<'a> {
    extents: Extents,
    rows: HeadRows<'a>,
}

impl<'a> Heads<'a> {
    fn new(data: &'a [f32], extents: Extents, order: HeadOrder) -> Self {
        let [_, heads, rows, size] = extents;
        let rows = match order {
            HeadOrder::HeadsFirst => HeadRows::heads_first(data, [heads, rows, size]),
            HeadOrder::RowsFirst => HeadRows::rows_first(data, [heads, rows, size]),
        };
        Self { extents, rows }
    }
}

impl Step for FusedAttention {
    fn kernel(&self) -> &'static str {
        "attention.f32"
    }

    fn run(&self, cx: &mut StepContext<'_>) -> Result<(), StepError> {
        let mut extents = [[0; 4]; 3];
        for (i, extents) in extents.iter_mut().enumerate() {
            let x = cx.inputs.tensor(i)?;
            let &[batch, a, b, size] = x.shape() else {
                return Err(EvalError::rule(
                    "heads have four axes",
                    format_args!("{:?}", x.shape()),
                )
                .into());
            };
            *extents = match self.sources[i] {
                HeadOrder::HeadsFirst => [batch, a, b, size],
                HeadOrder::RowsFirst => [batch, b, a, size],
            };
        }
        let mut scores = AttentionScores::scaled(self.scale);
        let (mask, data);
        if let Some(tensor) = cx.inputs.optional(3)? {
            mask = tensor;
            data = mask.data::<f32>()?;
            scores.mask = Some(mask_of(&data, mask.shape(), scores_of(&extents))?);
        }
        let [q, k, v] = [0, 1, 2].map(|i| cx.inputs.tensor(i).and_then(|x| Ok(x.data::<f32>()?)));
        let (q, k, v) = (q?, k?, v?);
        let [q_order, k_order, v_order] = self.sources;
        let heads = [
            Heads::new(&q, extents[0], q_order),
            Heads::new(&k, extents[1], k_order),
            Heads::new(&v, extents[2], v_order),
        ];
        run(cx, heads, &scores, self.order, None)
    }
}

/// The extents of the scores.
fn scores_of([q, k, _]: &[Extents; 3]) -> Extents {
    [q[0], q[1], q[2], k[2]]
}

/// A mask that is broadcast to the scores.
fn mask_of<'a>(
    data: &'a [f32],
    shape: &[usize],
    scores: Extents,
) -> Result<AttentionMask<'a>, EvalError> {
    let mut whole = [1; 4];
    let fits = match shape.len() {
        rank @ ..=4 => {
            whole[4 - rank..].copy_from_slice(shape);
            whole.iter().zip(scores).all(|(&m, s)| m == 1 || m == s)
        }
        _ => false,
    };
    if !fits {
        let rule = "a mask must broadcast to the scores";
        return Err(EvalError::rule(
            rule,
            format_args!("{shape:?} and {scores:?}"),
        ));
    }
    Ok(AttentionMask::new(data, whole))
}

/// Computes the result, of this shape where it is not that of the heads.
fn run(
    cx: &mut StepContext<'_>,
    heads: [Heads<'_>; 3],
    scores: &AttentionScores<'_>,
    order: HeadOrder,
    result: Option<Shape>,
) -> Result<(), StepError> {
    let extents = heads.map(|h| h.extents);
    let rows = heads.map(|h| h.rows);
    let [
        [batch, heads, queries, size],
        [k_batch, kv_heads, keys, k_size],
        v,
    ] = extents;
    if (batch, size) != (k_batch, k_size) || [k_batch, kv_heads, keys] != v[..3] {
        let rule = "queries, keys and values must have the same batch, heads and sizes";
        return Err(EvalError::rule(rule, format_args!("{extents:?}")).into());
    }
    let mut shape = AttentionShape::new(batch, heads, queries, size);
    (shape.kv_heads, shape.keys, shape.value_size) = (kv_heads, keys, v[3]);
    let result = result.unwrap_or_else(|| match order {
        HeadOrder::HeadsFirst => [batch, heads, queries, v[3]].into(),
        HeadOrder::RowsFirst => [batch, queries, heads, v[3]].into(),
    });
    let mut out = cx.state.memory.tensor::<f32>(&result)?;
    attention(
        &cx.state.context,
        &mut cx.state.scratch,
        &shape,
        rows,
        scores,
        order,
        out.data_mut::<f32>()?,
    )?;
    cx.outputs.set(0, out);
    Ok(())
}
