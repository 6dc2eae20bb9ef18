//! Plans whose steps are chosen by measuring them.

use super::Session;
use crate::execute::RunState;
use crate::plan::{Plan, Scope, Selector};
use crate::tune::{self, Layouts, Tuning, Workshop};
use compress_tensor::Tensor;
use onnx_ir::{NodeId, Value, ValueId};
use std::collections::{HashMap, HashSet};

impl Session {
    /// What was chosen for the shapes of inputs that came so far; `None` without [`SessionOptions::autotune`](crate::SessionOptions::autotune).
    pub fn tuning(&self) -> Option<Tuning> {
        let mut tuning = self.tuner.as_ref()?.report();
        if let Some(other) = self.replacing.get().and_then(|session| session.tuning()) {
            tuning.steps.extend(other.steps);
            tuning.measured += other.measured;
            tuning.time += other.time;
            let new = other.remarks.into_iter();
            let new: Vec<String> = new.filter(|r| !tuning.remarks.contains(r)).collect();
            tuning.remarks.extend(new);
        }
        Some(tuning)
    }

    /// A plan for these inputs with the fastest steps, where the session is to find them.
    pub(super) fn tuned(
        &self,
        plan: Plan,
        known: &HashMap<ValueId, Tensor>,
        feeds: &[Option<Value>],
        state: &mut RunState,
    ) -> Plan {
        let Some(tuner) = &self.tuner else {
            return plan;
        };
        let graph = &self.model.graph;
        let shop = Workshop {
            graph,
            weights: &self.weights,
            isa: self.context.isa,
            limits: self.options.limits,
            winograd: self.options.winograd,
            fft: self.options.fft,
        };
        let in_model_order = |nodes: &HashSet<NodeId>| {
            let scope = Scope {
                planes: Some(nodes),
                ..self.scope(&self.model)
            };
            let draft = Selector::draft(graph, scope, HashMap::new(), &[]).ok()?;
            Some(Plan::lower(&draft, known))
        };
        let layouts = Layouts {
            regions: tune::regions(&self.bound.draft, graph.value_bound()),
            in_model_order: &in_model_order,
        };
        let plan = tune::tune(tuner, &shop, plan, &layouts, feeds, state);
        for planned in &plan.steps {
            let variant = planned.step.variant();
            self.profiler.set_variant(planned.row, variant);
        }
        self.weights.release_unused();
        plan
    }
}
