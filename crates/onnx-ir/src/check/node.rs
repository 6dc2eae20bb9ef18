//! Nodes, held against the schema of their operator.

use std::borrow::Cow;

use super::function::key_of_call;
use super::problem::Port;
use super::scope::Scope;
use super::{Checker, Finding, Place, Problem, Severity};
use crate::graph::{Attribute, Node, NodeId, ValueId};
use crate::schema::{
    AllowedTypes, AttributeType, OpSchema, Parameter, ParameterKind, parameter_at,
};

/// The domain whose facts come from one version of a runtime that may differ from the next:
/// what breaks them is a warning.
const UNVERSIONED_DOMAIN: &str = "com.microsoft";

/// Operators of the default domain that were tried before opset 10, outside of any schema.
const EXPERIMENTAL: &[&str] = &[
    "ATen",
    "Affine",
    "ConstantFill",
    "Crop",
    "DynamicSlice",
    "GRUUnit",
    "GivenTensorFill",
    "ImageScaler",
    "ParametricSoftplus",
    "Scale",
    "ScaledTanh",
];

impl Checker<'_> {
    pub(super) fn node(&mut self, scope: &Scope<'_>, id: NodeId, node: &Node) {
        if node.op_type.is_empty() {
            return self.error(scope.place_of(id), Problem::NoOperator);
        }
        if node.inputs().is_empty() && node.outputs().is_empty() {
            self.error(scope.place_of(id), Problem::NoEdges);
        }
        self.references(scope, id, node);
        let is_implied = node.is(&node.op_type)
            && scope.function.is_none()
            && scope.opsets.iter().next().is_none();
        let implied = is_implied.then_some(1);
        let Some(version) = scope.opsets.get(&node.domain).or(implied) else {
            let domain = node.domain.clone();
            return self.error(scope.place_of(id), Problem::DomainNotImported { domain });
        };
        if self.functions.contains(&key_of_call(node)) {
            return;
        }
        if version < 1 {
            return; // The import is reported already.
        }
        match self.registry.lookup(&node.domain, &node.op_type, version) {
            Some(schema) => {
                let severity = match schema.domain {
                    UNVERSIONED_DOMAIN => Severity::Warning,
                    _ => Severity::Error,
                };
                let mut against = AgainstSchema {
                    scope,
                    id,
                    node,
                    schema,
                    severity,
                    found: Vec::new(),
                };
                against.all(version);
                let found = against.found;
                found.into_iter().for_each(|finding| self.report(finding));
            }
            None => self.without_schema(scope, id, node, version),
        }
    }

    fn without_schema(&mut self, scope: &Scope<'_>, id: NodeId, node: &Node, version: i64) {
        let (domain, op) = (node.domain.clone(), node.op_type.clone());
        let is_known = self.registry.newest_opset(&domain).is_some();
        let is_experimental = node.is(&op) && EXPERIMENTAL.contains(&op.as_str());
        if is_known && domain != UNVERSIONED_DOMAIN && !is_experimental {
            let problem = Problem::UnknownOperator {
                domain,
                op,
                version,
            };
            self.error(scope.place_of(id), problem);
        } else if self.seen_foreign.insert(node.qualified_op()) {
            self.warning(scope.place_of(id), Problem::ForeignOperator { domain, op });
        }
    }

    /// References to a function's attributes stand in a function that has them.
    fn references(&mut self, scope: &Scope<'_>, id: NodeId, node: &Node) {
        for (attribute, value) in node.attributes.iter() {
            let Attribute::Reference { name, .. } = value else {
                continue;
            };
            let (attribute, target) = (attribute.to_owned(), name.clone());
            match scope.function {
                None => {
                    self.error(
                        scope.place_of(id),
                        Problem::ReferenceOutsideFunction { attribute },
                    );
                }
                Some(function) => {
                    let defaults = function.defaults.iter().map(|(name, _)| name);
                    if !function
                        .attributes
                        .iter()
                        .chain(defaults)
                        .any(|known| *known == target)
                    {
                        let problem = Problem::DanglingReference { attribute, target };
                        self.error(scope.place_of(id), problem);
                    }
                }
            }
        }
    }
}

/// One node and the schema that it is held against.
struct AgainstSchema<'a> {
    scope: &'a Scope<'a>,
    id: NodeId,
    node: &'a Node,
    schema: &'static OpSchema,
    severity: Severity,
    found: Vec<Finding>,
}

