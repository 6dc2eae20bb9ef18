//! Runs rewrites to a fixpoint.

use super::{PatchError, Rewrite, RewriteContext, Skip};
use crate::graph::{Graph, GraphError, Node, NodeId};
use crate::model::{Model, OpsetImports, canonical_domain};
use crate::operator::Catalog;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A place where a rewrite found its pattern and declined.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Skipped {
    /// The rewrite.
    pub rewrite: &'static str,
    /// The node, as [`Graph::describe`] names it.
    pub node: String,
    /// The reason.
    pub reason: String,
}

/// What the rewrites did.
#[derive(Clone, Debug, Default)]
pub struct RewriteReport {
    /// Patches applied, by rewrite.
    pub applied: HashMap<&'static str, usize>,
    /// Where a rewrite declined; each place and reason once.
    pub skipped: Vec<Skipped>,
}

impl RewriteReport {
    /// Patches applied by all rewrites together.
    pub fn total(&self) -> usize {
        self.applied.values().sum()
    }
}

/// Runs `rewrites` on the model's graph and its subgraphs until none changes anything any more.
///
/// # Errors
/// [`GraphError::Cycle`].
pub fn apply(
    model: &mut Model,
    catalog: &Catalog,
    rewrites: &[&dyn Rewrite],
) -> Result<RewriteReport, GraphError> {
    let mut driver = Driver {
        opsets: &model.opsets,
        catalog,
        rewrites,
        report: RewriteReport::default(),
        seen: HashSet::new(),
    };
    driver.graph(&mut model.graph)?;
    let report = driver.report;
    if report.total() > 0 {
        import_domains(model, catalog);
    }
    Ok(report)
}

/// Imports the domains of operators that the catalog has and the model does not import yet.
fn import_domains(model: &mut Model, catalog: &Catalog) {
    let mut graphs = vec![&model.graph];
    let mut missing: Vec<(String, i64)> = Vec::new();
    while let Some(graph) = graphs.pop() {
        for (_, node) in graph.nodes() {
            graphs.extend(node.attributes.graphs().map(AsRef::as_ref));
            let known = model.opsets.get(&node.domain).is_some();
            // Without an import, the default domain counts as version 1.
            if !known && !canonical_domain(&node.domain).is_empty() {
                let entries = catalog.entries().map(|entry| &entry.signature);
                let versions = entries.filter(|s| s.domain == node.domain);
                let newest = versions.flat_map(|s| s.versions).max();
                missing.extend(newest.map(|&v| (node.domain.clone(), i64::from(v))));
            }
        }
    }
    for (domain, version) in missing {
        model.opsets.set(&domain, version);
    }
}

struct Driver<'a> {
    opsets: &'a OpsetImports,
    catalog: &'a Catalog,
    rewrites: &'a [&'a dyn Rewrite],
    report: RewriteReport,
    seen: HashSet<Skipped>,
}

impl Driver<'_> {
    fn graph(&mut self, graph: &mut Graph) -> Result<(), GraphError> {
        let holders: Vec<NodeId> = graph
            .nodes()
            .filter(|(_, n)| n.attributes.graphs().next().is_some())
            .map(|(id, _)| id)
            .collect();
        for id in holders {
            self.subgraphs(graph, id)?;
        }
        // Each patch that applies makes the graph simpler; the bound only guards against rewrites that
        // undo each other.
        let mut budget = 4 * graph.node_count() + 64;
        loop {
            let before = self.report.total();
            for id in graph.topological_order()? {
                if graph.get_node(id).is_some() && budget > 0 {
                    budget -= self.node(graph, id);
                }
            }
            if self.report.total() == before || budget == 0 {
                return Ok(());
            }
        }
    }

    fn subgraphs(&mut self, graph: &mut Graph, id: NodeId) -> Result<(), GraphError> {
        let mut node: Node = graph.node(id).clone();
        let before = self.report.total();
        for attribute in node.attributes.values_mut() {
            for subgraph in attribute.graphs_mut() {
                self.graph(Arc::make_mut(subgraph))?;
            }
        }
        if self.report.total() != before {
            graph.replace_node(id, node)?;
        }
        Ok(())
    }

    /// Tries each rewrite at a node; returns 1 where one applied.
    fn node(&mut self, graph: &mut Graph, id: NodeId) -> usize {
        for rewrite in self.rewrites {
            let node = graph.node(id);
            if !rewrite.roots().iter().any(|op| node.is(op)) {
                continue;
            }
            let cx = RewriteContext {
                graph,
                opsets: self.opsets,
                catalog: self.catalog,
            };
            match rewrite.rewrite(&cx, id) {
                Err(Skip::NotThisPattern) => {}
                Err(Skip::Because(reason)) => {
                    self.skip(rewrite.name(), graph, id, reason.to_owned())
                }
                Ok(patch) => {
                    let touched: Vec<NodeId> =
                        patch.replaced_producers(graph).chain([id]).collect();
                    match patch.apply(graph, self.opsets, self.catalog) {
                        Ok(_) => {
                            *self.report.applied.entry(rewrite.name()).or_default() += 1;
                            graph.remove_dead(touched);
                            return 1;
                        }
                        Err(error) => self.refuse(rewrite.name(), graph, id, &error),
                    }
                }
            }
        }
        0
    }

    fn refuse(&mut self, rewrite: &'static str, graph: &Graph, id: NodeId, error: &PatchError) {
        self.skip(rewrite, graph, id, error.to_string());
    }

    fn skip(&mut self, rewrite: &'static str, graph: &Graph, id: NodeId, reason: String) {
        let skipped = Skipped {
            rewrite,
            node: graph.describe(id),
            reason,
        };
        if self.seen.insert(skipped.clone()) {
            self.report.skipped.push(skipped);
        }
    }
}
