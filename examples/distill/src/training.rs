//! Steps of training, and accuracy.

use crate::digits::Digits;
use crate::network::{Network, Random};
use compress_kd::KdError;
use ndarray::{Array1, Array2, ArrayView1, Axis};

const BATCH: usize = 32;
const RATE: f32 = 0.05;

/// How a network is trained.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) hidden: usize,
    pub(crate) steps: usize,
    pub(crate) shift: Shift,
    pub(crate) seed: u64,
}

/// What becomes of the images of a batch.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Shift {
    /// They stay.
    None,
    /// Each moves by up to one pixel each way.
    OnePixel,
}

/// Trains a new network; `loss` gets the logits, the images and the labels of a batch, and gives value and gradient by the logits.
pub(crate) fn train(
    plan: Plan,
    data: &Digits,
    loss: impl Fn(&Array2<f32>, &Array2<f32>, &Array1<i64>) -> Result<(f64, Array2<f32>), KdError>,
) -> Result<Network, KdError> {
    let mut random = Random::new(plan.seed);
    let mut network = Network::new(64, plan.hidden, 10, &mut random);
    let mut order = Vec::new();
    for step in 0..plan.steps {
        if order.len() < BATCH {
            order = random.permutation(data.labels.len());
        }
        let rows = order.split_off(order.len() - BATCH);
        let mut images = data.images.select(Axis(0), &rows);
        if plan.shift == Shift::OnePixel {
            images = shifted(&images, &mut random);
        }
        let labels = data.labels.select(Axis(0), &rows);
        let pass = network.forward(images.view());
        let (_, gradient) = loss(&pass.logits, &images, &labels)?;
        let part = step as f32 / plan.steps as f32;
        let cosine = 0.5 + 0.5 * (std::f32::consts::PI * part).cos();
        network.descend(images.view(), &pass, &gradient, RATE * cosine);
    }
    Ok(network)
}

fn shifted(images: &Array2<f32>, random: &mut Random) -> Array2<f32> {
    let mut moved = Array2::zeros(images.raw_dim());
    for (image, mut out) in images.rows().into_iter().zip(moved.rows_mut()) {
        let (down, right) = (random.below(3), random.below(3));
        for (row, column) in (0..8).flat_map(|row| (0..8).map(move |column| (row, column))) {
            let (from_row, from_column) = (row + down, column + right);
            if (1..9).contains(&from_row) && (1..9).contains(&from_column) {
                out[8 * row + column] = image[8 * (from_row - 1) + from_column - 1];
            }
        }
    }
    moved
}

/// The share of the images whose class the network finds, in percent.
pub(crate) fn accuracy(network: &Network, data: &Digits) -> f64 {
    let logits = network.forward(data.images.view()).logits;
    let best = |row: ArrayView1<'_, f32>| {
        let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        best.map(|(class, _)| class as i64)
    };
    let rows = logits.rows().into_iter().zip(&data.labels);
    let hits = rows.filter(|(row, label)| best(*row) == Some(**label));
    100.0 * hits.count() as f64 / data.labels.len() as f64
}
