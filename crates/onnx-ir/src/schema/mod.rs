//! Schema facts: what the ONNX specification says of each operator in each of its versions,
//! inputs, outputs, attributes and types, for every operator, with or without semantics here.
//!
//! The facts of the domains `ai.onnx`, `ai.onnx.ml` and the training and preview ones come from
//! the pinned `onnx` package, those of `com.microsoft` from the pinned `onnxruntime`; both as
//! checked-in text that `cargo xtask schema` writes and [`SchemaRegistry`] reads once. Those of this project's own domain
//! are written by hand (`modelpress_schemas.txt`).
//!
//! ```
//! let registry = onnx_ir::schema::registry();
//! let conv = registry.lookup("", "Conv", 17).expect("Conv exists since opset 1");
//! assert_eq!(conv.since_version, 11);
//! assert_eq!(conv.inputs.len(), 3);
//! assert!(registry.lookup("", "LayerNormalization", 16).is_none());
//! ```

mod parse;
mod registry;

pub use parse::SchemaTextError;
pub use registry::{Release, SchemaRegistry, registry};

pub use crate::proto::attribute_proto::AttributeType;

/// One operator in one of its versions.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct OpSchema {
    /// The domain; empty for `ai.onnx`.
    pub domain: &'static str,
    /// The operator's name.
    pub name: &'static str,
    /// The opset version that brought this form of the operator.
    pub since_version: i64,
    /// Whether the operator may no longer be used from this version on.
    pub deprecated: bool,
    /// The inputs, in order.
    pub inputs: Vec<Parameter>,
    /// The outputs, in order.
    pub outputs: Vec<Parameter>,
    /// The attributes, by name.
    pub attributes: Vec<AttributeSchema>,
    /// The types that each type variable can stand for.
    pub constraints: Vec<TypeConstraint>,
}

impl OpSchema {
    /// The attribute called `name`.
    pub fn attribute(&self, name: &str) -> Option<&AttributeSchema> {
        self.attributes
            .iter()
            .find(|attribute| attribute.name == name)
    }

    /// The types that `parameter` allows, as in `tensor(float)`.
    pub fn allowed_types(&self, parameter: &Parameter) -> AllowedTypes<'_> {
        let variable = self
            .constraints
            .iter()
            .find(|c| c.variable == parameter.type_name);
        match variable {
            Some(constraint) => AllowedTypes::Variable(constraint),
            None => AllowedTypes::Concrete(parameter.type_name),
        }
    }

    /// How few and how many inputs a node may have; `None` is no upper limit.
    pub fn input_arity(&self) -> (usize, Option<usize>) {
        arity(&self.inputs)
    }

    /// How few and how many outputs a node may have; `None` is no upper limit.
    pub fn output_arity(&self) -> (usize, Option<usize>) {
        arity(&self.outputs)
    }
}

/// The parameter at position `index`, the last one standing for all that follow if it is variadic.
pub fn parameter_at(parameters: &[Parameter], index: usize) -> Option<&Parameter> {
    parameters.get(index).or_else(|| {
        parameters
            .last()
            .filter(|last| matches!(last.kind, ParameterKind::Variadic { .. }))
    })
}

fn arity(parameters: &[Parameter]) -> (usize, Option<usize>) {
    let mut least = 0;
    for (index, parameter) in parameters.iter().enumerate() {
        match parameter.kind {
            ParameterKind::Single => least = index + 1,
            ParameterKind::Optional => {}
            ParameterKind::Variadic { at_least: 0, .. } => return (least, None),
            ParameterKind::Variadic { at_least, .. } => return (index + at_least, None),
        }
    }
    (least, Some(parameters.len()))
}

/// An input or output of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parameter {
    /// The name in the specification.
    pub name: &'static str,
    /// A type variable of the operator, or one type such as `tensor(int64)`.
    pub type_name: &'static str,
    /// Whether it must be there, and how often.
    pub kind: ParameterKind,
}

/// Whether a parameter must be there, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// Exactly once.
    Single,
    /// Once, or left out.
    Optional,
    /// Any number of times, at the end of the list.
    Variadic {
        /// The smallest number.
        at_least: usize,
        /// Whether all must have the same type.
        homogeneous: bool,
    },
}

/// An attribute of an operator.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AttributeSchema {
    /// The name.
    pub name: &'static str,
    /// The type of its value.
    pub kind: AttributeType,
    /// Whether a node must have it.
    pub required: bool,
    /// What an absent attribute means, where the specification gives a value.
    pub default: Option<AttributeDefault>,
}

/// The value that an absent attribute stands for.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum AttributeDefault {
    /// An integer.
    Int(i64),
    /// A number.
    Float(f32),
    /// A text.
    String(&'static str),
    /// Integers.
    Ints(Vec<i64>),
    /// Numbers.
    Floats(Vec<f32>),
    /// Texts.
    Strings(Vec<&'static str>),
}

/// The types that a type variable can stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TypeConstraint {
    /// The variable's name, such as `T`.
    pub variable: &'static str,
    /// The types, such as `tensor(float)`, sorted.
    pub allowed: std::sync::Arc<[&'static str]>,
}

/// The types that one parameter allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllowedTypes<'a> {
    /// The types of a type variable, which is the same type wherever it occurs in one node.
    Variable(&'a TypeConstraint),
    /// One type.
    Concrete(&'static str),
}

impl AllowedTypes<'_> {
    /// Whether `type_name`, such as `tensor(float)`, is allowed.
    pub fn contains(&self, type_name: &str) -> bool {
        match self {
            Self::Variable(constraint) => constraint.allowed.binary_search(&type_name).is_ok(),
            Self::Concrete(allowed) => *allowed == type_name,
        }
    }

    /// The types.
    pub fn names(&self) -> &[&'static str] {
        match self {
            Self::Variable(constraint) => &constraint.allowed,
            Self::Concrete(allowed) => std::slice::from_ref(allowed),
        }
    }
}
