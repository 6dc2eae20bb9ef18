//! Constants of a formula are no weights.

use crate::models::Builder;
use compress_tensor::{DType, Tensor};
use compress_train::loss::CrossEntropy;
use compress_train::trainer::{Initialization, TrainError, Trainer, TrainerConfig};
use onnx_ir::{Dim, Fact, Graph, Model, Node, ValueId};

struct Chain {
    graph: Graph,
    at: ValueId,
}

impl Chain {
    /// Adds `operator(at, name)` with a constant.
    fn then(mut self, operator: &str, name: &str, shape: &[usize], values: Vec<f32>) -> Self {
        let constant = Tensor::from_vec(shape, values).unwrap();
        let constant = self.graph.add_initializer(name, constant).unwrap();
        let y = self.graph.add_value(format!("{name}.y"), Fact::Unknown);
        let y = y.unwrap();
        let node = Node::new(operator, [self.at, constant], [y]);
        self.graph.add_node(node).unwrap();
        self.at = y;
        self
    }
}

/// Numbers that are normalised, a layer, learned factors, and a mask over the scores.
fn model() -> Model {
    let mut graph = Graph::new("constants");
    let shape = [Dim::symbol("batch"), 3usize.into()];
    let at = graph
        .add_value("x", Fact::tensor(DType::F32, shape))
        .unwrap();
    graph.add_input(at);
    let chain = Chain { graph, at }
        .then("Add", "minus_mean", &[3], vec![-0.5; 3])
        .then("Mul", "one_over_std", &[3], vec![2.0; 3])
        .then("MatMul", "w", &[3, 4], vec![0.1; 12])
        .then("Add", "b", &[4], vec![0.0; 4])
        .then("Mul", "factors", &[4], vec![1.0; 4])
        .then("Add", "mask", &[4], vec![0.0, 0.0, -1e9, 0.0])
        .then(
            "Add",
            "causal",
            &[4],
            vec![0.0, 0.0, 0.0, f32::NEG_INFINITY],
        )
        .then("Mul", "slope", &[], vec![0.5]);
    let mut graph = chain.graph;
    graph.add_output(chain.at);
    Model::new(graph, 17)
}

fn trained(config: TrainerConfig) -> Trainer {
    Trainer::new(&model(), CrossEntropy::default(), config).unwrap()
}

fn names(trainer: &Trainer) -> Vec<&str> {
    let parameters = trainer.network().parameters().iter();
    parameters.map(|p| p.name.as_str()).collect()
}

#[test]
fn normalisations_of_inputs_and_masks_are_left_as_they_are() {
    let mut config = TrainerConfig::default();
    config.initialize = Initialization::He;
    let trainer = trained(config);
    assert_eq!(names(&trainer), ["w", "b", "factors"]);
    let model = trainer.model().unwrap();
    let of = |name: &str| {
        let id = model.graph.value_by_name(name).unwrap();
        let tensor = model.graph.initializer(id).unwrap();
        tensor.as_slice::<f32>().unwrap().to_vec()
    };
    assert_eq!(of("minus_mean"), [-0.5; 3]);
    assert_eq!(of("one_over_std"), [2.0; 3]);
    assert_eq!(of("mask"), [0.0, 0.0, -1e9, 0.0]);
    // Whoever names them trains them.
    let mut config = TrainerConfig::default();
    config.train = vec!["w".into(), "minus_mean".into()];
    assert_eq!(names(&trained(config)), ["minus_mean", "w"]);
}

#[test]
fn a_node_that_no_gradient_passes_is_named_where_nothing_else_is_trained() {
    let model = Builder::images(1, 8)
        .conv("first", 4, 2)
        .apply("Round", "whole")
        .apply("GlobalAveragePool", "pooled")
        .apply("Flatten", "flat")
        .finish();
    let trainer = Trainer::new(&model, CrossEntropy::default(), TrainerConfig::default());
    assert_eq!(
        trainer.err().map(|e| e.to_string()).as_deref(),
        Some(
            "there is nothing to train: no gradient passes node whole (Round) on the way from `first.weight` to the outputs"
        )
    );
}

#[test]
fn a_model_of_halves_is_told_what_would_do() {
    let mut model = Builder::images(1, 8).classifier(10).finish();
    let graph = &mut model.graph;
    let half = graph.add_value("half", Fact::Unknown).unwrap();
    let logits = graph.outputs()[0];
    let cast = Node::new("Cast", [logits], [half]).with("to", 10i64);
    graph.add_node(cast).unwrap();
    graph.set_outputs(vec![half]);
    let trainer = Trainer::new(&model, CrossEntropy::default(), TrainerConfig::default());
    let error = trainer.err().unwrap();
    assert!(matches!(error, TrainError::NoOutput { .. }));
    let text = error.to_string();
    assert!(
        text.contains("`half` (f16") && text.contains("models are trained in f32, export it so"),
        "{text}"
    );
}
