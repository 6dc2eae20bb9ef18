//! Times of any number of runs in memory of a fixed size.

use std::time::Duration;

/// Bins to each power of two: a quantile is right within 1.1 %.
const PER_OCTAVE: usize = 64;

/// Counts of times by their magnitude.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; 64 * PER_OCTAVE],
        }
    }
}

impl Histogram {
    /// Counts one time.
    pub fn add(&mut self, time: Duration) {
        let nanoseconds = time.as_nanos().max(1) as f64;
        let bin = (nanoseconds.log2() * PER_OCTAVE as f64) as usize;
        let last = self.counts.len() - 1;
        self.counts[bin.min(last)] += 1;
    }

    /// Counts what another has counted.
    pub fn merge(&mut self, other: &Self) {
        let pairs = self.counts.iter_mut().zip(&other.counts);
        pairs.for_each(|(count, other)| *count += other);
    }

    /// The times counted.
    pub fn len(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Whether none was counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The time below which the share `of` (0 to 1) of all times lies; zero where none was counted.
    pub fn quantile(&self, of: f64) -> Duration {
        let rank = (self.len() as f64 * of).ceil().max(1.0) as u64;
        let mut below = 0;
        let bin = self.counts.iter().position(|count| {
            below += count;
            below >= rank
        });
        let middle = |bin: usize| ((bin as f64 + 0.5) / PER_OCTAVE as f64).exp2();
        Duration::from_nanos(bin.map_or(0, |bin| middle(bin) as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_times_within_a_bin() {
        let (mut odd, mut even) = (Histogram::default(), Histogram::default());
        for n in 1..=1000 {
            let half = if n % 2 == 0 { &mut even } else { &mut odd };
            half.add(Duration::from_micros(n));
        }
        odd.merge(&even);
        assert_eq!(odd.len(), 1000);
        for (of, micros) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = odd.quantile(of).as_secs_f64() * 1e6;
            assert!((found / micros - 1.0).abs() < 0.011, "{of}: {found}");
        }
        assert_eq!(Histogram::default().quantile(0.5), Duration::ZERO);
    }
}
