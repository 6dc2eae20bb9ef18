//! Means of what was measured sample by sample.

use super::Z95;
use serde::{Deserialize, Serialize};

/// A running mean (Welford 1962); merges exactly enough that parts in a fixed order give the same bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    count: u64,
    mean: f64,
    squares: f64,
}

/// A mean with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MeanEstimate {
    /// The mean.
    pub value: f64,
    /// The number of values.
    pub n: u64,
    /// The 95 % interval `mean ± z · s / sqrt(n)`, by the normal distribution; infinite for one value.
    pub ci95: [f64; 2],
}

impl Mean {
    /// Takes in a value.
    pub fn add(&mut self, value: f64) {
        self.count += 1;
        let apart = value - self.mean;
        self.mean += apart / self.count as f64;
        self.squares += apart * (value - self.mean);
    }

    /// Takes in all values of another mean.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        let (own, others) = (self.count as f64, other.count as f64);
        let all = own + others;
        let apart = other.mean - self.mean;
        self.squares += other.squares + apart * apart * own * others / all;
        self.mean += apart * others / all;
        self.count += other.count;
    }

    /// The mean so far; `None` without values.
    pub fn estimate(&self) -> Option<MeanEstimate> {
        if self.count == 0 {
            return None;
        }
        let n = self.count as f64;
        let spread = if self.count == 1 {
            f64::INFINITY
        } else {
            Z95 * (self.squares / (n - 1.0) / n).sqrt()
        };
        Some(MeanEstimate {
            value: self.mean,
            n: self.count,
            ci95: [self.mean - spread, self.mean + spread],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_the_normal_distribution() {
        let mut mean = Mean::default();
        assert!(mean.estimate().is_none());
        [2.0, 4.0, 4.0, 6.0].into_iter().for_each(|v| mean.add(v));
        let found = mean.estimate().unwrap();
        // s² = 8/3, s/√n = √(2/3).
        assert_eq!((found.value, found.n), (4.0, 4));
        assert!((found.ci95[1] - 4.0 - Z95 * (2.0f64 / 3.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn parts_merge_to_the_whole() {
        let values: Vec<f64> = (0..50).map(|i| f64::from(i * i % 17)).collect();
        let of = |values: &[f64]| {
            let mut mean = Mean::default();
            values.iter().for_each(|&v| mean.add(v));
            mean
        };
        let mut merged = of(&values[..13]);
        merged.merge(&of(&values[13..]));
        merged.merge(&Mean::default());
        let (found, expected) = (merged.estimate().unwrap(), of(&values).estimate().unwrap());
        assert!((found.value - expected.value).abs() < 1e-12 && found.n == 50);
        assert!((found.ci95[0] - expected.ci95[0]).abs() < 1e-12);
    }
}
