//! What cannot be trained is told, with its place.

use crate::digits::dataset;
use crate::models::{Builder, digits_cnn};
use compress_tensor::Tensor;
use compress_train::data::ArrayDataset;
use compress_train::loss::CrossEntropy;
use compress_train::trainer::{TopK, TrainError, Trainer, TrainerConfig};
use std::sync::Arc;

fn fit(config: TrainerConfig, data: ArrayDataset) -> TrainError {
    let trainer = Trainer::new(&digits_cnn(), CrossEntropy::default(), config);
    let mut trainer = match trainer {
        Ok(trainer) => trainer.with_metric(TopK::default()),
        Err(error) => return error,
    };
    trainer.fit(Arc::new(data), None).unwrap_err()
}

fn small() -> TrainerConfig {
    let mut config = TrainerConfig::default();
    (config.epochs, config.batch) = (1, 4);
    config
}

fn labelled(image: Tensor, labels: Vec<u8>) -> ArrayDataset {
    ArrayDataset::new([("image", image), ("label", Tensor::vector(labels))]).unwrap()
}

#[test]
fn samples_that_do_not_fit_are_named() {
    let image = |shape: &[usize]| Tensor::full(shape, 1u8).unwrap();
    let error = fit(small(), labelled(image(&[4, 1, 7, 8]), vec![0; 4]));
    assert!(
        error.to_string().starts_with("input `image`: expected"),
        "{error}"
    );
    let error = fit(small(), labelled(image(&[4, 1, 8, 8]), vec![0, 1, 10, 3]));
    assert!(
        error
            .to_string()
            .starts_with("target `label` holds class 10 in row 2,"),
        "{error}"
    );
    let data = ArrayDataset::new([("picture", image(&[4, 1, 8, 8]))]).unwrap();
    let error = fit(small(), data);
    assert_eq!(
        error.to_string(),
        "the data have no field `image` for the model's input; they have [\"picture\"]"
    );
    let data = ArrayDataset::new([("image", image(&[4, 1, 8, 8]))]).unwrap();
    assert_eq!(
        fit(small(), data).to_string(),
        "the loss needs target 0, there are 0: the samples have no labels beside what feeds the model's inputs"
    );
}

#[test]
fn numbers_that_are_none_end_the_run_with_their_place() {
    // Roots of numbers below 0.
    let model = Builder::images(1, 8)
        .conv("first", 4, 2)
        .apply("Sqrt", "root")
        .classifier(10)
        .finish();
    let image = Tensor::from_vec(&[8, 1, 8, 8], vec![1f32; 8 * 64]).unwrap();
    let mut config = small();
    config.batch = 8;
    let mut trainer = Trainer::new(&model, CrossEntropy::default(), config).unwrap();
    let error = trainer
        .fit(Arc::new(labelled(image, vec![1; 8])), None)
        .unwrap_err();
    let TrainError::NotFinite {
        what,
        step,
        samples,
        place,
        ..
    } = &error
    else {
        panic!("{error}");
    };
    assert_eq!((what.as_str(), *step, samples.len()), ("the loss", 0, 8));
    assert_eq!(place, "; the first value that is not finite is `root`");
    let mut config = small();
    (config.step_share, config.learning_rate, config.epochs) = (Some(0.0), Some(1e20), 3);
    let error = fit(config, dataset(0..16, 1));
    assert!(matches!(error, TrainError::NotFinite { .. }), "{error}");
}

#[test]
fn gradients_that_are_no_numbers_end_the_run_in_every_part_of_a_step() {
    // Roots of 0: the loss is finite, and the slope is not.
    let model = Builder::images(1, 8)
        .conv("first", 4, 2)
        .apply("Sqrt", "root")
        .classifier(10)
        .finish();
    for accumulate in [1, 2] {
        let mut config = small();
        config.accumulate = accumulate;
        let image = Tensor::from_vec(&[8, 1, 8, 8], vec![0f32; 8 * 64]).unwrap();
        let data = labelled(image, vec![1; 8]);
        let mut trainer = Trainer::new(&model, CrossEntropy::default(), config).unwrap();
        let error = trainer.fit(Arc::new(data), None).unwrap_err();
        let TrainError::NotFinite { what, samples, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(
            (what.as_str(), samples.len()),
            ("the gradient of `first.weight`", 4)
        );
    }
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let with = |change: &dyn Fn(&mut TrainerConfig)| {
        let mut config = small();
        change(&mut config);
        fit(config, dataset(0..8, 1)).to_string()
    };
    assert_eq!(
        with(&|c| c.epochs = 0),
        "the number of epochs is 0, it must be 1 or more"
    );
    assert_eq!(
        with(&|c| c.batch = 0),
        "the batch is 0, it must be 1 or more"
    );
    assert_eq!(
        with(&|c| c.learning_rate = Some(-1.0)),
        "the learning rate is -1, it must be a positive number"
    );
    let error = with(&|c| c.freeze = vec!["conv1*".into()]);
    assert!(
        error
            .starts_with("no initializer matches `conv1*`: the names begin with [\"first.weight\"")
    );
    assert!(with(&|c| c.freeze = vec!["*".into()]).starts_with("there is nothing to train"));
    assert!(
        with(&|c| c.outputs = vec!["y".into()]).starts_with("the model has no output or value `y`")
    );
    assert!(
        with(&|c| c.watch = Some("auc".into())).starts_with("there is no score `auc` to watch")
    );
    assert!(with(&|c| c.clip_norm = Some(0.0)).starts_with("the largest norm of gradients is 0"));
}

#[test]
fn a_model_for_one_batch_size_is_told_what_to_do() {
    let mut model = Builder::images(1, 8).classifier(10).finish();
    let image = model.graph.value_by_name("image").unwrap();
    let fixed = onnx_ir::Fact::tensor(compress_tensor::DType::F32, [3usize, 1, 8, 8]);
    model.graph.value_mut(image).fact = fixed;
    let fit = |batch, samples| {
        let mut config = small();
        config.batch = batch;
        let mut trainer = Trainer::new(&model, CrossEntropy::default(), config).unwrap();
        trainer.fit(Arc::new(dataset(0..samples, 1)), None)
    };
    assert!(fit(3, 9).is_ok());
    for (batch, samples) in [(4, 8), (3, 8)] {
        let error = fit(batch, samples).unwrap_err().to_string();
        assert!(
            error.starts_with("input `image` takes batches of 3 samples only"),
            "{error}"
        );
    }
}
