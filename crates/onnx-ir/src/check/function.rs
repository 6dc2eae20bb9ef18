//! Functions: their parameters, their bodies, and that none calls itself.

use std::collections::{HashMap, HashSet};

use super::scope::Scope;
use super::{Checker, Place, Problem};
use crate::canonical_domain;
use crate::functions::changed_operator;
use crate::graph::{Graph, Node};
use crate::model::Function;

/// What names a function: domain, name, overload.
pub(super) type Key<'m> = (&'m str, &'m str, &'m str);

pub(super) fn key(function: &Function) -> Key<'_> {
    (
        canonical_domain(&function.domain),
        &function.name,
        &function.overload,
    )
}

/// What names the function that `node` calls, if there is one.
pub(super) fn key_of_call(node: &Node) -> Key<'_> {
    (
        canonical_domain(&node.domain),
        &node.op_type,
        &node.overload,
    )
}

impl<'m> Checker<'m> {
    pub(super) fn check_functions(&mut self) {
        let functions = &self.model.functions;
        let mut by_key = HashMap::new();
        for (index, function) in functions.iter().enumerate() {
            if by_key.insert(key(function), index).is_some() {
                let name = function.name.clone();
                self.error(place(function), Problem::DuplicateFunction { name });
            }
        }
        for function in functions {
            self.parameters(function);
            self.opsets(&place(function), &function.opsets);
            if let Some(changed) = changed_operator(function, &self.model.opsets) {
                let problem = Problem::FunctionOpset {
                    domain: changed.domain,
                    function: changed.function,
                    model: changed.model,
                    op: changed.op,
                };
                self.error(place(function), problem);
            }
            self.graph(&Scope {
                graph: &function.body,
                around: None,
                function: Some(function),
                opsets: &function.opsets,
                depth: 0,
            });
        }
        self.recursion(&by_key);
    }

    fn parameters(&mut self, function: &Function) {
        let outputs = function
            .body
            .outputs()
            .iter()
            .map(|&id| function.body.name_of(id));
        let defaults = function.defaults.iter().map(|(name, _)| name.as_str());
        let attributes = function
            .attributes
            .iter()
            .map(String::as_str)
            .chain(defaults);
        for mut parameters in [outputs.collect::<Vec<_>>(), attributes.collect()] {
            parameters.sort_unstable();
            let twice = parameters.windows(2).find(|pair| pair[0] == pair[1]);
            if let Some([parameter, _]) = twice {
                let parameter = (*parameter).to_owned();
                self.error(place(function), Problem::DuplicateParameter { parameter });
            }
        }
    }

    /// Follows the calls depth first, without recursion of its own.
    fn recursion(&mut self, by_key: &HashMap<Key<'m>, usize>) {
        let functions = &self.model.functions;
        let calls: Vec<Vec<usize>> = functions
            .iter()
            .map(|function| calls_of(&function.body, by_key))
            .collect();
        let mut is_done = vec![false; functions.len()];
        for start in 0..functions.len() {
            let mut path: Vec<(usize, usize)> = vec![(start, 0)];
            let mut on_path = HashSet::from([start]);
            while let Some((function, next)) = path.last_mut() {
                let Some(&callee) = calls[*function].get(*next).filter(|_| !is_done[*function])
                else {
                    is_done[*function] = true;
                    on_path.remove(function);
                    path.pop();
                    continue;
                };
                *next += 1;
                if on_path.insert(callee) {
                    path.push((callee, 0));
                    continue;
                }
                let cycle = path.iter().skip_while(|(on_cycle, _)| *on_cycle != callee);
                let names = cycle.map(|(index, _)| *index).chain([callee]);
                let calls = names.map(|index| functions[index].name.clone()).collect();
                self.error(
                    place(&functions[callee]),
                    Problem::RecursiveFunction { calls },
                );
            }
        }
    }
}

fn place(function: &Function) -> Place {
    Place {
        graph: Some(function.name.clone()),
        ..Place::default()
    }
}

/// The functions that a body calls, each once, also from its subgraphs.
fn calls_of(body: &Graph, by_key: &HashMap<Key<'_>, usize>) -> Vec<usize> {
    let mut calls = Vec::new();
    let mut graphs = vec![body];
    while let Some(graph) = graphs.pop() {
        for (_, node) in graph.nodes() {
            calls.extend(by_key.get(&key_of_call(node)));
            graphs.extend(node.attributes.graphs().map(AsRef::as_ref));
        }
    }
    calls.sort_unstable();
    calls.dedup();
    calls
}
