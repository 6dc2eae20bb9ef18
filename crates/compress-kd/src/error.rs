//! What can go wrong with a distillation loss.

/// Why a loss cannot be computed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KdError {
    /// Two arrays do not fit one another.
    #[error("the shape of {what} is {found:?}, with {reference} it must be {expected:?}")]
    Shape {
        /// The array.
        what: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// What it is held against.
        reference: &'static str,
        /// The shape that fits.
        expected: Vec<usize>,
    },
    /// An array has fewer axes than the loss looks at.
    #[error("the shape of {what} is {found:?}, the loss needs at least {least} axes")]
    Rank {
        /// The array.
        what: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// The least number of axes.
        least: usize,
    },
    /// The axis of the channels is the sample axis or beyond the rank.
    #[error(
        "channels cannot stand on axis {axis} of {what} with {rank} axes, whose axis 0 counts samples"
    )]
    ChannelAxis {
        /// The array.
        what: &'static str,
        /// The axis.
        axis: usize,
        /// The rank.
        rank: usize,
    },
    /// An array of no elements.
    #[error("the shape of {what} is {shape:?}: there is nothing to compute a loss of")]
    Empty {
        /// The array.
        what: &'static str,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// A NaN or an infinity in an input.
    #[error("position {index} of {what} is {value}, which is not finite")]
    NotFinite {
        /// The array.
        what: &'static str,
        /// The first position (C order).
        index: usize,
        /// The value.
        value: f64,
    },
    /// The inputs are finite, the result is not.
    #[error("{what} is not finite: the inputs are too large for their element type")]
    Overflow {
        /// `the loss` or `the gradient`.
        what: &'static str,
    },
    /// A setting breaks its rule.
    #[error("{setting} is {found}, {rule}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: f64,
        /// The rule, as in `it must lie in [0, 1]`.
        rule: &'static str,
    },
    /// A list is shorter or longer than the others ask for.
    #[error("there are {found} {what} instead of {expected}")]
    Length {
        /// What the list holds, as in `class weights`.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length that fits.
        expected: usize,
    },
    /// A number that is none of the classes.
    #[error("label {index} is {found}, the logits tell classes 0 to {} apart", classes.saturating_sub(1))]
    NoSuchClass {
        /// The position of the label.
        index: usize,
        /// The label.
        found: i64,
        /// The number of classes.
        classes: usize,
    },
    /// A target that is no probability.
    #[error("position {index} of {what} is {found}, which is no probability")]
    NotAProbability {
        /// The array.
        what: &'static str,
        /// The first position (C order).
        index: usize,
        /// The value.
        found: f64,
    },
    /// The features of a token do not divide among the heads.
    #[error("a token has {features} features in {what}, which do not divide among {heads} heads")]
    Heads {
        /// The array.
        what: &'static str,
        /// The features per token.
        features: usize,
        /// The heads.
        heads: usize,
    },
    /// A score is masked (minus infinity) for one of student and teacher only.
    #[error("position {index} of the attention scores is masked for the {masked} only")]
    MaskedForOne {
        /// The position in C order.
        index: usize,
        /// `student` or `teacher`.
        masked: &'static str,
    },
    /// A number that is none of the samples of a memory.
    #[error("{what} {index} names sample {found}, the memory holds {samples}")]
    NoSuchSample {
        /// What names it, as in `contrast entry`.
        what: &'static str,
        /// Its position (C order).
        index: usize,
        /// The sample.
        found: usize,
        /// The number of samples.
        samples: usize,
    },
    /// A memory in which a sample has nothing to be told apart from.
    #[error("sample {sample} has no negatives: every sample of the memory is of its class")]
    NoNegatives {
        /// The sample.
        sample: usize,
    },
    /// A loss was asked of a memory whose partition constants are not known yet.
    #[error(
        "the partition constants are not known yet: call `Crd::fit_partition` or `Crd::step` first"
    )]
    NoPartition,
}
