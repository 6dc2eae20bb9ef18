//! Losses over arrays: a value and its gradient by each output.
//!
//! A loss sees what a model gave and what was asked for, by order and by name, and nothing of the model. Values are summed in
//! `f64`, in the order of the elements.

mod binary;
mod combine;
mod cross_entropy;
mod elementwise;

pub use binary::BinaryCrossEntropy;
pub use combine::{OnNamed, WeightedSum};
pub use cross_entropy::CrossEntropy;
pub use elementwise::{Huber, L1, Mse, SmoothL1};

use compress_tensor::Tensor;
use ndarray::{ArrayD, ArrayViewD};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Outputs of a model, in its order.
#[derive(Clone, Debug, Default)]
pub struct Outputs<'a>(Vec<(&'a str, ArrayViewD<'a, f32>)>);

/// What the outputs are held against, in the order of the data.
#[derive(Clone, Debug, Default)]
pub struct Targets<'a>(Vec<(&'a str, Target<'a>)>);

/// One array of targets.
#[derive(Clone, Debug)]
pub enum Target<'a> {
    /// Numbers of classes.
    Classes(ArrayViewD<'a, i64>),
    /// Values, or probabilities of classes.
    Values(ArrayViewD<'a, f32>),
}

impl Target<'_> {
    /// The shape.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Classes(classes) => classes.shape(),
            Self::Values(values) => values.shape(),
        }
    }
}

