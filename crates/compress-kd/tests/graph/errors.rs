//! What is said of a distillation that cannot be.

use crate::distill::{config, pictures};
use crate::models::{images, residual, transformer};
use compress_kd::graph::{
    DistillError, KdConfig, KdData, KdTerm, LossTerm, Tap, TeacherRuns, distill,
};
use compress_tensor::Tensor;
use compress_train::augment::{Augmentation, Flip, Images};
use compress_train::data::{ArrayDataset, Subset};
use std::sync::Arc;

fn refused(config: &KdConfig) -> String {
    let data = KdData::new(Arc::new(pictures(16)));
    distill(&residual(1), &residual(2), data, config)
        .err()
        .map(|error| error.to_string())
        .unwrap()
}

#[test]
fn tensors_that_are_not_there_are_named() {
    let at = |student: &str, teacher: &str| {
        refused(&config([
            LossTerm::new(KdTerm::Hint {}).with_tap(student, teacher)
        ]))
    };
    assert_eq!(
        at("nowhere", "hidden"),
        "the student has no tensor `nowhere`; its outputs are [\"logits\"]"
    );
    assert!(at("hidden", "nowhere").starts_with("the teacher has no tensor `nowhere`;"));
    assert!(
        at("hiden", "hidden")
            .starts_with("the student has no tensor `hiden` (did you mean `hidden`?);")
    );
    let none = refused(&KdConfig::new([]));
    assert_eq!(none, "there is no loss to distil by");
}

#[test]
fn terms_are_checked_before_anything_runs() {
    let mut term = LossTerm::new(KdTerm::Kl { temperature: 2.0 });
    term.weight.0 = -1.0;
    assert!(refused(&config([term])).contains("the weight of a loss is -1"));
    let mut term = LossTerm::new(KdTerm::Hint {});
    term.teacher = 1;
    assert!(refused(&config([term])).contains("looks at teacher 1, from 0; there are 1"));
    let odd = LossTerm::new(KdTerm::QueryKey { heads: 2 }).with_tap("hidden", "hidden");
    assert!(refused(&config([odd])).contains("pairs of two"));
    let tapped = LossTerm::new(KdTerm::CrossEntropy {
        label_smoothing: 0.0,
    });
    assert!(
        refused(&config([tapped.with_tap("hidden", "hidden")])).contains("looks at no teacher")
    );
    let mut weights = config([LossTerm::default()]);
    weights.ensemble.weights = Some(vec![1.0, 1.0]);
    assert!(refused(&weights).contains("there are 2 weights of teachers instead of 1"));
    let mut mask = config([LossTerm::default()]);
    mask.mask = Some("attention".into());
    assert!(refused(&mask).contains("no field `attention` for the mask"));
    let hot = config([LossTerm::new(KdTerm::kd(2.0, 4.0))]);
    assert!(refused(&hot).contains("alpha is 2"));
    let cold = config([LossTerm::new(KdTerm::Kl { temperature: 0.0 })]);
    assert!(refused(&cold).contains("the temperature is 0"));
    let headless = LossTerm::new(KdTerm::Relation { heads: 0 }).with_tap("hidden", "hidden");
    assert!(refused(&config([headless])).contains("the number of heads is 0"));
}

#[test]
fn losses_that_need_labels_or_other_shapes_say_so() {
    let x = crate::models::images(8, 1);
    let data = KdData::new(Arc::new(ArrayDataset::new([("image", x)]).unwrap()));
    let dkd = KdTerm::Dkd {
        alpha: 1.0,
        beta: 1.0,
        temperature: 2.0,
    };
    let error = distill(
        &residual(1),
        &residual(2),
        data,
        &config([LossTerm::new(dkd)]),
    );
    assert!(matches!(error, Err(DistillError::NoLabels { loss: "dkd" })));
    let images = LossTerm::new(KdTerm::Relation { heads: 2 }).with_tap("hidden", "hidden");
    let text = refused(&config([images]));
    assert!(
        text.contains("[8, 6, 4, 4]") && text.contains("[samples, tokens, width]"),
        "{text}"
    );
    let data = KdData::new(Arc::new(
        ArrayDataset::new(crate::models::sentences(8, 1)).unwrap(),
    ));
    let pooled = LossTerm::new(KdTerm::Cosine {})
        .with_tap("0.scores", "0.scores")
        .pooled();
    let error = distill(
        &transformer(1, 1),
        &transformer(2, 1),
        data,
        &config([pooled]),
    );
    let text = error.err().map(|e| e.to_string()).unwrap();
    assert!(
        text.contains("pooling needs [samples, tokens, width]"),
        "{text}"
    );
}

#[test]
fn a_teacher_cannot_run_once_where_samples_change_or_do_not_fit() {
    let mut small = config([LossTerm::default()]);
    small.teacher_runs = TeacherRuns::Memory { bytes: 100 };
    assert!(refused(&small).contains("takes 320 bytes, 100 are allowed"));
    small.teacher_runs = TeacherRuns::Auto { bytes: 100 };
    small.trainer.epochs = 1;
    let data = KdData::new(Arc::new(pictures(16)));
    let (_, report) = distill(&residual(1), &residual(2), data, &small).unwrap();
    assert_eq!(report.teacher.runs, "for each batch");
    assert!(report.teacher.reason.unwrap().contains("more bytes"));
    small.teacher_runs = TeacherRuns::Memory { bytes: 1 << 20 };
    let flip = Flip {
        images: Images::nchw("image"),
        horizontal: 0.5,
        vertical: 0.0,
    };
    let data =
        KdData::new(Arc::new(pictures(16))).with_augmentation(Augmentation::new(1).with(flip));
    let error = distill(&residual(1), &residual(2), data, &small);
    assert!(matches!(error, Err(DistillError::Augmented)));
}

