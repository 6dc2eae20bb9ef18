//! Typed reading of a node's attributes.

use super::AttrError;
use crate::fact::Fact;
use crate::graph::SparseTensor;
use crate::graph::{Attribute, Attributes, Graph};
use crate::io::dtype_of_code;
use compress_tensor::{DType, Tensor};
use std::sync::Arc;

/// The attributes of one node while its operator reads them; what nobody asks for is an error.
#[derive(Debug)]
pub struct Attrs<'a> {
    attributes: &'a Attributes,
    version: u32,
    inputs: usize,
    outputs: usize,
    read: Vec<&'static str>,
}

macro_rules! read {
    ($get:ident, $opt:ident, $or:ident, $ty:ty, $kind:literal, $pattern:pat => $value:expr) => {
        #[doc = concat!("The required ", $kind, " attribute.\n\n# Errors\n[`AttrError::Missing`], [`AttrError::WrongKind`].")]
        pub fn $get(&mut self, name: &'static str) -> Result<$ty, AttrError> {
            self.$opt(name)?.ok_or(AttrError::Missing { name })
        }

        #[doc = concat!("The ", $kind, " attribute, where it is there.\n\n# Errors\n[`AttrError::WrongKind`].")]
        pub fn $opt(&mut self, name: &'static str) -> Result<Option<$ty>, AttrError> {
            match self.take(name) {
                None => Ok(None),
                Some($pattern) => Ok(Some($value)),
                Some(other) => Err(AttrError::WrongKind { name, expected: $kind, found: other.kind() }),
            }
        }

        #[doc = concat!("The ", $kind, " attribute, or the default.\n\n# Errors\n[`AttrError::WrongKind`].")]
        pub fn $or(&mut self, name: &'static str, default: $ty) -> Result<$ty, AttrError> {
            Ok(self.$opt(name)?.unwrap_or(default))
        }
    };
}

impl<'a> Attrs<'a> {
    /// Reads `attributes` for an operator at its version `version` (the opset in which it last changed),
    /// on a node with this many inputs and outputs.
    pub fn new(attributes: &'a Attributes, version: u32, inputs: usize, outputs: usize) -> Self {
        Self {
            attributes,
            version,
            inputs,
            outputs,
            read: Vec::new(),
        }
    }

    /// The version of the operator: the opset in which it last changed.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The number of inputs of the node.
    pub fn input_count(&self) -> usize {
        self.inputs
    }

    /// The number of outputs of the node.
    pub fn output_count(&self) -> usize {
        self.outputs
    }

    read!(int, int_opt, int_or, i64, "INT", Attribute::Int(v) => *v);
    read!(f32, f32_opt, f32_or, f32, "FLOAT", Attribute::Float(v) => *v);
    read!(ints, ints_opt, ints_or, Vec<i64>, "INTS", Attribute::Ints(v) => v.clone());
    read!(floats, floats_opt, floats_or, Vec<f32>, "FLOATS", Attribute::Floats(v) => v.clone());
    read!(tensor, tensor_opt, tensor_or, Tensor, "TENSOR", Attribute::Tensor(v) => v.clone());
    read!(graph, graph_opt, graph_or, Arc<Graph>, "GRAPH", Attribute::Graph(v) => v.clone());
    read!(type_, type_opt, type_or, Fact, "TYPE_PROTO", Attribute::Type(v) => v.clone());
    read!(sparse, sparse_opt, sparse_or, SparseTensor, "SPARSE_TENSOR", Attribute::SparseTensor(v) => v.clone());
    read!(string, string_opt, string_or, String, "STRING", Attribute::String(v) => String::from_utf8_lossy(v).into_owned());
    read!(strings, strings_opt, strings_or, Vec<String>, "STRINGS",
        Attribute::Strings(v) => v.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect());

    /// An INT attribute that is 0 or 1, or the default.
    ///
    /// # Errors
    /// [`AttrError::WrongKind`].
    pub fn flag_or(&mut self, name: &'static str, default: bool) -> Result<bool, AttrError> {
        Ok(self.int_or(name, default.into())? != 0)
    }

    /// A non-negative INT attribute, or the default.
    ///
    /// # Errors
    /// [`AttrError::WrongKind`], [`AttrError::Invalid`].
    pub fn size_or(&mut self, name: &'static str, default: usize) -> Result<usize, AttrError> {
        match self.int_opt(name)? {
            None => Ok(default),
            Some(n) => usize::try_from(n).map_err(|_| AttrError::Invalid {
                name,
                found: n.to_string(),
                rule: "it must not be negative",
            }),
        }
    }

    /// The required element type attribute, an INT code of `TensorProto.DataType`.
    ///
    /// # Errors
    /// [`AttrError::Missing`], [`AttrError::WrongKind`], [`AttrError::Invalid`] for an unknown code.
    pub fn dtype(&mut self, name: &'static str) -> Result<DType, AttrError> {
        self.dtype_opt(name)?.ok_or(AttrError::Missing { name })
    }

    /// As [`Attrs::dtype`], where it is there.
    ///
    /// # Errors
    /// [`AttrError::WrongKind`], [`AttrError::Invalid`] for an unknown code.
    pub fn dtype_opt(&mut self, name: &'static str) -> Result<Option<DType>, AttrError> {
        let Some(code) = self.int_opt(name)? else {
            return Ok(None);
        };
        let dtype = i32::try_from(code).ok().and_then(dtype_of_code);
        dtype.map(Some).ok_or_else(|| AttrError::Invalid {
            name,
            found: code.to_string(),
            rule: "it must be the code of an element type",
        })
    }

    /// Notes an attribute as known without reading it: one that older versions carry and whose
    /// value has no effect.
    pub fn ignore(&mut self, name: &'static str) {
        self.read.push(name);
    }

    /// # Errors
    /// [`AttrError::Unknown`] for an attribute that nobody asked for.
    pub(crate) fn finish(self) -> Result<(), AttrError> {
        match self
            .attributes
            .iter()
            .find(|(name, _)| !self.read.contains(name))
        {
            None => Ok(()),
            Some((name, _)) => Err(AttrError::Unknown {
                name: name.to_owned(),
            }),
        }
    }

    fn take(&mut self, name: &'static str) -> Option<&'a Attribute> {
        self.read.push(name);
        self.attributes.get(name)
    }
}