impl<'a> Outputs<'a> {
    /// Outputs of these names, in this order.
    pub fn new(outputs: impl IntoIterator<Item = (&'a str, ArrayViewD<'a, f32>)>) -> Self {
        Self(outputs.into_iter().collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Name and array of an output.
    ///
    /// # Errors
    /// [`LossError::Missing`].
    pub fn get(&self, index: usize) -> Result<(&'a str, &ArrayViewD<'a, f32>), LossError> {
        let found = self.0.get(index).map(|(name, array)| (*name, array));
        found.ok_or(LossError::Missing {
            what: "output",
            index,
            count: self.len(),
        })
    }

    /// The place of the output of a name.
    ///
    /// # Errors
    /// [`LossError::NoSuchName`].
    pub fn position(&self, name: &str) -> Result<usize, LossError> {
        position("output", name, self.0.iter().map(|o| o.0))
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().map(|o| o.0)
    }
}

impl<'a> Targets<'a> {
    /// Targets of these names, in this order.
    pub fn new(targets: impl IntoIterator<Item = (&'a str, Target<'a>)>) -> Self {
        Self(targets.into_iter().collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Name and array of a target.
    ///
    /// # Errors
    /// [`LossError::Missing`].
    pub fn get(&self, index: usize) -> Result<(&'a str, &Target<'a>), LossError> {
        let found = self.0.get(index).map(|(name, target)| (*name, target));
        found.ok_or(LossError::Missing {
            what: "target",
            index,
            count: self.len(),
        })
    }

    /// The values of a target.
    ///
    /// # Errors
    /// [`LossError::Missing`], [`LossError::WrongKind`] for numbers of classes.
    pub fn values(&self, index: usize) -> Result<(&'a str, &ArrayViewD<'a, f32>), LossError> {
        match self.get(index)? {
            (name, Target::Values(values)) => Ok((name, values)),
            (name, Target::Classes(_)) => Err(LossError::WrongKind {
                target: name.to_owned(),
                expected: "values",
                found: "numbers of classes",
            }),
        }
    }

    /// The place of the target of a name.
    ///
    /// # Errors
    /// [`LossError::NoSuchName`].
    pub fn position(&self, name: &str) -> Result<usize, LossError> {
        position("target", name, self.0.iter().map(|t| t.0))
    }
}

/// Whether two shapes of as many samples differ by axes of length 1 only, so that elements of both go together in C order.
fn are_alike(a: &[usize], b: &[usize]) -> bool {
    let wide = |shape: &[usize]| -> Vec<usize> {
        let rest = shape.iter().skip(1).copied();
        rest.filter(|&size| size != 1).collect()
    };
    a.first() == b.first() && wide(a) == wide(b)
}

fn position<'a>(
    what: &'static str,
    name: &str,
    mut names: impl Iterator<Item = &'a str> + Clone,
) -> Result<usize, LossError> {
    let all = names.clone();
    names
        .position(|n| n == name)
        .ok_or_else(|| LossError::NoSuchName {
            what,
            name: name.to_owned(),
            names: all.map(str::to_owned).collect(),
        })
}

/// A loss's value and its gradients.
#[derive(Clone, Debug)]
pub struct LossValue {
    /// The value.
    pub value: f64,
    /// By output: `∂value/∂output`, of its shape; `None` where the loss does not look at the output.
    pub gradients: Vec<Option<ArrayD<f32>>>,
    /// The terms of a composed loss by name, as they enter the value; empty where there is one.
    pub parts: Vec<(String, f64)>,
}

/// A function of outputs and targets that is to become small.
///
/// # Examples
/// A loss of one's own, the mean of the first output:
/// ```
/// use compress_train::loss::{Loss, LossError, LossValue, Outputs, Targets};
/// use ndarray::{ArrayD, arr1};
/// struct Mean;
/// impl Loss for Mean {
///     fn loss(&self, outputs: &Outputs<'_>, _: &Targets<'_>) -> Result<LossValue, LossError> {
///         let (_, y) = outputs.get(0)?;
///         let n = y.len() as f64;
///         let value = y.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
///         let gradient = ArrayD::from_elem(y.raw_dim(), (1.0 / n) as f32);
///         Ok(LossValue::of_first(outputs, value, gradient))
///     }
/// }
/// let y = arr1(&[1.0f32, 3.0]).into_dyn();
/// let found = Mean.loss(&Outputs::new([("y", y.view())]), &Targets::default())?;
/// assert_eq!(found.value, 2.0);
/// # Ok::<(), LossError>(())
/// ```
pub trait Loss: Send + Sync {
    /// The value and its gradient by each output.
    ///
    /// # Errors
    /// [`LossError`] where outputs and targets do not fit one another.
    fn loss(&self, outputs: &Outputs<'_>, targets: &Targets<'_>) -> Result<LossValue, LossError>;

    /// Which scores it is written for, where a model ends in a function that makes shares of them.
    fn scores(&self) -> Scores {
        Scores::AsGiven
    }

    /// What it remembers from step to step, by name, for checkpoints; nothing, as nearly all losses.
    fn state(&self) -> BTreeMap<String, Tensor> {
        BTreeMap::new()
    }

    /// Takes up what [`Loss::state`] gave.
    ///
    /// # Errors
    /// [`LossError`] for the state of another loss.
    fn restore(&self, _state: &BTreeMap<String, Tensor>) -> Result<(), LossError> {
        Ok(())
    }
}

/// The scores that a loss looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scores {
    /// Those that the model gives.
    #[default]
    AsGiven,
    /// Logits: what stands before a last `Softmax` or `LogSoftmax`.
    BeforeSoftmax,
    /// Logits: what stands before a last `Sigmoid`.
    BeforeSigmoid,
}

impl<L: Loss + ?Sized> Loss for Box<L> {
    fn loss(&self, outputs: &Outputs<'_>, targets: &Targets<'_>) -> Result<LossValue, LossError> {
        (**self).loss(outputs, targets)
    }

    fn scores(&self) -> Scores {
        (**self).scores()
    }

    fn state(&self) -> BTreeMap<String, Tensor> {
        (**self).state()
    }

    fn restore(&self, state: &BTreeMap<String, Tensor>) -> Result<(), LossError> {
        (**self).restore(state)
    }
}

impl<L: Loss + ?Sized> Loss for std::sync::Arc<L> {
    fn loss(&self, outputs: &Outputs<'_>, targets: &Targets<'_>) -> Result<LossValue, LossError> {
        (**self).loss(outputs, targets)
    }

    fn scores(&self) -> Scores {
        (**self).scores()
    }

    fn state(&self) -> BTreeMap<String, Tensor> {
        (**self).state()
    }

    fn restore(&self, state: &BTreeMap<String, Tensor>) -> Result<(), LossError> {
        (**self).restore(state)
    }
}

impl LossValue {
    /// Of a loss that looks at the first output only.
    pub fn of_first(outputs: &Outputs<'_>, value: f64, gradient: ArrayD<f32>) -> Self {
        let mut gradients: Vec<Option<ArrayD<f32>>> = vec![None; outputs.len()];
        if let Some(first) = gradients.first_mut() {
            *first = Some(gradient);
        }
        Self {
            value,
            gradients,
            parts: Vec::new(),
        }
    }
}

/// How the losses of elements or samples become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

/// What is missing, where that is known.
fn missing(what: &str, count: usize) -> &'static str {
    match (what, count) {
        ("target", 0) => ": the samples have no labels beside what feeds the model's inputs",
        _ => "",
    }
}

/// Why a loss cannot be computed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LossError {
    /// Fewer outputs or targets than the loss looks at.
    #[error("the loss needs {what} {index}, there are {count}{}", missing(what, *count))]
    Missing {
        /// `output` or `target`.
        what: &'static str,
        /// Its place, from 0.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// A name that no output or target has.
    #[error("there is no {what} `{name}`, there are {names:?}")]
    NoSuchName {
        /// `output` or `target`.
        what: &'static str,
        /// The name.
        name: String,
        /// The names that there are.
        names: Vec<String>,
    },
    /// An array of another shape than the loss needs.
    #[error("{what} `{name}` has shape {found:?}, the loss needs {expected}")]
    Shape {
        /// `output`, `target` or `the gradient of output`.
        what: &'static str,
        /// The name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// What fits, as in `[8, 10]`.
        expected: String,
    },
    /// Labels that are neither classes nor shares of classes.
    #[error(
        "target `{target}` holds floating-point numbers of shape {found:?}: the loss needs classes, whole numbers (int64) of shape {classes:?}, or shares of classes, floating-point numbers of shape {shares:?}"
    )]
    NoClasses {
        /// The target.
        target: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape of classes.
        classes: Vec<usize>,
        /// The shape of their shares.
        shares: Vec<usize>,
    },
    /// Classes where values are needed.
    #[error("target `{target}` holds {found}, the loss needs {expected}")]
    WrongKind {
        /// The target.
        target: String,
        /// What is needed.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// A number that is none of the classes.
    #[error("target `{target}` holds class {class} at position {position}, the output tells 0 to {} apart", classes.saturating_sub(1))]
    NoSuchClass {
        /// The target.
        target: String,
        /// The number.
        class: i64,
        /// Its position in C order.
        position: usize,
        /// The number of classes.
        classes: usize,
    },
    /// A setting breaks its rule.
    #[error("{setting} is {found}, {rule}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: f64,
        /// The rule, as in `it must lie in [0, 1)`.
        rule: &'static str,
    },
    /// A loss from elsewhere cannot be computed.
    #[error("{reason}")]
    Foreign {
        /// What it says.
        reason: String,
    },
    /// Arrays of no elements.
    #[error("output `{output}` has no elements")]
    Empty {
        /// The output.
        output: String,
    },
}
