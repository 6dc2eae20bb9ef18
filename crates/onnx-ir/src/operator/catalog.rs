//! The catalog: the one list of operators with semantics.

use super::{Attrs, DynOperator, GradientKind, Operator, ParseError, Signature};
use crate::graph::Node;
use crate::model::{OpsetImports, canonical_domain};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// Operators by domain and name. [`Catalog::standard`] holds those of this crate;
/// [`Catalog::with`] adds one of your own.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// By domain, then by name.
    entries: HashMap<&'static str, HashMap<&'static str, OpEntry>>,
}

/// One operator of the catalog.
#[derive(Clone, Copy, Debug)]
pub struct OpEntry {
    /// Name, domain and history.
    pub signature: Signature,
    /// What kind of gradient it has.
    pub gradient: GradientKind,
    parse: fn(&mut Attrs<'_>) -> Result<Arc<dyn DynOperator>, super::AttrError>,
}

impl OpEntry {
    /// The entry of an operator type.
    pub const fn of<T: Operator>() -> Self {
        Self {
            signature: T::SIGNATURE,
            gradient: T::GRADIENT.kind(),
            parse: |attrs| Ok(Arc::new(T::parse(attrs)?)),
        }
    }
}

impl Catalog {
    /// A catalog without operators.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The operators of this crate.
    pub fn standard() -> &'static Catalog {
        static STANDARD: OnceLock<Catalog> = OnceLock::new();
        STANDARD.get_or_init(|| {
            let mut catalog = Catalog::empty();
            for entry in crate::ops::all() {
                catalog.insert(entry);
            }
            catalog
        })
    }

    /// The same catalog with one more operator; it takes the place of one of the same name.
    #[must_use]
    pub fn with<T: Operator>(mut self) -> Self {
        self.insert(OpEntry::of::<T>());
        self
    }

    /// The entry of an operator.
    pub fn get(&self, domain: &str, name: &str) -> Option<&OpEntry> {
        self.entries.get(canonical_domain(domain))?.get(name)
    }

    /// All operators.
    pub fn entries(&self) -> impl Iterator<Item = &OpEntry> {
        self.entries.values().flat_map(HashMap::values)
    }

    /// The typed operator of a node.
    ///
    /// # Errors
    /// [`ParseError`]: the catalog has no such operator, not at this opset, or an attribute is wrong.
    pub fn parse(
        &self,
        node: &Node,
        opsets: &OpsetImports,
    ) -> Result<Arc<dyn DynOperator>, ParseError> {
        let op = || node.qualified_op();
        let entry = self
            .get(&node.domain, &node.op_type)
            .ok_or_else(|| ParseError::UnknownOperator { op: op() })?;
        // A domain other than ONNX's own may be used without import, as runtimes allow it.
        let opset = opsets.get(&node.domain).unwrap_or(1);
        let version = entry
            .signature
            .since(opset)
            .ok_or_else(|| ParseError::NotInOpset { op: op(), opset })?;
        let mut attrs = Attrs::new(
            &node.attributes,
            version,
            node.inputs().len(),
            node.outputs().len(),
        );
        let operator = (entry.parse)(&mut attrs)?;
        attrs.finish()?;
        Ok(operator)
    }

    fn insert(&mut self, entry: OpEntry) {
        let Signature { domain, name, .. } = entry.signature;
        self.entries
            .entry(canonical_domain(domain))
            .or_default()
            .insert(name, entry);
    }
}
