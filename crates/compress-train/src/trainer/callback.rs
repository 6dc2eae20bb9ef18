//! Whoever looks on while a model trains.

use super::metric::Score;
use super::network::Network;
use serde::{Deserialize, Serialize};

/// Whether to go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// The run goes on.
    #[default]
    Continue,
    /// The run ends here, as if this were its last step: the model is evaluated, the epoch is told as it then stands, and a checkpoint is
    /// written where checkpoints are.
    Stop,
}

/// One step that was done.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StepEnd {
    /// Steps done, from 1.
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// The epoch, from 0.
    pub epoch: u64,
    /// The loss of its samples.
    pub loss: f64,
    /// The terms of a composed loss by name.
    pub parts: Vec<(String, f64)>,
    /// The norm of all gradients, before they were clipped.
    pub gradient_norm: f64,
    /// The learning rate of a group whose factor is 1.
    pub learning_rate: f64,
    /// The mean loss of the epoch so far.
    pub mean_loss: f64,
}

/// One epoch that was gone through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EpochEnd {
    /// The epoch, from 0.
    pub epoch: u64,
    /// Steps done.
    pub step: u64,
    /// Means over its samples as they were trained on: the loss, then the metrics.
    pub train: Vec<Score>,
    /// The same over the held-out samples, of the model as it then was (with averaged weights, where they are); empty without.
    pub validation: Vec<Score>,
}

/// Looks on, and may end a run.
///
/// # Examples
/// ```
/// use compress_train::trainer::{Callback, EpochEnd, Flow, Network};
/// /// Ends where the loss is small enough.
/// struct Enough(f64);
/// impl Callback for Enough {
///     fn on_epoch(&mut self, end: &EpochEnd, _: &Network) -> Flow {
///         if end.train[0].value < self.0 { Flow::Stop } else { Flow::Continue }
///     }
/// }
/// ```
pub trait Callback: Send {
    /// A step is done.
    fn on_step(&mut self, end: &StepEnd, network: &Network) -> Flow {
        let _ = (end, network);
        Flow::Continue
    }

    /// An epoch is done, and the model was evaluated.
    fn on_epoch(&mut self, end: &EpochEnd, network: &Network) -> Flow {
        let _ = (end, network);
        Flow::Continue
    }
}
