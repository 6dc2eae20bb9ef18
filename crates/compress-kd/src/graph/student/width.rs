//! Narrower students: all hidden widths of the teacher times a factor.

use super::axes::Axis;
use super::error::{StudentError, setting};
use super::follow::Follower;
use super::slice::slice;
use super::{inferred, validate};
use compress_tensor::Tensor;
use onnx_ir::{Attribute, Fact, Graph, Model, NodeId, ValueId};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// How widths change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct WidthConfig {
    /// What a hidden width is multiplied with, of (0, 1).
    pub factor: f64,
    /// New widths are multiples of this, where the old one is more.
    pub multiple_of: usize,
}

impl Default for WidthConfig {
    /// Half of each width.
    fn default() -> Self {
        Self {
            factor: 0.5,
            multiple_of: 1,
        }
    }
}

impl WidthConfig {
    /// With this factor.
    pub fn new(factor: f64) -> Self {
        Self {
            factor,
            ..Self::default()
        }
    }

    fn validate(&self) -> Result<(), StudentError> {
        let factor = self.factor;
        setting(
            "the width factor",
            factor,
            factor > 0.0 && factor < 1.0,
            "it must lie in (0, 1)",
        )?;
        let multiple = self.multiple_of;
        setting(
            "the multiple of widths",
            multiple as f64,
            multiple > 0,
            "it must be 1 or more",
        )
    }

    /// The new width, at least 1 and at most the old one.
    fn of(&self, width: usize) -> usize {
        let wanted = self.factor * width as f64 / self.multiple_of as f64;
        let rounded = (wanted.round().max(1.0) as usize).saturating_mul(self.multiple_of);
        rounded.min(width)
    }
}

/// What [`scale_width`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WidthReport {
    /// Each width that changed.
    pub widths: Vec<WidthChange>,
    /// Elements of the float initializers before.
    pub parameters_before: usize,
    /// The same after.
    pub parameters_after: usize,
}

/// A width that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WidthChange {
    /// A weight of this width, the first one.
    pub weight: String,
    /// Channels, heads or units before.
    pub before: usize,
    /// The same after.
    pub after: usize,
}

/// The model with half of all hidden widths; see [`scale_width`].
///
/// # Errors
/// Those of [`scale_width`].
pub fn halve_width(model: &Model) -> Result<(Model, WidthReport), StudentError> {
    scale_width(model, &WidthConfig::default())
}

/// The model with all hidden widths multiplied with a factor; inputs and outputs keep their shapes.
///
/// Hidden widths are the outer axes of weights: channels of convolutions, units of linear layers, widths of tables. Each is followed
/// through the graph: residual sums and concatenations share them, depthwise convolutions follow their inputs, groups keep their
/// number, behind a `Flatten` a channel is as many columns as it has places, and a width that is divided into heads loses heads. The
/// weights are a slice of the model's: of each width those channels (heads, units) stay whose weights have the largest sum of
/// squares over all tensors that hold the width.
///
/// # Errors
/// [`StudentError::Width`] with the node through which a width cannot be followed, [`StudentError::NothingToChange`],
/// [`StudentError::Setting`]; [`StudentError::Invalid`] where an operator's rule breaks all the same.
pub fn scale_width(
    model: &Model,
    config: &WidthConfig,
) -> Result<(Model, WidthReport), StudentError> {
    config.validate()?;
    let known = inferred(model)?;
    let graph = &known.graph;
    let follower = Follower::new(graph, &graph.topological_order()?);
    if let Some((tensor, node, reason)) = follower.axes.refused() {
        return Err(StudentError::Width {
            tensor: tensor.to_owned(),
            node: node.to_owned(),
            reason: reason.to_owned(),
        });
    }
    let mut report = WidthReport {
        parameters_before: parameters(graph),
        ..WidthReport::default()
    };
    let mut kept = HashMap::new();
    for (atom, before, weight) in follower.axes.free() {
        let after = config.of(before);
        if after < before {
            kept.insert(atom, most_important(&follower, atom, before, after));
            report.widths.push(WidthChange {
                weight: weight.to_owned(),
                before,
                after,
            });
        }
    }
    if kept.is_empty() {
        return Err(StudentError::NothingToChange);
    }
    let mut student = model.clone();
    narrow(&mut student.graph, &follower, &kept)?;
    forget(&mut student.graph);
    report.parameters_after = parameters(&student.graph);
    Ok((validate(student)?, report))
}

