//! The rules that LiteRT has for integer files, in what `--target tflite` writes after training.

use crate::digits::{TRAINING, dataset, samples};
use crate::models::{fit, trained};
use compress_quant::graph::qat::{QatConfig, QatReport, export_qat, prepare_qat};
use compress_quant::graph::{Target, calibrate};
use compress_quant::{DType, Tensor};
use compress_train::trainer::TrainerConfig;
use onnx_ir::{Fact, Model, Node, ValueId};
use runtime_session::SessionOptions;

/// The network with a `Softmax` as its last node.
fn with_softmax(model: &Model) -> Model {
    let mut model = model.clone();
    let logits = model.graph.outputs()[0];
    let probabilities = model.graph.add_value("probs", Fact::Unknown).unwrap();
    let node = Node::new("Softmax", [logits], [probabilities]).with("axis", -1i64);
    model.graph.add_node(node.named("softmax")).unwrap();
    model.graph.set_outputs(vec![probabilities]);
    model
}

/// The network whose second convolution has a channel that gives nothing but its bias.
fn with_dead_channel(model: &Model) -> Model {
    let mut model = model.clone();
    // What normalizes is folded into weights, so that these are of about 1e-10.
    for (name, value) in [("conv2_gamma", 1e-10f32), ("conv2_beta", 0.3)] {
        let id = model.graph.value_by_name(name).unwrap();
        let mut values = model.graph.initializer(id).unwrap().to_f32_vec().unwrap();
        values[5] = value;
        model.graph.set_initializer(id, Tensor::vector(values));
    }
    model
}

fn prepared(model: &Model, bits: [u32; 2]) -> (Model, QatReport) {
    let mut config = QatConfig::default();
    config.quantize.target = Target::Tflite;
    [config.weight_bits, config.activation_bits] = bits;
    let samples = samples(16).into_iter().map(Ok::<_, String>);
    let options = SessionOptions::default();
    let statistics = calibrate(model, samples, &config.quantize, &options).unwrap();
    prepare_qat(model, &statistics, &config).unwrap()
}

fn short(epochs: u64) -> TrainerConfig {
    let mut config = TrainerConfig::default();
    (config.epochs, config.batch) = (epochs, 32);
    (config.learning_rate, config.step_share) = (Some(0.01), Some(TrainerConfig::FRESH_STEP_SHARE));
    config
}

/// The type, scales and zero points of a pair's node.
#[derive(Clone, Debug, PartialEq)]
struct Codes {
    dtype: DType,
    scale: Vec<f32>,
    zero: Vec<i64>,
}

struct File(Model);

impl File {
    fn node(&self, value: ValueId) -> Option<&Node> {
        let id = self.0.graph.producer(value)?;
        Some(self.0.graph.node(id))
    }

    fn codes(&self, node: &Node) -> Codes {
        let constant = |i| self.0.graph.constant(node.input(i).unwrap()).unwrap();
        let zero = constant(2);
        Codes {
            dtype: zero.dtype(),
            scale: constant(1).to_f32_vec().unwrap(),
            zero: zero
                .to_f64_vec()
                .unwrap()
                .iter()
                .map(|&z| z as i64)
                .collect(),
        }
    }

    /// The codes that a node reads as input `index`: those of the pair before it.
    fn read(&self, node: &Node, index: usize) -> Codes {
        let before = self.node(node.input(index).unwrap());
        let before = before.filter(|n| n.is("DequantizeLinear"));
        self.codes(before.unwrap_or_else(|| panic!("{}: input {index} is no code", node.name)))
    }

    /// The codes that what a node writes becomes, behind a `Relu` that becomes one with it.
    fn written(&self, node: &Node) -> Codes {
        let uses = self.0.graph.uses(node.output(0).unwrap());
        let readers: Vec<&Node> = uses.iter().map(|u| self.0.graph.node(u.node())).collect();
        assert_eq!(readers.len(), 1, "{}", node.name);
        match readers[0].op_type.as_str() {
            "QuantizeLinear" => self.codes(readers[0]),
            "Relu" => self.written(readers[0]),
            other => panic!("{}: read by a {other} without codes", node.name),
        }
    }

