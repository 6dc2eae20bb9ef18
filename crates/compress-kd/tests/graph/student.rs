//! Students: what is left of the teacher computes what it computed there.

use crate::data::{distance, run, shared_model};
use crate::models::{Builder, images, residual, sentences, transformer};
use compress_kd::graph::student::{
    KeepBlocks, StudentError, StudentRecipe, WidthConfig, clone_smaller, drop_layers, find_blocks,
    halve_width, scale_width,
};
use compress_tensor::{DType, Tensor};
use compress_train::trainer::Initialization;
use onnx_ir::check::check;
use onnx_ir::{Model, Node};
use runtime_session::{Session, SessionOptions};

fn weight<'a>(model: &'a Model, name: &str) -> &'a Tensor {
    let id = model.graph.value_by_name(name).unwrap();
    model.graph.initializer(id).unwrap()
}

fn shape(model: &Model, name: &str) -> Vec<usize> {
    weight(model, name).shape().to_vec()
}

/// Makes zeros of some positions of an axis of an initializer.
fn clear(model: &mut Model, name: &str, axis: usize, places: impl Fn(usize) -> bool) {
    let id = model.graph.value_by_name(name).unwrap();
    let tensor = model.graph.initializer(id).unwrap().clone();
    let shape = tensor.shape().to_vec();
    let inner: usize = shape[axis + 1..].iter().product();
    let mut values = tensor.to_f64_vec().unwrap();
    for (index, value) in values.iter_mut().enumerate() {
        if places((index / inner) % shape[axis]) {
            *value = 0.0;
        }
    }
    let values = values.into_iter().map(|v| v as f32).collect();
    let tensor = Tensor::from_vec(&shape, values).unwrap();
    model.graph.set_initializer(id, tensor);
}

fn odd(place: usize) -> bool {
    place % 2 == 1
}

#[test]
fn a_narrower_network_without_its_dead_channels_computes_the_same() {
    let mut teacher = residual(1);
    // Every second channel of all widths is dead: nothing comes in, nothing goes out.
    for (name, axis) in [
        ("stem.weight", 0),
        ("stem.bias", 0),
        ("stem.norm.scale", 0),
        ("stem.norm.shift", 0),
        ("stem.norm.mean", 0),
        ("stem.norm.var", 0),
        ("grouped.weight", 0),
        ("grouped.bias", 0),
        ("last.weight", 0),
        ("last.bias", 0),
    ] {
        clear(&mut teacher, name, axis, odd);
    }
    for block in ["a", "b"] {
        for part in [
            "wide.weight",
            "wide.bias",
            "depthwise.weight",
            "depthwise.bias",
            "norm.scale",
            "norm.shift",
            "norm.mean",
            "norm.var",
            "narrow.weight",
            "narrow.bias",
        ] {
            clear(&mut teacher, &format!("{block}.{part}"), 0, odd);
        }
    }
    clear(&mut teacher, "classifier.weight", 1, |column| {
        odd(column / 16)
    });
    let (student, report) = halve_width(&teacher).unwrap();
    assert_eq!(shape(&student, "stem.weight"), [4, 3, 3, 3]);
    assert_eq!(shape(&student, "a.depthwise.weight"), [6, 1, 3, 3]);
    assert_eq!(shape(&student, "grouped.weight"), [4, 2, 3, 3]);
    assert_eq!(shape(&student, "last.weight"), [3, 8, 3, 3]);
    assert_eq!(shape(&student, "classifier.weight"), [5, 48]);
    assert!(report.parameters_after < report.parameters_before / 2);
    assert_eq!(report.widths.iter().filter(|w| w.before == 12).count(), 2);
    assert!(report.widths.iter().all(|w| 2 * w.after == w.before));
    let x = images(3, 2);
    let (a, b) = (
        run(&teacher, &[("image", x.clone())]),
        run(&student, &[("image", x)]),
    );
    assert!(distance(&a[0], &b[0]) < 1e-5, "{}", distance(&a[0], &b[0]));
    assert!(a[0].to_f64_vec().unwrap().iter().any(|v| v.abs() > 0.1));
}