fn parameters(graph: &Graph) -> usize {
    let floats = graph.initializers().filter(|(_, t)| t.dtype().is_float());
    floats.map(|(_, t)| t.len()).sum()
}

/// The positions of an atom that stay: those with the largest sums of squares, in their order.
fn most_important(follower: &Follower<'_>, atom: usize, before: usize, after: usize) -> Vec<usize> {
    let mut sums = vec![0f64; before];
    for (value, _) in follower.graph.values() {
        let (Some(tensor), Some(axes)) = (follower.graph.constant(value), follower.axes_of(value))
        else {
            continue;
        };
        for (place, axis) in axes.iter().enumerate() {
            let Some(axis) = axis.as_ref() else { continue };
            if follower.axes.atoms_of(axis).contains(&atom) {
                add_squares(
                    tensor,
                    place,
                    &follower.axes.positions(axis, atom),
                    &mut sums,
                );
            }
        }
    }
    let mut order: Vec<usize> = (0..before).collect();
    order.sort_by(|&a, &b| sums[b].total_cmp(&sums[a]).then(a.cmp(&b)));
    order.truncate(after);
    order.sort_unstable();
    order
}

/// Adds the squares of a tensor's elements to the position of an atom that each has on an axis.
fn add_squares(tensor: &Tensor, axis: usize, positions: &[Option<usize>], sums: &mut [f64]) {
    let Ok(values) = tensor.to_f64_vec() else {
        return;
    };
    let inner: usize = tensor.shape().iter().skip(axis + 1).product();
    for (index, value) in values.into_iter().enumerate() {
        let place = (index / inner.max(1)) % positions.len().max(1);
        if let Some(Some(position)) = positions.get(place) {
            sums[*position] += value * value;
        }
    }
}

/// Slices the constants, and writes the new widths where nodes state them.
fn narrow(
    graph: &mut Graph,
    follower: &Follower<'_>,
    kept: &HashMap<usize, Vec<usize>>,
) -> Result<(), StudentError> {
    let values: Vec<ValueId> = graph.values().map(|(id, _)| id).collect();
    for value in values {
        let (Some(tensor), Some(axes)) = (graph.constant(value), follower.axes_of(value)) else {
            continue;
        };
        let positions: Option<Vec<Vec<usize>>> = axes
            .iter()
            .map(|axis| Some(follower.axes.kept(axis.as_ref()?, kept)))
            .collect();
        let Some(positions) = positions else { continue };
        if positions
            .iter()
            .map(Vec::len)
            .eq(tensor.shape().iter().copied())
        {
            continue;
        }
        let sliced = slice(tensor, &positions).map_err(|error| StudentError::Invalid {
            finding: format!("`{}`: {error}", graph.name_of(value)),
        })?;
        match graph.producer(value) {
            Some(node) => {
                let constant = Attribute::Tensor(sliced);
                graph.edit_node(node, |node| node.attributes.set("value", constant));
            }
            None => graph.set_initializer(value, sliced),
        }
    }
    for &id in &follower.depthwise {
        let input = follower.graph.node(id).input(0);
        if let Some(channels) = input.and_then(|v| new_size(follower, v, 1, kept)) {
            let groups = Attribute::Int(channels as i64);
            graph.edit_node(id, |node| node.attributes.set("group", groups));
        }
    }
    for &id in &follower.reshapes {
        write_reshape(graph, follower, id, kept)?;
    }
    for &id in &follower.splits {
        write_split(graph, follower, id, kept)?;
    }
    Ok(())
}

fn new_size(
    follower: &Follower<'_>,
    value: ValueId,
    at: usize,
    kept: &HashMap<usize, Vec<usize>>,
) -> Option<usize> {
    let axis: &Axis = follower.axes_of(value)?.get(at)?.as_ref()?;
    Some(follower.axes.kept(axis, kept).len())
}

