//! Topological order.

use super::{Graph, GraphError, NodeId};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

impl Graph {
    /// The nodes in an order in which each comes after those it reads from; among those that are ready,
    /// the one added first comes first, so a sorted graph stays as it is. `O((n + e) log n)`.
    ///
    /// # Errors
    /// [`GraphError::Cycle`] with some nodes of the cycle.
    pub fn topological_order(&self) -> Result<Vec<NodeId>, GraphError> {
        let mut waiting = vec![0usize; self.node_bound()];
        let mut ready = BinaryHeap::new();
        let mut count = 0;
        for (_, value) in self.values() {
            if value.producer.is_some() {
                for consumer in &value.uses {
                    waiting[consumer.node().index()] += 1;
                }
            }
        }
        for (id, _) in self.nodes() {
            count += 1;
            if waiting[id.index()] == 0 {
                ready.push(Reverse(id));
            }
        }
        let mut order = Vec::with_capacity(count);
        while let Some(Reverse(id)) = ready.pop() {
            order.push(id);
            for &output in self.node(id).outputs.iter().flatten() {
                for consumer in self.uses(output) {
                    let left = &mut waiting[consumer.node().index()];
                    *left -= 1;
                    if *left == 0 {
                        ready.push(Reverse(consumer.node()));
                    }
                }
            }
        }
        if order.len() == count {
            return Ok(order);
        }
        let stuck = self.nodes().filter(|(id, _)| waiting[id.index()] > 0);
        Err(GraphError::Cycle {
            nodes: stuck.take(4).map(|(id, _)| self.describe(id)).collect(),
        })
    }
}