#[test]
fn a_transformer_loses_heads_and_units_and_keeps_its_output() {
    let mut teacher = transformer(3, 2);
    // The second head says nothing and every second unit is dead.
    for layer in 0..2 {
        for part in ["q", "k", "v"] {
            clear(&mut teacher, &format!("{layer}.{part}.weight"), 1, |c| {
                c >= 4
            });
            clear(&mut teacher, &format!("{layer}.{part}.bias"), 0, |c| c >= 4);
        }
        clear(&mut teacher, &format!("{layer}.attended.weight"), 0, |c| {
            c >= 4
        });
        clear(&mut teacher, &format!("{layer}.wide.weight"), 1, odd);
        clear(&mut teacher, &format!("{layer}.wide.bias"), 0, odd);
        clear(&mut teacher, &format!("{layer}.narrow.weight"), 0, odd);
    }
    let (student, report) = halve_width(&teacher).unwrap();
    assert_eq!(shape(&student, "0.q.weight"), [8, 4]);
    assert_eq!(shape(&student, "1.attended.weight"), [4, 8]);
    assert_eq!(shape(&student, "1.wide.weight"), [8, 8]);
    // The residual stream is the output.
    assert_eq!(shape(&student, "embeddings"), [20, 8]);
    assert!(report.widths.iter().any(|w| (w.before, w.after) == (2, 1)));
    let feeds = sentences(3, 4);
    let (a, b) = (run(&teacher, &feeds), run(&student, &feeds));
    assert!(distance(&a[0], &b[0]) < 1e-5, "{}", distance(&a[0], &b[0]));
}

#[test]
fn widths_round_to_multiples() {
    let mut config = WidthConfig::new(0.6);
    config.multiple_of = 4;
    let (student, _) = scale_width(&residual(1), &config).unwrap();
    assert_eq!(shape(&student, "a.wide.weight")[0], 8);
    // The stem's width is that of two groups of 4, which a multiple of 4 cannot be less than.
    assert_eq!(shape(&student, "stem.weight")[0], 8);
    for factor in [0.0, 1.0, f64::NAN, -1.0] {
        let error = scale_width(&residual(1), &WidthConfig::new(factor)).unwrap_err();
        assert!(
            error.to_string().contains("it must lie in (0, 1)"),
            "{error}"
        );
    }
}

#[test]
fn a_width_that_cannot_be_followed_is_refused_with_the_node() {
    let mut b = Builder::new(1);
    let x = b.input("x", DType::F32, &[4]);
    let h = b.linear(x, "first", (4, 6));
    let top = b.constant("top", Tensor::vector(vec![3i64]));
    let node = Node::new("TopK", [h, top], [None, None]);
    let (values, places) = (
        b.graph.add_value("values", onnx_ir::Fact::Unknown).unwrap(),
        b.graph.add_value("places", onnx_ir::Fact::Unknown).unwrap(),
    );
    let node = node
        .named("best")
        .with_outputs(vec![Some(values), Some(places)]);
    b.graph.add_node(node).unwrap();
    let model = b.finish(&[values]);
    let error = halve_width(&model).unwrap_err().to_string();
    assert!(
        error.contains("best (TopK)") && error.contains("`first.weight`"),
        "{error}"
    );
    let mut b = Builder::new(1);
    let x = b.input("x", DType::F32, &[4]);
    let y = b.linear(x, "only", (4, 3));
    let error = halve_width(&b.finish(&[y])).unwrap_err();
    assert!(matches!(error, StudentError::NothingToChange), "{error}");
}

