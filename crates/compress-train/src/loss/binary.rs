//! Binary cross-entropy over logits.

use super::elementwise::{check, elementwise};
use super::{Loss, LossError, LossValue, Outputs, Reduction, Scores, Target, Targets};
use serde::{Deserialize, Serialize};

/// `−(p·t·log σ(y) + (1−t)·log(1−σ(y)))` for logits `y` (the first output) and targets `t` of `[0, 1]`, with the weight `p` of
/// positives; computed from the logits, so that it stays finite at any of them. Whole numbers and truth values are targets too: 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BinaryCrossEntropy {
    /// `p`: above 1 for positives that are rare.
    pub positive_weight: f64,
    /// `ε`: targets become `t(1−ε) + ε/2`.
    pub label_smoothing: f64,
    /// Mean or sum over all elements.
    pub reduction: Reduction,
}

impl Default for BinaryCrossEntropy {
    fn default() -> Self {
        Self {
            positive_weight: 1.0,
            label_smoothing: 0.0,
            reduction: Reduction::Mean,
        }
    }
}

impl Loss for BinaryCrossEntropy {
    fn scores(&self) -> Scores {
        Scores::BeforeSigmoid
    }

    fn loss(&self, outputs: &Outputs<'_>, targets: &Targets<'_>) -> Result<LossValue, LossError> {
        let (p, smoothing) = (self.positive_weight, self.label_smoothing);
        check("the positive weight", p, p >= 0.0, "it must be 0 or more")?;
        let is_share = (0.0..=1.0).contains(&smoothing);
        check(
            "the label smoothing",
            smoothing,
            is_share,
            "it must lie in [0, 1]",
        )?;
        check_truths(targets)?;
        elementwise(outputs, targets, self.reduction, |y, t| {
            let t = t * (1.0 - smoothing) + 0.5 * smoothing;
            let weight = 1.0 + (p - 1.0) * t;
            // softplus(−y) = −log σ(y).
            let softplus = (-y.abs()).exp().ln_1p() + (-y).max(0.0);
            let value = (1.0 - t) * y + weight * softplus;
            (value, (1.0 - t) - weight * sigmoid(-y))
        })
    }
}

/// Whole numbers are 0 or 1.
fn check_truths(targets: &Targets<'_>) -> Result<(), LossError> {
    let (name, Target::Classes(numbers)) = targets.get(0)? else {
        return Ok(());
    };
    let mut all = numbers.iter().copied().enumerate();
    match all.find(|(_, number)| !(0..=1).contains(number)) {
        None => Ok(()),
        Some((position, class)) => Err(LossError::NoSuchClass {
            target: name.to_owned(),
            class,
            position,
            classes: 2,
        }),
    }
}

fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}
