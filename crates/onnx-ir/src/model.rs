//! The model: a graph with its operator set imports, functions and metadata.

use crate::fact::Fact;
use crate::graph::{Attribute, Graph};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Operator set imports: domain to version. The default domain is the empty string.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpsetImports(BTreeMap<String, i64>);

impl OpsetImports {
    /// Imports of the default domain only.
    pub fn onnx(version: i64) -> Self {
        Self(BTreeMap::from([(String::new(), version)]))
    }

    /// The version of a domain; `ai.onnx` and the empty string are the same.
    pub fn get(&self, domain: &str) -> Option<i64> {
        self.0.get(canonical_domain(domain)).copied()
    }

    /// Imports a domain at a version; returns the version that was there.
    pub fn set(&mut self, domain: &str, version: i64) -> Option<i64> {
        self.0.insert(canonical_domain(domain).to_owned(), version)
    }

    /// Drops an import.
    pub fn remove(&mut self, domain: &str) -> Option<i64> {
        self.0.remove(canonical_domain(domain))
    }

    /// All imports, by domain.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(d, &v)| (d.as_str(), v))
    }
}

/// The default domain has two spellings; this is the one used inside.
pub fn canonical_domain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// A function: an operator defined by a graph within the model.
#[derive(Clone, Debug, Default)]
pub struct Function {
    /// The domain.
    pub domain: String,
    /// The operator that it defines.
    pub name: String,
    /// The overload; mostly empty.
    pub overload: String,
    /// Attributes without a default.
    pub attributes: Vec<String>,
    /// Attributes with a default.
    pub defaults: Vec<(String, Attribute)>,
    /// Operator sets that the body imports.
    pub opsets: OpsetImports,
    /// The body: its inputs and outputs are the function's.
    pub body: Graph,
    /// An encoded `FunctionProto` that holds the fields that this type does not model.
    pub preserved: Bytes,
}

/// A model: what one ONNX file holds.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// Version of the file format.
    pub ir_version: i64,
    /// Operator sets that the graph imports.
    pub opsets: OpsetImports,
    /// The program that made the model.
    pub producer_name: String,
    /// Its version.
    pub producer_version: String,
    /// The model's reverse-DNS domain.
    pub domain: String,
    /// The model's version.
    pub model_version: i64,
    /// Documentation text.
    pub doc: String,
    /// Metadata, in the order of the file.
    pub metadata: Vec<(String, String)>,
    /// The graph.
    pub graph: Graph,
    /// Functions that the graph may call like operators.
    pub functions: Vec<Function>,
    /// An encoded `ModelProto` that holds the fields that this type does not model, such as training
    /// information and device configurations.
    pub preserved: Bytes,
}

impl Model {
    /// A model around a graph, importing the default domain at `opset`.
    pub fn new(graph: Graph, opset: i64) -> Self {
        Self {
            ir_version: 8,
            opsets: OpsetImports::onnx(opset),
            producer_name: "modelpress".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph,
            ..Self::default()
        }
    }

    /// The version of the default domain; 1 where it is not imported.
    pub fn opset(&self) -> i64 {
        self.opsets.get("").unwrap_or(1)
    }

    /// Raises the file format to the version from which on an initializer need not be an input too, where one is not.
    pub fn raise_ir_version(&mut self) {
        const FREE_INITIALIZERS: i64 = 4;
        let graph = &self.graph;
        if graph.initializers().any(|(id, _)| !graph.is_input(id)) {
            self.ir_version = self.ir_version.max(FREE_INITIALIZERS);
        }
    }

    /// The function that a node of this domain, operator and overload calls.
    pub fn function(&self, domain: &str, name: &str, overload: &str) -> Option<&Function> {
        self.functions.iter().find(|f| {
            canonical_domain(&f.domain) == canonical_domain(domain)
                && f.name == name
                && f.overload == overload
        })
    }

    /// Sets a metadata entry; returns the one that stood there.
    pub fn set_metadata(&mut self, key: &str, value: impl Into<String>) -> Option<String> {
        match self.metadata.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => Some(std::mem::replace(old, value.into())),
            None => {
                self.metadata.push((key.to_owned(), value.into()));
                None
            }
        }
    }

    /// Fact of a graph value by name.
    pub fn fact(&self, name: &str) -> Option<&Fact> {
        Some(&self.graph.value(self.graph.value_by_name(name)?).fact)
    }
}
