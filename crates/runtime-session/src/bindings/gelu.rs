//! The exact Gelu as exporters write it: `x/2 * (1 + erf(x / sqrt(2)))` from `Div`, `Erf`, `Add` and two `Mul`.

use super::activation::scalar;
use crate::plan::Selector;
use onnx_ir::{NodeId, ValueId};

/// A Gelu that ends in some node.
pub(crate) struct Gelu {
    /// Its argument.
    pub(crate) x: ValueId,
    /// Whether nobody else reads the argument.
    pub(crate) is_sole_reader: bool,
}

impl Gelu {
    /// The Gelu of which node `id` is the last.
    pub(crate) fn ending_in(selector: &mut Selector<'_>, id: NodeId) -> Option<Self> {
        if !selector.graph.node(id).is("Mul") || !selector.fuses() {
            return None;
        }
        let mut nodes = vec![id];
        let mut factors = Vec::new();
        collect_factors(selector, id, &mut nodes, &mut factors);
        let [_, _, _] = factors[..] else { return None };
        take(selector, &mut factors, |s, v| {
            is_constant(s, v, 0.5).then_some(())
        })?;
        let ((), erf) = (
            (),
            take(selector, &mut factors, |s, v| {
                argument_of_erf(s, v, &mut nodes)
            })?,
        );
        let &[x] = factors.as_slice() else {
            return None;
        };
        if erf != x {
            return None;
        }
        let readers = selector.graph.uses(x);
        let is_sole_reader =
            readers.iter().all(|u| nodes.contains(&u.node())) && !selector.is_kept(x);
        Some(Self { x, is_sole_reader })
    }
}

/// The factors of a tree of `Mul` whose inner values nobody else reads.
fn collect_factors(
    selector: &Selector<'_>,
    id: NodeId,
    nodes: &mut Vec<NodeId>,
    factors: &mut Vec<ValueId>,
) {
    for v in selector.graph.node(id).inputs().iter().flatten().copied() {
        match selector.interior(v) {
            Some((inner, node)) if node.is("Mul") && nodes.len() < 2 => {
                nodes.push(inner);
                collect_factors(selector, inner, nodes, factors);
            }
            _ => factors.push(v),
        }
    }
}

/// Removes the first value that `f` answers for.
fn take<T>(
    selector: &mut Selector<'_>,
    values: &mut Vec<ValueId>,
    mut f: impl FnMut(&mut Selector<'_>, ValueId) -> Option<T>,
) -> Option<T> {
    let (at, answer) = values
        .iter()
        .enumerate()
        .find_map(|(i, &v)| Some((i, f(selector, v)?)))?;
    values.remove(at);
    Some(answer)
}

/// `x` of `1 + erf(x / sqrt(2))`; the nodes are added to `nodes`.
fn argument_of_erf(
    selector: &mut Selector<'_>,
    v: ValueId,
    nodes: &mut Vec<NodeId>,
) -> Option<ValueId> {
    let (add_id, add) = selector.interior(v).filter(|(_, n)| n.is("Add"))?;
    let (a, b) = (add.input(0)?, add.input(1)?);
    let erf = match (is_constant(selector, a, 1.0), is_constant(selector, b, 1.0)) {
        (true, false) => b,
        (false, true) => a,
        _ => return None,
    };
    let (erf_id, erf) = selector.interior(erf).filter(|(_, n)| n.is("Erf"))?;
    let (scale_id, scale) = selector.interior(erf.input(0)?)?;
    let (x, factor) = (scale.input(0)?, scale.input(1)?);
    let divides = scale.is("Div") && is_constant(selector, factor, std::f32::consts::SQRT_2);
    let multiplies =
        scale.is("Mul") && is_constant(selector, factor, std::f32::consts::FRAC_1_SQRT_2);
    let x = if divides || multiplies {
        x
    } else if scale.is("Mul") && is_constant(selector, x, std::f32::consts::FRAC_1_SQRT_2) {
        factor
    } else {
        return None;
    };
    nodes.extend([add_id, erf_id, scale_id]);
    Some(x)
}

/// Whether a value is this constant, up to the rounding of whoever wrote it.
fn is_constant(selector: &mut Selector<'_>, v: ValueId, expected: f32) -> bool {
    let found = selector.constant(v).and_then(|t| scalar(&t));
    found.is_some_and(|f| (f - expected).abs() <= 1e-6 * expected.abs())
}
