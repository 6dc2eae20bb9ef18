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
    /// Those that are not made from attributes.
    given: HashMap<[&'static str; 2], Arc<dyn DynOperator>>,
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

    /// The same catalog with an operator that is there already, in the place of one of the same name: every node of its name is this
    /// one, and has no attributes. For operators that hold what no file can, as a channel to the program around the model.
    #[must_use]
    pub fn with_operator<T: Operator>(mut self, operator: T) -> Self {
        self.insert(OpEntry::of::<T>());
        let Signature { domain, name, .. } = T::SIGNATURE;
        self.given
            .insert([canonical_domain(domain), name], Arc::new(operator));
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
        let key = [
            canonical_domain(entry.signature.domain),
            entry.signature.name,
        ];
        let operator = match self.given.get(&key) {
            Some(operator) => Arc::clone(operator),
            None => (entry.parse)(&mut attrs)?,
        };
        attrs.finish()?;
        Ok(operator)
    }

    fn insert(&mut self, entry: OpEntry) {
        let Signature { domain, name, .. } = entry.signature;
        self.given.remove(&[canonical_domain(domain), name]);
        self.entries
            .entry(canonical_domain(domain))
            .or_default()
            .insert(name, entry);
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::{Graph, Node};
    use crate::model::Model;
    use crate::operator::prelude::*;
    use crate::{Catalog, eval::Evaluator};
    use std::sync::{Arc, Mutex};

    /// Adds up what passes.
    #[derive(Clone, Debug, Default)]
    struct Meter(Arc<Mutex<f32>>);

    impl Operator for Meter {
        const SIGNATURE: Signature = Signature {
            domain: "test",
            name: "Meter",
            versions: &[1],
        };

        fn parse(_: &mut Attrs<'_>) -> Result<Self, AttrError> {
            Ok(Self::default())
        }
        fn infer(&self, cx: &mut InferContext<'_>) -> Result<Vec<Fact>, InferError> {
            Ok(vec![cx.fact(0).cloned().unwrap_or(Fact::Unknown)])
        }
        fn eval(&self, cx: &mut EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
            if let Ok(mut sum) = self.0.lock() {
                *sum += cx.data::<f32>(0)?.iter().sum::<f32>();
            }
            Ok(vec![cx.tensor(0)?.clone().into()])
        }
    }

    fn metered() -> (Model, Node) {
        let mut graph = Graph::new("g");
        let x = graph
            .add_value("x", Fact::tensor(DType::F32, [2usize]))
            .unwrap();
        let y = graph.add_value("y", Fact::Unknown).unwrap();
        graph.add_input(x);
        graph.add_output(y);
        let node = Node::new("Meter", [x], [y]).in_domain("test");
        graph.add_node(node.clone()).unwrap();
        (Model::new(graph, 17), node)
    }

    #[test]
    fn an_operator_that_is_there_already_keeps_what_it_holds() {
        let meter = Meter::default();
        let catalog = Catalog::standard().clone().with_operator(meter.clone());
        let (model, node) = metered();
        let x = Tensor::vector(vec![1.5f32, 2.0]);
        for _ in 0..2 {
            let evaluator = Evaluator::new(&model).unwrap().with_catalog(&catalog);
            evaluator.run([("x".to_owned(), x.clone().into())]).unwrap();
        }
        assert_eq!(*meter.0.lock().unwrap(), 7.0);
        // It has no attributes, and another of its name takes its place.
        let odd = node.with("scale", 2i64);
        assert!(catalog.parse(&odd, &model.opsets).is_err());
        let catalog = catalog.with::<Meter>();
        let evaluator = Evaluator::new(&model).unwrap().with_catalog(&catalog);
        evaluator.run([("x".to_owned(), x.into())]).unwrap();
        assert_eq!(*meter.0.lock().unwrap(), 7.0);
    }
}
