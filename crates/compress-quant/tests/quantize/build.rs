//! Graphs that are built line by line.

use crate::floats;
use compress_quant::graph::Sample;
use compress_quant::{DType, Tensor};
use onnx_ir::{Fact, Graph, Model, Node};
use runtime_session::{Session, SessionOptions};

/// A graph that is built line by line: each line names what it makes.
pub(crate) struct Build(pub(crate) Graph);

impl Build {
    pub(crate) fn new(x: &[usize]) -> Self {
        let mut g = Graph::new("built");
        let x = g
            .add_value("x", Fact::tensor(DType::F32, x.to_vec()))
            .unwrap();
        g.add_input(x);
        Self(g)
    }

    /// A weight with values of its own.
    pub(crate) fn weight(mut self, name: &str, shape: &[usize], seed: u32) -> Self {
        self.0.add_initializer(name, floats(shape, seed)).unwrap();
        self
    }

    pub(crate) fn constant(mut self, name: &str, tensor: Tensor) -> Self {
        self.0.add_initializer(name, tensor).unwrap();
        self
    }

    /// A node that is named as its result.
    pub(crate) fn node(mut self, op: &str, inputs: &[&str], output: &str) -> Self {
        self.add(op, inputs, output, |node| node);
        self
    }

    pub(crate) fn node_with(
        mut self,
        op: &str,
        inputs: &[&str],
        output: &str,
        with: impl FnOnce(Node) -> Node,
    ) -> Self {
        self.add(op, inputs, output, with);
        self
    }

    fn add(&mut self, op: &str, inputs: &[&str], output: &str, with: impl FnOnce(Node) -> Node) {
        let inputs: Vec<_> = inputs
            .iter()
            .map(|name| self.0.value_named(name).unwrap())
            .collect();
        let y = self.0.add_value(output, Fact::Unknown).unwrap();
        let node = with(Node::new(op, inputs, [y]).named(output));
        self.0.add_node(node).unwrap();
    }

    pub(crate) fn model(mut self, outputs: &[&str]) -> Model {
        for name in outputs {
            let y = self.0.value_by_name(name).unwrap();
            self.0.add_output(y);
        }
        Model::new(self.0, 17)
    }
}

/// All outputs, of those that are floats.
pub(crate) fn run_all(model: &Model, sample: &Sample) -> Vec<Vec<f32>> {
    let session = Session::new(model.clone(), &SessionOptions::default()).unwrap();
    let inputs: Vec<(&str, Tensor)> = sample
        .iter()
        .map(|(n, t)| (n.as_str(), t.clone()))
        .collect();
    let outputs = session.run(&inputs).unwrap();
    let floats = outputs.iter().filter(|t| t.dtype() == DType::F32);
    floats
        .map(|t| t.data::<f32>().unwrap().into_owned())
        .collect()
}
