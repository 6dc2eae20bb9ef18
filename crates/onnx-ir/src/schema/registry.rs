//! The schema facts by domain, name and opset version.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::OpSchema;
use super::parse::{SchemaText, SchemaTextError, parse};
use crate::canonical_domain;

const ONNX: &str = include_str!("onnx_schemas.txt");
const COM_MICROSOFT: &str = include_str!("com_microsoft_schemas.txt");
const MODELPRESS: &str = include_str!("modelpress_schemas.txt");

/// The facts of all operators that the pinned packages know, read once.
pub fn registry() -> &'static SchemaRegistry {
    static REGISTRY: OnceLock<SchemaRegistry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        SchemaRegistry::from_texts(&[ONNX, COM_MICROSOFT, MODELPRESS])
            .expect("the checked-in text is well-formed: a test of this module reads all of it")
    })
}

/// Schema facts by domain, name and opset version.
#[derive(Debug, Default)]
pub struct SchemaRegistry {
    domains: HashMap<&'static str, Domain>,
    releases: Vec<Release>,
}

#[derive(Debug, Default)]
struct Domain {
    newest: i64,
    /// The versions of each operator, oldest first.
    operators: HashMap<&'static str, Vec<OpSchema>>,
}

/// A release of the ONNX specification.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Release {
    /// The version of the `onnx` package.
    pub package: &'static str,
    /// The IR version that its files have.
    pub ir_version: i64,
    /// The newest opset version of each domain (`""` is `ai.onnx`).
    pub opsets: Vec<(&'static str, i64)>,
}

