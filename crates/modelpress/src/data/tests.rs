//! Datasets over small arrays.

use super::*;
use crate::ir::{Fact, Graph, Model};
use crate::tensor::npy;

/// A model of the given inputs; nothing is computed.
fn model(inputs: &[(&str, Fact)]) -> Model {
    let mut graph = Graph::new("inputs");
    for (name, fact) in inputs {
        let value = graph.add_value(name, fact.clone()).unwrap();
        graph.add_input(value);
    }
    Model::new(graph, 17)
}

fn spec(name: &str, tensor: &Tensor, folder: &tempfile::TempDir) -> InputSpec {
    let path = folder.path().join(format!("{name}.npy"));
    npy::write(&path, tensor).unwrap();
    InputSpec {
        name: Some(name.to_owned()),
        source: Source::File(path),
    }
}

fn image_model() -> Model {
    let shape = [
        Dim::symbol("batch"),
        Dim::Known(2),
        Dim::Known(1),
        Dim::Known(2),
    ];
    model(&[("x", Fact::tensor(DType::F32, shape))])
}

#[test]
fn bytes_in_nhwc_become_normalised_floats_in_nchw() {
    let folder = tempfile::tempdir().unwrap();
    // Two pixels of two channels: (1, 10) and (2, 20).
    let image = Tensor::from_vec(&[1, 1, 2, 2], vec![1u8, 10, 2, 20]).unwrap();
    let mut options = DataOptions::default();
    options.preprocess.layout = Layout::Nhwc;
    options.preprocess.mean = vec![1.0, 10.0];
    options.preprocess.std = vec![0.5, 5.0];
    let data = Dataset::open(&image_model(), &[spec("x", &image, &folder)], &options).unwrap();
    let batch = data.batch_of(0..1).unwrap();
    let (name, x) = &batch.inputs[0];
    assert_eq!((name.as_str(), x.shape()), ("x", [1, 2, 1, 2].as_slice()));
    assert_eq!(x.as_slice::<f32>().unwrap(), [0.0, 2.0, 0.0, 2.0]);
}

#[test]
fn integers_on_a_grid_become_the_reals_that_they_stand_for() {
    let folder = tempfile::tempdir().unwrap();
    let q = Tensor::from_vec(&[1, 2, 1, 2], vec![83i8, 84, -128, 0]).unwrap();
    let mut options = DataOptions::default();
    options.preprocess.offset = -83.0;
    options.preprocess.scale = Some(0.5);
    let data = Dataset::open(&image_model(), &[spec("x", &q, &folder)], &options).unwrap();
    let batch = data.batch_of(0..1).unwrap();
    assert_eq!(
        batch.inputs[0].1.as_slice::<f32>().unwrap(),
        [0.0, 0.5, -105.5, -41.5]
    );
}

#[test]
fn the_last_batch_holds_what_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let images = Tensor::full(&[5, 2, 1, 2], 0.0f32).unwrap();
    let options = DataOptions {
        batch: Some(2),
        ..DataOptions::default()
    };
    let data = Dataset::open(&image_model(), &[spec("x", &images, &folder)], &options).unwrap();
    let sizes: Vec<usize> = data.batches().map(|b| b.unwrap().samples.len()).collect();
    assert_eq!((data.len(), sizes), (5, vec![2, 2, 1]));
}

#[test]
fn a_mask_cuts_every_array_of_its_length_and_zeros_follow() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = || [Dim::symbol("batch"), Dim::symbol("sequence")];
    let names = ["ids", "mask", "types"];
    let model = model(&names.map(|n| (n, Fact::tensor(DType::I64, tokens()))));
    let ids = Tensor::from_vec(&[2, 4], vec![5i32, 6, 0, 0, 7, 8, 9, 0]).unwrap();
    let mask = Tensor::from_vec(&[2, 4], vec![1u8, 1, 0, 0, 1, 1, 1, 0]).unwrap();
    let inputs = [
        spec("ids", &ids, &folder),
        spec("mask", &mask, &folder),
        "types=zeros".parse().unwrap(),
    ];
    let mut options = DataOptions {
        batch: Some(2),
        trim: Some("mask".to_owned()),
        ..DataOptions::default()
    };
    let data = Dataset::open(&model, &inputs, &options).unwrap();
    let both = data.batch_of(0..2).unwrap().inputs;
    assert_eq!(both[0].1.shape(), [2, 3]);
    assert_eq!(both[0].1.as_slice::<i64>().unwrap(), [5, 6, 0, 7, 8, 9]);
    assert_eq!(
        (both[2].0.as_str(), both[2].1.shape()),
        ("types", [2, 3].as_slice())
    );
    options.batch = Some(1);
    let data = Dataset::open(&model, &inputs, &options).unwrap();
    assert_eq!(data.batch_of(0..1).unwrap().inputs[2].1.shape(), [1, 2]);
}

#[test]
fn a_fixed_first_axis_groups_the_samples() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(&[("x", Fact::tensor(DType::F32, [2usize, 1]))]);
    let open = |rows: usize, batch| {
        let x = Tensor::full(&[rows, 1], 0.0f32).unwrap();
        let options = DataOptions {
            batch,
            ..DataOptions::default()
        };
        Dataset::open(&model, &[spec("x", &x, &folder)], &options)
    };
    assert_eq!(open(4, None).unwrap().batches().count(), 2);
    assert!(matches!(
        open(3, None),
        Err(DataError::NotWholeBatches {
            samples: 3,
            batch: 2
        })
    ));
    assert!(matches!(
        open(4, Some(4)),
        Err(DataError::FixedBatch { asked: 4, fixed: 2 })
    ));
}

