//! Attributes of a node, as they stand in the file.

use crate::fact::Fact;
use crate::graph::Graph;
use crate::operator::EvalError;
use compress_tensor::{Tensor, element_count};
use std::sync::Arc;

/// The value of one attribute.
#[derive(Clone, Debug)]
pub enum Attribute {
    /// `FLOAT`.
    Float(f32),
    /// `INT`.
    Int(i64),
    /// `STRING`; by convention UTF-8, kept as it is.
    String(Vec<u8>),
    /// `TENSOR`.
    Tensor(Tensor),
    /// `GRAPH`: a subgraph, as of `If` and `Loop`.
    Graph(Arc<Graph>),
    /// `SPARSE_TENSOR`.
    SparseTensor(SparseTensor),
    /// `TYPE_PROTO`.
    Type(Fact),
    /// `FLOATS`.
    Floats(Vec<f32>),
    /// `INTS`.
    Ints(Vec<i64>),
    /// `STRINGS`.
    Strings(Vec<Vec<u8>>),
    /// `TENSORS`.
    Tensors(Vec<Tensor>),
    /// `GRAPHS`.
    Graphs(Vec<Arc<Graph>>),
    /// `SPARSE_TENSORS`.
    SparseTensors(Vec<SparseTensor>),
    /// `TYPE_PROTOS`.
    Types(Vec<Fact>),
    /// Within a function body: the value of the function's attribute of this name, which has this
    /// `AttributeProto.AttributeType`.
    Reference {
        /// Name of the function's attribute.
        name: String,
        /// The declared type, as numbered by ONNX.
        kind: i32,
    },
}

/// A sparse tensor in coordinate form.
#[derive(Clone, Debug)]
pub struct SparseTensor {
    /// Name, where it is an initializer.
    pub name: String,
    /// The values that are not zero, `[nnz]`.
    pub values: Tensor,
    /// Where they stand: i64 `[nnz]` (linear) or `[nnz, rank]`.
    pub indices: Tensor,
    /// The dense shape.
    pub dims: Vec<usize>,
}

impl SparseTensor {
    /// The dense tensor, zeros filled in.
    ///
    /// # Errors
    /// [`EvalError::TooLarge`] beyond `max_bytes`; [`EvalError::Rule`] for an index outside of the shape.
    pub fn to_dense(&self, max_bytes: usize) -> Result<Tensor, EvalError> {
        let too_large = || EvalError::TooLarge {
            shape: self.dims.clone(),
            limit: max_bytes,
        };
        let dtype = self.values.dtype();
        let width = dtype
            .bits()
            .filter(|b| b % 8 == 0)
            .ok_or(EvalError::DType { dtype })?
            / 8;
        let count = element_count(&self.dims).ok_or_else(too_large)?;
        let bytes = dtype
            .byte_len(count)
            .filter(|&b| b <= max_bytes)
            .ok_or_else(too_large)?;
        let rule = "sparse indices must lie within the shape, one (or one per axis) for each value";
        let indices = self.indices.data::<i64>()?;
        let rank = self.dims.len();
        let per_value = if self.indices.rank() == 2 { rank } else { 1 };
        if indices.len() != self.values.len().saturating_mul(per_value) {
            return Err(EvalError::rule(
                rule,
                format_args!("{:?}", self.indices.shape()),
            ));
        }
        let mut dense = vec![0u8; bytes];
        for (i, value) in self.values.bytes().chunks_exact(width).enumerate() {
            let index = &indices[i * per_value..(i + 1) * per_value];
            let mut at = 0usize;
            for (axis, &n) in index.iter().enumerate() {
                let size = if per_value == rank {
                    self.dims.get(axis).copied().unwrap_or(0)
                } else {
                    count
                };
                let n = usize::try_from(n).ok().filter(|&n| n < size);
                at = at * size
                    + n.ok_or_else(|| EvalError::rule(rule, format_args!("{index:?}")))?;
            }
            dense[at * width..(at + 1) * width].copy_from_slice(value);
        }
        Ok(Tensor::from_bytes(dtype, &self.dims, dense.into())?)
    }
}

impl Attribute {
    /// The kind, as ONNX names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Attribute::Float(_) => "FLOAT",
            Attribute::Int(_) => "INT",
            Attribute::String(_) => "STRING",
            Attribute::Tensor(_) => "TENSOR",
            Attribute::Graph(_) => "GRAPH",
            Attribute::SparseTensor(_) => "SPARSE_TENSOR",
            Attribute::Type(_) => "TYPE_PROTO",
            Attribute::Floats(_) => "FLOATS",
            Attribute::Ints(_) => "INTS",
            Attribute::Strings(_) => "STRINGS",
            Attribute::Tensors(_) => "TENSORS",
            Attribute::Graphs(_) => "GRAPHS",
            Attribute::SparseTensors(_) => "SPARSE_TENSORS",
            Attribute::Types(_) => "TYPE_PROTOS",
            Attribute::Reference { .. } => "reference",
        }
    }

    /// The subgraphs that this attribute holds.
    pub fn graphs(&self) -> &[Arc<Graph>] {
        match self {
            Attribute::Graph(graph) => std::slice::from_ref(graph),
            Attribute::Graphs(graphs) => graphs,
            _ => &[],
        }
    }

    pub(crate) fn graphs_mut(&mut self) -> &mut [Arc<Graph>] {
        match self {
            Attribute::Graph(graph) => std::slice::from_mut(graph),
            Attribute::Graphs(graphs) => graphs,
            _ => &mut [],
        }
    }
}

impl From<f32> for Attribute {
    fn from(value: f32) -> Self {
        Attribute::Float(value)
    }
}
impl From<i64> for Attribute {
    fn from(value: i64) -> Self {
        Attribute::Int(value)
    }
}
impl From<&str> for Attribute {
    fn from(value: &str) -> Self {
        Attribute::String(value.as_bytes().to_vec())
    }
}
impl From<Vec<i64>> for Attribute {
    fn from(value: Vec<i64>) -> Self {
        Attribute::Ints(value)
    }
}
impl From<Vec<f32>> for Attribute {
    fn from(value: Vec<f32>) -> Self {
        Attribute::Floats(value)
    }
}
impl From<Tensor> for Attribute {
    fn from(value: Tensor) -> Self {
        Attribute::Tensor(value)
    }
}

/// The attributes of a node, by name, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Attributes(Vec<(String, Attribute)>);

impl Attributes {
    /// The attribute of this name.
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, a)| a)
    }

    /// Sets an attribute; returns the one that stood there.
    pub fn set(
        &mut self,
        name: impl Into<String>,
        value: impl Into<Attribute>,
    ) -> Option<Attribute> {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().find(|(n, _)| *n == name) {
            Some((_, old)) => Some(std::mem::replace(old, value)),
            None => {
                self.0.push((name, value));
                None
            }
        }
    }

    /// Takes an attribute out.
    pub fn remove(&mut self, name: &str) -> Option<Attribute> {
        let at = self.0.iter().position(|(n, _)| n == name)?;
        Some(self.0.remove(at).1)
    }

    /// All attributes, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attribute)> {
        self.0.iter().map(|(n, a)| (n.as_str(), a))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Attribute> {
        self.0.iter_mut().map(|(_, a)| a)
    }

    /// The number of attributes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The subgraphs in all attributes.
    pub fn graphs(&self) -> impl Iterator<Item = &Arc<Graph>> {
        self.0.iter().flat_map(|(_, a)| a.graphs())
    }
}

impl FromIterator<(String, Attribute)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (String, Attribute)>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}