#[test]
fn the_layers_of_a_transformer_are_found_and_left_out() {
    let teacher = transformer(5, 6);
    let rows = find_blocks(&teacher).unwrap();
    assert_eq!(rows[0].blocks.len(), 6);
    let ends: Vec<&str> = rows[0].blocks.iter().map(|b| b.output.as_str()).collect();
    assert_eq!(ends, ["0.out", "1.out", "2.out", "3.out", "4.out", "5.out"]);
    assert_eq!(rows[0].blocks[0].input, "embedded.norm");
    // The first three layers compute what they computed in the teacher.
    let student = drop_layers(&teacher, 0, &KeepBlocks::These(vec![0, 1, 2])).unwrap();
    let feeds = sentences(4, 6);
    let session = Session::new(teacher.clone(), &SessionOptions::default()).unwrap();
    let mut third = None;
    let tap = |_: &str, tensor: &Tensor| third = Some(tensor.clone());
    session.run_with_taps(&feeds, &["2.out"], tap).unwrap();
    let found = run(&student, &feeds);
    assert!(distance(&found[0], &third.unwrap()) < 1e-6);
    // Evenly: the first, the third or fourth, and the last.
    let student = drop_layers(&teacher, 0, &KeepBlocks::Evenly(3)).unwrap();
    for layer in 0..6 {
        let name = format!("{layer}.wide.weight");
        let stays = [0, 3, 5].contains(&layer);
        assert_eq!(
            student.graph.value_by_name(&name).is_some(),
            stays,
            "{name}"
        );
    }
    assert!(check(&student).is_empty());
    assert_eq!(
        weight(&student, "3.q.weight").bytes(),
        weight(&teacher, "3.q.weight").bytes()
    );
    // All of them: the same model.
    let whole = drop_layers(&teacher, 0, &KeepBlocks::Evenly(6)).unwrap();
    assert_eq!(
        distance(&run(&whole, &feeds)[0], &run(&teacher, &feeds)[0]),
        0.0
    );
}

#[test]
fn blocks_of_a_residual_network_are_found() {
    let teacher = residual(7);
    let rows = find_blocks(&teacher).unwrap();
    assert_eq!((rows.len(), rows[0].blocks.len()), (1, 2));
    assert_eq!(rows[0].blocks[1].output, "b.sum");
    let student = drop_layers(&teacher, 0, &KeepBlocks::Evenly(1)).unwrap();
    assert!(student.graph.value_by_name("a.wide.weight").is_none());
    let x = images(2, 1);
    assert_eq!(run(&student, &[("image", x)])[0].shape(), [2, 5]);
}

#[test]
fn a_row_may_begin_with_an_input_and_end_with_an_output() {
    let mut b = Builder::new(1);
    let mut at = b.input("x", DType::F32, &[4]);
    for layer in 0..3 {
        let y = b.linear(at, &format!("{layer}"), (4, 4));
        at = b.op("Tanh", &[y], &format!("{layer}.out"));
    }
    let teacher = b.finish(&[at]);
    let x = Tensor::from_vec(&[2, 4], (0..8).map(|n| n as f32 / 8.0).collect()).unwrap();
    assert_eq!(find_blocks(&teacher).unwrap()[0].blocks[0].input, "x");
    // One layer after the other by hand.
    for kept in [vec![0], vec![1], vec![2], vec![0, 2], vec![1, 2]] {
        let student = drop_layers(&teacher, 0, &KeepBlocks::These(kept.clone())).unwrap();
        let mut expected = x.to_f64_vec().unwrap();
        for layer in &kept {
            let w = weight(&teacher, &format!("{layer}.weight"))
                .to_f64_vec()
                .unwrap();
            let bias = weight(&teacher, &format!("{layer}.bias"))
                .to_f64_vec()
                .unwrap();
            let row = |row: &[f64]| -> Vec<f64> {
                let sum = |k: usize| (0..4).map(|i| row[i] * w[4 * i + k]).sum::<f64>();
                (0..4).map(|k| (sum(k) + bias[k]).tanh()).collect()
            };
            expected = expected.chunks(4).flat_map(row).collect();
        }
        let found = run(&student, &[("x", x.clone())])[0].to_f64_vec().unwrap();
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
        assert!(worst.fold(0.0, f64::max) < 1e-6, "{kept:?}");
    }
}

