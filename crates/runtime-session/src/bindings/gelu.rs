//! Gelu as exporters write it, node by node: `x/2 (1 + erf(x / sqrt(2)))`, and with `tanh` in place of `erf`,
//! `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.

use super::activation::scalar;
use crate::plan::Selector;
use half::{bf16, f16};
use onnx_ir::{NodeId, ValueId};
use runtime_kernels::elementwise::Activation;

/// `sqrt(2/pi)`.
const TANH_SCALE: f32 = 0.797_884_6;
/// What the cube is multiplied with.
const TANH_CUBE: f32 = 0.044_715;

/// A Gelu that ends in some node.
pub(crate) struct Gelu {
    /// Its argument.
    pub(crate) x: ValueId,
    /// Whether nobody else reads the argument.
    pub(crate) is_sole_reader: bool,
    /// Which of the two it is.
    pub(crate) activation: Activation,
}

impl Gelu {
    /// The Gelu of which node `id` is the last.
    pub(crate) fn ending_in(selector: &mut Selector<'_>, id: NodeId) -> Option<Self> {
        if !selector.graph.node(id).is("Mul") || !selector.fuses() {
            return None;
        }
        let mut nodes = vec![id];
        let mut factors = Vec::new();
        collect_factors(selector, id, 1, &mut nodes, &mut factors);
        let [_, _, _] = factors[..] else { return None };
        take(selector, &mut factors, |s, v| {
            is_constant(s, v, 0.5).then_some(())
        })?;
        let (argument, activation) = take(selector, &mut factors, |s, v| {
            let before = nodes.len();
            let found = argument(s, v, &mut nodes);
            if found.is_none() {
                nodes.truncate(before);
            }
            found
        })?;
        let &[x] = factors.as_slice() else {
            return None;
        };
        if argument != x {
            return None;
        }
        // A constant of a higher rank would give the result its rank.
        let y = selector.graph.node(id).output(0)?;
        if selector.rank(x)? != selector.rank(y)? {
            return None;
        }
        let readers = selector.graph.uses(x);
        let is_sole_reader =
            readers.iter().all(|u| nodes.contains(&u.node())) && !selector.is_kept(x);
        Some(Self {
            x,
            is_sole_reader,
            activation,
        })
    }
}

/// The factors of a tree of `Mul` of this depth below `id` whose inner values nobody else reads.
fn collect_factors(
    selector: &Selector<'_>,
    id: NodeId,
    depth: usize,
    nodes: &mut Vec<NodeId>,
    factors: &mut Vec<ValueId>,
) {
    for v in selector.graph.node(id).inputs().iter().flatten().copied() {
        match selector.interior(v) {
            Some((inner, node)) if node.is("Mul") && depth > 0 => {
                nodes.push(inner);
                collect_factors(selector, inner, depth - 1, nodes, factors);
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

/// `x` of `1 + erf(x / sqrt(2))` or `1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))`; the nodes are added to `nodes`.
fn argument(
    selector: &mut Selector<'_>,
    v: ValueId,
    nodes: &mut Vec<NodeId>,
) -> Option<(ValueId, Activation)> {
    let (add_id, add) = selector.interior(v).filter(|(_, n)| n.is("Add"))?;
    let (a, b) = (add.input(0)?, add.input(1)?);
    let curve = match (is_constant(selector, a, 1.0), is_constant(selector, b, 1.0)) {
        (true, false) => b,
        (false, true) => a,
        _ => return None,
    };
    let (curve_id, curve) = selector.interior(curve)?;
    let (scale_id, scale) = selector.interior(curve.input(0)?)?;
    let (x, factor) = (scale.input(0)?, scale.input(1)?);
    nodes.extend([add_id, curve_id, scale_id]);
    if curve.is("Tanh") && scale.is("Mul") {
        let sum = match [x, factor].map(|v| is_constant(selector, v, TANH_SCALE)) {
            [true, false] => factor,
            [false, true] => x,
            _ => return None,
        };
        return Some((
            argument_with_cube(selector, sum, nodes)?,
            Activation::GeluTanh,
        ));
    }
    if !curve.is("Erf") {
        return None;
    }
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
    Some((x, Activation::Gelu))
}

/// `x` of `x + 0.044715 x^3`, the cube as products or as a power; the nodes are added to `nodes`.
fn argument_with_cube(
    selector: &mut Selector<'_>,
    sum: ValueId,
    nodes: &mut Vec<NodeId>,
) -> Option<ValueId> {
    let (sum_id, sum) = selector.interior(sum).filter(|(_, n)| n.is("Add"))?;
    nodes.push(sum_id);
    let (a, b) = (sum.input(0)?, sum.input(1)?);
    for (x, cube) in [(a, b), (b, a)] {
        let Some((cube_id, _)) = selector.interior(cube).filter(|(_, n)| n.is("Mul")) else {
            continue;
        };
        let (mut inner, mut factors) = (vec![cube_id], Vec::new());
        collect_factors(selector, cube_id, 2, &mut inner, &mut factors);
        let scaled = take(selector, &mut factors, |s, v| {
            is_constant(s, v, TANH_CUBE).then_some(())
        });
        if scaled.is_none() {
            continue;
        }
        let cubed = match factors[..] {
            [p, q, r] => p == x && q == x && r == x,
            [power] => match selector.interior(power).filter(|(_, n)| n.is("Pow")) {
                Some((id, node)) if node.input(0) == Some(x) => {
                    inner.push(id);
                    node.input(1).is_some_and(|e| is_constant(selector, e, 3.0))
                }
                _ => false,
            },
            _ => false,
        };
        if cubed {
            nodes.extend(inner);
            return Some(x);
        }
    }
    None
}

/// Whether a value is this constant, up to the rounding of whoever wrote it.
fn is_constant(selector: &mut Selector<'_>, v: ValueId, expected: f32) -> bool {
    let found = selector.constant(v).and_then(|t| scalar(&t));
    let is_rounded =
        |f: f32| f == f16::from_f32(expected).to_f32() || f == bf16::from_f32(expected).to_f32();
    found.is_some_and(|f| (f - expected).abs() <= 1e-6 * expected.abs() || is_rounded(f))
}
