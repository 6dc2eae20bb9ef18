//! A histogram of fixed size whose bins are powers of two wide.
//!
//! Bin `i` of `-N..N` holds values in `[i·w, (i+1)·w)`. When a value falls outside, `w` doubles and
//! neighbours are added up, which is exact: the same values give the same histogram in whatever order
//! they come, however they are split into shards. Exact zeros are counted apart: after a ReLU they are
//! the most frequent value and carry no quantization error.

use serde::{Deserialize, Serialize};

/// Bins on each side of zero.
const HALF: i64 = 2048;
/// Bins on both sides.
const BINS: usize = 2 * HALF as usize;
/// Places behind the bins that take turns in counting zeros: each count waits for the one before it.
const ZERO_SLOTS: usize = 8;
/// Values whose bins are computed at a time.
const BLOCK: usize = 512;
/// The least exponent, whose inverse f32 can still hold.
const LEAST_EXPONENT: i32 = -126;

/// The exponent for the greatest number.
const GREATEST_EXPONENT: i32 = 117;

/// Counts of values in equal bins around zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Fields")]
pub struct Histogram {
    /// Bins are `2^exponent` wide; `None` before the first value that is not zero.
    exponent: Option<i32>,
    /// Values that are exactly zero.
    zeros: u64,
    /// The first bin that `counts` holds, in `-N..N`; bins outside are empty.
    first: i64,
    counts: Vec<u64>,
}

/// A histogram as it stands in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    exponent: Option<i32>,
    zeros: u64,
    first: i64,
    counts: Vec<u64>,
}

impl TryFrom<Fields> for Histogram {
    type Error = &'static str;

    fn try_from(fields: Fields) -> Result<Self, Self::Error> {
        let read = Self {
            exponent: fields.exponent,
            zeros: fields.zeros,
            first: fields.first,
            counts: fields.counts,
        };
        if read.is_valid() {
            Ok(read)
        } else {
            Err("the histogram is damaged")
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            exponent: None,
            zeros: 0,
            first: -HALF,
            counts: Vec::new(),
        }
    }
}

impl Histogram {
    /// Counts values; `max_abs` must be the greatest magnitude among them, all finite.
    pub(crate) fn add(&mut self, values: &[f32], max_abs: f32) {
        if max_abs == 0.0 {
            self.zeros += values.len() as u64;
            return;
        }
        let exponent = self.widen(smallest_exponent(max_abs));
        self.unpack();
        // A product with a power of two is exact, so the bin of a value does not depend on rounding.
        let scale = (-exponent as f32).exp2();
        self.counts.resize(BINS + ZERO_SLOTS, 0);
        let mut slots = [0u32; BLOCK];
        for block in values.chunks(BLOCK) {
            // First the bins, which the compiler computes several at a time, then the counting.
            for (i, (slot, &v)) in slots.iter_mut().zip(block).enumerate() {
                let x = v * scale;
                let whole = x as i32;
                // Truncation is the floor but for negative fractions, those that underflowed included.
                let below = (whole as f32 > x) | ((v < 0.0) & (whole == 0));
                let bin = whole - i32::from(below) + HALF as i32;
                let zero = BINS + i % ZERO_SLOTS;
                *slot = if v == 0.0 { zero as u32 } else { bin as u32 };
            }
            for &slot in &slots[..block.len()] {
                self.counts[slot as usize] += 1;
            }
        }
        self.zeros += self.counts.drain(BINS..).sum::<u64>();
    }

    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &Histogram) {
        self.zeros = self.zeros.saturating_add(other.zeros);
        let Some(theirs) = other.exponent else { return };
        let exponent = self.widen(theirs);
        self.unpack();
        let shift = (exponent - theirs).clamp(0, 62) as u32;
        for (i, &count) in other.counts.iter().enumerate() {
            let bin = (other.first + i as i64) >> shift;
            let mine = &mut self.counts[(bin.clamp(-HALF, HALF - 1) + HALF) as usize];
            *mine = mine.saturating_add(count);
        }
    }

    /// The number of values.
    pub fn count(&self) -> u64 {
        let all = self.counts.iter();
        all.fold(self.zeros, |sum, &count| sum.saturating_add(count))
    }

    /// How many values are exactly zero.
    pub fn zeros(&self) -> u64 {
        self.zeros
    }

    /// The width of a bin; 0 before the first value that is not zero.
    pub fn bin_width(&self) -> f64 {
        self.exponent.map_or(0.0, |e| f64::from(e).exp2())
    }

    /// The bins that hold values: lower edge and count, rising; exact zeros are not in them.
    pub fn bins(&self) -> impl DoubleEndedIterator<Item = (f64, u64)> + '_ {
        let width = self.bin_width();
        let counted = self
            .counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0);
        counted.map(move |(i, &count)| ((self.first + i as i64) as f64 * width, count))
    }

    /// Drops empty bins at both ends: for saving.
    pub fn trim(&mut self) {
        let Some(start) = self.counts.iter().position(|&c| c > 0) else {
            self.counts.clear();
            return;
        };
        while self.counts.last() == Some(&0) {
            self.counts.pop();
        }
        self.counts.drain(..start);
        self.first += start as i64;
    }

    /// Whether the fields could have been written by this type: for files.
    fn is_valid(&self) -> bool {
        let end = self.first.checked_add(self.counts.len() as i64);
        let fits = self.first >= -HALF && end.is_some_and(|e| e <= HALF);
        let exponent = match self.exponent {
            Some(e) => (LEAST_EXPONENT..=GREATEST_EXPONENT).contains(&e),
            None => self.counts.is_empty(),
        };
        let total = self
            .counts
            .iter()
            .try_fold(self.zeros, |sum, &c| sum.checked_add(c));
        fits && exponent && total.is_some()
    }

    /// Whether the bins are as wide as values of which the greatest magnitude is `greatest` make them: for files.
    pub(super) fn is_of(&self, greatest: f32) -> bool {
        let exponent = (greatest > 0.0).then(|| smallest_exponent(greatest));
        self.exponent == exponent
    }

    /// Makes bins at least `2^exponent` wide.
    fn widen(&mut self, exponent: i32) -> i32 {
        let Some(now) = self.exponent else {
            self.exponent = Some(exponent);
            return exponent;
        };
        if now >= exponent {
            return now;
        }
        let shift = (exponent - now).min(62) as u32;
        let old = std::mem::take(&mut self.counts);
        let first = std::mem::replace(&mut self.first, -HALF);
        self.counts = vec![0; BINS];
        for (i, count) in old.into_iter().enumerate() {
            let bin = (first + i as i64) >> shift;
            let wide = &mut self.counts[(bin + HALF) as usize];
            *wide = wide.saturating_add(count);
        }
        self.exponent = Some(exponent);
        exponent
    }

    /// All bins present.
    fn unpack(&mut self) {
        if self.counts.len() == BINS {
            return;
        }
        let mut all = vec![0; BINS];
        let start = (self.first + HALF) as usize;
        all[start..start + self.counts.len()].copy_from_slice(&self.counts);
        self.counts = all;
        self.first = -HALF;
    }
}

