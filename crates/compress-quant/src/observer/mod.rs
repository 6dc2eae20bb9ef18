//! Observers: statistics of fixed size over a stream of values, and the range that a method chooses
//! from them.
//!
//! [`TensorStats`] gathers what every method needs in one pass: it can be saved, merged with the
//! statistics of another shard, and asked for a range by any [`Method`] later.

mod entropy;
mod histogram;
mod levels;
mod mse;
mod percentile;
mod scan;
mod spelling;
mod stats;

pub use histogram::Histogram;
#[cfg(feature = "graph")]
pub(crate) use mse::{Codes, search};
#[cfg(feature = "graph")]
pub(crate) use stats::Moments;
pub use stats::TensorStats;

use crate::QuantError;
use compress_tensor::{DType, QuantParams, RangeRule};
use serde::{Deserialize, Serialize};

/// A range of real values; `min <= 0 <= max` once it is used for quantization.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// The least value.
    pub min: f32,
    /// The greatest value.
    pub max: f32,
}

impl Range {
    /// The range that holds both.
    #[must_use]
    pub fn union(self, other: Range) -> Range {
        Range {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }

    /// The range with `by` more at both ends.
    #[must_use]
    pub fn widened(self, by: f32) -> Range {
        Range {
            min: self.min - by,
            max: self.max + by,
        }
    }

    /// Scale and zero point for this range.
    ///
    /// # Errors
    /// [`QuantError::Params`] for a range that is not finite.
    pub fn params(self, dtype: DType, rule: RangeRule) -> Result<QuantParams, QuantError> {
        Ok(QuantParams::from_min_max(self.min, self.max, dtype, rule)?)
    }
}

/// How a range is chosen from statistics.
///
/// Written as `"minmax"`, `"moving-average"`, `"percentile"` (of [`Method::DEFAULT_PERCENTILE`]),
/// `{ percentile = 99.9 }`, `"entropy"`, `"mse"`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Method {
    /// The least and the greatest value seen.
    MinMax,
    /// The mean over samples of each sample's least and greatest value.
    MovingAverage,
    /// The range that holds this share of the values, in percent, cut equally at both tails
    /// (McKinstry et al. 2018, arXiv:1809.04191).
    Percentile(f64),
    /// The range of least Kullback-Leibler divergence between the values and their quantized
    /// distribution (Migacz, "8-bit inference with TensorRT", GTC 2017).
    Entropy,
    /// The range of least mean squared quantization error (Banner et al. 2019, arXiv:1810.05723).
    Mse,
}

impl Method {
    /// Whether the method chooses from a histogram; the others need no more than ranges.
    pub fn needs_histogram(self) -> bool {
        !matches!(self, Method::MinMax | Method::MovingAverage)
    }

    /// Checks the method's setting.
    ///
    /// # Errors
    /// [`QuantError::Setting`] for a percentile outside of `(0, 100]`.
    pub fn validate(self) -> Result<(), QuantError> {
        match self {
            Method::Percentile(percent) => percentile::check(percent),
            _ => Ok(()),
        }
    }

    /// The name in files and messages, as in `moving-average`.
    pub fn name(self) -> &'static str {
        match self {
            Method::MinMax => "minmax",
            Method::MovingAverage => "moving-average",
            Method::Percentile(_) => "percentile",
            Method::Entropy => "entropy",
            Method::Mse => "mse",
        }
    }

    /// The percentile that is used where none is named.
    pub const DEFAULT_PERCENTILE: f64 = 99.99;

    /// The range for values that will be held in `dtype` under `rule`.
    ///
    /// # Errors
    /// [`QuantError::NothingObserved`]; [`QuantError::NoHistogram`] where only ranges were gathered;
    /// [`QuantError::Setting`] for a percentile outside of `(0, 100]`.
    pub fn range(
        self,
        stats: &TensorStats,
        dtype: DType,
        rule: RangeRule,
    ) -> Result<Range, QuantError> {
        let full = stats.min_max().ok_or(QuantError::NothingObserved)?;
        let histogram = || {
            let method = self.name();
            stats.histogram().ok_or(QuantError::NoHistogram { method })
        };
        let chosen = match self {
            Method::MinMax => full,
            Method::MovingAverage => stats.mean_min_max().ok_or(QuantError::NothingObserved)?,
            Method::Percentile(percent) => percentile::range(histogram()?, full, percent)?,
            Method::Entropy => entropy::range(histogram()?, full, dtype, rule)?,
            Method::Mse => mse::range(histogram()?, full, dtype, rule)?,
        };
        Ok(Range {
            min: chosen.min.min(0.0),
            max: chosen.max.max(0.0),
        })
    }
}
