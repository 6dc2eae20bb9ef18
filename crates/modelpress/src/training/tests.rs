//! Recipes, read, refused and documented; the mixed loss.

mod documented;

use super::*;

#[test]
fn a_recipe_reads_back_as_it_was_written() {
    let text = "
        limit = 100
        hold-out = 0.1
        [samples]
        inputs = ['x=x.npy']
        labels = ['y.npy', 'weights=w.npy']
        [preprocess]
        layout = 'nhwc'
        mean = [0.5]
        [loss]
        kind = 'huber'
        delta = 2.0
        [[augment]]
        kind = 'crop'
        padding = 2
        border = 'edge'
        [[augment]]
        kind = 'cutmix'
        classes = 10
        [trainer]
        epochs = 3
        learning-rate = 0.05
        schedule = { kind = 'one-cycle', rising = 0.2 }
        optimizer = { kind = 'adam', beta1 = 0.8, decay = 'penalty' }
        groups = [{ patterns = ['*.bias'], weight_decay = 0.0 }]
        average = { decay = 0.99 }
        checkpoint = { path = 'c' }
        log = { path = 'log.jsonl', format = 'json-lines', every = 10 }
    ";
    let recipe = TrainRecipe::from_toml(text).unwrap();
    assert_eq!(
        TrainRecipe::from_toml(&recipe.to_toml().unwrap()).unwrap(),
        recipe
    );
    let within = recipe.within(Path::new("folder"));
    assert_eq!(within.samples.labels[1].to_string(), "weights=folder/w.npy");
    assert_eq!(
        within.trainer.checkpoint.unwrap().path,
        Path::new("folder/c")
    );
    assert_eq!(
        within.trainer.log.unwrap().path,
        Path::new("folder/log.jsonl")
    );
}

