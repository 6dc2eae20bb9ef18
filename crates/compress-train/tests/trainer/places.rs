//! Errors call samples by their rows in the arrays, whatever part of them is trained on and in whatever order.

use crate::digits::dataset;
use crate::models::digits_cnn;
use compress_tensor::{DType, Tensor};
use compress_train::augment::{Augmentation, Mixup};
use compress_train::data::{ArrayDataset, Concat, Dataset, Subset};
use compress_train::loss::{CrossEntropy, LossError, Mse, Outputs, Targets};
use compress_train::stopping::Better;
use compress_train::trainer::{Metric, TrainError, Trainer, TrainerConfig};
use onnx_ir::{Dim, Fact, Graph, Model, Node};
use std::sync::Arc;

const ROWS: usize = 24;

/// Digits of which one has another label or another first pixel.
fn digits(label: Option<(usize, u8)>, pixel: Option<(usize, f32)>) -> ArrayDataset {
    let (mut labels, mut pixels) = (vec![1u8; ROWS], vec![0.5f32; ROWS * 64]);
    if let Some((row, class)) = label {
        labels[row] = class;
    }
    if let Some((row, value)) = pixel {
        pixels[row * 64] = value;
    }
    let image = Tensor::from_vec(&[ROWS, 1, 8, 8], pixels).unwrap();
    ArrayDataset::new([("image", image), ("label", Tensor::vector(labels))]).unwrap()
}

/// Every second row, from the last one on.
fn part(data: ArrayDataset) -> Arc<dyn Dataset> {
    let rows = (0..ROWS).rev().step_by(2).collect();
    Arc::new(Subset::new(data, rows).unwrap())
}

fn trainer() -> Trainer {
    let mut config = TrainerConfig::default();
    (config.epochs, config.batch) = (1, 4);
    Trainer::new(&digits_cnn(), CrossEntropy::default(), config).unwrap()
}

#[test]
fn a_label_out_of_range_has_its_row() {
    let data = part(digits(Some((13, 10)), None));
    let error = trainer().fit(Arc::clone(&data), None).unwrap_err();
    let text = "target `label` holds class 10 in row 13, the output tells 0 to 9 apart";
    assert_eq!(error.to_string(), text);
    let sound = part(digits(None, None));
    let error = trainer().fit(sound, Some(&data)).unwrap_err();
    assert_eq!(error.to_string(), format!("held-out samples: {text}"));
    let mixed = Augmentation::new(0).with(Mixup {
        column: "image".into(),
        labels: "label".into(),
        classes: 10,
        alpha: 0.2,
        probability: 1.0,
    });
    let error = trainer().with_augmentation(mixed).fit(data, None);
    assert_eq!(
        error.unwrap_err().to_string(),
        "`label` of sample 13 is 10, none of the 10 classes"
    );
}

#[test]
fn a_part_of_a_part_knows_the_rows_of_the_whole() {
    let half = Subset::new(digits(None, None), (0..ROWS).step_by(2).collect()).unwrap();
    let quarter = Subset::new(half.clone(), vec![7, 3, 5]).unwrap();
    assert_eq!([0, 1, 2].map(|index| quarter.row(index)), [14, 6, 10]);
    let both = Concat::new(vec![Arc::new(half.clone()), Arc::new(half)]).unwrap();
    assert_eq!(both.row(13), 13);
}

#[test]
fn samples_that_are_no_numbers_are_named_and_the_learning_rate_is_not() {
    for value in [f32::NAN, f32::NEG_INFINITY] {
        let data = part(digits(None, Some((9, value))));
        let error = trainer().fit(data, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("field `image` holds {value} in row 9: samples must be of finite numbers")
        );
    }
    // Held out, they are found before the first step.
    let held_out = part(digits(None, Some((9, f32::NAN))));
    let sound = part(digits(None, None));
    let error = trainer().fit(sound, Some(&held_out)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "held-out samples: field `image` holds NaN in row 9: samples must be of finite numbers"
    );
    let mut config = TrainerConfig::default();
    (config.batch, config.step_share, config.learning_rate) = (8, Some(0.0), Some(1e20));
    let part = Subset::new(dataset(0..16, 1), (8..16).collect()).unwrap();
    let mut trainer = Trainer::new(&digits_cnn(), CrossEntropy::default(), config).unwrap();
    let error = trainer.fit(Arc::new(part), None).unwrap_err();
    let TrainError::NotFinite { mut samples, .. } = error else {
        panic!("{error}");
    };
    samples.sort_unstable();
    assert_eq!(samples, [8, 9, 10, 11, 12, 13, 14, 15]);
}

