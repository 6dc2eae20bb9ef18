//! Giving sizes to the dimensions that a model's inputs leave open.
//!
//! A dimension is named by its symbol (`batch`), or as `INPUT:AXIS` (`audio:1`), which also serves dimensions without a name.
//! A size that is given to a symbol holds wherever the symbol stands, in subgraphs too.

use crate::fact::{Fact, KnownValue, TensorFact};
use crate::graph::{Graph, NodeId, ValueId};
use crate::model::Model;
use crate::symbolic::Dim;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

/// A dimension of an input whose size the model leaves open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OpenDim {
    /// Every dimension of this symbol.
    Symbol(String),
    /// A dimension without a name.
    Unnamed {
        /// The input.
        input: String,
        /// Which dimension, from 0.
        axis: usize,
    },
}

impl fmt::Display for OpenDim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Symbol(name) => f.write_str(name),
            Self::Unnamed { input, axis } => write!(f, "{input}:{axis}"),
        }
    }
}

/// Why a size cannot be given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DimError {
    /// The inputs have no such dimension.
    #[error("the model has no open dimension `{name}`; {}", open(known))]
    NoSuchDim {
        /// The name.
        name: String,
        /// The dimensions that the inputs leave open.
        known: Vec<OpenDim>,
    },
    /// Two sizes for one dimension.
    #[error("dimension `{name}` is given twice")]
    GivenTwice {
        /// The name.
        name: String,
    },
}

fn open(known: &[OpenDim]) -> String {
    match known {
        [] => "all sizes of its inputs are fixed".to_owned(),
        known => {
            let names: Vec<String> = known.iter().map(ToString::to_string).collect();
            format!("its inputs leave open {}", names.join(", "))
        }
    }
}

/// The dimensions that the inputs of `graph` leave open, each once, in the order of the inputs.
pub fn open_dims(graph: &Graph) -> Vec<OpenDim> {
    let mut found = Vec::new();
    for input in graph.required_inputs() {
        let rank = shape(graph, input).map_or(0, <[Dim]>::len);
        for dim in (0..rank).filter_map(|axis| open_dim(graph, input, axis)) {
            if !found.contains(&dim) {
                found.push(dim);
            }
        }
    }
    found
}

/// The dimension of `input` along `axis`, where the model leaves its size open.
pub fn open_dim(graph: &Graph, input: ValueId, axis: usize) -> Option<OpenDim> {
    let dim = shape(graph, input)?.get(axis)?;
    match dim.as_symbol() {
        Some(symbol) => Some(OpenDim::Symbol(symbol.to_owned())),
        None if dim.as_known().is_some() => None,
        None => Some(OpenDim::Unnamed {
            input: graph.name_of(input).to_owned(),
            axis,
        }),
    }
}

fn shape(graph: &Graph, value: ValueId) -> Option<&[Dim]> {
    graph.value(value).fact.as_tensor()?.shape.as_deref()
}

/// Gives sizes to open dimensions; run [`infer_shapes`](crate::infer::infer_shapes) after it for what follows from them.
///
/// # Errors
/// [`DimError`] names the dimension; the model is then as it was.
///
/// # Examples
/// ```
/// use onnx_ir::{Dim, Fact, Graph, Model, dims::fix_dims};
/// use compress_tensor::DType;
/// let mut graph = Graph::new("g");
/// let dims = [Dim::symbol("batch"), Dim::Unknown];
/// let x = graph.add_value("x", Fact::tensor(DType::F32, dims))?;
/// graph.add_input(x);
/// let mut model = Model::new(graph, 17);
/// fix_dims(&mut model, [("batch", 4), ("x:1", 16)])?;
/// assert_eq!(model.fact("x").unwrap().to_string(), "f32[4, 16]");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn fix_dims<'a>(
    model: &mut Model,
    sizes: impl IntoIterator<Item = (&'a str, usize)>,
) -> Result<(), DimError> {
    let mut given = BTreeMap::new();
    for (name, size) in sizes {
        let dim = find(&model.graph, name)?;
        if given.insert(dim, size).is_some() {
            return Err(DimError::GivenTwice {
                name: name.to_owned(),
            });
        }
    }
    let mut symbols = HashMap::new();
    for (dim, size) in given {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        match dim {
            OpenDim::Symbol(name) => drop(symbols.insert(name, size)),
            OpenDim::Unnamed { input, axis } => {
                if let Some(id) = model.graph.value_by_name(&input)
                    && let Fact::Tensor(fact) = &mut model.graph.value_mut(id).fact
                    && let Some(dim) = fact.shape.as_mut().and_then(|dims| dims.get_mut(axis))
                {
                    *dim = Dim::Known(size);
                }
            }
        }
    }
    if !symbols.is_empty() {
        substitute(&mut model.graph, &|name| symbols.get(name).copied());
    }
    Ok(())
}

