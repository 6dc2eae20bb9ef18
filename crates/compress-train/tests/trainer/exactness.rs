//! What a step does, to the number; and what it leaves alone.

use crate::digits::dataset;
use crate::models::{Builder, digits_cnn};
use compress_tensor::{DType, Tensor};
use compress_train::data::{ArrayDataset, Batch, BatchPlan, read_batch};
use compress_train::loss::{CrossEntropy, Mse, Scores};
use compress_train::optimizer::SgdConfig;
use compress_train::trainer::{
    Course, Hold, Network, NetworkOptions, OptimizerConfig, Predict, Trainer, TrainerConfig,
};
use onnx_ir::{Dim, Fact, Graph, Model, Node};
use runtime_session::SessionOptions;
use std::sync::Arc;

fn line() -> Model {
    let mut graph = Graph::new("line");
    let shape: [Dim; 2] = [Dim::symbol("batch"), 2usize.into()];
    let x = graph
        .add_value("x", Fact::tensor(DType::F32, shape))
        .unwrap();
    let w = Tensor::from_vec(&[2, 1], vec![0.5f32, -0.25]).unwrap();
    let w = graph.add_initializer("w", w).unwrap();
    let b = graph
        .add_initializer("b", Tensor::vector(vec![0.125f32]))
        .unwrap();
    let y = graph.add_value("y", Fact::Unknown).unwrap();
    graph.add_input(x);
    graph.add_node(Node::new("Gemm", [x, w, b], [y])).unwrap();
    graph.add_output(y);
    Model::new(graph, 17)
}

fn values(model: &Model, name: &str) -> Vec<f32> {
    let id = model.graph.value_by_name(name).unwrap();
    model
        .graph
        .initializer(id)
        .unwrap()
        .as_slice::<f32>()
        .unwrap()
        .to_vec()
}

/// A convolution whose weight stands as it is, or turned.
fn mixed(is_turned: bool) -> Model {
    let mut graph = Graph::new("mixed");
    let shape = [2usize, 4, 4].map(Dim::from);
    let shape = [Dim::symbol("batch")].into_iter().chain(shape);
    let x = graph
        .add_value("x", Fact::tensor(DType::F32, shape))
        .unwrap();
    graph.add_input(x);
    let shape = if is_turned {
        [2, 1, 1, 1]
    } else {
        [1, 2, 1, 1]
    };
    let w = Tensor::from_vec(&shape, vec![0.5f32, -0.25]).unwrap();
    let mut weight = graph.add_initializer("w", w).unwrap();
    if is_turned {
        let turned = graph.add_value("turned", Fact::Unknown).unwrap();
        let turn = Node::new("Transpose", [weight], [turned]).with("perm", vec![1i64, 0, 2, 3]);
        graph.add_node(turn).unwrap();
        weight = turned;
    }
    let y = graph.add_value("y", Fact::Unknown).unwrap();
    graph.add_node(Node::new("Conv", [x, weight], [y])).unwrap();
    graph.add_output(y);
    let mut model = Model::new(graph, 17);
    onnx_ir::infer::infer_shapes(&mut model, onnx_ir::Catalog::standard()).unwrap();
    model
}

#[test]
fn what_is_computed_from_weights_is_not_known_by_value_while_they_change() {
    let fact = mixed(true).fact("turned").unwrap().clone();
    assert!(fact.as_tensor().unwrap().as_const().is_some());
    let x = (0..64).map(|i| (i % 7) as f32 - 3.0).collect::<Vec<f32>>();
    let x = Tensor::from_vec(&[2, 2, 4, 4], x).unwrap();
    let t = Tensor::full(&[2, 1, 4, 4], 1.0f32).unwrap();
    let data = Arc::new(ArrayDataset::new([("x", x), ("t", t)]).unwrap());
    let trained = |is_turned: bool| {
        let mut config = TrainerConfig::default();
        (config.epochs, config.batch, config.learning_rate) = (5, 2, Some(0.05));
        let mut trainer = Trainer::new(&mixed(is_turned), Mse::default(), config).unwrap();
        trainer.fit(data.clone(), None).unwrap();
        values(&trainer.model().unwrap(), "w")
    };
    assert_eq!(trained(true), trained(false));
}

