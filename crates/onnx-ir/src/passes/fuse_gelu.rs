//! `fuse-gelu`: `0.5 · x · (1 + erf(x / √2))` becomes one `Gelu` (Hendrycks & Gimpel 2016, arXiv:1606.08415).
//!
//! Needs: nothing. Changes: float rounding only. The factors may stand in any order. Writes `Gelu` of the
//! standard from opset 20 on, else that of `com.microsoft` where the [`Dialect`] allows it.

use super::Dialect;
use crate::graph::{Node, NodeId, ValueId};
use crate::rewrite::{NewNode, Patch, Rewrite, RewriteContext, Skip};

/// Recognises the error-function form of GELU.
#[derive(Clone, Copy, Debug, Default)]
pub struct FuseGelu {
    /// Which operators may be written.
    pub dialect: Dialect,
}

impl Rewrite for FuseGelu {
    fn name(&self) -> &'static str {
        "fuse-gelu"
    }
    fn roots(&self) -> &'static [&'static str] {
        &["Erf"]
    }
    fn rewrite(&self, cx: &RewriteContext<'_>, id: NodeId) -> Result<Patch, Skip> {
        let erf = cx.graph.node(id);
        let (x, result) = find(cx, erf).ok_or(Skip::NotThisPattern)?;
        let new = match (cx.opsets.get("").unwrap_or(1), self.dialect) {
            (20.., _) => NewNode::new("Gelu"),
            (_, Dialect::Microsoft) => NewNode::new("Gelu").in_domain("com.microsoft"),
            _ => {
                return Err(Skip::Because(
                    "Gelu is part of the standard from opset 20 on",
                ));
            }
        };
        let mut patch = Patch::new();
        let gelu = patch.node(new, &[x.into()]);
        patch.replace(result, gelu);
        Ok(patch)
    }
}

/// The input and the result of the pattern around an `Erf`.
fn find(cx: &RewriteContext<'_>, erf: &Node) -> Option<(ValueId, ValueId)> {
    let (_, scaled) = cx.sole_producer(erf.input(0)?, erf_input_op(cx, erf)?)?;
    let x = scaled_by_inverse_sqrt2(cx, scaled)?;
    let (_, plus_one) = cx.sole_consumer(erf.output(0)?, "Add")?;
    other_is(cx, plus_one, erf.output(0)?, 1.0)?;
    // Of x, ½ and (1 + erf), in which order they are multiplied.
    let (_, first) = cx.sole_consumer(plus_one.output(0)?, "Mul")?;
    let other = other_input(first, plus_one.output(0)?)?;
    let (_, second) = if is_scalar(cx, other, 0.5) || other == x {
        cx.sole_consumer(first.output(0)?, "Mul")?
    } else {
        // (x · ½) · (1 + erf)
        let (_, half) = cx.producer(other, "Mul")?;
        let halved = half.input(0) == Some(x) && is_scalar(cx, half.input(1)?, 0.5)
            || half.input(1) == Some(x) && is_scalar(cx, half.input(0)?, 0.5);
        return halved.then_some((x, first.output(0)?));
    };
    let last = other_input(second, first.output(0)?)?;
    let complete = if other == x {
        is_scalar(cx, last, 0.5)
    } else {
        last == x
    };
    complete.then_some((x, second.output(0)?))
}

fn erf_input_op(cx: &RewriteContext<'_>, erf: &Node) -> Option<&'static str> {
    let producer = cx.graph.node(cx.graph.producer(erf.input(0)?)?);
    ["Div", "Mul"].into_iter().find(|op| producer.is(op))
}

fn scaled_by_inverse_sqrt2(cx: &RewriteContext<'_>, node: &Node) -> Option<ValueId> {
    let (a, b) = (node.input(0)?, node.input(1)?);
    if node.is("Div") {
        return is_scalar(cx, b, std::f64::consts::SQRT_2).then_some(a);
    }
    let inverse = std::f64::consts::FRAC_1_SQRT_2;
    match (is_scalar(cx, a, inverse), is_scalar(cx, b, inverse)) {
        (true, _) => Some(b),
        (_, true) => Some(a),
        _ => None,
    }
}

fn other_input(node: &Node, one: ValueId) -> Option<ValueId> {
    match (node.input(0)?, node.input(1)?) {
        (a, b) if a == one => Some(b),
        (a, b) if b == one => Some(a),
        _ => None,
    }
}

fn other_is(cx: &RewriteContext<'_>, node: &Node, one: ValueId, number: f64) -> Option<()> {
    is_scalar(cx, other_input(node, one)?, number).then_some(())
}

/// Whether a value is a constant of one element near `number`: exporters write these in f32 or f16.
fn is_scalar(cx: &RewriteContext<'_>, value: ValueId, number: f64) -> bool {
    cx.scalar(value)
        .is_some_and(|v| (v - number).abs() <= 1e-3 * number.abs())
}