#[test]
fn blocks_that_are_not_there_are_refused() {
    let teacher = transformer(5, 3);
    let refused = |row, keep| drop_layers(&teacher, row, &keep).unwrap_err().to_string();
    assert!(
        refused(0, KeepBlocks::Evenly(4))
            .contains("4 blocks cannot be kept: the model has 3 repeated blocks")
    );
    assert!(refused(0, KeepBlocks::Evenly(0)).contains("one at least must stay"));
    assert!(refused(0, KeepBlocks::These(vec![1, 1])).contains("their numbers must rise"));
    assert!(refused(0, KeepBlocks::These(vec![0, 3])).contains("there are not as many"));
    assert!(refused(9, KeepBlocks::Evenly(1)).contains("no row of blocks 9"));
    let mut b = Builder::new(1);
    let x = b.input("x", DType::F32, &[4]);
    let y = b.linear(x, "only", (4, 3));
    let none = drop_layers(&b.finish(&[y]), 0, &KeepBlocks::Evenly(1)).unwrap_err();
    assert!(matches!(none, StudentError::NoBlocks), "{none}");
}

#[test]
fn a_recipe_makes_a_student_with_new_weights() {
    let teacher = transformer(5, 4);
    let mut recipe = StudentRecipe::default();
    assert_eq!(
        clone_smaller(&teacher, &recipe)
            .unwrap()
            .to_bytes()
            .unwrap(),
        teacher.to_bytes().unwrap()
    );
    recipe.blocks = Some(KeepBlocks::Evenly(2));
    recipe.width = Some(WidthConfig::default());
    let sliced = clone_smaller(&teacher, &recipe).unwrap();
    assert_eq!(shape(&sliced, "3.wide.weight"), [8, 8]);
    recipe.initialize = Initialization::He;
    let fresh = clone_smaller(&teacher, &recipe).unwrap();
    assert_eq!(shape(&fresh, "3.wide.weight"), [8, 8]);
    assert_ne!(
        weight(&fresh, "3.wide.weight").bytes(),
        weight(&sliced, "3.wide.weight").bytes()
    );
    assert_eq!(
        fresh.to_bytes().unwrap(),
        clone_smaller(&teacher, &recipe)
            .unwrap()
            .to_bytes()
            .unwrap()
    );
}

#[test]
fn shared_models_become_narrower_and_shallower() {
    for name in [
        "resnet8_cifar10.onnx",
        "resnet_large_cifar10.onnx",
        "dscnn_kws.onnx",
    ] {
        let Some(teacher) = shared_model(name) else {
            return;
        };
        let (student, report) = halve_width(&teacher).unwrap();
        let share = report.parameters_after as f64 / report.parameters_before as f64;
        println!(
            "{name}: {share:.3} of the parameters, {} widths",
            report.widths.len()
        );
        assert!(share < 0.55, "{name}: {share}");
        let shape: &[usize] = if name.starts_with("dscnn") {
            &[2, 1, 49, 10]
        } else {
            &[2, 3, 32, 32]
        };
        let found = run(&student, &[("input", Tensor::full(shape, 1f32).unwrap())]);
        assert_eq!(found[0].shape()[0], 2);
    }
    let Some(teacher) = shared_model("minilm_l6_v2.onnx") else {
        return;
    };
    let rows = find_blocks(&teacher).unwrap();
    assert_eq!(rows[0].blocks.len(), 6);
    let ids = Tensor::from_vec(&[1, 4], vec![101i64, 2023, 2003, 102]).unwrap();
    let feeds = [
        ("input_ids", ids),
        (
            "attention_mask",
            Tensor::from_vec(&[1, 4], vec![1i64; 4]).unwrap(),
        ),
        (
            "token_type_ids",
            Tensor::from_vec(&[1, 4], vec![0i64; 4]).unwrap(),
        ),
    ];
    let student = drop_layers(&teacher, 0, &KeepBlocks::These(vec![0, 1, 2])).unwrap();
    let session = Session::new(teacher.clone(), &SessionOptions::default()).unwrap();
    let mut third = None;
    let tap = |_: &str, tensor: &Tensor| third = Some(tensor.clone());
    let end = rows[0].blocks[2].output.clone();
    session.run_with_taps(&feeds, &[&end], tap).unwrap();
    assert!(distance(&run(&student, &feeds)[0], &third.unwrap()) < 1e-5);
    let (narrow, report) = halve_width(&student).unwrap();
    println!(
        "{:?}",
        report
            .widths
            .iter()
            .map(|w| (w.before, w.after))
            .collect::<Vec<_>>()
    );
    assert_eq!(run(&narrow, &feeds)[0].shape(), [1, 4, 384]);
}
