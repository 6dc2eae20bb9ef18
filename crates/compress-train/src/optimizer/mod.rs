//! Optimizers: how a gradient changes a parameter.
//!
//! An optimizer is made for a list of parameters ([`Plan`]) and holds all its state from then on; [`Optimizer::update`] works in place
//! on the caller's slices, one parameter at a time. Every rule is elementwise or needs norms that are summed in a fixed order, so
//! that results do not depend on the number of threads. The arithmetic is PyTorch's (`torch.optim`, single tensor) in `f32`, without
//! fused multiply-adds: sums, products, quotients and square roots, which are rounded alike on every machine. What holds for a whole step (the
//! `βᵗ` of Adam and LAMB, the cosines and powers of schedules) comes from the platform's mathematical library, which may differ in
//! the last bit from one platform to another; on one platform a run gives the same bits each time.

mod adam;
mod control;
pub(crate) mod glob;
mod input;
mod lamb;
mod norms;
mod plan;
mod sgd;
mod split;
mod state;

pub use adam::{Adam, AdamConfig, WeightDecay};
pub use control::StepControl;
pub use input::{InputNormalization, WeightLayout};
pub use lamb::{Lamb, LambConfig};
pub use norms::{norm, sum_of_squares};
pub use plan::{Group, ParameterInfo, Plan};
pub use sgd::{Sgd, SgdConfig};
pub use state::OptimizerState;

/// What a schedule says for one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepSettings {
    /// The learning rate of a group whose factor is 1.
    pub learning_rate: f64,
    /// Takes the place of the momentum (SGD) or of β₁ (Adam, LAMB), as one-cycle schedules ask for.
    pub momentum: Option<f64>,
}

impl StepSettings {
    /// A learning rate, and the optimizer's own momentum.
    pub fn new(learning_rate: f64) -> Self {
        Self {
            learning_rate,
            momentum: None,
        }
    }
}

/// A parameter, and the gradient that it is changed by.
#[derive(Debug)]
pub struct Update<'a> {
    /// Which parameter of the plan.
    pub index: usize,
    /// Its elements.
    pub value: &'a mut [f32],
    /// Its gradient.
    pub gradient: &'a [f32],
}

/// A rule that changes parameters by their gradients.
///
/// # Examples
/// ```
/// use compress_train::optimizer::{Optimizer, ParameterInfo, Plan, Sgd, SgdConfig, StepSettings};
/// let plan = Plan::new(vec![ParameterInfo::new("w", &[2])], &[])?;
/// let mut sgd = Sgd::new(plan, SgdConfig::default())?;
/// let mut w = [1.0f32, -2.0];
/// sgd.begin_step(StepSettings::new(0.5))?;
/// sgd.update(0, &mut w, &[2.0, -2.0])?;
/// assert_eq!(w, [0.0, -1.0]);
/// # Ok::<(), compress_train::optimizer::OptimizerError>(())
/// ```
pub trait Optimizer: Send + Sync {
    /// The rule's name, which its saved state carries.
    fn kind(&self) -> &'static str;

    /// The parameters that it was made for.
    fn plan(&self) -> &Plan;

    /// Begins a step; the settings hold for all updates until the next.
    ///
    /// # Errors
    /// [`OptimizerError::Setting`] for a learning rate or momentum that is not finite or is negative, and for a momentum where
    /// [`Sgd`] was made without one.
    fn begin_step(&mut self, settings: StepSettings) -> Result<(), OptimizerError>;

    /// Changes parameter `index` of the plan in place by its gradient.
    ///
    /// A parameter that gets no gradient in a step is left out: each counts its own updates.
    ///
    /// # Errors
    /// [`OptimizerError::NoSuchParameter`], [`OptimizerError::Length`].
    fn update(
        &mut self,
        index: usize,
        value: &mut [f32],
        gradient: &[f32],
    ) -> Result<(), OptimizerError>;