/// The least `e` for which `max_abs < N · 2^e`.
fn smallest_exponent(max_abs: f32) -> i32 {
    let mut e = (f64::from(max_abs) / HALF as f64).log2().floor() as i32;
    while f64::from(max_abs) >= HALF as f64 * f64::from(e).exp2() {
        e += 1;
    }
    e.max(LEAST_EXPONENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f32]) -> Histogram {
        let mut h = Histogram::default();
        let max_abs = values.iter().fold(0f32, |m, v| m.max(v.abs()));
        h.add(values, max_abs);
        h
    }

    #[test]
    fn zeros_are_counted_apart() {
        let h = of(&[0.0, -0.0, 1.0, 0.0]);
        assert_eq!((h.zeros(), h.count()), (3, 4));
        assert_eq!(h.bins().collect::<Vec<_>>(), [(1.0, 1)]);
    }

    #[test]
    fn bins_are_floors_down_to_the_smallest_numbers() {
        let tiny = f32::from_bits(1);
        // 2047.5 lies in a bin of width 1; -0.25 and the least negative number lie in the bin below zero.
        let h = of(&[2047.5, 0.25, tiny, -0.25, -tiny, -1.0, -1.5]);
        let bins: Vec<(f64, u64)> = h.bins().collect();
        assert_eq!(bins, [(-2.0, 1), (-1.0, 3), (0.0, 2), (2047.0, 1)]);
        let h = of(&[tiny, -tiny]);
        assert_eq!(h.bins().map(|(_, n)| n).collect::<Vec<_>>(), [1, 1]);
        let mut wide = of(&[3e38]);
        wide.add(&[-tiny], tiny);
        let mut other = of(&[-tiny]);
        other.add(&[3e38], 3e38);
        assert_eq!(wide, other);
    }

    #[test]
    fn the_least_and_the_greatest_numbers_have_bins_and_survive_a_file() {
        for value in [f32::from_bits(1), f32::MIN_POSITIVE, f32::MAX, -f32::MAX] {
            let h = of(&[value]);
            assert_eq!(h.count(), 1);
            let text = serde_json::to_string(&h).unwrap();
            assert_eq!(serde_json::from_str::<Histogram>(&text).unwrap(), h);
        }
        assert_eq!(of(&[f32::MAX]).exponent, Some(GREATEST_EXPONENT));
    }

    #[test]
    fn counts_at_the_end_of_their_range_stay_there() {
        let full = r#"{"exponent":0,"zeros":9223372036854775807,"first":-2,"counts":[3,9223372036854775000]}"#;
        let full: Histogram = serde_json::from_str(full).unwrap();
        let mut sum = full.clone();
        sum.merge(&full);
        sum.merge(&full);
        assert_eq!(sum.count(), u64::MAX);
    }

    #[test]
    fn damaged_fields_are_refused_where_they_are_read() {
        let good = r#"{"exponent":0,"zeros":1,"first":-2,"counts":[3,4]}"#;
        assert!(serde_json::from_str::<Histogram>(good).is_ok());
        for (from, to) in [
            ("-2", "-99999"),
            ("-2", "2047"),
            (":0", ":-127"),
            (":0", ":118"),
            (":0", ":null"),
            ("[3", "[18446744073709551615"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert!(serde_json::from_str::<Histogram>(&bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn shards_in_any_order_give_the_same_histogram(
            a in prop::collection::vec(-1e3f32..1e3, 0..50),
            b in prop::collection::vec(-1e-3f32..1e-3, 0..50),
        ) {
            let mut all = of(&[a.clone(), b.clone()].concat());
            let (mut ab, mut ba) = (of(&a), of(&b));
            ab.merge(&of(&b));
            ba.merge(&of(&a));
            for h in [&mut all, &mut ab, &mut ba] { h.trim(); }
            prop_assert_eq!(&all, &ab);
            prop_assert_eq!(&all, &ba);
            prop_assert_eq!(all.count() as usize, a.len() + b.len());
        }
    }
}