#[test]
fn a_plain_step_is_the_formula() {
    // y = (1·0.5 − 2·0.25 + 0.125, 3·0.5 − 1·0.25 + 0.125) = (0.125, 1.375), targets (0, 1): residuals (0.125, 0.375).
    let x = Tensor::from_vec(&[2, 2], vec![1.0f32, 2.0, 3.0, 1.0]).unwrap();
    let t = Tensor::from_vec(&[2, 1], vec![0.0f32, 1.0]).unwrap();
    let data = Arc::new(ArrayDataset::new([("x", x), ("t", t)]).unwrap());
    for accumulate in [1, 2] {
        let mut config = TrainerConfig::default();
        (config.epochs, config.batch, config.accumulate) = (1, 2 / accumulate, accumulate);
        config.optimizer = OptimizerConfig::Sgd(SgdConfig::default());
        (config.schedule, config.step_share, config.learning_rate) =
            (Course::Constant, Some(0.0), Some(0.5));
        let mut trainer = Trainer::new(&line(), Mse::default(), config).unwrap();
        let report = trainer.fit(data.clone(), None).unwrap();
        // The loss is (0.125² + 0.375²)/2; its gradients are 2/2 · Σ r·x and 2/2 · Σ r.
        assert_eq!(
            (report.steps, report.epochs[0].train[0].value),
            (1, 0.078125)
        );
        let model = trainer.model().unwrap();
        assert_eq!(values(&model, "w"), [0.5 - 0.5 * 1.25, -0.25 - 0.5 * 0.625]);
        assert_eq!(values(&model, "b"), [0.125 - 0.5 * 0.5]);
    }
}

#[test]
fn nothing_but_weights_and_running_statistics_changes() {
    let before = digits_cnn();
    let mut config = TrainerConfig::default();
    (config.epochs, config.batch) = (1, 16);
    config.freeze = vec!["second_norm.mean".into(), "first.weight".into()];
    let mut trainer = Trainer::new(&before, CrossEntropy::default(), config).unwrap();
    let report = trainer.fit(Arc::new(dataset(0..32, 1)), None).unwrap();
    let after = trainer.model().unwrap();
    assert_eq!(report.statistics, ["first_norm.mean", "first_norm.var"]);
    let changed: Vec<&str> = before
        .graph
        .initializers()
        .map(|(id, _)| before.graph.name_of(id))
        .filter(|name| values(&before, name) != values(&after, name))
        .collect();
    let expected = [
        "first_norm.scale",
        "first_norm.bias",
        "first_norm.mean",
        "first_norm.var",
        "second.weight",
        "second_norm.scale",
        "second_norm.bias",
        "classifier.weight",
        "classifier.bias",
    ];
    assert_eq!(changed, expected);
    // With the old numbers back it is the file that was given.
    let mut back = after;
    for (id, tensor) in before.graph.initializers() {
        let name = before.graph.name_of(id).to_owned();
        let at = back.graph.value_by_name(&name).unwrap();
        back.graph.set_initializer(at, tensor.clone());
    }
    assert_eq!(back.to_bytes().unwrap(), before.to_bytes().unwrap());
}

#[test]
fn running_statistics_follow_those_of_the_batch() {
    // A normalisation alone: its input is the image.
    let model = Builder::images(1, 8).norm("norm").classifier(10).finish();
    let options = SessionOptions::default();
    let loss = Arc::new(CrossEntropy::default());
    let mut network = Network::new(&model, loss, &NetworkOptions::default(), &options).unwrap();
    let data = dataset(0..8, 1);
    let mut batch = Batch::default();
    read_batch(&data, &BatchPlan::of(&[0, 1, 2, 3, 4, 5, 6, 7]), &mut batch).unwrap();
    network.run(&mut batch, 0).unwrap();
    let pixels: Vec<f64> = batch
        .column("image")
        .unwrap()
        .u8()
        .unwrap()
        .iter()
        .map(|&p| f64::from(p))
        .collect();
    let n = pixels.len() as f64;
    let mean = pixels.iter().sum::<f64>() / n;
    let variance = pixels.iter().map(|p| (p - mean).powi(2)).sum::<f64>() / n;
    let found = |name: &str| {
        let mut state = network.state();
        f64::from(
            state
                .find(|(n, _)| *n == name)
                .unwrap()
                .1
                .as_slice::<f32>()
                .unwrap()[0],
        )
    };
    // ONNX: 0.9 of the old, 0.1 of the batch's.
    assert!((found("norm.mean") - 0.1 * mean).abs() < 1e-5);
    assert!((found("norm.var") - (0.9 + 0.1 * variance)).abs() < 1e-4);
}

