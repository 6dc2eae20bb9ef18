//! A network with several exits: the deepest teaches the others.

use crate::KdError;
use crate::check;
use crate::element::{narrow, wide};
use crate::logits::KdLoss;
use ndarray::{Array2, ArrayRef1, ArrayView2};
use num_traits::Float;

/// `L = w_C · CE(z_C, y) + Σ_(i<C) w_i · ((1-α) · CE(z_i, y) + α · T² · KL(σ(z_C/T) ‖ σ(z_i/T)))` over the exits `1 … C`, shallow to
/// deep.
///
/// Zhang et al. 2019, "Be your own teacher: improve the performance of convolutional neural networks via self
/// distillation" (arXiv:1905.08094), sec. 3: the deepest exit learns from labels alone and is a constant to the others, which learn
/// from both. Their third term, on features, is [`hint`](crate::features::hint). Each exit's loss is
/// [`KdLoss`], with its reduction.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SelfDistillation {
    /// `α`, `T` and how the labels are read.
    pub kd: KdLoss,
    /// `w`: one weight per exit, none negative; all 1 if there are none.
    pub weights: Option<Vec<f64>>,
}

impl SelfDistillation {
    /// With this loss of each exit and equal weights.
    pub fn new(kd: KdLoss) -> Self {
        Self { kd, weights: None }
    }

    /// With one weight per exit, shallow to deep.
    #[must_use]
    pub fn with_weights(mut self, weights: Vec<f64>) -> Self {
        self.weights = Some(weights);
        self
    }

    /// Value and one gradient per exit.
    ///
    /// # Shapes
    /// `exits`: at least one, all `[n, c]` and finite, the deepest last; `labels` `[n]`.
    ///
    /// # Errors
    /// [`KdError::Length`] if there is no exit or another number of weights; [`KdError::Setting`]; those of [`KdLoss::loss`].
    pub fn loss<F: Float>(
        &self,
        exits: &[ArrayView2<'_, F>],
        labels: &ArrayRef1<i64>,
    ) -> Result<(f64, Vec<Array2<F>>), KdError> {
        let Some((deepest, shallow)) = exits.split_last() else {
            return Err(KdError::Length {
                what: "exits",
                found: 0,
                expected: 1,
            });
        };
        if let Some(weights) = &self.weights {
            check::length("weights of exits", weights.len(), exits.len())?;
        }
        self.kd.validate(deepest.ncols())?;
        let mut value = 0.0;
        let mut gradients = Vec::with_capacity(exits.len());
        for (index, exit) in exits.iter().enumerate() {
            let weight = self.weights.as_ref().map_or(1.0, |w| w[index]);
            check::weight("the weight of an exit", weight)?;
            let (term, gradient) = if index < shallow.len() {
                self.kd.loss(exit, deepest, labels)?
            } else {
                self.kd.cross_entropy.loss(exit, labels)?
            };
            value += weight * term;
            let gradient = gradient.mapv(|g: F| narrow(weight * wide(g)));
            gradients.push(check::gradient(gradient)?);
        }
        Ok((check::value(value)?, gradients))
    }
}
