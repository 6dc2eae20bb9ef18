//! Statistics of one tensor.

use super::levels::Levels;
use super::{Histogram, Range};
use crate::QuantError;
use serde::{Deserialize, Serialize};

/// What was seen of one tensor: of fixed size, whatever the number of samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TensorStats {
    samples: u64,
    range: Option<Range>,
    /// Sums over samples of the least and the greatest value.
    sum_min: f64,
    sum_max: f64,
    histogram: Histogram,
    #[serde(default)]
    levels: Levels,
}

impl TensorStats {
    /// Statistics without samples.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the values of one sample.
    ///
    /// # Errors
    /// [`QuantError::NotFinite`]: the statistics are unchanged then.
    pub fn observe(&mut self, values: &[f32]) -> Result<(), QuantError> {
        if values.is_empty() {
            return Ok(());
        }
        let (mut min, mut max, mut finite) = (f32::INFINITY, f32::NEG_INFINITY, true);
        for &v in values {
            min = if v < min { v } else { min };
            max = if v > max { v } else { max };
            finite &= v.is_finite();
        }
        if !finite {
            let found = values.iter().enumerate().find(|(_, v)| !v.is_finite());
            let (index, value) = found.map_or((0, f32::NAN), |(i, &v)| (i, v));
            return Err(QuantError::NotFinite { index, value });
        }
        let sample = Range { min, max };
        self.samples += 1;
        self.range = Some(self.range.map_or(sample, |r| r.union(sample)));
        self.sum_min += f64::from(min);
        self.sum_max += f64::from(max);
        self.histogram.add(values, max.max(-min));
        self.levels.add(values);
        Ok(())
    }

    /// Adds the statistics of another shard.
    pub fn merge(&mut self, other: &TensorStats) {
        self.samples += other.samples;
        self.range = match (self.range, other.range) {
            (Some(a), Some(b)) => Some(a.union(b)),
            (a, b) => a.or(b),
        };
        self.sum_min += other.sum_min;
        self.sum_max += other.sum_max;
        self.histogram.merge(&other.histogram);
        self.levels.merge(&other.levels);
    }

    /// The number of samples.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The least and the greatest value.
    pub fn min_max(&self) -> Option<Range> {
        self.range
    }

    /// The means over samples of the least and of the greatest value.
    pub fn mean_min_max(&self) -> Option<Range> {
        self.range?;
        let n = self.samples as f64;
        Some(Range {
            min: (self.sum_min / n) as f32,
            max: (self.sum_max / n) as f32,
        })
    }

    /// The values' histogram.
    pub fn histogram(&self) -> &Histogram {
        &self.histogram
    }

    /// The range of `steps` equal steps on which every value lies, where the values are few and on a grid:
    /// pixels, sensor samples. It represents each of them exactly.
    pub fn grid(&self, steps: u32) -> Option<Range> {
        self.levels.grid(steps)
    }

    /// The share of values outside of `range`, 0 to 1.
    pub fn clipped_share(&self, range: Range) -> f64 {
        let total = self.histogram.count();
        if total == 0 {
            return 0.0;
        }
        let width = self.histogram.bin_width();
        let outside: f64 = self
            .histogram
            .bins()
            .map(|(low, count)| {
                let (min, max) = (f64::from(range.min), f64::from(range.max));
                let below = ((min - low) / width).clamp(0.0, 1.0);
                let above = ((low + width - max) / width).clamp(0.0, 1.0);
                count as f64 * (below + above).min(1.0)
            })
            .sum();
        // A full range clips nothing, whatever the edges of its last bins say.
        let full = self
            .range
            .is_some_and(|r| range.min <= r.min && range.max >= r.max);
        if full { 0.0 } else { outside / total as f64 }
    }

    /// Drops empty bins: for saving.
    pub fn trim(&mut self) {
        self.histogram.trim();
    }

    /// Whether the fields could have been written by this type: for files.
    pub(crate) fn is_valid(&self) -> bool {
        let range = self
            .range
            .is_none_or(|r| r.min.is_finite() && r.max.is_finite() && r.min <= r.max);
        range
            && self.levels.is_valid()
            && self.sum_min.is_finite()
            && self.sum_max.is_finite()
            && self.histogram.is_valid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_not_finite_is_named_and_changes_nothing() {
        let mut stats = TensorStats::new();
        stats.observe(&[1.0, 2.0]).unwrap();
        let before = stats.clone();
        assert!(matches!(
            stats.observe(&[1.0, f32::NAN]),
            Err(QuantError::NotFinite { index: 1, .. })
        ));
        assert_eq!(stats, before);
    }

    #[test]
    fn means_are_over_samples() {
        let mut stats = TensorStats::new();
        stats.observe(&[-1.0, 4.0]).unwrap();
        stats.observe(&[-3.0, 2.0]).unwrap();
        assert_eq!(
            stats.mean_min_max(),
            Some(Range {
                min: -2.0,
                max: 3.0
            })
        );
        assert_eq!(
            stats.min_max(),
            Some(Range {
                min: -3.0,
                max: 4.0
            })
        );
    }
}