#[test]
fn samples_are_called_by_their_rows() {
    let mut image = images(16, 9);
    let of_one = image.len() / 16;
    image.data_mut::<f32>().unwrap()[9 * of_one] = f32::NAN;
    let labels = Tensor::vector((0..16).map(|i| i % 5).collect::<Vec<i64>>());
    let all = ArrayDataset::new([("image", image), ("labels", labels)]).unwrap();
    // Row 9 is sample 6 of these.
    let rows = (8..16).rev().collect();
    let part = Subset::new(Arc::new(all), rows).unwrap();
    let config = config([LossTerm::default()]);
    let error = distill(
        &residual(1),
        &residual(2),
        KdData::new(Arc::new(part)),
        &config,
    );
    let error = error.err().unwrap().to_string();
    assert!(
        error.contains("sample 9: field `image` holds NaN"),
        "{error}"
    );
}

#[test]
fn what_a_teacher_cannot_say_is_told_with_its_name_and_the_row() {
    let mut broken = residual(1);
    let id = broken.graph.value_by_name("classifier.bias").unwrap();
    let mut bias = broken.graph.initializer(id).unwrap().clone();
    bias.data_mut::<f32>().unwrap()[2] = f32::NAN;
    broken.graph.set_initializer(id, bias);
    for runs in [TeacherRuns::default(), TeacherRuns::OnTheFly {}] {
        let mut config = config([LossTerm::default()]);
        config.teacher_runs = runs;
        config.teacher_names = vec!["large.onnx".into()];
        config.trainer.batch = 16;
        let all = Subset::new(Arc::new(pictures(20)), (4..20).collect()).unwrap();
        let found = distill(&broken, &residual(2), KdData::new(Arc::new(all)), &config);
        let error = found.err().unwrap().to_string();
        assert!(
            error.contains("large.onnx: its `logits` holds NaN"),
            "{error}"
        );
        if config.teacher_runs == TeacherRuns::default() {
            assert!(error.starts_with("sample 4: "), "{error}");
        }
    }
}

#[test]
fn a_student_of_integers_is_refused_with_its_node() {
    let mut student = residual(2);
    let graph = &mut student.graph;
    let x = graph.value_by_name("logits").unwrap();
    let scale = graph.add_initializer("s", Tensor::scalar(0.1f32)).unwrap();
    let y = graph.add_value("codes", onnx_ir::Fact::Unknown).unwrap();
    let node = onnx_ir::Node::new("QuantizeLinear", [x, scale], [y]);
    graph.add_node(node.named("codes_node")).unwrap();
    let data = KdData::new(Arc::new(pictures(16)));
    let found = distill(&residual(1), &student, data, &config([LossTerm::default()]));
    let error = found.err().unwrap().to_string();
    assert_eq!(
        error,
        "the student is already quantized (node `codes_node` is QuantizeLinear): distil its float model, and quantize what comes out"
    );
}

#[test]
fn held_out_samples_have_what_those_to_learn_from_have() {
    let bare = || Arc::new(ArrayDataset::new([("image", images(8, 1))]).unwrap());
    let data = KdData::new(Arc::new(pictures(16))).with_held_out(bare());
    let found = distill(
        &residual(1),
        &residual(2),
        data,
        &config([LossTerm::default()]),
    );
    assert_eq!(
        found.err().unwrap().to_string(),
        "the data have no field `labels` for the labels of the samples held out; they have [\"image\"]"
    );
    // No loss looks at labels: none are needed.
    let kl = LossTerm::new(KdTerm::Kl { temperature: 2.0 });
    let data = KdData::new(Arc::new(pictures(16))).with_held_out(bare());
    assert!(distill(&residual(1), &residual(2), data, &config([kl])).is_ok());
    // A mask that no term looks at.
    let mut idle = config([LossTerm::default()]);
    idle.mask = Some("labels".into());
    assert!(refused(&idle).contains("the mask (--mask) has no effect"));
}

#[test]
fn taps_are_pairs() {
    assert_eq!("a=b/c".parse::<Tap>().unwrap().teacher, "b/c");
    for wrong in ["a", "=b", "a=", ""] {
        let error = wrong.parse::<Tap>().unwrap_err().to_string();
        assert!(error.contains("write STUDENT=TEACHER"), "{error}");
    }
}

#[test]
fn settings_read_back_as_they_were_written() {
    let text = r#"{
        "losses": [
            { "loss": { "kind": "kd", "alpha": 0.5 }, "weight": 2.0 },
            { "loss": { "kind": "hint" }, "taps": ["a=b"], "pool": "mean", "teacher": 1 }
        ],
        "teacher-runs": { "kind": "memory", "bytes": 100 },
        "trainer": { "epochs": 3 }
    }"#;
    let config: KdConfig = serde_json::from_str(text).unwrap();
    assert_eq!(config.losses[0].loss, KdTerm::kd(0.5, 4.0));
    assert_eq!(config.losses[0].weight.0, 2.0);
    assert_eq!(config.losses[1].weight.0, 1.0);
    let again = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<KdConfig>(&again).unwrap(), config);
    for wrong in [
        r#"{ "losses": [{ "loss": { "kind": "kd", "beta": 1 } }] }"#,
        r#"{ "losses": [{ "loss": { "kind": "magic" } }] }"#,
        r#"{ "losses": [{ "taps": ["a"] }] }"#,
        r#"{ "loses": [] }"#,
    ] {
        assert!(serde_json::from_str::<KdConfig>(wrong).is_err(), "{wrong}");
    }
}