#[test]
fn a_last_softmax_is_looked_through() {
    let weights = |with_softmax: bool| {
        let mut builder = Builder::images(1, 8)
            .conv("conv", 4, 2)
            .apply("Relu", "relu")
            .classifier(10);
        if with_softmax {
            builder = builder.apply("Softmax", "shares");
        }
        let mut config = TrainerConfig::default();
        (config.epochs, config.batch) = (1, 16);
        let mut trainer = Trainer::new(&builder.finish(), CrossEntropy::default(), config).unwrap();
        trainer.fit(Arc::new(dataset(0..32, 1)), None).unwrap();
        values(&trainer.model().unwrap(), "conv.weight")
    };
    assert_eq!(weights(true), weights(false));
}

#[test]
fn what_another_model_says_becomes_a_column() {
    use compress_train::augment::Augmentation;
    let model = Builder::images(1, 8)
        .classifier(10)
        .apply("Softmax", "shares")
        .finish();
    let options = SessionOptions::default();
    let predict =
        |scores| Predict::new(&model, &[("shares", "teacher")], scores, &options).unwrap();
    let mut batch = Batch::default();
    read_batch(&dataset(0..3, 1), &BatchPlan::of(&[0, 1, 2]), &mut batch).unwrap();
    let rows = |scores, batch: &mut Batch| {
        Augmentation::new(0)
            .with(predict(scores))
            .apply(batch)
            .unwrap();
        let column = batch.column("teacher").unwrap();
        assert_eq!(column.field.shape, [10]);
        column.f32().unwrap().to_vec()
    };
    let shares = rows(Scores::AsGiven, &mut batch);
    let logits = rows(Scores::BeforeSoftmax, &mut batch);
    for (shares, logits) in shares.chunks(10).zip(logits.chunks(10)) {
        assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert!(
            (logits.iter().map(|z| z.exp()).sum::<f32>().ln() - (logits[0] - shares[0].ln())).abs()
                < 1e-4
        );
    }
    assert_eq!(batch.columns.len(), 3);
}

#[test]
fn parameters_stay_from_the_epoch_on_that_is_told() {
    let x = Tensor::from_vec(&[4, 2], vec![1.0f32, 2.0, 3.0, 1.0, -1.0, 0.5, 0.0, 2.0]).unwrap();
    let t = Tensor::from_vec(&[4, 1], vec![0.0f32, 1.0, 2.0, -1.0]).unwrap();
    let data = Arc::new(ArrayDataset::new([("x", x), ("t", t)]).unwrap());
    let run = |from: Option<f64>, epochs: u64| {
        let mut config = TrainerConfig::default();
        (config.epochs, config.batch, config.schedule) = (epochs, 2, Course::Constant);
        config.learning_rate = Some(0.05);
        config.hold = from
            .map(|from| Hold {
                patterns: vec!["w".into()],
                from,
            })
            .into_iter()
            .collect();
        let mut trainer = Trainer::new(&line(), Mse::default(), config).unwrap();
        trainer.fit(data.clone(), None).unwrap();
        let model = trainer.model().unwrap();
        (values(&model, "w"), values(&model, "b"))
    };
    // One and a half epochs are three of the six steps.
    let (held, free) = (run(Some(1.5), 3), run(None, 3));
    assert_ne!(held, free);
    assert_eq!(run(Some(3.0), 3), free);
    assert_eq!(run(Some(1.0), 3).0, run(None, 1).0);
    assert_ne!(run(Some(1.0), 3).1, run(None, 1).1);
    let mut config = TrainerConfig::default();
    config.hold = vec![Hold {
        patterns: vec!["v".into()],
        from: 1.0,
    }];
    let mut trainer = Trainer::new(&line(), Mse::default(), config).unwrap();
    let error = trainer.fit(data.clone(), None).unwrap_err().to_string();
    assert!(error.contains("`v`"), "{error}");
}
