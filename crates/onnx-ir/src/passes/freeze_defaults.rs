//! `freeze-defaults`: inputs with a default become constants.
//!
//! An initializer that is listed among the inputs too is a default that a caller may replace (ONNX IR, "Graphs"), so that no
//! pass may fold it. Old exporters list every weight so; hardly ever is that meant.
//! Changes: the graph's inputs. Keeps: what the model computes for callers who replace no default.

use super::pipeline::{Pass, PassContext, PassError, PassRecord};
use crate::model::Model;

/// Takes inputs that have a default off the list of inputs.
pub struct FreezeDefaults;

impl FreezeDefaults {
    /// Freezes the defaults of `model`; gives the names of the inputs that were removed.
    pub fn apply(model: &mut Model) -> Vec<String> {
        let graph = &mut model.graph;
        let fed: Vec<_> = graph.required_inputs().collect();
        let defaults = graph.inputs().iter().filter(|id| !fed.contains(id));
        let frozen: Vec<String> = defaults.map(|&id| graph.name_of(id).to_owned()).collect();
        if !frozen.is_empty() {
            model.graph.set_inputs(fed);
        }
        model.raise_ir_version();
        frozen
    }
}

impl Pass for FreezeDefaults {
    fn name(&self) -> &'static str {
        "freeze-defaults"
    }
    fn run(&self, model: &mut Model, _: &PassContext<'_>) -> Result<PassRecord, PassError> {
        Ok(PassRecord {
            pass: self.name(),
            version: 1,
            changes: Self::apply(model).len(),
            skipped: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dim, Fact, Graph, Node};
    use compress_tensor::{DType, Tensor};

    #[test]
    fn a_default_becomes_a_constant_and_the_file_stays_valid() {
        let mut graph = Graph::new("g");
        let shape = [Dim::symbol("batch")];
        let x = graph.add_value("x", Fact::tensor(DType::F32, shape));
        let x = x.unwrap();
        graph.add_input(x);
        let w = graph.add_initializer("w", Tensor::vector(vec![2.0f32]));
        let w = w.unwrap();
        graph.add_input(w);
        let y = graph.add_value("y", Fact::Unknown).unwrap();
        graph.add_node(Node::new("Mul", [x, w], [y])).unwrap();
        graph.add_output(y);
        let mut model = Model::new(graph, 8);
        model.ir_version = 3;
        assert!(model.graph.constant(w).is_none());
        assert_eq!(FreezeDefaults::apply(&mut model), ["w"]);
        assert!(model.graph.constant(w).is_some());
        assert_eq!(model.graph.inputs(), [x]);
        // Version 3 demands that initializers are inputs.
        assert_eq!(model.ir_version, 4);
        assert!(FreezeDefaults::apply(&mut model).is_empty());
    }
}
