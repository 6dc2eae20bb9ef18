//! What can go wrong with quantization at the array level.

use compress_tensor::{DType, QuantParamsError, TensorError};

/// Why values cannot be observed or quantized.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantError {
    /// The axis is beyond the rank.
    #[error("axis {axis} is out of range for rank {rank}")]
    AxisOutOfRange {
        /// The axis.
        axis: usize,
        /// The rank.
        rank: usize,
    },
    /// A tensor has another number of axes than it must have.
    #[error("{what} has {found} axes instead of {expected}")]
    Rank {
        /// What the tensor holds, as in `the weight`.
        what: &'static str,
        /// Its rank.
        found: usize,
        /// The rank that fits.
        expected: usize,
    },
    /// Weights cannot be held in a type.
    #[error("weights become i8 or i4, not {dtype}")]
    WeightType {
        /// The type asked for.
        dtype: DType,
    },
    /// A NaN or an infinity.
    #[error("value at position {index} is {value}: only finite numbers can be quantized")]
    NotFinite {
        /// The first position (C order).
        index: usize,
        /// The value.
        value: f32,
    },
    /// No value was observed.
    #[error("no value was observed")]
    NothingObserved,
    /// The statistics hold ranges only, and the method chooses from a histogram.
    #[error(
        "the statistics hold ranges only, and method {method} chooses from histograms: gather them for it, or choose \
         by minmax or moving-average"
    )]
    NoHistogram {
        /// The method.
        method: &'static str,
    },
    /// A setting breaks its rule.
    #[error("{setting} is {found}, {rule}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Its value.
        found: f64,
        /// The rule, as in `it must lie in (0, 100]`.
        rule: &'static str,
    },
    /// A slice is shorter or longer than the others ask for.
    #[error("there are {found} {what} instead of {expected}")]
    Length {
        /// What the slice holds, as in `weights`.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The length that fits.
        expected: usize,
    },
    /// Quantization parameters do not fit the data.
    #[error(transparent)]
    Params(#[from] QuantParamsError),
    /// A tensor could not be read or made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}
