//! Losses that are sums over elements: squared, absolute, Huber's and the smooth absolute difference.
//!
//! The target is of the output's shape, axes of length 1 aside (`[N]` for `[N, 1]`); whole numbers count as values.

use super::{Loss, LossError, LossValue, Outputs, Reduction, Target, Targets, are_alike};
use ndarray::{ArrayD, CowArray, Zip};
use serde::{Deserialize, Serialize};

/// The squared difference `(y − t)²` of the first output and the first target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mse {
    /// Mean or sum over all elements.
    pub reduction: Reduction,
}

/// The absolute difference `|y − t|`; its gradient is 0 where both are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct L1 {
    /// Mean or sum over all elements.
    pub reduction: Reduction,
}

/// `½ d²` for `|d| ≤ δ`, else `δ (|d| − ½ δ)`, with `d = y − t` (Huber 1964).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Huber {
    /// `δ`, where the parabola ends.
    pub delta: f64,
    /// Mean or sum over all elements.
    pub reduction: Reduction,
}

/// `½ d² / β` for `|d| < β`, else `|d| − ½ β`, with `d = y − t` (Girshick 2015, arXiv:1504.08083, eq. 3); `β = 0` is [`L1`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmoothL1 {
    /// `β`, where the parabola ends.
    pub beta: f64,
    /// Mean or sum over all elements.
    pub reduction: Reduction,
}

impl Default for Huber {
    fn default() -> Self {
        Self {
            delta: 1.0,
            reduction: Reduction::Mean,
        }
    }
}

impl Default for SmoothL1 {
    fn default() -> Self {
        Self {
            beta: 1.0,
            reduction: Reduction::Mean,
        }
    }
}

impl Loss for Mse {
    fn loss(&self, outputs: &Outputs<'_>, targets: &Targets<'_>) -> Result<LossValue, LossError> {
        elementwise(outputs, targets, self.reduction, |y, t| {
            let d = y - t;
            (d * d, 2.0 * d)
        })
    }
}

impl Loss for L1 {
    fn loss(&self, outputs: &Outputs<'_>, targets: &Targets<'_>) -> Result<LossValue, LossError> {
        elementwise(outputs, targets, self.reduction, |y, t| absolute(y - t))
    }
}

impl Loss for Huber {
    fn loss(&self, outputs: &Outputs<'_>, targets: &Targets<'_>) -> Result<LossValue, LossError> {
        let delta = self.delta;
        check("delta", delta, delta > 0.0, "it must be a positive number")?;
        elementwise(outputs, targets, self.reduction, |y, t| {
            let d = y - t;
            if d.abs() <= delta {
                (0.5 * d * d, d)
            } else {
                (delta * (d.abs() - 0.5 * delta), delta * d.signum())
            }
        })
    }
}

impl Loss for SmoothL1 {
    fn loss(&self, outputs: &Outputs<'_>, targets: &Targets<'_>) -> Result<LossValue, LossError> {
        let beta = self.beta;
        check("beta", beta, beta >= 0.0, "it must be 0 or more")?;
        elementwise(outputs, targets, self.reduction, |y, t| {
            let d = y - t;
            if d.abs() < beta {
                (0.5 * d * d / beta, d / beta)
            } else {
                let (size, sign) = absolute(d);
                (size - 0.5 * beta, sign)
            }
        })
    }
}

fn absolute(d: f64) -> (f64, f64) {
    (d.abs(), if d == 0.0 { 0.0 } else { d.signum() })
}

pub(super) fn check(
    setting: &'static str,
    found: f64,
    is_right: bool,
    rule: &'static str,
) -> Result<(), LossError> {
    if is_right && found.is_finite() {
        return Ok(());
    }
    Err(LossError::Setting {
        setting,
        found,
        rule,
    })
}

/// Reduces `f(y, t)`, which gives a value and its derivative by `y`, over the first output and target.
pub(super) fn elementwise(
    outputs: &Outputs<'_>,
    targets: &Targets<'_>,
    reduction: Reduction,
    f: impl Fn(f64, f64) -> (f64, f64),
) -> Result<LossValue, LossError> {
    let (name, y) = outputs.get(0)?;
    let (target, t) = targets.get(0)?;
    let misfit = || LossError::Shape {
        what: "target",
        name: target.to_owned(),
        found: t.shape().to_vec(),
        expected: format!("{:?}", y.shape()),
    };
    if y.shape() != t.shape() && !are_alike(y.shape(), t.shape()) {
        return Err(misfit());
    }
    let t = match t {
        Target::Values(values) => CowArray::from(values.view()),
        Target::Classes(numbers) => CowArray::from(numbers.mapv(|number| number as f32)),
    };
    let t = t.to_shape(y.raw_dim()).map_err(|_| misfit())?;
    if y.is_empty() {
        return Err(LossError::Empty {
            output: name.to_owned(),
        });
    }
    let scale = match reduction {
        Reduction::Mean => 1.0 / y.len() as f64,
        Reduction::Sum => 1.0,
    };
    let mut gradient = ArrayD::<f32>::zeros(y.raw_dim());
    Zip::from(&mut gradient)
        .and(y)
        .and(&t)
        .for_each(|g, &y, &t| {
            *g = (scale * f(f64::from(y), f64::from(t)).1) as f32;
        });
    // In C order, whatever order the arrays lie in.
    let pairs = y.iter().zip(t.iter());
    let sum: f64 = pairs.map(|(&y, &t)| f(f64::from(y), f64::from(t)).0).sum();
    Ok(LossValue::of_first(outputs, scale * sum, gradient))
}