    /// Changes several parameters of the plan, to the same bits as [`Self::update`] of one after the other.
    ///
    /// [`Sgd`] and [`Adam`] start their threads once for all of them and cut the work evenly, so that many small parameters are
    /// worth threads too.
    ///
    /// # Errors
    /// Those of [`Self::update`], and [`OptimizerError::NamedTwice`] where these two share the work; they have changed nothing then.
    fn update_all(&mut self, updates: Vec<Update<'_>>) -> Result<(), OptimizerError> {
        for update in updates {
            self.update(update.index, update.value, update.gradient)?;
        }
        Ok(())
    }

    /// All that the next steps depend on, beside configuration.
    fn state(&self) -> OptimizerState;

    /// Takes over a saved state; steps from there on give the same bits as those of the optimizer that was saved.
    ///
    /// # Errors
    /// [`OptimizerError::OtherKind`], [`OptimizerError::State`]; the optimizer is then as it was before.
    fn restore(&mut self, state: &OptimizerState) -> Result<(), OptimizerError>;
}

/// Why an optimizer cannot be made, stepped or restored.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OptimizerError {
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
    /// Two parameters of one name.
    #[error("parameter `{name}` is listed twice")]
    NamedTwice {
        /// The name.
        name: String,
    },
    /// A group that no parameter belongs to.
    #[error("no parameter matches {patterns:?}: the names begin with {examples:?}")]
    EmptyGroup {
        /// The group's patterns.
        patterns: Vec<String>,
        /// Some names.
        examples: Vec<String>,
    },
    /// An index behind the plan's last parameter.
    #[error("there is no parameter {index}, the optimizer was made for {count}")]
    NoSuchParameter {
        /// The index.
        index: usize,
        /// The number of parameters.
        count: usize,
    },
    /// A slice of another length than its parameter.
    #[error("parameter `{name}` has {expected} elements, its {what} {found}")]
    Length {
        /// The parameter.
        name: String,
        /// `value` or `gradient`.
        what: &'static str,
        /// The parameter's length.
        expected: usize,
        /// The slice's length.
        found: usize,
    },
    /// The state of another rule.
    #[error("the state is that of {found}, the optimizer is {expected}")]
    OtherKind {
        /// The optimizer's rule.
        expected: &'static str,
        /// The state's.
        found: String,
    },
    /// A state that does not belong to these parameters.
    #[error("the state does not fit parameter `{name}`: {problem}")]
    State {
        /// The parameter.
        name: String,
        /// What does not fit.
        problem: String,
    },
    /// Means and deviations that do not fit a weight.
    #[error("{what}: expected {expected}, found {found}")]
    Input {
        /// What was counted.
        what: &'static str,
        /// The number that fits.
        expected: usize,
        /// The number found.
        found: usize,
    },
}

/// Checks that a setting keeps its rule.
pub(crate) fn check_setting(
    setting: &'static str,
    found: f64,
    is_right: bool,
    rule: &'static str,
) -> Result<(), OptimizerError> {
    if is_right {
        Ok(())
    } else {
        Err(OptimizerError::Setting {
            setting,
            found,
            rule,
        })
    }
}

/// A coefficient of an exponential average: of `[0, 1)`.
pub(crate) fn check_decay(setting: &'static str, found: f64) -> Result<(), OptimizerError> {
    let is_right = (0.0..1.0).contains(&found);
    check_setting(setting, found, is_right, "it must lie in [0, 1)")
}

/// A finite number from 0.
pub(crate) fn check_positive(setting: &'static str, found: f64) -> Result<(), OptimizerError> {
    let is_right = found.is_finite() && found >= 0.0;
    check_setting(
        setting,
        found,
        is_right,
        "it must be a finite number, 0 or more",
    )
}

impl StepSettings {
    fn validate(&self) -> Result<(), OptimizerError> {
        check_positive("the learning rate", self.learning_rate)?;
        self.momentum
            .map_or(Ok(()), |m| check_decay("the momentum", m))
    }
}