    fn check(&self, bits: [u32; 2]) {
        let mut seen = [0; 5];
        for (_, node) in self.0.graph.nodes() {
            let is_activation = |v| self.0.graph.constant(v).is_none();
            match node.op_type.as_str() {
                "QuantizeLinear" | "DequantizeLinear" if is_activation(node.input(0).unwrap()) => {
                    let codes = self.codes(node);
                    assert_eq!((codes.dtype, codes.scale.len()), (DType::I8, 1));
                    seen[0] += 1;
                }
                "Conv" | "Gemm" => {
                    let (x, w) = (self.read(node, 0), self.read(node, 1));
                    assert_eq!(w.dtype, DType::I8);
                    assert!(w.zero.iter().all(|&z| z == 0));
                    let pair = self.node(node.input(1).unwrap()).unwrap();
                    let weight = self.0.graph.constant(pair.input(0).unwrap()).unwrap();
                    let allowed = if bits[0] == 8 { -127..=127 } else { -8..=7 };
                    let codes = weight.as_slice::<i8>().unwrap();
                    assert!(codes.iter().all(|q| allowed.contains(q)), "{}", node.name);
                    if node.is("Conv") {
                        assert_eq!(w.scale.len(), weight.shape()[0]);
                    }
                    let bias = self.read(node, 2);
                    assert_eq!(bias.dtype, DType::I32);
                    assert!(bias.zero.iter().all(|&z| z == 0));
                    let steps: Vec<f32> = w.scale.iter().map(|w| x.scale[0] * w).collect();
                    assert_eq!(bias.scale, steps, "{}", node.name);
                    seen[1] += 1;
                }
                // Codes of fewer bits are cut off behind their rounding.
                "Clip" => {
                    let bound = |i| self.0.graph.constant(node.input(i).unwrap()).unwrap();
                    let bounds = [bound(1), bound(2)].map(|b| b.as_slice::<i8>().unwrap()[0]);
                    assert_eq!(bounds, [-8, 7]);
                    seen[4] += 1;
                }
                // Reshaping copies codes.
                "Flatten" => {
                    assert_eq!(self.read(node, 0), self.written(node));
                    seen[3] += 1;
                }
                "Softmax" => {
                    let expected = Codes {
                        dtype: DType::I8,
                        scale: vec![1.0 / 256.0],
                        zero: vec![-128],
                    };
                    assert_eq!(self.written(node), expected);
                    seen[2] += 1;
                }
                _ => {}
            }
        }
        assert!(seen[0] >= 14, "{seen:?}");
        assert_eq!(seen[1..4], [4, 1, 1]);
        assert_eq!(seen[4] > 0, bits[1] == 4, "{seen:?}");
    }
}

#[test]
fn a_trained_file_keeps_the_rules_of_integer_files() {
    let float = with_softmax(trained());
    for bits in [[8, 8], [4, 8], [4, 4]] {
        let (model, report) = prepared(&float, bits);
        assert!(report.repairs.is_empty(), "{:?}", report.repairs);
        let after = fit(&model, dataset(0..320), short(1));
        let (file, _) = export_qat(&after).unwrap();
        File(file).check(bits);
    }
}

#[test]
fn a_channel_of_almost_no_weight_leaves_the_biases_integers() {
    let float = with_dead_channel(&with_softmax(trained()));
    for bits in [[8, 8], [4, 4]] {
        let (model, report) = prepared(&float, bits);
        let [told] = report.repairs.as_slice() else {
            panic!("{:?}", report.repairs);
        };
        assert!(told.to_string().contains("conv2_w_folded"), "{told}");
        assert!(told.to_string().contains("scales of 1 channels"), "{told}");
        let step = |model: &Model, name: &str| {
            let id = model.graph.value_by_name(name).unwrap();
            model.graph.initializer(id).unwrap().to_f32_vec().unwrap()
        };
        let s_x = report.layers[1].activation_step.as_deref().unwrap();
        let product = step(&model, s_x)[0] * step(&model, "conv2_w_folded_step")[5];
        let code = 0.3 / f64::from(product);
        // A quarter of half of int32.
        assert!(
            (code * 8.0 / f64::from(i32::MAX) - 1.0).abs() < 1e-3,
            "{code}"
        );
        for model in [fit(&model, dataset(0..320), short(1)), model] {
            let (file, written) = export_qat(&model).unwrap();
            assert_eq!((written.biases, written.notes.len()), (4, 0));
            File(file).check(bits);
        }
    }
}

#[test]
fn what_is_learned_from_stands_before_a_softmax_with_prescribed_codes() {
    use compress_train::loss::CrossEntropy;
    use compress_train::trainer::Trainer;
    use std::sync::Arc;
    // A cross entropy of probabilities taken for logits does not fall below ln(1 + 9 / e) = 1.46.
    let float = with_softmax(trained());
    for model in [float.clone(), prepared(&float, [8, 8]).0] {
        let mut trainer = Trainer::new(&model, CrossEntropy::default(), short(1)).unwrap();
        let report = trainer.fit(Arc::new(dataset(0..TRAINING)), None).unwrap();
        let loss = report.epochs[0].train[0].value;
        assert!(loss < 0.5, "{loss}");
    }
}