/// `y = x · w` of whole numbers of 8 bits.
fn bytes() -> Model {
    let mut graph = Graph::new("bytes");
    let shape = [Dim::symbol("batch"), 1usize.into()];
    let x = graph
        .add_value("x", Fact::tensor(DType::I8, shape))
        .unwrap();
    graph.add_input(x);
    let w = Tensor::from_vec(&[1, 1], vec![0.5f32]).unwrap();
    let w = graph.add_initializer("w", w).unwrap();
    let (real, y) = (
        graph.add_value("real", Fact::Unknown).unwrap(),
        graph.add_value("y", Fact::Unknown).unwrap(),
    );
    let cast = Node::new("Cast", [x], [real]).with("to", 1i64);
    graph.add_node(cast).unwrap();
    graph.add_node(Node::new("MatMul", [real, w], [y])).unwrap();
    graph.add_output(y);
    Model::new(graph, 17)
}

/// A measure that is none for the third kind of sample.
struct Broken;

impl Metric for Broken {
    fn name(&self) -> &str {
        "broken"
    }

    fn better(&self) -> Better {
        Better::Larger
    }

    fn measure(
        &self,
        _: &Outputs<'_>,
        targets: &Targets<'_>,
        values: &mut Vec<f64>,
    ) -> Result<(), LossError> {
        let (_, target) = targets.values(0)?;
        values.extend(
            target
                .iter()
                .map(|&t| if t == 3.0 { f64::NAN } else { 1.0 }),
        );
        Ok(())
    }
}

#[test]
fn numbers_that_an_input_cannot_hold_and_measures_that_are_none_have_their_rows() {
    let fit = |inputs: Vec<i64>, targets: Vec<f32>| {
        let shape = [inputs.len(), 1];
        let data = ArrayDataset::new([
            ("x", Tensor::from_vec(&shape, inputs).unwrap()),
            ("t", Tensor::from_vec(&shape, targets).unwrap()),
        ]);
        let rows = (0..shape[0]).rev().step_by(2).collect();
        let part = Subset::new(data.unwrap(), rows).unwrap();
        let mut config = TrainerConfig::default();
        (config.epochs, config.batch) = (1, 3);
        let trainer = Trainer::new(&bytes(), Mse::default(), config).unwrap();
        let error = trainer.with_metric(Broken).fit(Arc::new(part), None);
        error.unwrap_err().to_string()
    };
    let mut inputs = vec![1i64; 12];
    inputs[5] = 200;
    assert_eq!(
        fit(inputs, vec![1.0; 12]),
        "field `x` holds 200 in row 5, which an input of i8 cannot hold"
    );
    let mut targets = vec![1f32; 12];
    targets[7] = 3.0;
    assert_eq!(fit(vec![1; 12], targets), "metric `broken` of row 7 is NaN");
}

#[test]
fn held_out_samples_without_labels_are_told_before_the_first_step() {
    let image = Tensor::from_vec(&[4, 1, 8, 8], vec![0.5f32; 256]).unwrap();
    let unlabelled = ArrayDataset::new([("image", image)]).unwrap();
    let mut trainer = trainer();
    let error = trainer.fit(part(digits(None, None)), Some(&unlabelled));
    let error = error.unwrap_err().to_string();
    assert!(
        error.starts_with("held-out samples: the loss needs target 0, there are 0"),
        "{error}"
    );
    assert_eq!(trainer.step(), 0);
}

#[test]
fn labels_as_floating_point_numbers_are_told_what_would_do() {
    let data = |labels: Tensor| {
        let image = Tensor::from_vec(&[8, 1, 8, 8], vec![0.5f32; 512]).unwrap();
        Arc::new(ArrayDataset::new([("image", image), ("label", labels)]).unwrap())
    };
    let error = trainer().fit(data(Tensor::vector(vec![1f32; 8])), None);
    assert_eq!(
        error.unwrap_err().to_string(),
        "target `label` holds floating-point numbers of shape [4]: the loss needs classes, whole numbers (int64) of shape [4], or \
         shares of classes, floating-point numbers of shape [4, 10]"
    );
    let column = Tensor::from_vec(&[8, 1], vec![1i64; 8]).unwrap();
    assert_eq!(trainer().fit(data(column), None).unwrap().steps, 2);
    let truths = Tensor::from_vec(&[8], vec![1u8; 8]).unwrap();
    let truths = truths.cast(DType::Bool, Default::default()).unwrap();
    assert_eq!(trainer().fit(data(truths), None).unwrap().steps, 2);
}