/// The shape that a `Reshape` of narrower axes asks for: numbers, 0 for an axis that stays, -1 for one that is open.
fn write_reshape(
    graph: &mut Graph,
    follower: &Follower<'_>,
    id: NodeId,
    kept: &HashMap<usize, Vec<usize>>,
) -> Result<(), StudentError> {
    let node = follower.graph.node(id);
    let (Some(x), Some(y)) = (node.input(0), node.output(0)) else {
        return Ok(());
    };
    let dims = |value: ValueId| {
        let fact = follower.graph.value(value).fact.as_tensor();
        fact.and_then(|f| f.shape.clone()).unwrap_or_default()
    };
    let (of_x, of_y) = (dims(x), dims(y));
    let changes = |value: ValueId, dims: &[onnx_ir::Dim]| {
        let mut places = dims.iter().enumerate();
        places.any(|(at, dim)| {
            new_size(follower, value, at, kept).is_some_and(|new| dim.as_size() != Some(new))
        })
    };
    if !changes(x, &of_x) && !changes(y, &of_y) {
        return Ok(());
    }
    let refuse = |reason: &str| StudentError::Width {
        tensor: follower.graph.name_of(y).to_owned(),
        node: follower.graph.describe(id),
        reason: reason.to_owned(),
    };
    let mut shape = Vec::with_capacity(of_y.len());
    for (at, dim) in of_y.iter().enumerate() {
        shape.push(match new_size(follower, y, at, kept) {
            Some(size) => size as i64,
            None if of_x.get(at).is_some_and(|from| from.is_same(dim)) => 0,
            None => -1,
        });
    }
    if shape.iter().filter(|&&n| n == -1).count() > 1 {
        return Err(refuse("more than one of its axes is open"));
    }
    let allow_zero = matches!(node.attributes.get("allowzero"), Some(Attribute::Int(v)) if *v != 0);
    if allow_zero && shape.contains(&0) {
        return Err(refuse("it takes 0 as a size"));
    }
    if node.input(1).is_none() {
        // Opset 1 has the shape as an attribute.
        graph.edit_node(id, |node| {
            node.attributes.set("shape", Attribute::Ints(shape))
        });
        return Ok(());
    }
    let base = format!("{}.shape", follower.graph.label(id));
    let constant = graph.add_initializer(&base, Tensor::vector(shape))?;
    graph.set_node_input(id, 1, Some(constant));
    Ok(())
}

/// The sizes of the parts of a `Split`.
fn write_split(
    graph: &mut Graph,
    follower: &Follower<'_>,
    id: NodeId,
    kept: &HashMap<usize, Vec<usize>>,
) -> Result<(), StudentError> {
    let node = follower.graph.node(id);
    let outputs: Vec<ValueId> = node.outputs().iter().flatten().copied().collect();
    let rank = outputs
        .first()
        .and_then(|&v| follower.axes_of(v))
        .map_or(0, <[_]>::len);
    let Ok(axis) = follower.axis_attribute(node, 0, rank) else {
        return Ok(());
    };
    let sizes = outputs.iter().map(|&v| new_size(follower, v, axis, kept));
    let Some(sizes) = sizes
        .map(|n| n.map(|n| n as i64))
        .collect::<Option<Vec<_>>>()
    else {
        return Ok(());
    };
    if matches!(node.attributes.get("split"), Some(Attribute::Ints(_))) {
        graph.edit_node(id, |node| {
            node.attributes.set("split", Attribute::Ints(sizes))
        });
    } else if node.input(1).is_some() {
        let base = format!("{}.split", follower.graph.label(id));
        let constant = graph.add_initializer(&base, Tensor::vector(sizes))?;
        graph.set_node_input(id, 1, Some(constant));
    }
    Ok(())
}

/// Takes the facts of all values within back, which inference finds anew.
fn forget(graph: &mut Graph) {
    let values: Vec<ValueId> = graph.values().map(|(id, _)| id).collect();
    for id in values {
        let is_seen = graph.is_input(id) || graph.is_output(id);
        if let Some(tensor) = graph.initializer(id) {
            let (dtype, shape) = (tensor.dtype(), tensor.shape().to_vec());
            graph.value_mut(id).fact = Fact::tensor(dtype, shape);
        } else if !is_seen {
            graph.value_mut(id).fact = Fact::Unknown;
        }
    }
}