impl SchemaRegistry {
    fn from_texts(texts: &[&'static str]) -> Result<Self, SchemaTextError> {
        let mut registry = Self::default();
        for text in texts {
            registry.add(parse(text)?);
        }
        Ok(registry)
    }

    fn add(&mut self, text: SchemaText) {
        for schema in text.schemas {
            let domain = self.domains.entry(schema.domain).or_default();
            domain.newest = domain.newest.max(schema.since_version);
            let versions = domain.operators.entry(schema.name).or_default();
            let place = versions.partition_point(|v| v.since_version < schema.since_version);
            versions.insert(place, schema);
        }
        for (name, version) in text.releases.iter().flat_map(|release| &release.opsets) {
            let domain = self.domains.entry(name).or_default();
            domain.newest = domain.newest.max(*version);
        }
        self.releases.extend(text.releases);
    }

    /// The form that operator `name` has in version `opset` of `domain`: the newest one whose
    /// `since_version` is not above `opset`. Deprecated operators are found as well.
    pub fn lookup(&self, domain: &str, name: &str, opset: i64) -> Option<&OpSchema> {
        let versions = self.versions(domain, name);
        let newer = versions.partition_point(|version| version.since_version <= opset);
        versions.get(newer.checked_sub(1)?)
    }

    /// All versions of operator `name`, oldest first; empty where there is none.
    pub fn versions(&self, domain: &str, name: &str) -> &[OpSchema] {
        let domain = self.domains.get(canonical_domain(domain));
        domain
            .and_then(|domain| domain.operators.get(name))
            .map_or(&[], Vec::as_slice)
    }

    /// The newest opset version of `domain` that is known; `None` for a foreign domain.
    pub fn newest_opset(&self, domain: &str) -> Option<i64> {
        self.domains
            .get(canonical_domain(domain))
            .map(|domain| domain.newest)
    }

    /// The newest IR version that is known.
    pub fn newest_ir_version(&self) -> i64 {
        self.releases
            .iter()
            .map(|release| release.ir_version)
            .max()
            .unwrap_or(0)
    }

    /// The least IR version of the releases that have version `opset` of `domain`.
    ///
    /// A file of a newer opset must carry at least this IR version.
    pub fn least_ir_version(&self, domain: &str, opset: i64) -> Option<i64> {
        let domain = canonical_domain(domain);
        let has = |release: &&Release| {
            release
                .opsets
                .iter()
                .any(|&(name, version)| name == domain && version >= opset)
        };
        self.releases
            .iter()
            .filter(has)
            .map(|release| release.ir_version)
            .min()
    }

    /// The releases of the specification, oldest first.
    pub fn releases(&self) -> &[Release] {
        &self.releases
    }

    /// Every operator in every version, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &OpSchema> {
        self.domains
            .values()
            .flat_map(|domain| domain.operators.values().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AttributeDefault, AttributeType, ParameterKind, parameter_at};
    use super::*;

    #[test]
    fn the_checked_in_facts_are_complete() {
        let registry =
            SchemaRegistry::from_texts(&[ONNX, COM_MICROSOFT, MODELPRESS]).expect("well-formed");
        let count = |domain| {
            registry
                .iter()
                .filter(|schema| schema.domain == domain)
                .count()
        };
        assert_eq!(count(""), 629);
        assert_eq!(count("ai.onnx.ml"), 25);
        assert_eq!(count("com.microsoft"), 150);
        assert_eq!(registry.newest_opset("ai.onnx"), Some(28));
        assert_eq!(registry.newest_opset("ai.onnx.ml"), Some(5));
        assert_eq!(registry.newest_opset("no.such.domain"), None);
        assert_eq!(registry.newest_ir_version(), 14);
    }

    #[test]
    fn lookup_gives_the_newest_version_not_above_the_opset() {
        let since = |name, opset| registry().lookup("", name, opset).map(|s| s.since_version);
        assert_eq!(since("Relu", 1), Some(1));
        assert_eq!(since("Relu", 5), Some(1));
        assert_eq!(since("Relu", 6), Some(6));
        assert_eq!(since("Relu", 13), Some(13));
        assert_eq!(since("Relu", 9999), Some(14));
        assert_eq!(since("Relu", 0), None);
        assert_eq!(since("NoSuchOp", 17), None);
        assert!(registry().lookup("ai.onnx", "Relu", 13).is_some());
        assert!(
            registry()
                .lookup("", "Upsample", 10)
                .is_some_and(|s| s.deprecated)
        );
    }

    #[test]
    fn spot_facts_agree_with_the_specification() {
        let gemm = registry().lookup("", "Gemm", 13).expect("Gemm");
        let alpha = gemm.attribute("alpha").expect("alpha");
        assert_eq!(alpha.kind, AttributeType::Float);
        assert_eq!(alpha.default, Some(AttributeDefault::Float(1.0)));
        assert_eq!(gemm.input_arity(), (2, Some(3)));

        let concat = registry().lookup("", "Concat", 13).expect("Concat");
        assert!(concat.attribute("axis").is_some_and(|axis| axis.required));
        assert_eq!(concat.input_arity(), (1, None));
        let fifth = parameter_at(&concat.inputs, 4).expect("variadic");
        assert_eq!(
            fifth.kind,
            ParameterKind::Variadic {
                at_least: 1,
                homogeneous: true
            }
        );

        let add = registry().lookup("", "Add", 6).expect("Add");
        let types = add.allowed_types(&add.inputs[0]);
        assert!(types.contains("tensor(float)") && !types.contains("tensor(int8)"));

        let leaky = registry().lookup("", "LeakyRelu", 16).expect("LeakyRelu");
        let slope = leaky
            .attribute("alpha")
            .and_then(|alpha| alpha.default.clone());
        assert_eq!(slope, Some(AttributeDefault::Float(0.01)));

        let qgemm = registry()
            .lookup("com.microsoft", "QGemm", 1)
            .expect("QGemm");
        assert_eq!(qgemm.input_arity(), (6, Some(9)));
    }

    #[test]
    fn type_sets_are_sorted_so_that_lookups_can_bisect() {
        for constraint in registry().iter().flat_map(|schema| &schema.constraints) {
            assert!(constraint.allowed.is_sorted(), "{constraint:?}");
        }
    }

    #[test]
    fn ir_versions_follow_the_release_history() {
        assert_eq!(registry().least_ir_version("", 7), Some(3));
        assert_eq!(registry().least_ir_version("", 17), Some(8));
        assert_eq!(registry().least_ir_version("", 28), Some(14));
        assert_eq!(registry().least_ir_version("", 29), None);
    }
}