#[test]
fn inputs_that_are_missing_unknown_or_of_other_counts_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let fact = || Fact::tensor(DType::F32, [Dim::symbol("n")]);
    let model = model(&[("a", fact()), ("b", fact())]);
    let three = spec("a", &Tensor::vector(vec![0f32; 3]), &folder);
    let two = spec("b", &Tensor::vector(vec![0f32; 2]), &folder);
    let other = spec("c", &Tensor::vector(vec![0f32; 2]), &folder);
    let open = |inputs: &[InputSpec]| {
        let opened = Dataset::open(&model, inputs, &DataOptions::default());
        opened.err().unwrap().to_string()
    };
    assert_eq!(
        open(std::slice::from_ref(&three)),
        "input `b` was not given: add b=FILE.npy (or b=zeros)"
    );
    assert_eq!(open(&[three, two]), "`a` has 3 samples, `b` has 2");
    assert_eq!(open(&[other]), "the model has no input `c`; it takes a, b");
}

#[test]
fn an_integer_that_does_not_fit_is_an_error_not_a_wrapped_number() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(&[("x", Fact::tensor(DType::I8, [Dim::symbol("n")]))]);
    let x = spec("x", &Tensor::vector(vec![1i64, 200]), &folder);
    let data = Dataset::open(&model, &[x], &DataOptions::default()).unwrap();
    assert!(data.batch_of(0..1).is_ok());
    assert!(matches!(
        data.batch_of(1..2),
        Err(DataError::Lossy { to: DType::I8, .. })
    ));
}

#[test]
fn an_array_that_does_not_fit_is_refused_with_the_layout_that_would() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = DataOptions::default();
    let said = |shape: &[usize], options: &DataOptions| {
        let array = Tensor::full(shape, 0u8).unwrap();
        let opened = Dataset::open(&image_model(), &[spec("x", &array, &folder)], options);
        opened.map(|data| data.len()).map_err(|e| e.to_string())
    };
    assert_eq!(
        said(&[7, 1, 2, 2], &options).unwrap_err(),
        "input `x`: the array's shape [7, 1, 2, 2] does not fit [batch, 2, 1, 2]: its channels seem to be last, \
         use layout nhwc (`--layout nhwc`)"
    );
    assert_eq!(
        said(&[7, 5, 2, 2], &options).unwrap_err(),
        "input `x`: the array's shape [7, 5, 2, 2] does not fit [batch, 2, 1, 2]"
    );
    assert!(said(&[7, 2], &options).is_err());
    options.preprocess.layout = Layout::Nhwc;
    assert_eq!(said(&[7, 1, 2, 2], &options), Ok(7));
    let first = said(&[7, 2, 1, 2], &options).unwrap_err();
    assert!(first.contains("leave layout nhwc out"), "{first}");
}

#[test]
fn zeros_alone_are_one_sample() {
    let zeros: InputSpec = "zeros".parse().unwrap();
    let data = Dataset::open(&image_model(), &[zeros], &DataOptions::default()).unwrap();
    let batches: Vec<Batch> = data.batches().map(Result::unwrap).collect();
    assert_eq!(batches.len(), 1);
    assert_eq!(batches[0].inputs[0].1.shape(), [1, 2, 1, 2]);
}

#[test]
fn a_run_takes_samples_that_are_no_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    let rows = |n: usize| (0..n * 4).map(|i| i as f32).collect::<Vec<f32>>();
    let images = Tensor::from_vec(&[5, 2, 1, 2], rows(5)).unwrap();
    let options = DataOptions {
        preferred_batch: 4,
        ..DataOptions::default()
    };
    let specs = [spec("x", &images, &folder)];
    let data = Dataset::open(&image_model(), &specs, &options).unwrap();
    assert!(!data.has_fixed_batch());
    let inputs = data.batch_at(&[4, 0, 4]).unwrap();
    let x = &inputs[0].1;
    assert_eq!(x.shape(), [3, 2, 1, 2]);
    let last = [16.0, 17.0, 18.0, 19.0];
    assert_eq!(
        x.as_slice::<f32>().unwrap(),
        [last, [0.0, 1.0, 2.0, 3.0], last].concat()
    );
    let neighbours = data.batch_of(1..3).unwrap().inputs;
    let same = data.batch_at(&[1, 2]).unwrap();
    assert_eq!(same[0].1.to_bytes(), neighbours[0].1.to_bytes());
    // What is no sample comes whole.
    let scalar = Fact::tensor(DType::F32, [Dim::Known(2)]);
    let samples = Fact::tensor(DType::F32, [Dim::symbol("batch"), Dim::Known(1)]);
    let both = model(&[("a", samples), ("b", scalar)]);
    let a = Tensor::from_vec(&[3, 1], vec![1f32, 2.0, 3.0]).unwrap();
    let b = Tensor::from_vec(&[2], vec![7f32, 8.0]).unwrap();
    let specs = [spec("a", &a, &folder), spec("b", &b, &folder)];
    let data = Dataset::open(&both, &specs, &options).unwrap();
    let inputs = data.batch_at(&[2, 1]).unwrap();
    assert_eq!(inputs[0].1.as_slice::<f32>().unwrap(), [3.0, 2.0]);
    assert_eq!(inputs[1].1.as_slice::<f32>().unwrap(), [7.0, 8.0]);
}
