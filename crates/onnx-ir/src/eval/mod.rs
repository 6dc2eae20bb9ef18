//! The reference evaluator: runs a model node by node with each operator's reference evaluation.
//!
//! Naive and right; the oracle for the session and the fallback for what has no fast kernel.

mod error;
mod evaluator;

pub use error::{RunError, RunErrorKind};
pub use evaluator::Evaluator;

use crate::graph::{Graph, Node};
use crate::operator::{DynOperator, EvalContext, EvalError, Limits, SubgraphRunner};
use crate::value::Value;

/// The outputs of one operator for given inputs.
///
/// # Errors
/// [`EvalError`].
pub fn eval_operator(
    operator: &dyn DynOperator,
    node: &Node,
    version: u32,
    inputs: &[Option<&Value>],
    limits: Limits,
    subgraphs: &mut dyn SubgraphRunner,
) -> Result<Vec<Value>, EvalError> {
    let wanted = node
        .outputs()
        .iter()
        .take(64)
        .enumerate()
        .filter(|(_, v)| v.is_some());
    let wanted = wanted.fold(0u64, |bits, (i, _)| bits | 1 << i);
    let mut cx = EvalContext::new(
        inputs,
        node.outputs().len(),
        wanted,
        version,
        limits,
        subgraphs,
    )
    .with_seed(seed_of(node));
    operator.eval(&mut cx)
}

/// A seed of the node's own, so that no two random nodes of a graph draw the same numbers and every run
/// draws the same: FNV-1a over the operator and the node's outputs.
fn seed_of(node: &Node) -> u64 {
    let outputs = node.outputs().iter().flatten();
    let outputs = outputs.flat_map(|v| v.index().to_le_bytes());
    node.op_type
        .bytes()
        .chain(outputs)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

/// For operators that hold no subgraphs.
pub struct NoSubgraphs;

impl SubgraphRunner for NoSubgraphs {
    fn run_subgraph(&mut self, _: &Graph, _: Vec<Value>) -> Result<Vec<Value>, String> {
        Err("subgraphs cannot run here".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fact::Fact;
    use crate::model::Model;

    #[test]
    fn random_nodes_differ_from_each_other_and_not_from_run_to_run() {
        let mut g = Graph::new("g");
        let outputs = ["a", "b"].map(|name| g.add_value(name, Fact::Unknown).unwrap());
        for output in outputs {
            let node = Node::new(
                "RandomUniform",
                [None::<crate::graph::ValueId>; 0],
                [output],
            )
            .with("shape", vec![4i64]);
            g.add_node(node).unwrap();
            g.add_output(output);
        }
        let model = Model::new(g, 22);
        let run = || {
            let values = Evaluator::new(&model).unwrap().run([]).unwrap();
            values
                .into_iter()
                .map(|v| v.into_tensor().unwrap().into_vec::<f32>().unwrap())
                .collect::<Vec<_>>()
        };
        let first = run();
        assert_ne!(first[0], first[1]);
        assert_eq!(first, run());
    }
}