#[test]
fn unknown_settings_are_told() {
    for (text, expected) in [
        ("[trainer]\nepoch = 1", "epoch"),
        ("[loss]\nkind = 'mse'\ndelta = 1.0", "delta"),
        (
            "[trainer]\noptimizer = { kind = 'sgd', momentun = 0.9 }",
            "momentun",
        ),
        ("[[augment]]\nkind = 'blur'", "blur"),
        (
            "[trainer]\nschedule = { kind = 'cosine', steps = 3 }",
            "steps",
        ),
    ] {
        let error = TrainRecipe::from_toml(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[cfg(feature = "kd")]
#[test]
fn the_mixed_loss_is_that_of_the_arrays() {
    use crate::kd::logits::{KdLoss, kl_divergence};
    use crate::train::loss::{Loss, Outputs, Target, Targets};
    use ndarray::{arr1, arr2};
    let student = arr2(&[[0.1f32, 0.4, -0.2], [1.0, -1.0, 0.3]]);
    let teacher = arr2(&[[0.0f32, 3.0, -1.0], [2.0, -1.5, 0.5]]);
    let labels = arr1(&[1i64, 0]);
    let (dynamic, taught) = (student.clone().into_dyn(), teacher.clone().into_dyn());
    let classes = labels.clone().into_dyn();
    let outputs = Outputs::new([("logits", dynamic.view())]);
    let loss = MixedLoss::new(KdLoss::new(0.7, 3.0));
    let (value, gradient) = loss.loss.loss(&student, &teacher, &labels).unwrap();
    let (teacher_target, label_target) = (
        (TEACHER, Target::Values(taught.view())),
        ("labels", Target::Classes(classes.view())),
    );
    for targets in [
        [teacher_target.clone(), label_target.clone()],
        [label_target, teacher_target.clone()],
    ] {
        let found = loss.loss(&outputs, &Targets::new(targets)).unwrap();
        assert_eq!(found.value, value);
        assert_eq!(
            found.gradients[0].as_ref(),
            Some(&gradient.clone().into_dyn())
        );
    }
    let alone = loss
        .loss(&outputs, &Targets::new([teacher_target]))
        .unwrap();
    assert_eq!(
        alone.value,
        kl_divergence(&student, &teacher, 3.0).unwrap().0
    );
    let error = loss.loss(&outputs, &Targets::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no target `teacher`, there are []"
    );
}

#[test]
fn a_recipe_that_quantizes_reads_back_and_has_a_warm_up() {
    let text = "
        [samples]
        inputs = ['x.npy']
        [trainer]
        epochs = 4
        checkpoint = { path = 'c' }
        log = { path = 'log.csv' }
        [qat]
        method = 'lsq+'
        weight-bits = 3
        end-bits = 8
        layers = [{ nodes = ['conv*'], activation-bits = 5 }]
        target = 'tflite'
        range = { percentile = 99.9 }
        warm-up = 2
        hold-steps = 0.5
        teacher = 'large.onnx'
    ";
    let recipe = TrainRecipe::from_toml(text).unwrap();
    assert_eq!(
        TrainRecipe::from_toml(&recipe.to_toml().unwrap()).unwrap(),
        recipe
    );
    let spec = recipe.clone().within(Path::new("folder")).qat.unwrap();
    assert_eq!(
        spec.teacher.as_deref(),
        Some(Path::new("folder/large.onnx"))
    );
    let config = spec.config();
    assert_eq!((config.weight_bits, config.activation_bits), (3, 8));
    assert_eq!(config.layers[0].activation_bits, Some(5));
    let first = recipe.warm_up().unwrap();
    assert_eq!((first.trainer.epochs, first.trainer.log), (2, None));
    let path = first.trainer.checkpoint.unwrap().path;
    assert_eq!(path, Path::new("c.float"));
    let mut plain = recipe;
    plain.qat.as_mut().unwrap().warm_up = 0;
    assert!(plain.warm_up().is_none());
    let error = TrainRecipe::from_toml("[qat]\nbits = 4").unwrap_err();
    assert!(error.to_string().contains("bits"), "{error}");
}

#[cfg(feature = "kd")]
#[test]
fn generations_hold_out_the_same_samples() {
    let mut graph = crate::ir::Graph::new("one");
    let shape = [crate::ir::Dim::symbol("batch"), 1usize.into()];
    let fact = Fact::tensor(crate::tensor::DType::F32, shape);
    let x = graph.add_value("x", fact).unwrap();
    graph.add_input(x);
    graph.add_output(x);
    let model = Model::new(graph, 17);
    let folder = tempfile::tempdir().unwrap();
    let values = crate::tensor::Tensor::from_vec(&[64, 1], vec![0f32; 64]).unwrap();
    crate::tensor::npy::write(folder.path().join("x.npy"), &values).unwrap();
    let text = "hold-out = 0.25\n[samples]\ninputs = ['x.npy']\n[trainer]\nseed = 5\n";
    let recipe = DistillRecipe::from_toml(text).unwrap();
    let recipe = recipe.within(folder.path());
    let held_out = |recipe: &DistillRecipe| {
        let (_, held_out) = recipe.train.sides(&model).unwrap();
        let held_out = held_out.unwrap();
        let rows = (0..held_out.len()).map(|index| held_out.row(index));
        rows.collect::<Vec<usize>>()
    };
    let later = recipe.generation(2);
    assert_eq!(later.train.trainer.seed, 7);
    assert_eq!(held_out(&later), held_out(&recipe));
    let mut other = recipe.clone();
    other.train.trainer.seed = 7;
    assert_ne!(held_out(&other), held_out(&recipe));
}

/// `x [batch, 4] -> y [batch, 3]`, by weights that are not all alike.
fn linear(batch: crate::ir::Dim) -> Model {
    use crate::tensor::{DType, Tensor};
    let mut graph = crate::ir::Graph::new("linear");
    let fact = Fact::tensor(DType::F32, [batch, 4usize.into()]);
    let x = graph.add_value("x", fact).unwrap();
    graph.add_input(x);
    let values = (0..12u8).map(|i| f32::from(i) / 8.0 - 0.6).collect();
    let w = Tensor::from_vec(&[4, 3], values).unwrap();
    let w = graph.add_initializer("w", w).unwrap();
    let b = Tensor::vector(vec![0.1f32, -0.2, 0.3]);
    let b = graph.add_initializer("b", b).unwrap();
    let y = graph.add_value("y", Fact::Unknown).unwrap();
    let node = crate::ir::Node::new("Gemm", [x, w, b], [y]);
    graph.add_node(node.named("linear")).unwrap();
    graph.add_output(y);
    Model::new(graph, 17)
}

/// What a recipe gathers of `x`, of which sample `i` is `[i + 1, -i / 2, i % 5, 0.25]`, and the number of samples.
fn gathered(batch: crate::ir::Dim, rows: u8, recipe: &str) -> (crate::quant::TensorStats, usize) {
    let folder = tempfile::tempdir().unwrap();
    let row = |i: u8| {
        [
            f32::from(i + 1),
            f32::from(i) / -2.0,
            f32::from(i % 5),
            0.25,
        ]
    };
    let values = (0..rows).flat_map(row).collect();
    let values = crate::tensor::Tensor::from_vec(&[rows.into(), 4], values).unwrap();
    crate::tensor::npy::write(folder.path().join("x.npy"), &values).unwrap();
    let text = format!("[samples]\ninputs = ['x.npy']\n{recipe}");
    let recipe = TrainRecipe::from_toml(&text).unwrap();
    let recipe = recipe.within(folder.path());
    let spec = recipe.qat.clone().unwrap();
    let options = SessionOptions::default();
    let (found, samples) = recipe
        .calibrate(&spec, &spec.config(), &linear(batch), &options)
        .unwrap();
    (found.get("x").unwrap().clone(), samples)
}

#[test]
fn ranges_do_not_depend_on_the_batch() {
    use crate::quant::{DType, Method, RangeRule};
    let methods = [
        ("'minmax'", Method::MinMax),
        ("'moving-average'", Method::MovingAverage),
        ("{ percentile = 99.9 }", Method::Percentile(99.9)),
        ("'entropy'", Method::Entropy),
        ("'mse'", Method::Mse),
    ];
    for (name, method) in methods {
        let range = |batch: usize| {
            let text = format!("[trainer]\nbatch = {batch}\n[qat]\nrange = {name}");
            let (stats, samples) = gathered(crate::ir::Dim::symbol("batch"), 21, &text);
            assert_eq!(samples, 21);
            let range = method.range(&stats, DType::U8, RangeRule::Asymmetric);
            let range = range.unwrap();
            (range.min, range.max)
        };
        let found = range(1);
        for batch in [2, 8, 64] {
            assert_eq!(range(batch), found, "{name}, {batch}");
        }
        if method == Method::MovingAverage {
            // The means of -i / 2 and of i + 1 for i of 0 to 20.
            assert_eq!(found, (-5.0, 11.0));
        }
    }
}

#[test]
fn a_fixed_batch_sees_no_sample_twice() {
    let seen = |calibration: usize| {
        let text = format!("[qat]\nrange = 'minmax'\ncalibration = {calibration}");
        let (stats, samples) = gathered(8usize.into(), 24, &text);
        (samples, stats.samples())
    };
    // Whole batches of 8, of 24 samples.
    assert_eq!(
        [seen(1), seen(8), seen(9), seen(512)],
        [(8, 1), (8, 1), (16, 2), (24, 3)]
    );
}

#[test]
fn a_trainer_of_codes_has_the_rate_of_kept_weights_and_the_whole_share() {
    let mut report = crate::quant::graph::qat::QatReport::default();
    report.steps = vec!["w_step".into(), "x_step".into()];
    let spec = QatSpec {
        hold_steps: 1.0,
        ..QatSpec::default()
    };
    let mut given = TrainerConfig::default();
    let found = spec.trainer(&given, &report);
    assert_eq!(found.base_learning_rate(), given.base_learning_rate());
    assert_eq!(found.largest_step_share(), 0.03);
    assert_eq!(given.largest_step_share(), 0.03 * 0.1);
    assert_eq!(found.groups[0].patterns, report.steps);
    assert_eq!(found.groups[0].weight_decay, Some(0.0));
    assert_eq!(
        (&found.hold[0].patterns, found.hold[0].from),
        (&report.steps, given.epochs as f64 - 1.0)
    );
    (given.step_share, given.learning_rate) = (Some(0.5), Some(0.2));
    let found = spec.trainer(&given, &report);
    assert_eq!(
        (found.step_share, found.learning_rate),
        (Some(0.5), Some(0.2))
    );
}
