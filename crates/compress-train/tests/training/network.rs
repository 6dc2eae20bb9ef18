//! Two layers with ReLU between, forward and backward by hand.

use crate::pictures::{CLASSES, SIDE};
use compress_train::loss::{CrossEntropy, Loss, Outputs, Target, Targets};
use compress_train::optimizer::ParameterInfo;
use compress_train::random::{Purpose, Random};
use ndarray::{Array1, Array2, ArrayView2, Axis};

pub(crate) const INPUTS: usize = SIDE * SIDE;
pub(crate) const HIDDEN: usize = 16;

/// `w1` `[hidden, inputs]`, `b1`, `w2` `[classes, hidden]`, `b2`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Network {
    pub(crate) values: Vec<Vec<f32>>,
}

pub(crate) fn parameters() -> Vec<ParameterInfo> {
    vec![
        ParameterInfo::new("first.weight", &[HIDDEN, INPUTS]),
        ParameterInfo::new("first.bias", &[HIDDEN]),
        ParameterInfo::new("second.weight", &[CLASSES, HIDDEN]),
        ParameterInfo::new("second.bias", &[CLASSES]),
    ]
}

impl Network {
    /// Weights of ±1/√fan-in, as frameworks begin with.
    pub(crate) fn new(seed: u64) -> Self {
        let of = |(index, parameter): (usize, ParameterInfo)| {
            let mut random = Random::new(seed, Purpose::Initialize, 0, index as u64);
            let fan_in = if index < 2 { INPUTS } else { HIDDEN };
            let bound = 1.0 / (fan_in as f64).sqrt();
            (0..parameter.count())
                .map(|_| random.between(-bound, bound) as f32)
                .collect()
        };
        Self {
            values: parameters().into_iter().enumerate().map(of).collect(),
        }
    }

    fn matrix(&self, index: usize) -> ArrayView2<'_, f32> {
        let shape = &parameters()[index].shape;
        ArrayView2::from_shape((shape[0], shape[1]), &self.values[index]).unwrap()
    }

    fn forward(&self, x: ArrayView2<'_, f32>) -> (Array2<f32>, Array2<f32>) {
        let hidden = x.dot(&self.matrix(0).t()) + Array1::from(self.values[1].clone());
        let hidden = hidden.mapv(|v| v.max(0.0));
        let logits = hidden.dot(&self.matrix(2).t()) + Array1::from(self.values[3].clone());
        (hidden, logits)
    }

    pub(crate) fn logits(&self, x: &[f32]) -> Array2<f32> {
        let x = ArrayView2::from_shape((x.len() / INPUTS, INPUTS), x).unwrap();
        self.forward(x).1
    }

    /// The mean loss and its gradients.
    pub(crate) fn gradients(&self, x: &[f32], targets: Target<'_>) -> (f64, Vec<Vec<f32>>) {
        let x = ArrayView2::from_shape((x.len() / INPUTS, INPUTS), x).unwrap();
        let (hidden, logits) = self.forward(x);
        let logits = logits.into_dyn();
        let outputs = Outputs::new([("logits", logits.view())]);
        let found = CrossEntropy::default()
            .loss(&outputs, &Targets::new([("y", targets)]))
            .unwrap();
        let by_logits = found.gradients[0].clone().unwrap();
        let by_logits = by_logits.into_dimensionality::<ndarray::Ix2>().unwrap();
        let mut by_hidden = by_logits.dot(&self.matrix(2));
        by_hidden.zip_mut_with(&hidden, |g, &h| *g *= f32::from(h > 0.0));
        let flat = |a: Array2<f32>| a.as_standard_layout().iter().copied().collect::<Vec<f32>>();
        let gradients = vec![
            flat(by_hidden.t().dot(&x)),
            by_hidden.sum_axis(Axis(0)).to_vec(),
            flat(by_logits.t().dot(&hidden)),
            by_logits.sum_axis(Axis(0)).to_vec(),
        ];
        (found.value, gradients)
    }
}

#[test]
fn the_gradients_are_those_of_the_loss() {
    let network = Network::new(3);
    let x: Vec<f32> = (0..2 * INPUTS)
        .map(|i| (i * 37 % 64) as f32 / 32.0 - 1.0)
        .collect();
    let labels = ndarray::arr1(&[1i64, 3]).into_dyn();
    let loss = |network: &Network| network.gradients(&x, Target::Classes(labels.view())).0;
    let (_, gradients) = network.gradients(&x, Target::Classes(labels.view()));
    for (index, gradient) in gradients.iter().enumerate() {
        for at in (0..gradient.len()).step_by(7) {
            let moved = |by: f32| {
                let mut network = network.clone();
                network.values[index][at] += by;
                loss(&network)
            };
            let difference = (moved(0.005) - moved(-0.005)) / 0.01;
            assert!(
                (f64::from(gradient[at]) - difference).abs() < 2e-4,
                "{index} {at}: {} {difference}",
                gradient[at]
            );
        }
    }
}
