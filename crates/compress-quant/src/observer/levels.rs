//! Values that lie on a grid: images, sensor samples, anything that was 8-bit once.
//!
//! Where a tensor takes at most 256 values and these are whole multiples of a step, a range laid on that
//! grid represents every one of them exactly, which no range chosen by least and greatest value does.

use super::Range;
use serde::{Deserialize, Serialize};

/// Distinct values that are kept; beyond, the tensor is taken as continuous.
const MOST: usize = 256;
/// Distinct values below which nothing is said of a grid.
const LEAST: usize = 32;
/// Places of the table of values seen; a power of two.
const SEEN: usize = 1024;

/// The distinct values of a tensor, as long as they are few.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields")]
pub(super) struct Levels {
    /// Rising; empty once there were too many.
    values: Vec<f32>,
    too_many: bool,
}

/// Levels as they stand in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    values: Vec<f32>,
    too_many: bool,
}

impl TryFrom<Fields> for Levels {
    type Error = &'static str;

    fn try_from(Fields { values, too_many }: Fields) -> Result<Self, Self::Error> {
        let rising = values.windows(2).all(|w| w[0] < w[1]);
        let finite = values.iter().all(|v| v.is_finite());
        let few = values.len() <= if too_many { 0 } else { MOST };
        match rising && finite && few {
            true => Ok(Self { values, too_many }),
            false => Err("the distinct values are damaged"),
        }
    }
}

impl Levels {
    /// Notes values, all finite.
    pub(super) fn add(&mut self, values: &[f32]) {
        if self.too_many {
            return;
        }
        // Most values were seen before: a table by hash spares the search. NaN stands for nothing seen.
        let mut seen = [f32::NAN; SEEN];
        for &v in values {
            let hash = v.to_bits().wrapping_mul(0x9e37_79b1) >> (32 - SEEN.ilog2());
            let last = &mut seen[hash as usize % SEEN];
            if v != *last {
                *last = v;
                self.insert(v);
                if self.too_many {
                    return;
                }
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Levels) {
        if other.too_many {
            self.give_up();
        }
        self.add(&other.values);
    }

    /// The range of `steps` equal steps on which every value lies, zero included; `None` where there is none, where
    /// fewer than [`LEAST`] values were seen or where they span no more than half of the steps: a few values lie on
    /// some grid by chance, or because they are classes or flags.
    pub(super) fn grid(&self, steps: u32) -> Option<Range> {
        let (&first, &last) = (self.values.first()?, self.values.last()?);
        let gap = self
            .values
            .windows(2)
            .map(|w| f64::from(w[1]) - f64::from(w[0]))
            .fold(f64::INFINITY, f64::min);
        if self.values.len() < LEAST || !gap.is_finite() {
            return None;
        }
        // The least gap, sharpened over the whole span.
        let span = f64::from(last) - f64::from(first);
        let count = (span / gap).round();
        let step = span / count;
        let on_grid = |v: f64| {
            let k = v / step;
            (k - k.round()).abs() <= 1e-3
        };
        let low = f64::from(first).min(0.0);
        let high = f64::from(last).max(0.0);
        let used = ((high - low) / step).round();
        let fits = used <= f64::from(steps) && used > f64::from(steps) / 2.0;
        if !fits || !self.values.iter().all(|&v| on_grid(f64::from(v))) {
            return None;
        }
        // All steps are used, those that are left over above the greatest value.
        let low = (low / step).round() * step;
        Some(Range {
            min: low as f32,
            max: (low + f64::from(steps) * step) as f32,
        })
    }

    fn insert(&mut self, v: f32) {
        // -0 and 0 are one value.
        let v = if v == 0.0 { 0.0 } else { v };
        if let Err(at) = self.values.binary_search_by(|other| other.total_cmp(&v)) {
            self.values.insert(at, v);
            if self.values.len() > MOST {
                self.give_up();
            }
        }
    }

    fn give_up(&mut self) {
        self.too_many = true;
        self.values = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_an_8_bit_sensor_lie_on_their_grid() {
        let s = 0.584_702_9f32;
        let mut levels = Levels::default();
        levels.add(&(-211..30).map(|q| q as f32 * s).collect::<Vec<_>>());
        let range = levels.grid(255).unwrap();
        assert!((range.min + 211.0 * s).abs() < 1e-3, "{range:?}");
        assert!(
            ((range.max - range.min) / 255.0 - s).abs() < 1e-6,
            "{range:?}"
        );
    }

    #[test]
    fn pixels_have_steps_of_one() {
        let mut levels = Levels::default();
        levels.add(&[0.0, 255.0, 3.0, 4.0, 250.0]);
        assert_eq!(levels.grid(255), None);
        levels.add(&(0..40).map(|i| (i * 6) as f32).collect::<Vec<_>>());
        assert_eq!(
            levels.grid(255),
            Some(Range {
                min: 0.0,
                max: 255.0
            })
        );
    }

    #[test]
    fn values_that_use_few_of_the_steps_have_no_grid() {
        let mut levels = Levels::default();
        levels.add(&(0..128).map(|i| i as f32 * 0.5).collect::<Vec<_>>());
        assert_eq!(levels.grid(255), None);
        levels.add(&[64.0]);
        let (min, max) = (0.0, 127.5);
        assert_eq!(levels.grid(255), Some(Range { min, max }));
    }

    #[test]
    fn continuous_and_uneven_values_have_no_grid() {
        let mut uneven = Levels::default();
        uneven.add(&(0..200).map(|i| i as f32).collect::<Vec<_>>());
        uneven.add(&[100.3]);
        assert_eq!(uneven.grid(255), None);
        let mut many = Levels::default();
        many.add(&(0..300).map(|i| i as f32).collect::<Vec<_>>());
        assert_eq!(many.grid(255), None);
    }
}