impl AgainstSchema<'_> {
    fn all(&mut self, version: i64) {
        if self.schema.deprecated {
            let op = self.node.op_type.clone();
            return self.report(Problem::DeprecatedOperator { op, version });
        }
        self.counts();
        self.presence();
        self.attributes(version);
        if self.node.is("Constant") {
            self.one_value();
        }
        self.types();
    }

    fn report(&mut self, problem: Problem) {
        let place: Place = self.scope.place_of(self.id);
        self.found.push(Finding {
            severity: self.severity,
            place,
            problem,
        });
    }

    fn counts(&mut self) {
        let is_outside = |found: usize, least: usize, most: Option<usize>| {
            found < least || most.is_some_and(|most| found > most)
        };
        let found = self.node.inputs().len();
        let (least, most) = self.schema.input_arity();
        if is_outside(found, least, most) {
            self.report(Problem::InputCount { found, least, most });
        }
        let found = self.node.outputs().len();
        let (least, most) = self.schema.output_arity();
        // Statistics come together, which the schema data cannot say.
        let lacks_statistics =
            self.node.is("BatchNormalization") && (2..most.unwrap_or(0)).contains(&found);
        if is_outside(found, least, most) || lacks_statistics {
            self.report(Problem::OutputCount { found, least, most });
        }
    }

    /// What is not optional is not left out by an empty name.
    fn presence(&mut self) {
        let left_out = |values: &[Option<ValueId>], parameters: &'static [Parameter]| {
            let pairs = values.iter().zip(parameters).enumerate();
            let missing = pairs.filter(|(_, (value, parameter))| {
                value.is_none() && parameter.kind == ParameterKind::Single
            });
            let names = missing.map(|(index, (_, parameter))| (index, parameter.name));
            names.collect::<Vec<_>>()
        };
        for (index, parameter) in left_out(self.node.inputs(), &self.schema.inputs) {
            self.report(Problem::MissingInput { index, parameter });
        }
        for (index, parameter) in left_out(self.node.outputs(), &self.schema.outputs) {
            self.report(Problem::MissingOutput { index, parameter });
        }
    }

    fn attributes(&mut self, version: i64) {
        for (name, value) in self.node.attributes.iter() {
            // Attributes of the form `__name` are a runtime's own.
            let Some(schema) = self.schema.attribute(name) else {
                if !name.starts_with("__") {
                    let attribute = name.to_owned();
                    self.report(Problem::UnknownAttribute { attribute, version });
                }
                continue;
            };
            let (expected, attribute) = (schema.kind, name.to_owned());
            let kind = kind_of(value);
            if kind != expected && kind != AttributeType::Undefined {
                let found = kind.as_str_name();
                self.report(Problem::AttributeKind {
                    attribute,
                    expected,
                    found,
                });
            }
        }
        let is_missing = |name| self.node.attributes.get(name).is_none();
        let required = self
            .schema
            .attributes
            .iter()
            .filter(|attribute| attribute.required);
        let missing: Vec<_> = required
            .map(|a| a.name)
            .filter(|name| is_missing(name))
            .collect();
        for attribute in missing {
            self.report(Problem::MissingAttribute { attribute });
        }
    }

    /// A constant has its value in one of several attributes.
    fn one_value(&mut self) {
        let values = self.node.attributes.iter();
        let found = values
            .filter(|(name, _)| self.schema.attribute(name).is_some())
            .count();
        if found != 1 {
            self.report(Problem::ConstantValues { found });
        }
    }

    /// Types are allowed, and each type variable stands for one type.
    fn types(&mut self) {
        let mut bound: Vec<(&'static str, Cow<'static, str>)> = Vec::new();
        let (inputs, outputs) = (self.node.inputs(), self.node.outputs());
        let inputs = inputs
            .iter()
            .enumerate()
            .map(|(i, id)| (Port::Input, i, id));
        let outputs = outputs
            .iter()
            .enumerate()
            .map(|(i, id)| (Port::Output, i, id));
        for (port, index, id) in inputs.chain(outputs) {
            let parameters = match port {
                Port::Input => &self.schema.inputs,
                Port::Output => &self.schema.outputs,
            };
            let Some(parameter) = parameter_at(parameters, index) else {
                continue;
            };
            let Some(found) = id.and_then(|id| self.scope.type_of(id)) else {
                continue;
            };
            let allowed = self.schema.allowed_types(parameter);
            if !allowed.contains(&found) {
                let found = found.into_owned();
                let allowed = allowed.names().to_vec();
                let parameter = parameter.name;
                self.report(Problem::TypeNotAllowed {
                    port,
                    index,
                    parameter,
                    found,
                    allowed,
                });
            } else if let AllowedTypes::Variable(constraint) = allowed
                && !is_heterogeneous(parameter)
            {
                let variable = constraint.variable;
                match bound.iter().find(|(name, _)| *name == variable) {
                    Some((_, first)) if *first != found => {
                        let (first, second) = (first.to_string(), found.into_owned());
                        self.report(Problem::TypeMismatch {
                            variable,
                            first,
                            second,
                        });
                    }
                    Some(_) => {}
                    None => bound.push((variable, found)),
                }
            }
        }
    }
}

fn is_heterogeneous(parameter: &Parameter) -> bool {
    matches!(
        parameter.kind,
        ParameterKind::Variadic {
            homogeneous: false,
            ..
        }
    )
}

/// The type of an attribute's value; undefined for a reference that does not say it.
fn kind_of(value: &Attribute) -> AttributeType {
    match value {
        Attribute::Reference { kind, .. } => {
            AttributeType::try_from(*kind).unwrap_or(AttributeType::Undefined)
        }
        other => AttributeType::from_str_name(other.kind()).unwrap_or(AttributeType::Undefined),
    }
}
