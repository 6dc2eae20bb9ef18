//! Statistics of one tensor.

use super::levels::Levels;
use super::scan::scan;
use super::{Histogram, Range};
use crate::QuantError;
use serde::{Deserialize, Serialize};

/// What was seen of one tensor: of fixed size, whatever the number of samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields")]
pub struct TensorStats {
    samples: u64,
    range: Option<Range>,
    /// Sums over samples of the least and the greatest value.
    sum_min: f64,
    sum_max: f64,
    /// Values that are not exactly zero.
    nonzero: u64,
    /// Sum of the squares of all values.
    energy: f64,
    /// `None` where only ranges are gathered.
    histogram: Option<Histogram>,
    /// `None` where nobody asks whether the values lie on a grid.
    levels: Option<Levels>,
}

/// Statistics as they stand in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    samples: u64,
    range: Option<Range>,
    sum_min: f64,
    sum_max: f64,
    nonzero: u64,
    energy: f64,
    histogram: Option<Histogram>,
    levels: Option<Levels>,
}

impl TryFrom<Fields> for TensorStats {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        let read = Self {
            samples: fields.samples,
            range: fields.range,
            sum_min: fields.sum_min,
            sum_max: fields.sum_max,
            nonzero: fields.nonzero,
            energy: fields.energy,
            histogram: fields.histogram,
            levels: fields.levels,
        };
        if read.is_valid() {
            Ok(read)
        } else {
            Err("the statistics are damaged")
        }
    }
}

/// What of a sample depends on the order in which samples are added up: sums of floats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Moments {
    min: f32,
    max: f32,
    energy: f64,
}

impl Default for TensorStats {
    fn default() -> Self {
        Self {
            samples: 0,
            range: None,
            sum_min: 0.0,
            sum_max: 0.0,
            nonzero: 0,
            energy: 0.0,
            histogram: Some(Histogram::default()),
            levels: Some(Levels::default()),
        }
    }
}

impl TensorStats {
    /// Statistics without samples, which gather what every method needs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Without a histogram: enough for [`Method::MinMax`](crate::Method::MinMax) and
    /// [`Method::MovingAverage`](crate::Method::MovingAverage), and faster to gather.
    #[must_use]
    pub fn without_histogram(mut self) -> Self {
        self.histogram = None;
        self
    }

    /// Without the distinct values, from which [`TensorStats::grid`] is found.
    #[must_use]
    pub fn without_levels(mut self) -> Self {
        self.levels = None;
        self
    }

    /// Adds the values of one sample.
    ///
    /// # Errors
    /// [`QuantError::NotFinite`]: the statistics are unchanged then.
    pub fn observe(&mut self, values: &[f32]) -> Result<(), QuantError> {
        if let Some(moments) = self.observe_but_moments(values)? {
            self.add_moments(moments);
        }
        Ok(())
    }

    /// Adds all of a sample but its [`Moments`]; what this gathers does not depend on the order of samples.
    pub(crate) fn observe_but_moments(
        &mut self,
        values: &[f32],
    ) -> Result<Option<Moments>, QuantError> {
        if values.is_empty() {
            return Ok(None);
        }
        let found = scan(values);
        if !found.finite {
            let found = values.iter().enumerate().find(|(_, v)| !v.is_finite());
            let (index, value) = found.map_or((0, f32::NAN), |(i, &v)| (i, v));
            return Err(QuantError::NotFinite { index, value });
        }
        let (min, max) = (found.min, found.max);
        let sample = Range { min, max };
        self.samples += 1;
        self.nonzero += values.len() as u64 - found.zeros;
        self.range = Some(self.range.map_or(sample, |r| r.union(sample)));
        if let Some(histogram) = &mut self.histogram {
            histogram.add(values, max.max(-min));
        }
        if let Some(levels) = &mut self.levels {
            levels.add(values);
        }
        Ok(Some(Moments {
            min,
            max,
            energy: found.energy,
        }))
    }

    pub(crate) fn add_moments(&mut self, moments: Moments) {
        self.sum_min += f64::from(moments.min);
        self.sum_max += f64::from(moments.max);
        self.energy += moments.energy;
    }

