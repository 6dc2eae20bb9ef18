//! Raw pixels of 0 to 255 at the input: plain SGD collapses, controlled steps do not.

use crate::network::{INPUTS, Network, parameters};
use crate::pictures;
use compress_train::loss::Target;
use compress_train::metrics::top_k;
use compress_train::optimizer::{
    InputNormalization, Optimizer, Plan, Sgd, SgdConfig, StepControl, StepSettings, WeightLayout,
};
use compress_train::schedule::Schedule;
use ndarray::ArrayD;

const COUNT: usize = 256;
const BATCH: usize = 32;
const EPOCHS: usize = 15;

/// The accuracy on other pictures after training with SGD of momentum 0.9 and a learning rate of 0.1 that follows a cosine.
fn accuracy(
    control: StepControl,
    input: Option<&InputNormalization>,
    scale: f32,
    seed: u64,
) -> f64 {
    let mut config = SgdConfig::default();
    (config.momentum, config.control) = (0.9, control);
    let mut sgd = Sgd::new(Plan::new(parameters(), &[]).unwrap(), config).unwrap();
    let mut network = Network::new(seed);
    let (pixels, labels) = pictures::make(COUNT, 1);
    let x: Vec<f32> = pixels.iter().map(|&p| f32::from(p) * scale).collect();
    let schedule = Schedule::Cosine {
        steps: (EPOCHS * COUNT / BATCH) as u64,
        minimum: 0.0,
    };
    // What the optimizer works on: the parameters behind a normalised input, where there is one.
    let mut master = network.clone();
    if let Some(input) = input {
        let [w, b, ..] = &mut master.values[..] else {
            unreachable!()
        };
        input.normalize(w, Some(b)).unwrap();
    }
    for step in 0..EPOCHS * COUNT / BATCH {
        let at = step * BATCH % COUNT;
        let classes = ArrayD::from_shape_vec(vec![BATCH], labels[at..at + BATCH].to_vec()).unwrap();
        let batch = &x[at * INPUTS..(at + BATCH) * INPUTS];
        let (_, mut gradients) = network.gradients(batch, Target::Classes(classes.view()));
        sgd.begin_step(StepSettings::new(schedule.learning_rate(0.1, step as u64)))
            .unwrap();
        if let Some(input) = input {
            let [by_weight, by_bias, ..] = &mut gradients[..] else {
                unreachable!()
            };
            input.gradient(by_weight, Some(by_bias)).unwrap();
        }
        for (index, value) in master.values.iter_mut().enumerate() {
            sgd.update(index, value, &gradients[index]).unwrap();
        }
        network = master.clone();
        if let Some(input) = input {
            let [w, b, ..] = &mut network.values[..] else {
                unreachable!()
            };
            input.denormalize(w, Some(b)).unwrap();
        }
    }
    let (pixels, labels) = pictures::make(400, 2);
    let x: Vec<f32> = pixels.iter().map(|&p| f32::from(p) * scale).collect();
    top_k(network.logits(&x).view(), &labels, 1).unwrap().value
}

fn mean_accuracy(control: StepControl, input: Option<&InputNormalization>, scale: f32) -> f64 {
    (0..3)
        .map(|seed| accuracy(control, input, scale, seed))
        .sum::<f64>()
        / 3.0
}

#[test]
fn raw_pixels_train_with_controlled_steps() {
    let input = InputNormalization::new(
        &parameters()[0].shape,
        WeightLayout::OutputsFirst,
        &[115.0; INPUTS],
        &[45.0; INPUTS],
    );
    let input = input.unwrap();
    let clip = StepControl::Clip { limit: 0.1 };
    let normalize = StepControl::Normalize { trust: 0.1 };
    let scaled = mean_accuracy(StepControl::None, None, 1.0 / 128.0);
    let found = [
        ("plain", mean_accuracy(StepControl::None, None, 1.0)),
        ("clipped", mean_accuracy(clip, None, 1.0)),
        ("normalized", mean_accuracy(normalize, None, 1.0)),
        (
            "behind a normalized input",
            mean_accuracy(StepControl::None, Some(&input), 1.0),
        ),
        (
            "clipped, behind a normalized input",
            mean_accuracy(clip, Some(&input), 1.0),
        ),
    ];
    println!("plain, pixels / 128: {scaled:.3}\n{found:?}");
    assert!(scaled > 0.9, "{scaled}");
    assert!(found[0].1 < 0.5, "{found:?}");
    assert!(
        found[1..].iter().all(|(_, accuracy)| *accuracy > 0.9),
        "{found:?}"
    );
}