/// The open dimension that is called `name`, a symbol before a place.
fn find(graph: &Graph, name: &str) -> Result<OpenDim, DimError> {
    let known = open_dims(graph);
    if let Some(dim) = known.iter().find(|dim| dim.to_string() == name) {
        return Ok(dim.clone());
    }
    let place = name.rsplit_once(':').and_then(|(input, axis)| {
        let mut inputs = graph.required_inputs();
        let input = inputs.find(|&id| graph.name_of(id) == input)?;
        open_dim(graph, input, axis.parse().ok()?)
    });
    place.ok_or_else(|| DimError::NoSuchDim {
        name: name.to_owned(),
        known,
    })
}

/// Puts sizes in for symbols in all facts of a graph and its subgraphs.
fn substitute(graph: &mut Graph, size: &dyn Fn(&str) -> Option<i64>) {
    let values: Vec<ValueId> = graph.values().map(|(id, _)| id).collect();
    for id in values {
        substitute_in(&mut graph.value_mut(id).fact, size);
    }
    let holds = |node: &crate::graph::Node| node.attributes.graphs().next().is_some();
    let holders: Vec<NodeId> = graph
        .nodes()
        .filter(|(_, node)| holds(node))
        .map(|(id, _)| id)
        .collect();
    for id in holders {
        graph.edit_node(id, |node| {
            let nested = node
                .attributes
                .values_mut()
                .flat_map(|attribute| attribute.graphs_mut());
            for subgraph in nested {
                substitute(Arc::make_mut(subgraph), size);
            }
        });
    }
}

fn substitute_in(fact: &mut Fact, size: &dyn Fn(&str) -> Option<i64>) {
    let mut fact = fact;
    loop {
        match fact {
            Fact::Sequence(inner) | Fact::Optional(inner) | Fact::Map(_, inner) => fact = inner,
            Fact::Tensor(tensor) | Fact::SparseTensor(tensor) => {
                return substitute_in_tensor(tensor, size);
            }
            Fact::Unknown => return,
        }
    }
}

fn substitute_in_tensor(tensor: &mut TensorFact, size: &dyn Fn(&str) -> Option<i64>) {
    let elements = match &mut tensor.value {
        Some(KnownValue::Elements(elements)) => elements.as_mut_slice(),
        _ => &mut [],
    };
    for dim in tensor.shape.iter_mut().flatten().chain(elements) {
        if let Some(known) = dim.eval(size) {
            *dim = Dim::Known(known);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Node;
    use crate::infer::infer_shapes;
    use crate::operator::Catalog;
    use compress_tensor::DType;

    /// `y = Relu(x)` with `x` `[batch, ?, 3]` and `y` declared `[batch, length, 3]`.
    fn model() -> Model {
        let mut graph = Graph::new("g");
        let dims = [Dim::symbol("batch"), Dim::Unknown, Dim::Known(3)];
        let x = graph.add_value("x", Fact::tensor(DType::F32, dims));
        let x = x.unwrap();
        graph.add_input(x);
        let dims = [Dim::symbol("batch"), Dim::symbol("length"), Dim::Known(3)];
        let y = graph.add_value("y", Fact::tensor(DType::F32, dims));
        let y = y.unwrap();
        graph.add_node(Node::new("Relu", [x], [y])).unwrap();
        graph.add_output(y);
        Model::new(graph, 17)
    }

    #[test]
    fn sizes_reach_what_follows_from_them() {
        let mut model = model();
        fix_dims(&mut model, [("batch", 2), ("x:1", 5)]).unwrap();
        infer_shapes(&mut model, Catalog::standard()).unwrap();
        assert_eq!(model.fact("x").unwrap().to_string(), "f32[2, 5, 3]");
        assert_eq!(model.fact("y").unwrap().to_string(), "f32[2, 5, 3]");
        assert!(open_dims(&model.graph).is_empty());
    }

    #[test]
    fn a_place_stands_for_its_symbol() {
        let mut model = model();
        fix_dims(&mut model, [("x:0", 2)]).unwrap();
        assert_eq!(model.fact("y").unwrap().to_string(), "f32[2, length, 3]");
    }

    #[test]
    fn a_dimension_that_is_not_open_is_refused_with_those_that_are() {
        for name in ["sequence", "length", "x:2", "x:7", "y:0", "x"] {
            let error = fix_dims(&mut model(), [(name, 2)]).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "the model has no open dimension `{name}`; its inputs leave open batch, x:1"
                )
            );
        }
        let twice = fix_dims(&mut model(), [("batch", 2), ("x:0", 2)]);
        assert!(matches!(twice, Err(DimError::GivenTwice { .. })));
    }
}