    /// Adds the statistics of another shard; what only one of both gathered is dropped.
    pub fn merge(&mut self, other: &TensorStats) {
        self.samples = self.samples.saturating_add(other.samples);
        self.nonzero = self.nonzero.saturating_add(other.nonzero);
        self.range = match (self.range, other.range) {
            (Some(a), Some(b)) => Some(a.union(b)),
            (a, b) => a.or(b),
        };
        self.sum_min += other.sum_min;
        self.sum_max += other.sum_max;
        self.energy += other.energy;
        match (&mut self.histogram, &other.histogram) {
            (Some(mine), Some(theirs)) => mine.merge(theirs),
            (mine, _) => *mine = None,
        }
        match (&mut self.levels, &other.levels) {
            (Some(mine), Some(theirs)) => mine.merge(theirs),
            (mine, _) => *mine = None,
        }
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

    /// The values' histogram; `None` where only ranges were gathered.
    pub fn histogram(&self) -> Option<&Histogram> {
        self.histogram.as_ref()
    }

    /// The range of `steps` equal steps on which every value lies, where the values are few and on a grid:
    /// pixels, sensor samples. It represents each of them exactly. `None` below 32 distinct values, or where these
    /// span no more than half of the steps.
    pub fn grid(&self, steps: u32) -> Option<Range> {
        self.levels.as_ref()?.grid(steps)
    }

    /// Signal to noise in dB of these values in steps of `scale` that represent `range`:
    /// `10·log10(Σx² / Σ(x - x̂)²)`, the error within the range taken as evenly spread over a step (`scale²/12`)
    /// and as none for exact zeros. `None` where values are clipped and there is no histogram to say how much.
    pub fn sqnr_db(&self, range: Range, scale: f32) -> Option<f64> {
        let rounding = f64::from(scale).powi(2) / 12.0;
        // Up to half a step beyond the ends a value is rounded as within.
        let range = range.widened(scale / 2.0);
        let noise = if self.is_within(range) {
            self.nonzero as f64 * rounding
        } else {
            let histogram = self.histogram.as_ref()?;
            let half = histogram.bin_width() / 2.0;
            let (low, high) = (f64::from(range.min), f64::from(range.max));
            let error = |x: f64| match x - x.clamp(low, high) {
                0.0 => rounding,
                beyond => (beyond.abs() + f64::from(scale) / 2.0).powi(2),
            };
            let bins = histogram.bins();
            bins.map(|(edge, n)| n as f64 * error(edge + half)).sum()
        };
        Some(if noise == 0.0 {
            f64::INFINITY
        } else {
            10.0 * (self.energy / noise).log10()
        })
    }

    /// The share of values outside of `range`, 0 to 1; `None` where that takes a histogram and there is none.
    pub fn clipped_share(&self, range: Range) -> Option<f64> {
        // A full range clips nothing, whatever the edges of its last bins say.
        if self.is_within(range) {
            return Some(0.0);
        }
        let histogram = self.histogram.as_ref()?;
        let width = histogram.bin_width();
        let outside: f64 = histogram
            .bins()
            .map(|(low, count)| {
                let (min, max) = (f64::from(range.min), f64::from(range.max));
                let below = ((min - low) / width).clamp(0.0, 1.0);
                let above = ((low + width - max) / width).clamp(0.0, 1.0);
                count as f64 * (below + above).min(1.0)
            })
            .sum();
        Some(outside / histogram.count().max(1) as f64)
    }

    fn is_within(&self, range: Range) -> bool {
        self.range
            .is_none_or(|r| range.min <= r.min && range.max >= r.max)
    }

    /// Drops empty bins: for saving.
    pub fn trim(&mut self) {
        if let Some(histogram) = &mut self.histogram {
            histogram.trim();
        }
    }

    /// Whether the fields could have been written by this type: for files.
    fn is_valid(&self) -> bool {
        let range = match self.range {
            Some(r) => r.min.is_finite() && r.max.is_finite() && r.min <= r.max && self.samples > 0,
            None => self.samples == 0,
        };
        let greatest = self.range.map_or(0.0, |r| r.min.abs().max(r.max.abs()));
        range
            && self.histogram.as_ref().is_none_or(|h| h.is_of(greatest))
            && self.energy >= 0.0
            && self.energy.is_finite()
            && self.sum_min.is_finite()
            && self.sum_max.is_finite()
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
    fn without_a_histogram_only_ranges_can_be_chosen() {
        use crate::{DType, Method, RangeRule};
        let mut ranges = TensorStats::new().without_histogram();
        let mut full = TensorStats::new();
        for stats in [&mut ranges, &mut full] {
            stats.observe(&[0.0, 1.0, -2.0, 3.0]).unwrap();
        }
        let choose = |m: Method, s: &TensorStats| m.range(s, DType::U8, RangeRule::Asymmetric);
        assert_eq!(
            choose(Method::MinMax, &ranges),
            choose(Method::MinMax, &full)
        );
        for method in [Method::Mse, Method::Entropy, Method::Percentile(99.0)] {
            assert_eq!(
                choose(method, &ranges),
                Err(QuantError::NoHistogram {
                    method: method.name()
                })
            );
        }
        // 14 over three values with an error of 1/12 each.
        let whole = Range {
            min: -2.0,
            max: 3.0,
        };
        let expected = 10.0 * (14.0f64 / (3.0 / 12.0)).log10();
        for stats in [&ranges, &full] {
            assert!((stats.sqnr_db(whole, 1.0).unwrap() - expected).abs() < 1e-9);
            assert_eq!(stats.clipped_share(whole), Some(0.0));
        }
        let half = Range {
            min: -1.0,
            max: 3.0,
        };
        assert_eq!(ranges.clipped_share(half), None);
        assert_eq!(ranges.sqnr_db(half, 1.0), None);
        assert!(full.clipped_share(half).unwrap() > 0.2);
        full.merge(&ranges);
        assert!(full.histogram().is_none());
    }

    #[test]
    fn the_greatest_numbers_survive_a_file() {
        let mut stats = TensorStats::new();
        stats.observe(&[f32::MAX, -f32::MAX, 0.0, 1.0]).unwrap();
        stats.observe(&[-3.4e38]).unwrap();
        let text = serde_json::to_string(&stats).unwrap();
        let read: TensorStats = serde_json::from_str(&text).unwrap();
        assert_eq!(read.min_max(), stats.min_max());
        assert_eq!(read.histogram(), stats.histogram());
        assert_eq!(read.grid(255), stats.grid(255));
        assert!((read.energy / stats.energy - 1.0).abs() < 1e-14);
        let whole = stats.min_max().unwrap();
        assert!(read.sqnr_db(whole, 1.0).unwrap().is_finite());
        for (from, to) in [
            ("\"samples\":2", "\"samples\":0"),
            (
                "\"zeros\":1,\"first\":-2048",
                "\"zeros\":1,\"first\":-99999",
            ),
            ("\"too_many\":false", "\"too_many\":true"),
            ("\"nonzero\":4,", ""),
        ] {
            let bad = text.replacen(from, to, 1);
            assert_ne!(bad, text, "{from}");
            assert!(serde_json::from_str::<TensorStats>(&bad).is_err(), "{from}");
        }
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
